"""What keeps the weights of finished tasks as they are: free weights, closing, refill, private copies (powerprop sheet,
sections 6 and 7).

B are the weights no task uses yet (1 = free to change), F_t those the finished task t answers with:

    while a task is learned    a weight moves where B is open
    when task t has ended      F_t is kept;  B <- B and not F_t;  the weights still free start afresh

What stops a weight is a choice between its old and its new value, so a closed weight keeps its bits whatever an
optimiser's moments and a weight decay would do to it. What no mask covers may be kept as a copy for each task.

The model is none of its business, nor how it learns: weights are a named set of tensors, a classifier's or an actor's.
How a learner goes along with one::

    kept = protection.init(w)                                   before the first task
    protection.require_free(kept)                               when a task begins
    w = held(before, after, protection.open(kept))              after every step
    w, kept, shares = protection.close(kept, w, F_t, drawn)     after every task

``kept`` may be part of a larger state: all functions look for their own entries in whatever they are given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

import torch

from frisket.algos.masks.select import where
from frisket.algos.masks.store import MaskStore
from frisket.errors import MaskError
from frisket.types import Metrics, Params, State

Refill = Literal["redraw", "zero"]


class Closed(NamedTuple):
    """Attributes: weights: as the next task starts with them; kept: the state of the `Protection` that goes on;
    shares: ``kept``, of all weights those the task uses; ``reused``, of these those that earlier tasks use too;
    ``capacity_free``, of all weights those that no task uses."""

    weights: Params
    kept: State
    shares: Metrics


class Protection:
    """Protection of a named set of weights.

    State: ``free``, B by tensor; ``store`` [T, bytes], the masks of the tasks that have ended (`MaskStore`); ``own``,
    by tensor what is kept for each of them [T, ...].

    Args:
        names: the weights that masks cover, in the order a store lays them down.
        refill: what free weights start a task with: ``redraw`` a fresh draw, or ``zero``.
        afresh: of what is kept for each task, what starts every task with a fresh draw; the rest goes on.
    """

    def __init__(self, names: Iterable[str], *, refill: Refill, afresh: Iterable[str] = ()) -> None:
        self.names, self.refill, self.afresh = tuple(names), refill, frozenset(afresh)

    def init(self, weights: Params, own: Iterable[str] = ()) -> State:
        """The state before the first task: all ``weights`` are free; ``own`` names those to keep for each task."""
        free = {k: torch.ones_like(weights[k], dtype=torch.bool) for k in self.names}
        return {"free": free, "store": self._store(free).bits, "own": no_copies(weights, own)}

    def store(self, kept: Mapping[str, Any]) -> MaskStore:
        """The masks of the tasks that have ended.

        Raises:
            MaskError: they are of weights of another shape.
        """
        return MaskStore(self._store(kept["free"]).shapes, kept["store"])

    def open(self, kept: Mapping[str, Any], within: Params | None = None) -> Params:
        """B, for `held`; only ``within`` these masks, if given. Empty while nothing is closed."""
        if within is not None:
            return {k: mask & kept["free"][k] for k, mask in within.items()}
        return kept["free"] if len(kept["store"]) else {}

    def require_free(self, kept: Mapping[str, Any]) -> None:
        """Raise `MaskError` where no weight is free for another task."""
        if any(bool(mask.any()) for mask in kept["free"].values()):
            return
        store = self.store(kept)
        exclusive = store.capacity().exclusive
        most = int(exclusive.argmax())
        raise MaskError(
            "capacity",
            f"0 of {store.size} weights free",
            f"no weight is left for task {len(store)}: take a larger network or sparser masks; of the present masks "
            f"that of task {most} alone holds the most, {int(exclusive[most])} weights",
        )

    def close(self, kept: Mapping[str, Any], weights: Params, masks: Params, drawn: Params) -> Closed:
        """The end of a task.

        Args:
            kept: the state.
            weights: as the task leaves them.
            masks: F_t, boolean, over all of `names`.
            drawn: a fresh draw of the weights, on any device.

        Raises:
            MaskError: ``masks`` do not fit the weights.
        """
        store = self.store(kept)
        before = store.union()
        free = {k: kept["free"][k] & ~mask for k, mask in masks.items()}
        fresh = dict(weights)
        for k, v in weights.items():
            if k in free:
                fresh[k] = torch.where(free[k], drawn[k].to(v) if self.refill == "redraw" else 0, v)
            elif k in self.afresh:
                fresh[k] = drawn[k].to(v)
        used = sum(int(mask.sum()) for mask in masks.values())
        reused = sum(int((mask & before[k]).sum()) for k, mask in masks.items())
        left = sum(int(mask.sum()) for mask in free.values())
        shares = {"kept": used / store.size, "reused": reused / max(used, 1), "capacity_free": left / store.size}
        state = {"free": free, "store": store.appended(masks).bits, "own": with_copy(kept["own"], weights)}
        return Closed(fresh, state, shares)

    def _store(self, free: Params) -> MaskStore:
        """No masks yet."""
        return MaskStore({k: tuple(free[k].shape) for k in self.names})


def held(before: Params, after: Params, open_: Params) -> Params:
    """``after``, of the tensors in ``open_`` only where it is True; elsewhere ``before``, to the bit."""
    return {k: where(open_[k], v, before[k]) if k in open_ else v for k, v in after.items()}


def no_copies(weights: Params, names: Iterable[str]) -> Params:
    """What is kept for each task [T, ...] before the first has ended: nothing yet of the tensors ``names``."""
    return {k: weights[k].new_zeros(0, *weights[k].shape) for k in names}


def with_copy(own: Params, weights: Params) -> Params:
    """``own`` [T, ...] with the present values of its tensors as those of one task more."""
    return {k: torch.cat([v, weights[k][None].to(v)]) for k, v in own.items()}


def copy_of(own: Params, index: int) -> Params:
    """What is kept for the ended task number ``index``."""
    return {k: v[index] for k, v in own.items()}
