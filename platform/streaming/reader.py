"""Reads a feed's items by position, the next chunks being under way while one is consumed."""

from __future__ import annotations

import time
from collections import deque
from typing import NamedTuple

from frisket.platform.streaming.chunk import Item, Unpacked
from frisket.platform.streaming.consumer import Pending, Service
from frisket.platform.streaming.feed import Recipe

CHUNK_BYTES = 2 * 2**20
_FIRST, _MOST, _MOST_AHEAD = 8, 512, 4


class _Expected(NamedTuple):
    cursor: int
    wanted: int
    pending: Pending


class Reader:
    """Items of one feed. Meant to be read in order; any other position is found too, and reading goes on from there.

    Holds one chunk and has at most ``ahead`` under way, each of about ``chunk_bytes``: that is the back-pressure. The
    next is asked for only when the consumer has come to one that was.

    Args:
        service: this consumer's view of the service.
        stream: what to read.
        seed: of the feed.
        ahead: chunks under way; None for two at every source, 4 at most: one that is made, and one that waits, so that
            no source stands idle for a round trip.
        chunk_bytes: aimed-at size of a chunk on the wire. Its number of items follows from the bytes of the last one,
            512 at most.
    """

    def __init__(
        self, service: Service, stream: Recipe, seed: int, *, ahead: int | None = None, chunk_bytes: int = CHUNK_BYTES
    ) -> None:
        self._service, self._stream, self._seed = service, stream, seed
        self._most_ahead = min(2 * service.transport.sources, _MOST_AHEAD) if ahead is None else ahead
        self._chunk_bytes, self._count = chunk_bytes, _FIRST
        self._current: Unpacked | None = None
        self._ahead: deque[_Expected] = deque()

    def read(self, position: int) -> Item:
        """The item at ``position``.

        Raises:
            IndexError: the feed has no such item; one that grows may have it later.
            ServiceError: the service is lost.
        """
        current = self._current
        if current is None or position not in current:
            current = self._advance(position)
        return current.item(position)

    def _advance(self, position: int) -> Unpacked:
        """Make the chunk with ``position`` the current one, and see to it that others are under way."""
        while self._ahead and not self._ahead[0].cursor <= position < self._ahead[0].cursor + self._ahead[0].wanted:
            self._ahead.popleft()
        expected = self._ahead.popleft() if self._ahead else self._ask(position)
        start = time.monotonic()
        chunk = self._take(expected)
        if position not in chunk:  # it was cut short: the feed was shorter when this was asked, or its items are large
            self._ahead.clear()
            chunk = self._take(self._ask(position))
        if position not in chunk:
            self._current = None
            raise IndexError(f"the feed has no item {position}")
        record = self._service.numbers.record
        record("frisket_consumer_lag_seconds", time.monotonic() - start)
        for name, value in {"chunks": 1, "items": len(chunk), "bytes": chunk.size}.items():
            record(f"frisket_consumer_{name}", value)
        self._current = chunk
        self._count = max(1, min(_MOST, self._chunk_bytes * len(chunk) // max(1, chunk.size)))
        end = chunk.cursor + len(chunk)
        if self._ahead and self._ahead[0].cursor != end:
            self._ahead.clear()
        while len(self._ahead) < self._most_ahead:
            last = self._ahead[-1] if self._ahead else None
            self._ahead.append(self._ask(last.cursor + last.wanted if last else end))
        record("frisket_consumer_ahead", len(self._ahead))
        return chunk

    def _ask(self, cursor: int) -> _Expected:
        arguments = self._stream, self._seed, cursor, self._count
        return _Expected(cursor, self._count, self._service.ask("read_chunk", *arguments))

    def _take(self, expected: _Expected) -> Unpacked:
        return self._service.take(expected.pending, Unpacked)
