"""MaskStore: the masks of many tasks over one network, one bit per weight and task.

The bits are one array [T, ceil(M / 8)] of bytes, a task's tensors one after the other in the network's order, which a
learner keeps in its state as it is. A file (`frisket.algos.masks.bits`) holds that array and the tensors' shapes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
import torch
from torch import Tensor

from frisket.algos.masks.bits import packed, read_bits, unpacked, write_bits
from frisket.algos.masks.mask_set import MaskSet
from frisket.errors import MaskError
from frisket.types import Params

FORMAT = "frisket-mask-store/1"

Shapes = Mapping[str, "tuple[int, ...]"]


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """What the tasks' masks take of the network, for T tasks.

    Attributes:
        kept: [T], the fraction of all weights task t uses.
        free: [T], the fraction of all weights that no task uses once task t has ended.
        reused: [T], the fraction of task t's weights that earlier tasks use too; 0 for a mask without weights.
        exclusive: [T], the number of weights only task t uses: what dropping its mask would free.
        overlap: [T, T], Jaccard overlap of every two masks.
    """

    kept: np.ndarray
    free: np.ndarray
    reused: np.ndarray
    exclusive: np.ndarray
    overlap: np.ndarray


class MaskStore(Sequence[MaskSet]):
    """The masks of T tasks, in the order the tasks ended. It never changes; `appended` makes a larger one.

    Args:
        shapes: the tensors, by name.
        bits: uint8 [T, `row_bytes`]; no tasks by default.

    Raises:
        MaskError: the bits are of another network's shape.
    """

    def __init__(self, shapes: Shapes, bits: Tensor | None = None) -> None:
        self.shapes = {k: tuple(shape) for k, shape in shapes.items()}
        self.size = sum(map(math.prod, self.shapes.values()))
        self.row_bytes = (self.size + 7) // 8
        self.bits = torch.zeros(0, self.row_bytes, dtype=torch.uint8) if bits is None else bits
        if self.bits.dtype != torch.uint8 or self.bits.shape[1:] != (self.row_bytes,):
            raise MaskError(
                "masks",
                f"{self.bits.dtype} {tuple(self.bits.shape)}",
                f"must be uint8 of shape (tasks, {self.row_bytes}) for a network of {self.size} weights",
            )

    def __len__(self) -> int:
        return len(self.bits)

    @overload
    def __getitem__(self, index: int) -> MaskSet: ...
    @overload
    def __getitem__(self, index: slice) -> MaskStore: ...
    def __getitem__(self, index: int | slice) -> MaskSet | MaskStore:
        if isinstance(index, slice):
            return MaskStore(self.shapes, self.bits[index])
        return MaskSet(self.masks(index))

    def __iter__(self) -> Iterator[MaskSet]:
        return (self[t] for t in range(len(self)))

    def masks(self, index: int) -> Params:
        """The mask of one task as boolean tensors on the store's device."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"mask {index} of a store of {len(self)}")
        return self._named(torch.from_numpy(unpacked(self.bits[index].cpu().numpy(), self.size)).to(self.bits.device))

    def union(self) -> Params:
        """The weights that any task uses, as boolean tensors on the store's device."""
        used = np.zeros(self.row_bytes, dtype=np.uint8)
        for row in self.bits.cpu().numpy():
            used |= row
        return self._named(torch.from_numpy(unpacked(used, self.size)).to(self.bits.device))

    def appended(self, masks: Mapping[str, Tensor]) -> MaskStore:
        """The store with one more task.

        Raises:
            MaskError: the masks are not boolean, or of another network.
        """
        if masks.keys() != self.shapes.keys():
            raise MaskError("masks", sorted(masks), f"must cover the tensors {', '.join(self.shapes)}")
        for name, mask in masks.items():
            if tuple(mask.shape) != self.shapes[name] or mask.dtype != torch.bool:
                found = f"{mask.dtype} {tuple(mask.shape)}"
                raise MaskError(f"mask {name}", found, f"the network has {name} of shape {self.shapes[name]}")
        flat = torch.cat([masks[name].reshape(-1) for name in self.shapes]).cpu().numpy()
        row = torch.from_numpy(packed(flat)).to(self.bits.device)
        return MaskStore(self.shapes, torch.cat([self.bits, row[None]]))

    def capacity(self) -> Capacity:
        """What the masks take; for T = 300 and two million weights a few seconds."""
        rows = np.zeros((len(self), -(-self.row_bytes // 8) * 8), dtype=np.uint8)
        rows[:, : self.row_bytes] = self.bits.cpu().numpy()
        words = rows.view(np.uint64)
        counts = _ones(words)
        once, more = (np.zeros(words.shape[1], dtype=np.uint64) for _ in range(2))  # used by one task, by several
        free, reused = np.zeros(len(self)), np.zeros(len(self))
        for t, row in enumerate(words):
            reused[t] = _ones(row & (once | more)) / max(counts[t], 1)
            more |= once & row
            once = (once | row) & ~more
            free[t] = 1 - _ones(once | more) / self.size
        exclusive = np.array([_ones(row & once) for row in words], dtype=np.int64)
        overlap = np.ones((len(self), len(self)))
        for t, row in enumerate(words):
            both = _ones(words[:t] & row)
            either = counts[:t] + counts[t] - both
            overlap[t, :t] = overlap[:t, t] = np.where(either, both / np.maximum(either, 1), 1.0)
        return Capacity(kept=counts / self.size, free=free, reused=reused, exclusive=exclusive, overlap=overlap)

    def counts(self) -> dict[str, np.ndarray]:
        """Of every tensor, how many of its weights each task uses, [T]."""
        found = {k: np.zeros(len(self), dtype=np.int64) for k in self.shapes}
        for t in range(len(self)):
            for name, mask in self.masks(t).items():
                found[name][t] = int(mask.sum())
        return found

    def save(self, path: str | Path) -> Path:
        """Write to ``path`` atomically: one bit per weight and task, plus the header."""
        return write_bits(path, FORMAT, {"bits": self.bits.cpu().numpy()}, self.shapes)

    @classmethod
    def load(cls, path: str | Path) -> MaskStore:
        """Read a file written by `save`.

        Raises:
            MaskError: no such file, not a store of masks, or damaged.
        """
        with read_bits(path, FORMAT, "a store of masks") as (bits, shapes):
            return cls(shapes, torch.from_numpy(bits["bits"]))

    def _named(self, flat: Tensor) -> Params:
        parts = flat.split([math.prod(shape) for shape in self.shapes.values()])
        return {k: part.view(shape) for (k, shape), part in zip(self.shapes.items(), parts, strict=True)}


def _ones(words: np.ndarray) -> np.ndarray:
    """Bits set along the last axis."""
    return np.bitwise_count(words).sum(-1, dtype=np.int64)
