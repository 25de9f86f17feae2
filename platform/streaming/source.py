"""A source: makes chunks on demand, and remembers nothing that matters.

Every answer is a function of the question, so a source may be killed at any moment and another may answer instead.
What it keeps are opened feeds, to save time.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import torch

from frisket.heap import keep_freed_memory
from frisket.platform.streaming.chunk import Chunk, Item, pack
from frisket.platform.streaming.feed import Feed, Recipe
from frisket.platform.streaming.metrics import Numbers, RayNumbers

T = TypeVar("T")
_OPEN = 64
_MOST_BYTES = 32 * 2**20
"""Tensors of one chunk as the feed gives them; a consumer that asks for more gets fewer items, one at least."""


class Shelf:
    """Opened feeds and what can be asked of them. Needs no Ray. Args: numbers: where it counts."""

    def __init__(self, numbers: Numbers) -> None:
        self.numbers = numbers
        self._feeds: OrderedDict[tuple[str, int], Feed] = OrderedDict()

    def facts(self, stream: Recipe, seed: int) -> dict[str, Any]:
        """`Feed.facts`."""
        return self._feed(stream, seed).facts()

    def read_chunk(self, stream: Recipe, seed: int, cursor: int, n: int) -> Chunk:
        """Items ``cursor`` .. ``cursor + n - 1``, or as many of them as there are and as fit."""
        start = time.monotonic()
        feed = self._feed(stream, seed)
        length = feed.length()
        items, held = [], 0
        for item in feed.items(cursor, n if length is None else max(0, min(n, length - cursor))):
            items.append(item)
            held += _bytes(item)
            if held > _MOST_BYTES:
                break
        return self._counted(pack(items, cursor), start)

    def read_extra(self, stream: Recipe, seed: int, name: str, index: int) -> Chunk:
        """`Feed.extra` as a chunk of one item."""
        start = time.monotonic()
        return self._counted(pack([self._feed(stream, seed).extra(name, index)]), start)

    def _feed(self, stream: Recipe, seed: int) -> Feed:
        key = stream.key, seed
        if key not in self._feeds:
            self._feeds[key] = stream.open(seed)
        self._feeds.move_to_end(key)
        while len(self._feeds) > _OPEN:
            self._feeds.popitem(last=False)
        return self._feeds[key]

    def _counted(self, chunk: Chunk, start: float) -> Chunk:
        counts = {"chunks": 1, "items": chunk.length, "bytes": chunk.size, "busy_seconds": time.monotonic() - start}
        for name, value in counts.items():
            self.numbers.record(f"frisket_source_{name}", value)
        return chunk


class Source:
    """A `Shelf` as a Ray actor: requests wait in one queue and are answered in their order, so that no consumer is
    served before another that asked earlier; `stats` answers at once.

    Args:
        service: its service's name.
        index: its number among the service's sources.
    """

    def __init__(self, service: str, index: int) -> None:
        torch.set_num_threads(1)
        keep_freed_memory()
        self._numbers = RayNumbers(service, str(index))
        self._shelf = Shelf(self._numbers)
        self._maker = ThreadPoolExecutor(1, thread_name_prefix="frisket-source")
        self._waiting = 0

    async def facts(self, stream: Recipe, seed: int) -> dict[str, Any]:
        """As `Shelf.facts`."""
        return await self._in_turn(self._shelf.facts, stream, seed)

    async def read_chunk(self, stream: Recipe, seed: int, cursor: int, n: int) -> Chunk:
        """As `Shelf.read_chunk`."""
        return await self._in_turn(self._shelf.read_chunk, stream, seed, cursor, n)

    async def read_extra(self, stream: Recipe, seed: int, name: str, index: int) -> Chunk:
        """As `Shelf.read_extra`."""
        return await self._in_turn(self._shelf.read_extra, stream, seed, name, index)

    async def stats(self) -> dict[str, float]:
        """``pid``, and the totals of this life by the names of `frisket.platform.streaming.metrics`."""
        return {"pid": os.getpid(), **self._numbers.totals}

    async def _in_turn(self, work: Callable[..., T], *arguments: Any) -> T:
        self._queue(+1)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._maker, work, *arguments)
        finally:
            self._queue(-1)

    def _queue(self, change: int) -> None:
        self._waiting += change
        self._numbers.record("frisket_source_queue_depth", self._waiting)


def _bytes(node: Item) -> int:
    if isinstance(node, torch.Tensor):
        return node.nbytes
    inner = node.values() if isinstance(node, dict) else node if isinstance(node, (list, tuple)) else ()
    return sum(_bytes(v) for v in inner)
