"""What packs are made with (`frisket.algos.learner.Pack`: several replicas of one method led as one).

The replicas of a pack take the same position of their streams together. They may differ in seed and in the numbers a
configuration declares as `packed` (rates, starting values), never in shapes. A pack's `State` is a learner's, every
tensor with one more leading dimension, the replica.

Memory: a large pack learns some replicas at a time (`in_parts`), and what they have learned goes into the storage the
pack's state has already. So learning takes the state once, and the working memory of those few.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from frisket.algos.parts.tree import map_tensors
from frisket.types import Batch, Metrics, State

Learn = Callable[[State, Sequence[Batch], slice], "tuple[State, list[Metrics]]"]
"""Learning of some replicas: ``(their state, their batches, which of the pack they are)`` to ``(state, metrics)``."""


def in_parts(state: State, batches: Sequence[Batch], learn: Learn, together: int | None) -> tuple[State, list[Metrics]]:
    """`Pack.observe` by ``learn``, ``together`` replicas at a time (None: all).

    What a part has learned is written into the storage of ``state``, as soon as it has learned it; only tensors of
    another shape than before, such as a memory at its first sample, are allocated. A single part is not copied.
    """
    replicas = len(batches)
    if together is None or replicas <= together:
        return learn(state, batches, slice(0, replicas))
    whole, metrics = state, list[Metrics]()
    for start in range(0, replicas, together):
        part = slice(start, min(start + together, replicas))
        learned, measured = learn(map_tensors(lambda t, part=part: t[part], state), batches[part], part)
        whole = _written(whole, learned, part, replicas)
        metrics += measured
    return whole, metrics


def _written(whole: Mapping[str, Any], learned: State, part: slice, replicas: int) -> State:
    """The state ``whole`` of a pack with that of some of its replicas put in its place."""
    result: State = {}
    for name, new in learned.items():
        old = whole.get(name)
        if not isinstance(new, Tensor):
            result[name] = _written(old if isinstance(old, Mapping) else {}, new, part, replicas)
            continue
        if not isinstance(old, Tensor) or (old.shape[1:], old.dtype) != (new.shape[1:], new.dtype):
            old = new.new_empty((replicas, *new.shape[1:]))
        if old[part].data_ptr() != new.data_ptr():  # else it has been written in place
            old[part] = new
        result[name] = old
    return result


def packed_fields(config: object) -> tuple[str, ...]:
    """Names of the fields in which replicas of one pack may differ; empty for a method that has no packs."""
    return getattr(type(config), "packed", ())


def packed_numbers(learners: Sequence[Any]) -> dict[str, Tensor]:
    """The `packed_fields` of replicas by name, one number each, [P] float64; learners keep theirs in ``config``."""
    return {
        name: torch.tensor([float(getattr(one.config, name)) for one in learners], dtype=torch.float64)
        for name in packed_fields(learners[0].config)
    }
