"""MaskSet: which weights may change, named like the weights, one bit each on disk.

A file (`frisket.algos.masks.bits`) has one array of packed bits per mask.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from frisket.algos.masks.bits import packed, read_bits, unpacked, write_bits
from frisket.errors import MaskError

FORMAT = "frisket-masks/1"


class MaskSet(Mapping[str, Tensor]):
    """Named boolean tensors; True = open (the weight may change, or belongs to the sub-network).

    A read-only mapping. ``a | b`` is the union, ``a & b`` the overlap, ``a - b`` the difference, ``~a`` the complement;
    both sides must have the same names and shapes. Tensors are kept on the CPU.

    Raises:
        MaskError: a tensor is not boolean, or two sets do not fit each other.
    """

    def __init__(self, masks: Mapping[str, Tensor]) -> None:
        for name, mask in masks.items():
            if mask.dtype != torch.bool:
                raise MaskError(f"mask {name}", str(mask.dtype), "must be a boolean tensor")
        self._masks = {k: v.detach().cpu() for k, v in masks.items()}

    def __getitem__(self, name: str) -> Tensor:
        return self._masks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._masks)

    def __len__(self) -> int:
        return len(self._masks)

    def __repr__(self) -> str:
        return f"MaskSet({len(self)} tensors, {self.size} weights, sparsity {self.sparsity():.3f})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MaskSet):
            return NotImplemented
        return self.keys() == other.keys() and all(torch.equal(m, other[k]) for k, m in self.items())

    __hash__ = None  # type: ignore[assignment]

    @property
    def size(self) -> int:
        """Weights covered."""
        return sum(m.numel() for m in self.values())

    def sparsity(self, name: str | None = None) -> float:
        """Fraction of closed entries of tensor ``name``, or overall; 0 for an empty set."""
        masks = [self[name]] if name is not None else list(self.values())
        total = sum(m.numel() for m in masks)
        return 1 - sum(int(m.sum()) for m in masks) / total if total else 0.0

    def sparsities(self) -> dict[str, float]:
        """`sparsity` of every tensor."""
        return {name: self.sparsity(name) for name in self}

    def __or__(self, other: MaskSet) -> MaskSet:
        return self._combine(other, torch.logical_or)

    def __and__(self, other: MaskSet) -> MaskSet:
        return self._combine(other, torch.logical_and)

    def __sub__(self, other: MaskSet) -> MaskSet:
        return self._combine(other, lambda a, b: a & ~b)

    def __invert__(self) -> MaskSet:
        return MaskSet({k: ~m for k, m in self.items()})

    def overlap(self, other: MaskSet) -> float:
        """Jaccard overlap ``|a & b| / |a | b|`` over all weights; 1 for two sets without an open entry."""
        both = sum(int(m.sum()) for m in (self & other).values())
        either = sum(int(m.sum()) for m in (self | other).values())
        return both / either if either else 1.0

    def check_fits(self, weights: Mapping[str, Tensor]) -> None:
        """Raise `MaskError` unless every mask has a weight of its name and shape."""
        for name, mask in self.items():
            found = tuple(weights[name].shape) if name in weights else None
            if found != tuple(mask.shape):
                raise MaskError(f"mask {name}", tuple(mask.shape), f"the network has {name} of shape {found}")

    def _combine(self, other: MaskSet, op: Callable[[Tensor, Tensor], Tensor]) -> MaskSet:
        if self.keys() != other.keys():
            odd = sorted(self.keys() ^ other.keys())
            raise MaskError("masks", odd, "both MaskSets must cover the same tensors")
        self.check_fits(other)
        return MaskSet({k: op(m, other[k]) for k, m in self.items()})

    def save(self, path: str | Path) -> Path:
        """Write to ``path`` atomically, one bit per weight plus the header."""
        bits = {k: packed(m.numpy().reshape(-1)) for k, m in self.items()}
        return write_bits(path, FORMAT, bits, {k: m.shape for k, m in self.items()})

    @classmethod
    def load(cls, path: str | Path) -> MaskSet:
        """Read a file written by `save`.

        Raises:
            MaskError: no such file, not a mask file, or damaged.
        """
        with read_bits(path, FORMAT, "a mask file") as (bits, shapes):
            if shapes.keys() != bits.keys():
                raise ValueError("header and tensors disagree")
            masks = {k: unpacked(bits[k], math.prod(shape)) for k, shape in shapes.items()}
            return cls({k: torch.from_numpy(masks[k]).reshape(shape) for k, shape in shapes.items()})

    def draw(self, folder: str | Path) -> list[Path]:
        """One PNG per tensor in ``folder``; see `frisket.algos.masks.picture`."""
        from frisket.algos.masks.picture import draw_mask

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        return [draw_mask(mask, name, folder / f"mask_{name.replace('.', '_')}.png") for name, mask in self.items()]
