"""A consumer's side of a service: every request is answered, by whichever source lives, or fails with a clear error."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from frisket.errors import DamagedChunk, ServiceError, SourceLost
from frisket.platform.streaming.transport import Transport

T = TypeVar("T")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0


@dataclass(frozen=True, kw_only=True)
class Patience:
    """Attributes:
    lost: seconds for which a request is repeated after its first failure.
    answer: seconds a source may take for one answer; opening a feed may mean decoding a data set.
    """

    lost: float = 45.0
    answer: float = 300.0


@dataclass(kw_only=True)
class Pending:
    """A request under way. Attributes: ticket: the transport's; or what went wrong when it was made."""

    method: str
    arguments: tuple[Any, ...]
    source: int
    ticket: Any = None


class Service:
    """One consumer's view of a service.

    Its requests go to the sources in turn, beginning at one that its name decides: consumers spread over the sources,
    and every source has an equal share of each.

    Attributes:
        transport: how sources are reached.
        numbers: what this consumer counts.

    Args:
        transport: how sources are reached.
        consumer: name of this consumer, for metrics and its place in the turns.
        patience: how long it bears with lost sources.
    """

    def __init__(self, transport: Transport, consumer: str, patience: Patience | None = None) -> None:
        self.transport, self.numbers = transport, transport.numbers(consumer)
        self._patience = patience or Patience()
        digest = hashlib.blake2b(consumer.encode(), digest_size=8).digest()
        self._turn = int.from_bytes(digest, "little") % transport.sources

    def ask(self, method: str, *arguments: Any) -> Pending:
        """Begin a request; it goes on while this process does other things."""
        self._turn = (self._turn + 1) % self.transport.sources
        pending = Pending(method=method, arguments=arguments, source=self._turn)
        self._send(pending)
        return pending

    def take(self, pending: Pending, read: Callable[[Any], T]) -> T:
        """``read`` of the answer; asks the other sources in turn, with growing pauses, while they fail.

        Raises:
            ServiceError: none has answered for as long as the patience lasts.
            Exception: what a source raised on its own account.
        """
        deadline: float | None = None
        pause, tries = _FIRST_PAUSE, 0
        while True:
            try:
                if isinstance(pending.ticket, SourceLost):
                    raise pending.ticket
                return read(self.transport.take(pending.ticket, self._patience.answer))
            except (SourceLost, DamagedChunk) as error:
                now = time.monotonic()
                deadline = deadline or now + self._patience.lost
                if now > deadline:
                    fix = (
                        f"none of its {self.transport.sources} sources has answered for {self._patience.lost:g} s "
                        f"({error}); start it again, or read in-process (stream.source=in-process)"
                    )
                    raise ServiceError("service", self.transport.service, fix) from error
            self.numbers.record("frisket_consumer_retries", 1)
            tries += 1
            if tries % self.transport.sources == 0:  # all have been asked; give them time to come back
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            pending.source = (pending.source + 1) % self.transport.sources
            self._send(pending)

    def call(self, method: str, *arguments: Any, read: Callable[[Any], T]) -> T:
        """`ask` and `take`."""
        return self.take(self.ask(method, *arguments), read)

    def _send(self, pending: Pending) -> None:
        try:
            pending.ticket = self.transport.ask(pending.source, pending.method, *pending.arguments)
        except SourceLost as error:
            pending.ticket = error
