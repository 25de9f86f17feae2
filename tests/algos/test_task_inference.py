"""Which task a batch comes from (powerprop sheet, section 11): derivatives against finite differences, and three forms
on tasks that a small network tells apart."""

from __future__ import annotations

import functools

import pytest
import torch
from sequences import learn, learner_of, striped
from toys import double

from frisket.algos.learners.tasks.protecting import ProtectingLearner
from frisket.algos.parts.inference import Form, _entropy, _Mixture, identify, infer_task
from frisket.errors import MaskError
from frisket.types import State

TASKS = 4


@functools.cache
def trained(biases: str = "per_task", alpha: float = 1.0) -> tuple[ProtectingLearner, State]:
    """Four tasks of 25 steps each."""
    learner = learner_of(
        "efficient-packnet", alpha, biases=biases, head="per_task", grid=(0.1, 0.2, 0.4), gamma=0.99, width=3
    )
    state = learner.init(0)
    for index in range(TASKS):
        state, _ = learn(learner, state, index, 25)
    return learner, state


@pytest.mark.parametrize("biases", ["freeze_after_first", "per_task"])
@pytest.mark.parametrize("alpha", [1.0, 1.5])
def test_derivative_by_a_share_against_finite_differences(biases: str, alpha: float) -> None:
    learner, state = trained(biases, alpha)
    state = {**state, "theta": double(state["theta"]), "own": double(state["own"])}
    x, tasks, h = striped(2, "asked", 8).x.double(), [0, 2, 3], 1e-6
    mixture = _Mixture(learner.tasks(state))
    slopes = mixture.slopes(tasks, x)
    theta, store = mixture.kept.theta, mixture.kept.store

    def entropy(shares: dict[int, float]) -> float:
        mixed = {k: theta[k] * sum(a * store.masks(t)[k].double() for t, a in shares.items()) for k in store.shapes}
        for k in mixture.own[0]:
            mixed[k] = torch.stack([a * mixture.own[t][k] for t, a in shares.items()]).sum(0)
        return float(_entropy(learner.network.network({**theta, **mixed}, x)))

    for t, slope in zip(tasks, slopes, strict=True):
        up, down = ({i: 1 / 3 + (sign * h if i == t else 0) for i in tasks} for sign in (1, -1))
        assert slope == pytest.approx((entropy(up) - entropy(down)) / (2 * h), rel=1e-4, abs=1e-8)


@pytest.mark.parametrize("form", ["one_shot", "binary", "exhaustive"])
def test_every_form_beats_guessing(form: Form) -> None:
    """Batches of 50; chance is 1 / 4."""
    learner, state = trained()
    sets = [striped(t, "judged", 200) for t in range(TASKS)]
    found = identify(learner.tasks(state), sets, 50, form)
    assert found.rate > 0.4
    assert found.oracle > 0.9
    assert found.accuracy <= 1


def test_exhaustive_is_the_least_entropy() -> None:
    learner, state = trained()
    x = striped(1, "asked").x
    entropies = [float(_entropy(learner.network.network(learner.tasks(state).weights(t), x))) for t in range(TASKS)]
    assert infer_task(learner.tasks(state), x, "exhaustive") == entropies.index(min(entropies))


def test_binary_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    """4 tasks, then 2, then the answer: ceil(log2 4) rounds; the one-shot form asks once."""
    learner, state = trained()
    asked: list[list[int]] = []
    slopes = _Mixture.slopes

    def watched(self: _Mixture, tasks: list[int], x: torch.Tensor) -> list[float]:
        asked.append(list(tasks))
        return slopes(self, tasks, x)

    monkeypatch.setattr(_Mixture, "slopes", watched)
    infer_task(learner.tasks(state), striped(3, "asked").x, "binary")
    assert [len(tasks) for tasks in asked] == [4, 2]
    assert set(asked[1]) < set(asked[0])
    asked.clear()
    infer_task(learner.tasks(state), striped(3, "asked").x, "one_shot")
    assert [len(tasks) for tasks in asked] == [4]


def test_one_task_is_the_answer_and_none_an_error() -> None:
    learner = learner_of("efficient-packnet")
    state = learner.init(0)
    with pytest.raises(MaskError, match="no task has ended"):
        infer_task(learner.tasks(state), striped(0, 0).x)
    state, _ = learn(learner, state, 0)
    assert infer_task(learner.tasks(state), striped(0, 0).x) == 0


def test_entropy_of_equal_logits_is_that_of_the_uniform_distribution() -> None:
    assert float(_entropy(torch.zeros(3, 8))) == pytest.approx(torch.tensor(8.0).log())
