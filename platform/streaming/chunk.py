"""Chunks: items of a feed packed for the wire, and taken out again bit for bit.

An item is a nested structure of dicts (string keys), lists, tensors and JSON values. What a chunk holds:

* ``structure``: as JSON, the items without their tensors, each of which is ``{"$": column}``; neighbours that are equal
  are written once, with their number;
* ``columns``: the tensors that stand at one place of the items, one after the other, in the order their numbers lie in
  memory. Shape *and* strides travel along: a matrix product may round differently over another layout, and a stream
  that is served must not move a bit.

float32 numbers that were made from 8 bits travel as those 8 bits, if every bit of the float comes back
(`frisket.platform.streaming.coding`); all others as they are.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
import json
import math
import operator
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from frisket.errors import DamagedChunk
from frisket.platform.streaming.coding import Coded, decode, encode

Item: TypeAlias = Any
"""``dict[str, Item] | list[Item] | Tensor | str | int | float | bool | None``; a tuple comes back as a list."""

Layout: TypeAlias = "tuple[tuple[int, ...], tuple[int, ...]]"
"""Shape and strides of a tensor."""

_MARK = "$"
_SCALARS = frozenset((str, int, float, bool, type(None)))
_TOGETHER = 2**18
"""Numbers of a column that are decoded at a time: 1 MiB of floats, which stays in the processor's cache."""


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
    digest: blake2b of all the rest; equal items at one position, equal digest, on any machine.
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
    chunk = Chunk(cursor, len(items), text, made, "")
    return chunk._replace(digest=digest_of(chunk))


def digest_of(chunk: Chunk) -> str:
    """The digest a chunk of this content carries."""
    found = hashlib.blake2b(f"{chunk.cursor!r} {chunk.length!r} {chunk.structure}".encode(), digest_size=16)
    for column in chunk.columns:
        dtype, layouts, entries, (coding, data, levels) = column
        forms = [(numbers.dtype.str, numbers.shape) for numbers in (data, levels)]
        found.update(repr((dtype, layouts, entries, coding, forms)).encode())
        for numbers in (data, levels):
            found.update(memoryview(numbers))  # pyright: ignore[reportArgumentType]
    return found.hexdigest()


def _whole(chunk: Chunk) -> bool:
    """Whether ``chunk`` is what its digest says."""
    try:
        return digest_of(chunk) == chunk.digest
    except Exception:  # of parts that are not what a chunk has there, each is digested, or fails, in its own way
        return False


class _Run(NamedTuple):
    """Items of one shape, one after the other. Attributes: first: the entry of every column its first item has."""

    start: int
    shape: Any
    first: dict[int, int]


class Unpacked:
    """A chunk's items, each made when it is asked for; holds a copy, so that shared memory is let go at once.

    Attributes:
        cursor: position of the first item.
        size: bytes held, but for the few items that are decoded at a time.

    Args:
        chunk: as it came off the wire.

    Raises:
        DamagedChunk: it is not what its digest says.
    """

    def __init__(self, chunk: Chunk) -> None:
        if not _whole(chunk):
            raise DamagedChunk(f"the chunk at {chunk.cursor!r} does not have the content that was sent")
        self.cursor, self.size = chunk.cursor, chunk.size
        self._length = 0
        self._columns = [_Entries(column) for column in chunk.columns]
        self._runs: list[_Run] = []
        used = dict.fromkeys(range(len(self._columns)), 0)
        for length, shape in zip(*json.loads(chunk.structure), strict=True):
            own = _numbers(shape)
            self._runs.append(_Run(self._length, shape, {column: used[column] for column in own}))
            self._length += length
            for column in own:
                used[column] += length
        if self._length != chunk.length:
            raise DamagedChunk(f"the chunk at {chunk.cursor} has {self._length} items, not {chunk.length}")

    def __len__(self) -> int:
        return self._length

    def __contains__(self, position: object) -> bool:
        return isinstance(position, int) and self.cursor <= position < self.cursor + self._length

    def item(self, position: int) -> Item:
        """The item at ``position``; its tensors are its own, on the CPU."""
        index = position - self.cursor
        run = self._runs[bisect.bisect_right(self._runs, index, key=_start) - 1]
        return self._dress(run.shape, index - run.start, run.first)

    def _dress(self, node: Any, offset: int, first: dict[int, int]) -> Item:
        if isinstance(node, dict):
            column = node.get(_MARK)
            if column is not None:
                return self._columns[column].tensor(first[column] + offset)
            return {k: v if type(v) in _SCALARS else self._dress(v, offset, first) for k, v in node.items()}
        return [v if type(v) in _SCALARS else self._dress(v, offset, first) for v in node]


_start = operator.attrgetter("start")


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
    layouts = {(t.shape, t.stride()) for t in tensors}
    if len(layouts) == 1 and tensors[0].is_contiguous():  # nearly always; much faster than one by one
        flat = torch.stack([t.detach() for t in tensors]).view(-1)
        layouts = ((tuple(tensors[0].shape), tensors[0].stride()),)
    else:
        lying = [_as_it_lies(t) for t in tensors]
        flat = torch.cat([numbers for numbers, _ in lying])
        layouts = tuple(layout for _, layout in lying)
        if len(set(layouts)) == 1:
            layouts = layouts[:1]
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


class _Entries:
    """A column to take tensors from. Small ones of one layout are decoded some at a time, which is faster than one by
    one (torch's overhead) and than all at once (the processor's cache); a large one, which may be kept for long, leaves
    nothing decoded behind."""

    def __init__(self, column: Column) -> None:
        dtype, layouts, entries, (coding, read_only, levels) = column
        packed = torch.empty(len(read_only), dtype=torch.uint8)
        packed.numpy()[:] = read_only
        self._flat = packed.view(getattr(torch, dtype)) if coding == "plain" else packed
        self._coding, self._levels, self._layouts = coding, levels.copy(), layouts
        sizes = [math.prod(shape) for shape, _ in layouts] * (entries if len(layouts) == 1 else 1)
        self._starts = [0, *itertools.accumulate(sizes)]
        self._together = max(1, _TOGETHER // max(1, sizes[0])) if len(layouts) == 1 else 1
        self._decoded: tuple[int, Sequence[Tensor]] = -1, ()

    def tensor(self, entry: int) -> Tensor:
        if self._together == 1:
            numbers = self._numbers(entry, entry + 1)
            own = numbers.clone() if self._coding == "plain" else numbers
            return own.as_strided(*self._layouts[entry if len(self._layouts) > 1 else 0])
        window, place = divmod(entry, self._together)
        if self._decoded[0] != window:
            self._decoded = window, self._views(window * self._together)
        return self._decoded[1][place].clone()

    def _views(self, first: int) -> Sequence[Tensor]:
        """The entries that are decoded together, from ``first`` on."""
        after = min(first + self._together, len(self._starts) - 1)
        shape, strides = self._layouts[0]
        numbers = self._numbers(first, after)
        return numbers.as_strided((after - first, *shape), (math.prod(shape), *strides)).unbind(0)

    def _numbers(self, first: int, after: int) -> Tensor:
        part = self._flat[self._starts[first] : self._starts[after]]
        plane = math.prod(self._layouts[0][0][2:])
        return part if self._coding == "plain" else decode(part, self._coding, self._levels, plane)
