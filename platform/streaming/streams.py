"""frisket's streams as feeds, and feeds as streams: what the engine reads is a `Stream` like any other."""

from __future__ import annotations

import bisect
import dataclasses
import inspect
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from torch import Tensor

from frisket.envs.data import OwnData, Pictures, resolve
from frisket.envs.episode_stream import EpisodeStream
from frisket.envs.robots.stream import RobotStream
from frisket.envs.stream import Stream
from frisket.envs.streams.kind import StreamKind
from frisket.envs.task_stream import TaskStream
from frisket.errors import SpecError
from frisket.platform.specs.kinds import Kinds
from frisket.platform.specs.section import Section, read_section
from frisket.platform.specs.uses import Use, kinds_with
from frisket.platform.streaming.chunk import Item, Unpacked
from frisket.platform.streaming.consumer import Service
from frisket.platform.streaming.feed import Feed
from frisket.platform.streaming.reader import Reader
from frisket.types import Batch, Split, Task, TaskEnd

_SETS_BYTES = 256 * 2**20
_SERVED = ("batch", "batches", "episode", "provenance", "start", "task_index", "test_set", "validation_set")
_SPARING = ("reseeded", "at_work")  # change what a stream costs where it is made, and nothing that it gives
_PLAIN = [field.name for field in dataclasses.fields(Batch) if field.name not in ("position", "task", "end", "world")]


@dataclass(frozen=True, kw_only=True)
class StreamRecipe:
    """A specification's stream, in words, because a source may know its kind only once it has what brings it.

    Attributes:
        stream: the stream section, ``{"kind": ..., **fields}``.
        data: ``real`` or ``embedded``, as `frisket.envs.data.resolve` takes it.
        data_dir: first place to look for data, as the sources see it.
        uses: the user's modules of the specification.
        own: data of the user's, by name.
    """

    stream: Mapping[str, Any]
    data: Literal["real", "embedded"]
    data_dir: str | None = None
    uses: tuple[Use, ...] = ()
    own: Mapping[str, OwnData] = field(default_factory=dict)

    @property
    def key(self) -> str:
        own = {name: dataclasses.asdict(one) for name, one in self.own.items()}
        described = [self.stream, self.data, self.data_dir, [use.as_dict() for use in self.uses], own]
        return json.dumps(described, sort_keys=True)

    @cached_property
    def kinds(self) -> Kinds:
        """What the section may name. Imports what the specification uses."""
        return kinds_with(self.uses)

    @property
    def section(self) -> Section[StreamKind]:
        """The stream section, read."""
        return read_section("stream", self.stream, self.kinds)

    def open(self, seed: int) -> Feed:
        section, own = self.section, {**self.kinds.own_data, **self.own}
        images = resolve(section.row.datasets(section.config), self.data, self.data_dir, kind=Pictures, own=own)
        return StreamFeed(section.row.build(section.config, images, seed))


class StreamFeed(Feed):
    """A stream's batches as items; as extras ``test`` and ``validation`` the sets of a task, or the episodes of a
    number.

    Raises:
        SpecError: the stream does something of its own that a consumer would not see.
    """

    def __init__(self, stream: Stream) -> None:
        base = next(one for one in (RobotStream, TaskStream, EpisodeStream, Stream) if isinstance(stream, one))
        verbs = [name for name, verb in inspect.getmembers(base, _is_verb) if name not in (*_SERVED, *_SPARING)]
        for name in verbs:
            if getattr(type(stream), name) is not getattr(base, name):
                fix = f"must be in-process: {type(stream).__name__} has its own {name}"
                raise SpecError("stream.source", "service", fix)
        self._stream, self._base = stream, base
        self._task: tuple[Task | None, Item] = None, None

    def length(self) -> int:
        return self._stream.steps

    def facts(self) -> dict[str, Any]:
        names = [name for base in self._base.__mro__ for name in inspect.get_annotations(base)]
        facts = {name: getattr(self._stream, name) for name in names} | {"provenance": self._stream.provenance()}
        if isinstance(self._stream, TaskStream):
            facts["starts"] = [self._stream.start(task) for task in range(self._stream.tasks + 1)]
        return facts

    def item(self, position: int) -> Item:
        return self._described(self._stream.batch(position))

    def items(self, first: int, count: int) -> Iterator[Item]:
        return map(self._described, self._stream.batches(first, count))

    def _described(self, batch: Batch) -> Item:
        if batch.task != self._task[0]:  # described once: most batches are of the same task as the last
            self._task = batch.task, batch.task and dataclasses.asdict(batch.task)
        plain = {name: getattr(batch, name) for name in _PLAIN}
        return {**plain, "task": self._task[1], "end": batch.end is not None}

    def extra(self, name: str, index: int) -> Item:
        if isinstance(self._stream, EpisodeStream) and name in ("validation", "test"):
            return self._described(self._stream.episode(name, index))
        if not isinstance(self._stream, TaskStream):
            return super().extra(name, index)
        x, y = {"test": self._stream.test_set, "validation": self._stream.validation_set}[name](index)
        return {"x": x, "y": y}


class ServiceStream(Stream):
    """A stream that a service makes; the same bits as in-process. Made by `open_stream`.

    Args:
        service: this consumer's view of the service.
        recipe: the stream.
        seed: the run's seed.
        facts: `Feed.facts` of it.
    """

    def __init__(self, service: Service, recipe: StreamRecipe, seed: int, facts: dict[str, Any]) -> None:
        self._service, self._recipe, self._seed = service, recipe, seed
        self._reader = Reader(service, recipe, seed)
        self._task: tuple[Item, Task | None] = None, None
        self._provenance: dict[str, Any] = facts.pop("provenance")
        for name, value in facts.items():
            setattr(self, name, value)

    def batch(self, position: int) -> Batch:
        return self._batch(self._reader.read(position), position)

    def provenance(self) -> dict[str, Any]:
        return self._provenance

    def _batch(self, item: Item, position: int, end: TaskEnd | None = None) -> Batch:
        described = item["task"]
        if described != self._task[0]:
            self._task = described, described and Task(**{k: _tuple(v) for k, v in described.items()})
        return Batch(**{name: item[name] for name in _PLAIN}, position=position, task=self._task[1], end=end)


class ServiceTaskStream(ServiceStream, TaskStream):
    """As `ServiceStream`, of tasks. Their sets are fetched once and kept, packed, while they fit into 256 MiB."""

    def __init__(self, service: Service, recipe: StreamRecipe, seed: int, facts: dict[str, Any]) -> None:
        self._starts: list[int] = facts.pop("starts")
        super().__init__(service, recipe, seed, facts)
        self._again, self._furthest = Reader(service, recipe, seed, ahead=1), 0
        self._sets: dict[tuple[str, int], Unpacked] = {}

    def batch(self, position: int) -> Batch:
        # A task that has ended is gone through once more while the stream stands still: that has a reader of its own,
        # so that neither makes the other begin anew.
        behind = position < self._furthest
        item = (self._again if behind else self._reader).read(position)
        self._furthest = max(self._furthest, position)
        return self._batch(item, position, self.end(position) if item["end"] else None)

    def start(self, task: int) -> int:
        return self._starts[task]

    def task_index(self, position: int) -> int:
        return bisect.bisect_right(self._starts, position) - 1

    def test_set(self, task: int) -> tuple[Tensor, Tensor]:
        return self._set("test", task)

    def validation_set(self, task: int) -> tuple[Tensor, Tensor]:
        return self._set("validation", task)

    def _set(self, name: str, task: int) -> tuple[Tensor, Tensor]:
        kept = self._sets.get((name, task))
        if kept is None:
            kept = self._service.call("read_extra", self._recipe, self._seed, name, task, read=Unpacked)
            if kept.size + sum(one.size for one in self._sets.values()) <= _SETS_BYTES:
                self._sets[name, task] = kept
        item = kept.item(0)
        return item["x"], item["y"]


class ServiceRobotStream(ServiceTaskStream, RobotStream):
    """As `ServiceTaskStream`, of robot tasks; whoever reads it steps their environments."""

    def _batch(self, item: Item, position: int, end: TaskEnd | None = None) -> Batch:
        return dataclasses.replace(super()._batch(item, position, end), world=self.practice(position))


class ServiceEpisodeStream(ServiceStream, EpisodeStream):
    """As `ServiceStream`, of episodes; those that are judged on are fetched one by one."""

    def episode(self, split: Split, number: int) -> Batch:
        if split == "train":
            return self.batch(number)
        item = self._service.call("read_extra", self._recipe, self._seed, split, number, read=Unpacked).item(0)
        return self._batch(item, number)


_BY_FACT: Mapping[str, type[ServiceStream]] = {
    "plan": ServiceRobotStream, "tasks": ServiceTaskStream, "shots": ServiceEpisodeStream
}  # fmt: skip
"""A fact that only one kind of stream has, or kinds that come before, to what reads that kind."""


def open_stream(service: Service, recipe: StreamRecipe, seed: int) -> Stream:
    """The stream ``recipe`` of ``seed``, made by ``service``.

    Raises:
        ServiceError: the service is lost.
        UserError: the configuration or the data are wrong.
    """
    facts = service.call("facts", recipe, seed, read=dict)
    made = next((one for mark, one in _BY_FACT.items() if mark in facts), ServiceStream)
    return made(service, recipe, seed, facts)


def _tuple(value: Any) -> Any:
    """A list of JSON as the tuple that it was."""
    return tuple(value) if isinstance(value, list) else value


def _is_verb(member: object) -> bool:
    return inspect.isfunction(member) or isinstance(member, property)
