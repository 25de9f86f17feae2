"""Chunks: items of a feed packed for the wire, and taken out again bit for bit.

An item is a nested structure of dicts (string keys), lists, tensors and JSON values. What a chunk holds:

* ``structure``: as JSON, the items without their tensors, each of which is ``{"$": column}``; neighbours that are equal
  are written once, with their number;
* ``columns``: the tensors that stand at one place of the items, one after the other, in the order their numbers lie in
  memory. Shape *and* strides travel along: a matrix product may round differently over another layout, and a stream
  that is served must not move a bit.

float32 numbers that were made from 8 bits (pixels k, or k / 255) travel as those 8 bits, after a check that the
receiver will find every bit of the float again; all others as they are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from frisket.errors import FrisketError

Item: TypeAlias = Any
"""``dict[str, Item] | list[Item] | Tensor | str | int | float | bool | None``; a tuple comes back as a list."""

Layout: TypeAlias = "tuple[tuple[int, ...], tuple[int, ...]]"
"""Shape and strides of a tensor."""

_MARK = "$"
_SCALARS = frozenset((str, int, float, bool, type(None)))
_PROBE, _BLOCK = 1024, 2**15
"""Numbers that are looked at before all of them are (most floats are no pixels, and the first few say so), and at once:
so many stay in the cache."""


class DamagedChunk(FrisketError):
    """A chunk's content is not what its digest says."""


class Column(NamedTuple):
    """Attributes:
    dtype: of the tensors, ``float32``.
    coding: what is on the wire: ``plain`` their own bytes, ``pixel`` k for k, ``unit`` k for k / 255.
    layouts: of every entry, or a single one if all have it.
    entries: number of tensors.
    data: the bytes, uint8.
    """

    dtype: str
    coding: str
    layouts: tuple[Layout, ...]
    entries: int
    data: np.ndarray


class Chunk(NamedTuple):
    """Attributes:
    cursor: position of the first item.
    length: number of items; fewer than asked for where the feed has no more.
    structure: the items as JSON, see the module's text.
    columns: their tensors.
    digest: blake2b of structure and columns; equal items, equal digest, on any machine.
    """

    cursor: int
    length: int
    structure: str
    columns: tuple[Column, ...]
    digest: str

    @property
    def size(self) -> int:
        """Bytes on the wire, but for a few."""
        return len(self.structure) + sum(column.data.nbytes for column in self.columns)


def pack(items: Sequence[Item], cursor: int = 0) -> Chunk:
    """The items at ``cursor``, ``cursor + 1``, ... as a chunk.

    Raises:
        TypeError: something in an item is neither a container, a tensor on the CPU nor a JSON value.
    """
    columns: dict[tuple[int, torch.dtype], _Column] = {}
    shapes: list[Any] = []
    lengths: list[int] = []
    for item in items:
        stripped = _strip(item, columns, [0])
        if shapes and stripped == shapes[-1]:
            lengths[-1] += 1
        else:
            shapes.append(stripped)
            lengths.append(1)
    text = json.dumps([lengths, shapes], separators=(",", ":"))
    made = tuple(_column(column.tensors) for column in columns.values())
    return Chunk(cursor, len(items), text, made, digest_of(text, made))


def digest_of(structure: str, columns: Sequence[Column]) -> str:
    """The digest a chunk of this content carries."""
    found = hashlib.blake2b(structure.encode(), digest_size=16)
    for column in columns:
        found.update(repr(column[:-1]).encode())
        found.update(memoryview(column.data))  # pyright: ignore[reportArgumentType]
    return found.hexdigest()


class Unpacked:
    """A chunk's items, each made when it is asked for; holds a copy, so that shared memory is let go at once.

    Attributes:
        cursor: position of the first item.
        size: bytes held.

    Args:
        chunk: as it came off the wire.

    Raises:
        DamagedChunk: it is not what its digest says.
    """

    def __init__(self, chunk: Chunk) -> None:
        if digest_of(chunk.structure, chunk.columns) != chunk.digest:
            raise DamagedChunk(f"the chunk at {chunk.cursor} does not have the content that was sent")
        self.cursor, self.size = chunk.cursor, chunk.size
        self._columns = [_Entries.of(column) for column in chunk.columns]
        self._shapes: list[Any] = []
        self._entries: list[dict[int, int]] = []
        used = dict.fromkeys(range(len(self._columns)), 0)
        for length, shape in zip(*json.loads(chunk.structure), strict=True):
            own = _numbers(shape)
            for _ in range(length):
                self._shapes.append(shape)
                self._entries.append({column: used[column] for column in own})
                for column in own:
                    used[column] += 1

    def __len__(self) -> int:
        return len(self._shapes)

    def __contains__(self, position: object) -> bool:
        return isinstance(position, int) and self.cursor <= position < self.cursor + len(self)

    def item(self, position: int) -> Item:
        """The item at ``position``; its tensors are its own, on the CPU."""
        index = position - self.cursor
        return self._dress(self._shapes[index], self._entries[index])

    def _dress(self, node: Any, entries: dict[int, int]) -> Item:
        if isinstance(node, dict):
            column = node.get(_MARK)
            if column is not None:
                return self._columns[column].tensor(entries[column])
            return {k: self._dress(v, entries) for k, v in node.items()}
        return [self._dress(v, entries) for v in node] if isinstance(node, list) else node


def _numbers(node: Any) -> list[int]:
    """The columns an item's tensors are in."""
    if isinstance(node, dict) and _MARK in node:
        return [node[_MARK]]
    inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return [number for v in inner for number in _numbers(v)]


class _Column(NamedTuple):
    number: int
    tensors: list[Tensor]


def _strip(node: Item, columns: dict[tuple[int, torch.dtype], _Column], met: list[int]) -> Any:
    """``node`` without its tensors, which go into ``columns``; ``met[0]`` counts those of the item."""
    if isinstance(node, Tensor):
        place = met[0], node.dtype
        met[0] += 1
        if place not in columns:
            columns[place] = _Column(len(columns), [])
        columns[place].tensors.append(node)
        return {_MARK: columns[place].number}
    if isinstance(node, dict):
        if _MARK in node:
            raise TypeError(f"an item's dict has the key {_MARK!r}, which stands for tensors")
        for key in node:
            if not isinstance(key, str):
                raise TypeError(f"an item's dict has the key {key!r}: keys must be strings")
        return {k: v if type(v) in _SCALARS else _strip(v, columns, met) for k, v in node.items()}
    if isinstance(node, (list, tuple)):
        return [v if type(v) in _SCALARS else _strip(v, columns, met) for v in node]
    if type(node) in _SCALARS:
        return node
    raise TypeError(f"{type(node).__name__} in an item: only dicts, lists, tensors and JSON values can be served")


def _column(tensors: Sequence[Tensor]) -> Column:
    lying = [_as_it_lies(t) for t in tensors]
    layouts = tuple(dict.fromkeys(layout for _, layout in lying))
    if len(layouts) > 1:
        layouts = tuple(layout for _, layout in lying)
    flat = torch.cat([numbers for numbers, _ in lying])
    coding, data = _encode(flat)
    return Column(str(flat.dtype).removeprefix("torch."), coding, layouts, len(tensors), data)


def _as_it_lies(t: Tensor) -> tuple[Tensor, Layout]:
    """The numbers of ``t`` in the order of memory, and its layout; a copy in the usual order where they have gaps."""
    layout = tuple(t.shape), t.stride()
    if not _without_gaps(*layout):
        t = t.contiguous()
        layout = layout[0], t.stride()
    return t.detach().as_strided((t.numel(),), (1,)), layout


@cache
def _without_gaps(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether a tensor of that layout fills a stretch of memory, every place once."""
    reach = 1
    for stride, size in sorted((stride, size) for size, stride in zip(shape, strides, strict=True) if size != 1):
        if stride != reach:
            return False
        reach *= size
    return True


def _encode(flat: Tensor) -> tuple[str, np.ndarray]:
    if flat.dtype == torch.float32 and len(flat):
        for coding in ("unit", "pixel"):
            if _recoded(flat[:_PROBE], coding) is not None and (small := _recoded(flat, coding)) is not None:
                return coding, small.numpy()
    return "plain", flat.view(torch.uint8).numpy()


def _recoded(flat: Tensor, coding: str) -> Tensor | None:
    """``flat`` in 8 bits, or None where that would lose a bit."""
    # numpy converts and compares several times faster than torch; both divide as IEEE 754 says.
    numbers, small = flat.numpy(), np.empty(len(flat), np.uint8)
    scale = np.float32(255 if coding == "unit" else 1)
    with np.errstate(all="ignore"):  # what is no pixel may be anything
        for start in range(0, len(flat), _BLOCK):
            part, own = numbers[start : start + _BLOCK], small[start : start + _BLOCK]
            whole = np.multiply(part, scale)
            np.copyto(own, np.rint(whole, out=whole), casting="unsafe")
            again = np.divide(own, scale, out=whole)
            if not np.array_equal(again.view(np.int32), part.view(np.int32)):
                return None
    return torch.from_numpy(small)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entries:
    """A column ready to be taken from. Attributes: starts: where every entry begins in ``flat``, and where the last
    ends."""

    flat: Tensor
    coding: str
    layouts: tuple[Layout, ...]
    starts: list[int]

    @classmethod
    def of(cls, column: Column) -> _Entries:
        data = torch.empty(len(column.data), dtype=torch.uint8)
        data.numpy()[:] = column.data
        flat = data.view(getattr(torch, column.dtype)) if column.coding == "plain" else data
        layouts = column.layouts * column.entries if len(column.layouts) == 1 else column.layouts
        ends = np.cumsum([int(np.prod(shape, dtype=np.int64)) for shape, _ in layouts])
        return cls(flat=flat, coding=column.coding, layouts=layouts, starts=[0, *ends.tolist()])

    def tensor(self, entry: int) -> Tensor:
        shape, strides = self.layouts[entry]
        lying = self.flat.as_strided(shape, strides, self.starts[entry])
        if self.coding == "plain":
            return lying.clone()
        own = torch.empty_strided(shape, strides)
        return torch.div(lying, 255, out=own) if self.coding == "unit" else own.copy_(lying)
