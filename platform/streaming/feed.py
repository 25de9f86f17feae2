"""What a service serves. The service knows these few verbs and nothing of batches, episodes or robots."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Protocol

from frisket.platform.streaming.chunk import Item


class Feed(ABC):
    """Items by position: a pure function of its recipe, its seed and the position."""

    @abstractmethod
    def item(self, position: int) -> Item:
        """The item at ``position`` (from 0), below `length`; any order, any number of times, always the same."""

    def items(self, first: int, count: int) -> Iterator[Item]:
        """The items at ``first`` .. ``first + count - 1``, all below `length`; for feeds that make many faster."""
        return map(self.item, range(first, first + count))

    def length(self) -> int | None:
        """How many items there are; None where there is no end. May grow, as a log of pushed data does."""
        return None

    def facts(self) -> dict[str, Any]:
        """What a consumer must know before the first item; small, JSON-able."""
        return {}

    def extra(self, name: str, index: int) -> Item:
        """Something large beside the sequence, such as a task's test set.

        Raises:
            KeyError: there is no such thing.
        """
        raise KeyError(f"this feed has no {name} {index}")


class Recipe(Protocol):
    """How a source, in a process and on a machine of its own, opens a feed. Small, and pickled with every request."""

    @property
    def key(self) -> str:
        """Names everything the feed's items depend on, the seed apart: equal keys, equal items."""
        ...

    def open(self, seed: int) -> Feed:
        """The feed of one seed. Raises `UserError` for a mistake of the user's, which reaches the consumer."""
        ...
