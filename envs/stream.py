"""Where experience comes from: `Stream`, a pure function from a position to a batch."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

from frisket.types import Batch


class Stream(ABC):
    """A deterministic function of (configuration, data, seed, position).

    Attributes:
        steps: positions the experiment asks for.
        shape: ``(C, H, W)`` of one input.
        ways: number of labels.
        domains: names of the domains tasks are drawn from, in the order of the specification.
        labelled: a learner that needs it may be shown the task; False where the task is hidden by definition, and the
            batches carry it for scoring alone.
        names: name of each label, ``ways`` of them; empty where a label means another class in another task.
    """

    steps: int
    shape: tuple[int, int, int]
    ways: int
    domains: tuple[str, ...]
    labelled: bool = True
    names: tuple[str, ...] = ()

    @abstractmethod
    def batch(self, position: int) -> Batch:
        """The batch at ``position`` (from 0), on the CPU, with its hidden task; any order, any number of times."""

    def reseeded(self, seed: int) -> Stream | None:
        """This stream as the run ``seed`` sees it, which shares what no seed changes; None: build it anew."""
        return None

    def batches(self, first: int, count: int) -> Iterator[Batch]:
        """The batches at ``first`` .. ``first + count - 1``, to the bit as `batch` gives them; for who wants many, as a
        stream may make many in less time than one after the other. They may share memory: not to be changed."""
        return map(self.batch, range(first, first + count))

    def at_work(self) -> contextlib.AbstractContextManager[None]:
        """For who learns from it, position after position, while the block lasts: a stream may hold processes then."""
        return contextlib.nullcontext()

    @abstractmethod
    def provenance(self) -> dict[str, Any]:
        """Which data made it, JSON-able: domain name to the provenance of its data set."""
