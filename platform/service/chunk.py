"""Chunks: items of a feed packed for the wire, and taken out again bit for bit.

An item is a nested structure of dicts (string keys), lists, tensors and JSON values. What a chunk holds:

* ``structure``: as JSON, the items without their tensors, each of which is ``{"$": column}``; neighbours that are equal
  are written once, with their number;
* ``columns``: the tensors that stand at one place of the items, one after the other, in the order their numbers lie in
  memory. Shape *and* strides travel along: a matrix product may round differently over another layout, and a stream
  that is served must not move a bit.

float32 numbers that were made from 8 bits travel as those 8 bits, if every bit of the float comes back
(`frisket.platform.service.coding`); all others as they are.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from frisket.errors import FrisketError
from frisket.platform.service.coding import Coded, decode, encode

Item: TypeAlias = Any
"""``dict[str, Item] | list[Item] | Tensor | str | int | float | bool | None``; a tuple comes back as a list."""

Layout: TypeAlias = "tuple[tuple[int, ...], tuple[int, ...]]"
"""Shape and strides of a tensor."""

_MARK = "$"
_SCALARS = frozenset((str, int, float, bool, type(None)))


class DamagedChunk(FrisketError):
    """A chunk's content is not what its digest says."""


class Column(NamedTuple):
    """Attributes:
    dtype: of the tensors, ``float32``.
    layouts: of every entry, or a single one if all have it.
    entries: number of tensors.
    coded: their numbers.
    """

    dtype: str
    layouts: tuple[Layout, ...]
    entries: int
    coded: Coded


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
        return len(self.structure) + sum(column.coded.data.nbytes for column in self.columns)


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
        dtype, layouts, entries, (coding, data, levels) = column
        found.update(repr((dtype, layouts, entries, coding)).encode())
        for numbers in (data, levels):
            found.update(memoryview(numbers))  # pyright: ignore[reportArgumentType]
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
    coded = encode(flat, *_planes(layouts))
    return Column(str(flat.dtype).removeprefix("torch."), layouts, len(tensors), coded)


def _planes(layouts: Sequence[Layout]) -> tuple[int, int]:
    """Channels, and numbers of one channel of one picture, where all tensors are pictures ``[N, C, H, W]`` of one size
    in the usual order; else 1 and 1."""
    shape, strides = layouts[0]
    if len(layouts) > 1 or len(shape) != 4 or strides != (math.prod(shape[1:]), shape[2] * shape[3], shape[3], 1):
        return 1, 1
    return shape[1], shape[2] * shape[3]


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


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entries:
    """A column ready to be taken from. Attributes: starts: where every entry begins in ``flat``, and where the last
    ends."""

    flat: Tensor
    coding: str
    levels: np.ndarray
    layouts: tuple[Layout, ...]
    starts: list[int]

    @classmethod
    def of(cls, column: Column) -> _Entries:
        coding, read_only, levels = column.coded
        data = torch.empty(len(read_only), dtype=torch.uint8)
        data.numpy()[:] = read_only
        flat = data.view(getattr(torch, column.dtype)) if coding == "plain" else data
        layouts = column.layouts * column.entries if len(column.layouts) == 1 else column.layouts
        ends = np.cumsum([math.prod(shape) for shape, _ in layouts])
        return cls(flat=flat, coding=coding, levels=levels.copy(), layouts=layouts, starts=[0, *ends.tolist()])

    def tensor(self, entry: int) -> Tensor:
        shape, strides = self.layouts[entry]
        part = self.flat[self.starts[entry] : self.starts[entry + 1]]
        numbers = (
            part.clone() if self.coding == "plain" else decode(part, self.coding, self.levels, math.prod(shape[2:]))
        )
        return numbers.as_strided(shape, strides)
