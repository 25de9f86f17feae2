"""What tasks that have ended answer with: one network, one set of weights, and of every task a mask over them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from frisket.algos.masks.store import MaskStore
from frisket.algos.networks.network import Network
from frisket.algos.networks.powerprop import masked
from frisket.types import Params, Task


def answering(starts: Sequence[int], task: Task | None, *, running: bool) -> int | None:
    """Which of the tasks that have ended, which began at ``starts``, answers for ``task``: it itself; for one that has
    not begun, and for none, the newest. None: all weights answer, while a task is ``running`` and where none has
    ended."""
    if task is not None and task.start in starts:
        return starts.index(task.start)
    return len(starts) - 1 if starts and not running else None


def _nothing(index: int) -> Params:
    return {}


@dataclass(frozen=True, kw_only=True)
class KeptTasks:
    """T ended tasks at one moment; task number t answers with ``theta o F_t`` and, in place of the rest, its own.

    Attributes:
        network: what computes with these weights.
        theta: the weights all tasks share, before any mask.
        store: F_t over some of them, [T].
        own: of a task's number, what is kept for it alone instead of ``theta``'s: the same names for every task, and
            none of the store's; by default nothing.
    """

    network: Network
    theta: Params
    store: MaskStore
    own: Callable[[int], Params] = field(default=_nothing)

    def __len__(self) -> int:
        return len(self.store)

    def weights(self, index: int) -> Params:
        """What the task number ``index`` answers with."""
        return masked({**self.theta, **self.own(index)}, self.store.masks(index))

    @torch.no_grad()
    def answer(self, index: int, x: Tensor) -> Tensor:
        """The network's outputs for ``x`` [N, C, H, W] as the task number ``index``."""
        return self.network(self.weights(index), x)
