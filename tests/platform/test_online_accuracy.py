"""The OSAKA score, with a learner that plays back given answers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from frisket.algos.learner import Alone, Capabilities, Learner
from frisket.algos.masks.mask_set import MaskSet
from frisket.platform.protocols.online_accuracy import OnlineAccuracy, OnlineAccuracyConfig, detection_scores
from frisket.platform.run.drive import supervised
from frisket.types import Batch, Metrics, State, Task


class Scripted(Learner):
    """Answers ``script[t]`` of the labels right at step t (None: no answer), flags ``flags[t]``, remembers tasks."""

    def __init__(self, script: list[int | None], flags: list[float] | None = None, needs_task: bool = False) -> None:
        self.capabilities = Capabilities(needs_task=needs_task)
        self.script, self.flags, self.tasks = script, flags, []

    def init(self, seed: int, warm_start: State | None = None) -> State:
        return {"step": torch.tensor(0)}

    def predict(self, state: State, x: Tensor, task: Task | None = None) -> Tensor | None:
        self.tasks.append(task)
        right = self.script[int(state["step"])]
        if right is None:
            return None
        answers = torch.cat([torch.zeros(right), torch.ones(len(x) - right)]).long()  # every label is 0
        return torch.nn.functional.one_hot(answers, 2).float()

    def observe(self, state: State, batch: Batch) -> tuple[State, Metrics]:
        self.tasks.append(batch.task)
        t = int(state["step"])
        return {"step": state["step"] + 1}, {} if self.flags is None else {"detected": self.flags[t]}

    def masks(self, state: State) -> MaskSet:
        return MaskSet({})


def play(learner: Scripted, domains: list[str], starts: list[int]) -> tuple[OnlineAccuracy, State]:
    protocol = OnlineAccuracy(OnlineAccuracyConfig(), ("a", "b"))
    state, scores = learner.init(0), protocol.init()
    for t, (domain, start) in enumerate(zip(domains, starts, strict=True)):
        batch = Batch(torch.zeros(4, 1, 2, 2), torch.zeros(4, dtype=torch.int64), t, Task(domain, (0, 1), start))
        outcome = supervised(Alone(learner), protocol, state, [scores], [batch])
        state, ((scores, _),) = outcome.state, outcome.scored
    return protocol, scores


def test_a9_first_step_without_an_answer_scores_zero_and_is_counted() -> None:
    protocol, scores = play(Scripted([None, 4, 4, 4]), ["a"] * 4, [0] * 4)
    assert protocol.final(scores)["accuracy"] == 0.75


def test_a9_total_is_the_mixture_of_domains_weighted_by_steps() -> None:
    script: list[int | None] = [None, 1, 3, 4, 2, 3, 1]
    domains = ["a", "a", "b", "b", "a", "b", "a"]
    protocol, scores = play(Scripted(script), domains, [0, 0, 2, 2, 4, 5, 6])
    final = protocol.final(scores)
    mixture = (4 * final["accuracy/a"] + 3 * final["accuracy/b"]) / 7
    assert abs(final["accuracy"] - mixture) < 1e-12
    assert final["accuracy/a"] == pytest.approx((0 + 1 + 2 + 1) / 16, abs=1e-15)


def test_recent_window_closes_at_points_and_the_total_goes_on() -> None:
    protocol, scores = play(Scripted([0, 0, 4, 4]), ["a"] * 4, [0] * 4)
    points, scores = protocol.points(scores)
    assert points["accuracy"] == points["recent/accuracy"] == 0.5
    assert math.isnan(protocol.points(scores)[0]["recent/accuracy"])
    assert protocol.final(scores)["accuracy"] == 0.5


def test_task_stays_hidden_unless_declared() -> None:
    hidden, shown = Scripted([4, 4]), Scripted([4, 4], needs_task=True)
    play(hidden, ["a", "b"], [0, 1])
    play(shown, ["a", "b"], [0, 1])
    assert hidden.tasks == [None] * 4
    assert [t.domain for t in shown.tasks if t] == ["a", "a", "b", "b"]


def test_samples_are_averaged() -> None:
    class Two(Scripted):
        def predict(self, state: State, x: Tensor, task: Task | None = None) -> Tensor | None:
            right = torch.tensor([[1.0, 0.0]]).expand(len(x), 2)
            return torch.stack([right, 1 - right])

    protocol, scores = play(Two([4]), ["a"], [0])
    assert protocol.final(scores)["accuracy"] == 0.5


def test_detection_scores_and_the_released_names() -> None:
    """10 steps: switches at 0, 3, 6; flags at 3 (right), 4 (false). Flagged 1 of 3, quiet 6 of 7."""
    flags = [0.0, 0, 0, 1, 1, 0, 0, 0, 0, 0]
    protocol, scores = play(Scripted([4] * 10, flags), ["a"] * 10, [0, 0, 0, 3, 3, 3, 6, 6, 6, 6])
    final = protocol.final(scores)
    assert final["detection/precision"] == 1 / 2
    assert final["detection/recall"] == pytest.approx(1 / 3)
    assert final["detection/specificity"] == pytest.approx(6 / 7)
    assert final["detection/f1"] == pytest.approx(0.4)
    assert final["detection/f1_as_released"] == pytest.approx(2 * (1 / 3) * (6 / 7) / (1 / 3 + 6 / 7))


def test_learner_without_detection_has_no_detection_scores() -> None:
    protocol, scores = play(Scripted([4] * 3), ["a"] * 3, [0, 0, 2])
    assert set(protocol.final(scores)) == {"accuracy", "accuracy/a"}
    assert detection_scores(torch.zeros(2, 2, dtype=torch.int64))["detection/f1"] == 0
