"""The probe: a pack led along a part of its stream, as a run would lead it along all of it.

It is the engine's own walk (`frisket.platform.run.engine.Walk`), in a run folder of its own: the same streams, network,
learner and protocol, the same journal, checkpoint and result. It takes other positions: the first ones of a few tasks
and the end of each, as many as there is time for; of a stream without tasks some of its beginning and of its middle,
and its end. What would take too long by itself is cut short and counted: a sequence of tasks (`_TASKS`), judging
(`frisket.platform.planning.meter`), what a method repeats at a task's end (`repeated_field`), a pre-training's epoch.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Callable, Iterator
from statistics import fmean
from typing import Any

import torch

from frisket.algos.learner import KeepsTasks, Learner, repeated_field
from frisket.algos.parts.tree import flatten
from frisket.algos.state_file import LARGE
from frisket.envs.stream import Stream
from frisket.envs.task_stream import TaskStream
from frisket.files import read_sealed
from frisket.platform.planning.figures import PackFigures
from frisket.platform.planning.meter import Judged, Meter
from frisket.platform.planning.samples import Sample, Walked
from frisket.platform.planning.written import Written
from frisket.platform.run.drive import drive_of
from frisket.platform.run.engine import Walk
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.journal import Journal
from frisket.platform.specs.build import Inputs, build_learner, build_protocol
from frisket.platform.specs.experiment import Pack
from frisket.types import State

_TASKS = 3
"""Tasks that are walked along: from two a line can be seen, from three whether it is one."""
_SHARES = (0.5, 0.2, 0.2)
"""Of the time, for the first positions of each; what ends and judging need is the rest."""
_FEWEST = 3
"""Positions of a task that are taken at least."""
_REPEATS = (1, 10)
"""How often what a method repeats at a task's end is done at the first end and the second ..."""
_REPEATED_SECONDS, _MOST_REPEATS = 1.5, 1000
"""... and at the third for about so long, so often at most."""
_EPOCH_PART = 20
"""So much less than an epoch of pre-training is measured."""


class Probe(Walk):
    """A pack that is measured. Once `measured` it is done.

    Args:
        folder: a run of its own, thrown away afterwards.
        pack: of that run.
        data_dir: first place to look for data.
        seconds: for positions; judging and the ends of tasks are bounded apart.
        clock: gives seconds.
    """

    def __init__(
        self, folder: RunFolder, pack: Pack, data_dir: str | None, seconds: float, clock: Callable[[], float]
    ) -> None:
        self._clock = clock
        self._begun = clock()
        super().__init__(folder, pack, data_dir)
        self.given, self._budget = self.experiment, seconds
        self._steps, self._tasks = self.drive.steps, _first_and_last(self.stream, self.drive.steps)
        learner = self.pack.learners[0]
        self._pieces = sum(pieces for _, pieces in self.protocol.judgings(learner))
        self._judged_at = min((position for position, _ in self.protocol.judgings(learner)), default=None)
        self._repeats = self._repeated()
        for stream in self.streams:
            _shorten(stream, self._tasks)
        self._walked_tasks = self._tasks[:_TASKS]
        protocol = build_protocol(self.given, self.streams)
        self._meter = Meter(protocol.fewest, clock)
        if self._pieces:  # what a protocol does not tell of is a part of its positions
            for stream in self.streams:
                self._meter.watch(stream)
            protocol = Judged(protocol, self._meter)
        self.protocol, self.scores = protocol, [protocol.init() for _ in pack]
        self._led_by(0)
        if self.given.pretrain is not None:
            self.experiment = dataclasses.replace(self.given, pretrain=_short_epochs(self.given.pretrain))
        self._samples: list[Sample] = []
        self._aside, self._epochs = 0.0, list[float]()
        self._plots: list[float] = []
        self._started = self._saving = self._finishing = self._pretraining = 0.0
        self._checkpoint = self._unfilled = 0
        self._rows: dict[str, int] = {}

    # -- what is walked ------------------------------------------------------------------------------------------------

    def measured(self) -> PackFigures:
        """Take the walk, and say what it tells of the whole pack."""
        with self.files.lock():
            self.run(lambda: False)
        walked = self._walked_along()
        written, epochs = self._written(), 0 if self.given.pretrain is None else self.given.pretrain.epochs
        files = self.files.members[0]
        metrics = read_sealed(files.path / "result.json")["metrics"]
        final = sum(path.stat().st_size for path in files.path.iterdir() if path != files.journal)
        room = learner.room(self._own()) if isinstance(learner := self.pack.learners[0], KeepsTasks) else None
        judging = self._meter.seconds / self._meter.pieces * self._pieces if self._meter.pieces else 0.0
        grown, left = walked.grown(), walked.left()
        return PackFigures(
            labels=tuple(dict.fromkeys(replica.variant for replica in self.replicas)),
            replicas=len(self.replicas),
            steps=self._steps,
            walked=len(self._samples),
            tasks=len(self._tasks) if isinstance(self.stream, TaskStream) else None,
            start=self._started - self._begun - self._pretraining,
            pretraining=self._epoch_seconds(),
            learning=walked.seconds(),
            judging=judging,
            plotting=fmean(self._plots) * written.lines,
            saving=self._saving,
            finishing=self._finishing,
            growth=grown + self._unfilled,
            journal=written.bytes(),
            final=final + left // len(self.replicas),
            checkpoint=self._checkpoint + left,
            points=written.points() + 3 * epochs,
            plotted=tuple(name for name, value in metrics.items() if written.last.get(name) == value),
            metrics=tuple(metrics),
            fewest=room and room.fewest,
            most=room and room.most,
        )

    def positions(self) -> Iterator[int]:
        self._started = self._clock()
        for task, (first, last) in enumerate(self._walked_tasks):
            self._led_by(task)
            windows = [(first, self._budget * _SHARES[task])]
            if len(self._walked_tasks) == 1:
                windows.append(((first + last) // 2, self._budget * _SHARES[1]))
            reached = first
            for begin, seconds in windows:
                until = self._clock() + seconds
                for taken, position in enumerate(range(max(begin, reached), last)):
                    if taken >= _FEWEST and self._clock() > until:
                        break
                    yield from self._timed(task, position)
                    reached = position + 1
            yield from self._timed(task, last)

    def _timed(self, task: int, position: int) -> Iterator[int]:
        """``position``, with a sample of what it took."""
        kept, self._aside, self._meter.aside = _bytes(self.state), 0.0, 0.0
        begun = self._clock()
        yield position
        took = self._clock() - begun - self._aside - self._meter.aside
        first, last = self._walked_tasks[task]
        sample = Sample(
            task=task, index=position - first, seconds=max(took, 0.0), kept=kept, last=position == last,
            repeats=self._now if position == last else self._repeats[1],
        )  # fmt: skip
        self._samples.append(sample)
        if position == last:
            self._filled(task)

    def _walked_along(self) -> Walked:
        lengths = [last - first + 1 for first, last in self._tasks]
        return Walked(samples=self._samples, lengths=lengths, repeats=self._repeats[1], after=_bytes(self.state))

    # -- what a method repeats at a task's end -------------------------------------------------------------------------

    def _repeated(self) -> tuple[str | None, int]:
        """The learner's repeated field and its full value."""
        config = self.given.learner.config
        field = repeated_field(config)
        if field is None or not isinstance(self.stream, TaskStream):
            return None, 0
        value = getattr(config, field)
        return field, _pass(self.stream) if value is None else value

    def _led_by(self, task: int) -> None:
        """From here on the pack is led by a learner that repeats at the end of ``task`` as often as is good to
        know."""
        field, full = self._repeats
        self._now = full
        pack = self.pack
        if field is not None and full:
            self._now = min(full, _REPEATS[task] if task < len(_REPEATS) else self._worth())
            first, *others = (self._repeating(replica.variant, field) for replica in self.replicas)
            pack = first.pack(others, steps=self._steps)
        self.drive = drive_of(pack, self.protocol, self.streams, self.device)
        free = self.state.get("free", {})  # a method that has learned next to nothing may have kept all weights for it
        if free and not any(bool(mask.any()) for mask in free.values()):
            self.state = {**self.state, "free": {name: torch.ones_like(mask) for name, mask in free.items()}}

    def _repeating(self, variant: str | None, field: str) -> Learner:
        """The learner of a replica that repeats as often as is good to know."""
        plain = self.folder.experiment.variant(variant)
        config = dataclasses.replace(plain.learner.config, **{field: self._now})
        changed = dataclasses.replace(plain, learner=dataclasses.replace(plain.learner, config=config))
        return build_learner(changed, Inputs.of(self.stream))

    def _worth(self) -> int:
        """How many repeats take `_REPEATED_SECONDS`, as far as the ends so far tell."""
        ends = [one for one in self._samples if one.last]
        each = (ends[-1].seconds - ends[0].seconds) / max(1, ends[-1].repeats - ends[0].repeats)
        return _MOST_REPEATS if each <= 0 else min(_MOST_REPEATS, max(_REPEATS[-1], int(_REPEATED_SECONDS / each)))

    # -- what is timed apart -------------------------------------------------------------------------------------------

    def _pretrain(self, journals: list[Journal], stop: Any) -> State:
        begun = self._clock()
        found = super()._pretrain(journals, stop)
        self._pretraining = self._clock() - begun
        return found

    def _epoch_seconds(self) -> float:
        """Of all epochs of the pre-training."""
        config = self.given.pretrain
        if config is None or len(self._epochs) < 2:
            return self._pretraining
        short = self.experiment.pretrain
        assert short is not None
        part = config.meta_batches_per_epoch / short.meta_batches_per_epoch
        return config.epochs * part * (self._epochs[-1] - self._epochs[-2])

    def _plot(self, position: int, journals: list[Journal]) -> None:
        begun = self._clock()
        super()._plot(position, journals)
        took = self._clock() - begun
        self._aside += took
        self._plots.append(took)

    def _show(self, done: int, steps: int) -> None:
        begun = self._clock()
        super()._show(done, steps)
        self._aside += self._clock() - begun
        if not done:  # an epoch of pre-training has ended
            self._epochs.append(self._clock())

    def _save(self, journals: list[Journal], state: State) -> None:
        begun = self._clock()
        super()._save(journals, state)
        self._saving = self._clock() - begun
        self._aside += self._saving
        blocks = self.files.checkpoint.with_suffix(".blocks")
        written = [self.files.checkpoint, *(blocks.iterdir() if blocks.is_dir() else ())]
        self._checkpoint = sum(path.stat().st_size for path in written)

    def _finish(self) -> None:
        begun = self._clock()
        super()._finish()
        self._finishing = self._clock() - begun

    # -- what grows ----------------------------------------------------------------------------------------------------

    def _filled(self, task: int) -> None:
        """Memory that is asked for and not written yet is not held by the process: what of it will be written by the
        end, as far as it is known when ``task`` has ended. A memory that no later task adds to is emptied by each."""
        taken, self._unfilled = sum(1 for one in self._samples if not one.task), 0
        for name, value in flatten(self._own()).items():
            if value.nbytes < LARGE or value.dim() < 2:
                continue
            rows = _filled_rows(value)
            first = self._rows.setdefault(name, rows)
            lengths = [last - begin + 1 for begin, last in self._tasks]
            positions = sum(lengths) if rows > first else max(lengths)
            most = min(len(value), first * positions // taken)
            self._unfilled += max(0, most - rows) * (value.nbytes // len(value)) * len(self.replicas)

    # -- what is written -----------------------------------------------------------------------------------------------

    def _written(self) -> Written:
        """What the walk has left in the journal of its first replica."""
        return Written(
            journal=self.files.members[0].journal, steps=self._steps, every=self.given.log_every,
            tasks=len(self._tasks), ends=[last for _, last in self._walked_tasks],
            judged=self._judged_at if len(self._tasks) == 1 else None,
        )  # fmt: skip

    def _own(self) -> State:
        return self.pack.replica(self.state, 0)


def _first_and_last(stream: Stream, steps: int) -> list[tuple[int, int]]:
    """The first and the last position of every task of ``stream``, of a stream without tasks the whole."""
    if not isinstance(stream, TaskStream):
        return [(0, steps - 1)]
    return [(stream.start(task), stream.start(task + 1) - 1) for task in range(stream.tasks)]


def _shorten(stream: Stream, tasks: list[tuple[int, int]]) -> None:
    """Let ``stream`` end after `_TASKS` of its ``tasks``."""
    if isinstance(stream, TaskStream) and len(tasks) > _TASKS:
        stream.steps, stream.tasks = tasks[_TASKS - 1][1] + 1, _TASKS


def _pass(stream: TaskStream) -> int:
    """Batches of one pass over the first task's samples."""
    return bisect.bisect_left(range(stream.start(1)), 1, key=lambda position: stream.batch(position).epoch)


def _short_epochs(config: Any) -> Any:
    """Two epochs of the pre-training ``config``, each a part of one."""
    part = max(1, min(_EPOCH_PART, config.meta_batches_per_epoch, config.validation_episodes))
    return dataclasses.replace(
        config, epochs=min(2, config.epochs), meta_batches_per_epoch=config.meta_batches_per_epoch // part,
        validation_episodes=max(1, config.validation_episodes // part),
    )  # fmt: skip


def _bytes(state: State) -> int:
    return sum(value.nbytes for value in flatten(state).values())


def _filled_rows(value: torch.Tensor) -> int:
    """Rows of ``value`` up to the last that is not 0."""
    low, high = 0, len(value)
    flat = value.reshape(len(value), -1)
    while low < high:  # rows are written in order, so those after the last one written are 0
        middle = (low + high) // 2
        low, high = (middle + 1, high) if bool(flat[middle:].any()) else (low, middle)
    return low
