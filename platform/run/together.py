"""Several processes that work on one replica: each takes its share of every meta-batch, and all take the same outer
steps.

Rank 0 leads: it measures, journals, checkpoints and stops; the others accompany it (`accompany`). Nobody's weights are
sent after the beginning: equal gradients make equal steps. What all have is added up in the order of the ranks,
whoever is first, so the same number of processes gives the same bits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TypeVar

import torch
import torch.distributed as dist

from frisket.algos.parts.tree import flatten, map_tensors, to_device
from frisket.errors import FrisketError
from frisket.types import State

T = TypeVar("T")


class PeerLost(FrisketError):
    """Another process of the group is gone: whoever started the group starts it again."""


@contextlib.contextmanager
def _talking() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # gloo's and NCCL's own
        raise PeerLost(f"another worker is gone ({str(error).splitlines()[0]})") from error


class Together:
    """This process among those of torch's default process group, which must be there.

    Attributes:
        rank: which it is; 0 leads.
        size: how many there are.

    Args:
        device: where what is told to the others lies: a GPU under ``nccl``, else the CPU.
    """

    def __init__(self, device: torch.device) -> None:
        self.rank, self.size, self._device = dist.get_rank(), dist.get_world_size(), device

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """Those of ``items`` that fall to this process, dealt out like cards."""
        return items[self.rank :: self.size]

    def added(self, sums: State) -> State:
        """``sums``, tensors of one type by the same names everywhere, added up over all processes."""
        flat = torch.cat([value.detach().reshape(-1) for value in flatten(sums).values()])
        parts = [torch.empty_like(flat) for _ in range(self.size)]
        with _talking():
            dist.all_gather(parts, flat)
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        pieces = iter(total.split([value.numel() for value in flatten(sums).values()]))
        return map_tensors(lambda value: next(pieces).view_as(value), sums)

    def begin(self, state: State | None, position: int) -> tuple[State, int]:
        """What rank 0 has: its state and position, on everybody's own device."""
        told = [(to_device(state, torch.device("cpu")), position) if self.rank == 0 and state is not None else None]
        with _talking():
            dist.broadcast_object_list(told, src=0, device=self._device)
        assert told[0] is not None
        state, position = told[0]
        return to_device(state, self._device), position

    def again(self, more: bool = False) -> bool:
        """Whether rank 0 takes another step; what it says (``more``) is what the others hear."""
        told = torch.tensor([more], dtype=torch.uint8, device=self._device)
        with _talking():
            dist.broadcast(told, src=0)
        return bool(told)
