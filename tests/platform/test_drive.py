"""What one step of a pack is: answer, be scored, learn, be scored; and nothing kept between two."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from frisket.algos.kinds import LEARNERS
from frisket.algos.learner import Alone, Learner
from frisket.algos.networks.mlp import MLP, MLPConfig
from frisket.algos.parts.tree import flatten, map_tensors
from frisket.envs.data import resolve
from frisket.envs.streams.pixel_tasks import PixelTaskStream, RotationsConfig
from frisket.platform.protocols.protocol import Answers, Protocol, Scored
from frisket.platform.run.drive import Outcome, Supervised
from frisket.types import Batch, Metrics, State

CONFIG = RotationsConfig(tasks=2, samples=20)
STREAMS = [PixelTaskStream(CONFIG, resolve(CONFIG.datasets(), "embedded"), seed) for seed in (0, 1)]


class Weights(Protocol):
    """Notes one number of the weights before and after learning, and the batch it was shown."""

    headline = "seen"

    def init(self) -> State:
        return {"seen": torch.tensor(0)}

    def before(self, answers: Sequence[Answers], scores: Sequence[State], batches: Sequence[Batch]) -> list[Scored]:
        each = zip(answers, scores, batches, strict=True)
        return [Scored({"seen": s["seen"] + 1}, {"before": total(a), "x": float(b.x.sum())}) for a, s, b in each]

    def after(self, answers: Sequence[Answers], known: list[Scored], batches: Sequence[Batch]) -> list[Scored]:
        assert all(batch.task is not None for batch in batches)  # what is hidden from a learner is not from this
        return [Scored(k.scores, {**k.record, "after": total(a)}) for a, k in zip(answers, known, strict=True)]

    def points(self, scores: State) -> tuple[Metrics, State]:
        return self.final(scores), scores

    def final(self, scores: State) -> Metrics:
        return {"seen": float(scores["seen"])}


def total(answers: Answers) -> float:
    return sum(float(v.sum()) for v in answers.state["theta"].values())


def drive() -> tuple[Supervised, State, list[State]]:
    """Two replicas of ER on rotations, before their first batch."""
    entry, first = LEARNERS["er"], STREAMS[0]
    network = MLP(MLPConfig(hidden=(8,)), in_channels=1, size=first.shape[1], ways=first.ways)
    learners: list[Learner] = [entry.build(entry.config(), network) for _ in STREAMS]
    pack, protocol = learners[0].pack(learners[1:]), Weights()
    state = pack.join([learner.init(seed) for seed, learner in enumerate(learners)])
    made = Supervised(pack=pack, protocol=protocol, streams=STREAMS, device=torch.device("cpu"))
    return made, state, [protocol.init() for _ in learners]


def test_a_step_measures_learns_and_measures_again_each_replica_on_its_own_stream() -> None:
    supervised, state, scores = drive()
    assert supervised.steps == STREAMS[0].steps
    ended: list[float] = []
    for position in range(3):
        state, scored, _ = supervised.step(position, state, scores)
        scores = [one.scores for one in scored]
        for i, one in enumerate(scored):
            assert one.record["x"] == float(STREAMS[i].batch(position).x.sum())
            assert one.record["before"] != one.record["after"]
            assert "outer_loss" in one.record  # what the learner reports goes to the journal
        if ended:
            assert ended == [one.record["before"] for one in scored]
        ended = [one.record["after"] for one in scored]
        assert [int(one["seen"]) for one in scores] == [position + 1] * 2
    assert ended[0] != ended[1]


def test_a_drive_keeps_nothing_so_a_walk_may_be_resumed_with_another_of_its_kind() -> None:
    first, state, scores = drive()
    for position in range(2):
        state, scored, _ = first.step(position, state, scores)
        scores = [one.scores for one in scored]
    kept = map_tensors(torch.clone, state)
    on: list[Outcome] = [first.step(2, state, scores), drive()[0].step(2, kept, scores)]
    left, right = (flatten(outcome.state) for outcome in on)
    assert left.keys() == right.keys()
    assert all(torch.equal(v, right[k]) for k, v in left.items())
    assert [one.record for one in on[0].scored] == [one.record for one in on[1].scored]


def test_an_answer_that_cannot_be_scored_is_no_score_of_zero() -> None:
    """A method's mistake in `predict`: an answer of too few labels, or none any more."""
    (learner, *_), state = drive()[0].pack.learners, drive()[1]
    one, batch = drive()[0].pack.replica(state, 0), STREAMS[0].batch(0)
    whole = Answers(learner, one, STREAMS[0].ways, learned=True)
    assert whole(batch.x, None) is not None
    with pytest.raises(ValueError, match=r"shape \(10, 10\) for 10 inputs; logits are \(10, 12\)"):
        dataclasses.replace(whole, ways=12)(batch.x, None)
    dataclasses.replace(whole, ways=None)(batch.x, None)  # answers that are no labels

    silent: Any = SimpleNamespace(capabilities=learner.capabilities, predict=lambda state, x, task: None)
    assert dataclasses.replace(whole, learner=silent, learned=False)(batch.x, None) is None
    with pytest.raises(ValueError, match="predict gave None after a batch was learned from"):
        dataclasses.replace(whole, learner=silent)(batch.x, None)
    listed: Any = SimpleNamespace(capabilities=learner.capabilities, predict=lambda state, x, task: [1.0])
    with pytest.raises(TypeError, match="predict gave a list; logits are a tensor"):
        dataclasses.replace(whole, learner=listed)(batch.x, None)


@pytest.mark.parametrize(
    ("reported", "says"),
    [
        ({"loss": torch.tensor(1.0)}, r"observe reports loss as torch\.Tensor; a metric is a number of Python's"),
        ({"loss": np.float32(1)}, r"observe reports loss as numpy\.float32"),
        (None, "observe reports a NoneType; metrics are a dict"),
    ],
)
def test_a_metric_that_is_no_number_is_named(reported: Any, says: str) -> None:
    made, state, scores = drive()
    observe = made.pack.observe

    def reporting(state: State, batches: Sequence[Batch]) -> tuple[State, list[Any]]:
        after, metrics = observe(state, batches)
        return after, [reported for _ in metrics]

    vars(made.pack)["observe"] = reporting
    with pytest.raises(TypeError, match=says):
        made.step(0, state, scores)


@pytest.mark.parametrize(
    ("returned", "says"),
    [(None, "observe returns a NoneType"), ({}, "returns a dict"), (({}, {}, 1), "the state and the metrics")],
)
def test_what_observe_should_have_returned_is_said(returned: Any, says: str) -> None:
    mine: Any = SimpleNamespace(observe=lambda state, batch: returned)
    with pytest.raises(TypeError, match=says):
        Alone(mine).observe({}, [STREAMS[0].batch(0)])
