"""What one step of a pack is.

The engine (`frisket.platform.run.engine`) walks along positions, journals, checkpoints, stops and resumes; a `Drive`
says how many positions there are and what happens at one. It keeps nothing between them: what goes on is the pack's
state and the replicas' scores, so a walk can be stopped after any position and resumed there.

=============  ======================================================================================
drive          one step
=============  ======================================================================================
`Supervised`   a labelled batch of each replica's stream: answer, be scored, learn, be scored
`Episodes`     a meta-batch of few-shot episodes: adapt to each, learn from their queries, be judged at times
=============  ======================================================================================
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from frisket.algos.learner import Episodic, Learner, Pack
from frisket.envs.episode_stream import EpisodeSource, EpisodeStream
from frisket.envs.stream import Stream
from frisket.platform.protocols.protocol import Answers, Protocol, Scored, shown
from frisket.platform.run.together import Together
from frisket.types import Batch, Metrics, State


class Outcome(NamedTuple):
    """Attributes: state: of the pack, as it goes on; scored: for every replica; numbers: for each, whether none of the
    answers that were asked for was NaN."""

    state: State
    scored: list[Scored]
    numbers: list[bool]


class Drive(ABC):
    """Leads a pack over its positions, one at a time."""

    @property
    @abstractmethod
    def steps(self) -> int:
        """How many positions there are."""

    @abstractmethod
    def step(self, position: int, state: State, scores: Sequence[State]) -> Outcome:
        """What happens at ``position``.

        Args:
            position: from 0.
            state: the pack's, on its device; go on with the one that is returned.
            scores: of every replica.
        """

    def begin(self, state: State, position: int) -> None:  # noqa: B027 - most have nobody to tell
        """Told before the first step of a walk, which begins at ``position`` with ``state``."""

    def end(self) -> None:  # noqa: B027
        """Told after the last step of a walk, at its end or where it was stopped."""


@dataclass(frozen=True, kw_only=True)
class Supervised(Drive):
    """Learning from labelled batches.

    Attributes:
        pack: what learns.
        protocol: what measures it.
        streams: one of every replica, of equal length.
        device: where the pack learns.
    """

    pack: Pack[Learner]
    protocol: Protocol
    streams: Sequence[Stream]
    device: torch.device

    @property
    def steps(self) -> int:
        return self.streams[0].steps

    def step(self, position: int, state: State, scores: Sequence[State]) -> Outcome:
        batches = [seen(stream, stream.batch(position), self.device) for stream in self.streams]
        ways = self.streams[0].ways if self.protocol.by_label else None
        return supervised(self.pack, self.protocol, state, scores, batches, ways)


@dataclass(frozen=True, kw_only=True)
class Episodes(Drive):
    """Learning from episodes: a position is an outer step.

    Attributes:
        learner: what learns.
        protocol: what measures it.
        stream: whose episodes are taken `Episodic.meta_batch` at a time.
        device: where it learns.
        together: those who share the tasks of a meta-batch; None where this process has them all.
    """

    learner: Episodic
    protocol: Protocol
    stream: EpisodeStream
    device: torch.device
    together: Together | None = None

    @property
    def steps(self) -> int:
        return self.stream.steps // self.learner.meta_batch

    def step(self, position: int, state: State, scores: Sequence[State]) -> Outcome:
        if self.together is not None:
            self.together.again(more=True)
        state, learned, last = self._learned(position, state)
        _require_numbers([learned])
        answers = Answers(self.learner, state, self.stream.ways, learned=True)
        scored = self.protocol.after([answers], [Scored(scores[0], dict(learned))], [last])
        return Outcome(state, scored, [answers.numbers])

    def _learned(self, position: int, state: State) -> tuple[State, Metrics, Batch]:
        """The outer step at ``position``: the state after it, what the learner reports, and its last episode."""
        first = position * self.learner.meta_batch
        made = list(self.stream.batches(first, self.learner.meta_batch))
        mine = made if self.together is None else self.together.share(made)
        told = [shown(self.learner, seen(self.stream, batch, self.device)) for batch in mine]
        gradients = self.learner.gradients(state, told)
        if self.together is not None:
            gradients = self.together.added(gradients)
        return *self.learner.apply(state, gradients), made[-1]

    def begin(self, state: State, position: int) -> None:
        if self.together is not None:
            self.together.begin(state, position)

    def end(self) -> None:
        if self.together is not None:
            self.together.again(more=False)

    def accompany(self) -> None:
        """Take every outer step that whoever leads takes, from where it begins to where it ends."""
        assert self.together is not None
        state, position = self.together.begin(None, 0)
        while self.together.again():
            state, _, _ = self._learned(position, state)
            position += 1


def drive_of(
    pack: Pack[Learner], protocol: Protocol, streams: Sequence[Stream], device: torch.device,
    together: Together | None = None,
) -> Drive:  # fmt: skip
    """How ``pack`` is led over ``streams``: a learner of episodes over a stream of them by meta-batches, which it may
    share with others."""
    learner, stream = pack.learners[0], streams[0]
    if isinstance(learner, Episodic) and isinstance(stream, EpisodeStream):
        return Episodes(learner=learner, protocol=protocol, stream=stream, device=device, together=together)
    return Supervised(pack=pack, protocol=protocol, streams=streams, device=device)


def seen(source: Stream | EpisodeSource, batch: Batch, device: torch.device) -> Batch:
    """``batch`` of ``source`` on ``device``, as a network sees it."""
    batch = on_device(batch, device)
    return dataclasses.replace(batch, x=source.numbers(batch.x)) if isinstance(source, EpisodeSource) else batch


def supervised(
    pack: Pack[Learner],
    protocol: Protocol,
    state: State,
    scores: Sequence[State],
    batches: Sequence[Batch],
    ways: int | None = None,
) -> Outcome:
    """Measure the replicas, let each learn from its batch, measure them again. A learner that does not need the task is
    not shown it; the protocol is. ``ways``: number of labels, None where it is not known, or
    no labels are answered."""
    first = _answers(pack, state, ways, learned=batches[0].position > 0)
    before = protocol.before(first, scores, batches)
    told = [shown(learner, batch) for learner, batch in zip(pack.learners, batches, strict=True)]
    state, metrics = pack.observe(state, told)
    _require_numbers(metrics)
    known = [Scored(one.scores, {**one.record, **learned}) for one, learned in zip(before, metrics, strict=True)]
    last = _answers(pack, state, ways, learned=True)
    scored = protocol.after(last, known, batches)
    return Outcome(state, scored, [a.numbers and b.numbers for a, b in zip(first, last, strict=True)])


def _require_numbers(metrics: Sequence[Metrics]) -> None:
    """Raise `TypeError` for what a journal could not keep: it is the method's mistake, and said as one."""
    for learned in metrics:
        if not isinstance(learned, dict):
            raise TypeError(f"observe reports a {type(learned).__name__}; metrics are a dict of name to number")
        for name, value in learned.items():
            if not isinstance(value, (int, float)):
                kind = f"{type(value).__module__}.{type(value).__name__}"
                raise TypeError(f"observe reports {name} as {kind}; a metric is a number of Python's (`.item()`)")


def on_device(batch: Batch, device: torch.device) -> Batch:
    """``batch`` with its tensors on ``device``."""
    return dataclasses.replace(batch, x=batch.x.to(device), y=batch.y.to(device))


def _answers(pack: Pack[Learner], state: State, ways: int | None, *, learned: bool) -> list[Answers]:
    return [Answers(learner, pack.replica(state, i), ways, learned) for i, learner in enumerate(pack.learners)]
