"""EWC, online Laplace, SI and sequential training as learners: against plain training and automatic differentiation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sequences import STEPS, batches, network, striped, task_of
from toys import largest_difference

from frisket.algos.kinds import LEARNERS
from frisket.algos.learner import Learner
from frisket.algos.learners.tasks.regularised import RegularisedLearner
from frisket.algos.networks.powerprop import Powerprop
from frisket.algos.parts import adam
from frisket.algos.parts.importance import EWCPenalty
from frisket.algos.parts.tree import descend, equal_states, map_tensors
from frisket.errors import SpecError
from frisket.types import Batch, Params, State, TaskEnd

KINDS = ("ewc-fisher", "online-laplace", "si")
every_kind = pytest.mark.parametrize("kind", KINDS)
every_optimiser = pytest.mark.parametrize("optimiser", ["sgd", "momentum", "nesterov", "adam"])
every_alpha = pytest.mark.parametrize("alpha", [1.0, 2.0])


def built(kind: str, alpha: float = 1.0, **fields: Any) -> Learner:
    entry = LEARNERS[kind]
    return entry.build(entry.config(**{"lr": 0.01, **fields}), network(alpha))


def regularised(kind: str, alpha: float = 1.0, **fields: Any) -> RegularisedLearner:
    learner = built(kind, alpha, **fields)
    assert isinstance(learner, RegularisedLearner)
    return learner


def led(learner: Learner, tasks: range, state: State | None = None) -> State:
    state = learner.init(0) if state is None else state
    for index in tasks:
        for batch in batches(index):
            state, _ = learner.observe(state, batch)
    return state


def doubled(state: State) -> State:
    """``state`` in float64."""
    return map_tensors(lambda t: t.double() if t.is_floating_point() else t, state)


def second_task(learner: RegularisedLearner) -> tuple[State, Batch]:
    """Some way into the second task, in float64, and its next batch."""
    state, (first, second, *_) = doubled(led(learner, range(1))), batches(1)
    state, _ = learner.observe(state, Batch(first.x.double(), first.y, first.position, first.task))
    return state, Batch(second.x.double(), second.y, second.position, second.task)


def gradient_through_psi(learner: RegularisedLearner, state: State, batch: Batch) -> Params:
    """d (loss + penalty) / d phi by automatic differentiation."""
    phi = {k: v.clone().requires_grad_() for k, v in state["theta"].items()}
    loss = learner.network.loss(phi, batch.x, batch.y) + learner.regulariser.value(phi, state["penalty"])
    return dict(zip(phi, torch.autograd.grad(loss, list(phi.values())), strict=True))


@every_kind
@every_optimiser
@every_alpha
def test_the_first_task_is_sequential_training_bit_for_bit(kind: str, optimiser: str, alpha: float) -> None:
    plain, learner = built("sequential", alpha, optimiser=optimiser), built(kind, alpha, optimiser=optimiser)
    a, b = led(plain, range(1)), led(learner, range(1))
    assert equal_states(a["theta"], b["theta"])
    assert equal_states(a["optimiser"], b["optimiser"])
    a, b = led(plain, range(1, 2), a), led(learner, range(1, 2), b)
    assert not equal_states(a["theta"], b["theta"])


@every_kind
def test_strength_0_is_sequential_training_for_ever(kind: str) -> None:
    a, b = led(built("sequential"), range(3)), led(built(kind, strength=0.0), range(3))
    assert equal_states(a["theta"], b["theta"])


@every_kind
@pytest.mark.parametrize("alpha", [1.0, 1.5, 2.0])
def test_a_step_of_sgd_is_one_of_the_penalised_loss_by_phi(kind: str, alpha: float) -> None:
    learner = regularised(kind, alpha, optimiser="sgd", strength=2.0)
    state, batch = second_task(learner)
    expected = descend(state["theta"], 0.01, gradient_through_psi(learner, state, batch))
    pull = learner.regulariser.gradient(state["theta"], state["penalty"])
    assert max(float(g.abs().max()) for g in pull.values()) > 1e-6
    after, _ = learner.observe(state, batch)
    assert largest_difference(after["theta"], expected) < 1e-12


@every_kind
def test_adam_sees_the_penalised_loss_by_theta_and_its_step_is_times_the_slope(kind: str) -> None:
    learner = regularised(kind, 2.0, strength=2.0)
    state, batch = second_task(learner)
    slopes = learner.network.effective(state["theta"]).slopes
    by_phi = gradient_through_psi(learner, state, batch)
    by_theta = {k: g / slopes[k] if k in slopes else g for k, g in by_phi.items()}
    delta, _ = adam.update(by_theta, state["optimiser"], 0.01)
    expected = {k: v + delta[k] * slopes.get(k, torch.ones(())) for k, v in state["theta"].items()}
    after, _ = learner.observe(state, batch)
    assert largest_difference(after["theta"], expected) < 1e-9


@every_kind
@pytest.mark.parametrize("alpha", [1.5, 2.0])
def test_a_weight_at_0_stays_there_and_everything_finite(kind: str, alpha: float) -> None:
    learner = regularised(kind, alpha)
    state = map_tensors(torch.clone, led(learner, range(1)))  # anchor and weights share storage
    k = learner.network.kernels[0]
    state["theta"][k][:, 0], state["penalty"]["anchor"][k][:, 0] = 0.0, 1.0
    state["penalty"]["precision"][k][:, 0] = 1.0
    state = led(learner, range(1, 2), state)
    assert not state["theta"][k][:, 0].any()
    assert all(bool(torch.isfinite(v).all()) for v in state["theta"].values())


@pytest.mark.parametrize("alpha", [1.0, 2.0])
def test_fisher_is_made_of_one_pass_sample_by_sample(alpha: float) -> None:
    """A task of three batches shown twice: F is the mean over the three, whatever the second pass shows."""
    learner = regularised("ewc-fisher", alpha, strength=1.0)
    phi = led(learner, range(1))["theta"]

    def batch(i: int) -> Batch:
        data = striped(0, i, 4 + 4 * (i % 3))
        return Batch(data.x, data.y, i, task_of(0), epoch=i // 3)

    found = learner.fisher(phi, TaskEnd(6, batch, lambda: striped(0, "validation")))
    x, y = (torch.cat(parts) for parts in zip(*((batch(i).x, batch(i).y) for i in range(3)), strict=True))
    assert len(y) == 24
    assert largest_difference(found, learner.network.squared_gradients(phi, x, y)) < 1e-6
    two = regularised("ewc-fisher", alpha, fisher_batches=2)
    found = two.fisher(phi, TaskEnd(6, batch, lambda: striped(0, "validation")))
    assert largest_difference(found, two.network.squared_gradients(phi, x[:12], y[:12])) < 1e-6
    more = regularised("ewc-fisher", alpha, fisher_batches=50)
    assert all(bool((f >= 0).all()) for f in more.fisher(phi, TaskEnd(6, batch, lambda: striped(0, "v"))).values())


def test_ewc_and_laplace_agree_on_two_tasks_and_part_in_the_third() -> None:
    ewc, laplace = (built(kind, strength=50.0) for kind in KINDS[:2])
    a, b = led(ewc, range(2)), led(laplace, range(2))
    assert equal_states(a["theta"], b["theta"])
    a, b = led(ewc, range(2, 3), a), led(laplace, range(2, 3), b)
    assert not equal_states(a["theta"], b["theta"])


@every_alpha
def test_path_of_si_is_walked_in_phi(alpha: float) -> None:
    """Over a whole task, from the weights seen on the way and gradients through psi."""
    learner = regularised("si", alpha)
    state = led(learner, range(1))
    path, penalty = {k: torch.zeros_like(v) for k, v in state["theta"].items()}, state["penalty"]
    for batch in list(batches(1))[:-1]:
        before = state["theta"]
        phi = {k: v.clone().requires_grad_() for k, v in before.items()}
        loss = learner.network.loss(phi, batch.x, batch.y)  # without the penalty
        grads = dict(zip(phi, torch.autograd.grad(loss, list(phi.values())), strict=True))
        state, _ = learner.observe(state, batch)
        path = {k: v - grads[k] * (state["theta"][k] - before[k]) for k, v in path.items()}
    assert largest_difference(state["penalty"]["path"], path) < 1e-6
    assert equal_states(state["penalty"]["precision"], penalty["precision"])
    *_, last = batches(1)
    state, _ = learner.observe(state, last)
    assert equal_states(state["penalty"]["anchor"], state["theta"])
    assert not any(bool(v.any()) for v in state["penalty"]["path"].values())


def accuracy(learner: Learner, state: State, index: int) -> float:
    x, y = striped(index, "test", 400)
    logits = learner.predict(state, x)
    assert logits is not None
    return float((logits.argmax(-1) == y).double().mean())


@every_alpha
@pytest.mark.parametrize(("kind", "strength"), [("ewc-fisher", 1e4), ("online-laplace", 1e4), ("si", 3.0)])
def test_old_tasks_stay_nearer_where_they_are_held(kind: str, strength: float, alpha: float) -> None:
    """After the first task, weights that matter to it move less than under sequential training, all in all."""
    plain, learner = built("sequential", alpha), regularised(kind, alpha, strength=strength)
    start = led(learner, range(1))
    state = led(learner, range(1, 3), start)
    free = led(plain, range(1, 3), {k: v for k, v in start.items() if k != "penalty"})
    judge = EWCPenalty(1.0)
    bowl = {"precision": fisher_of(learner, start["theta"]), "anchor": start["theta"]}
    assert float(judge.value(state["theta"], bowl)) < 0.8 * float(judge.value(free["theta"], bowl))


def fisher_of(learner: RegularisedLearner, phi: Params) -> Params:
    *_, last = batches(0)
    assert last.end is not None
    return learner.fisher(phi, last.end)


@every_kind
def test_the_optimiser_goes_on_or_starts_afresh(kind: str) -> None:
    went_on, afresh = led(built(kind), range(1)), led(built(kind, fresh_optimiser=True), range(1))
    assert int(went_on["optimiser"]["t"]) == STEPS
    assert int(afresh["optimiser"]["t"]) == 0
    assert not any(bool(v.any()) for v in afresh["optimiser"]["mean"].values())


@every_kind
def test_alpha_1_is_the_plain_network_bit_for_bit(kind: str) -> None:
    entry, plain = LEARNERS[kind], network()
    learners = [entry.build(entry.config(lr=0.01), one) for one in (plain, Powerprop(plain, 1.0))]
    assert equal_states(*(led(learner, range(2)) for learner in learners))


@every_optimiser
def test_sequential_sgd_is_sgd_on_phi(optimiser: str) -> None:
    """With plain SGD phi follows its own gradient; momentum and Adam do not, at alpha above 1."""
    learner = built("sequential", 2.0, optimiser=optimiser)
    state, same = learner.init(0), True
    for batch in batches(0):
        phi = state["theta"]
        _, grads = network(2.0).loss_and_gradients(phi, batch.x, batch.y)
        state, _ = learner.observe(state, batch)
        same = same and largest_difference(state["theta"], descend(phi, 0.01, grads)) < 1e-8
    assert same == (optimiser == "sgd")


def test_state_does_not_grow_with_the_tasks() -> None:
    for kind in KINDS:
        learner = built(kind)
        sizes = [sum(v.numel() for v in led(learner, range(n))["penalty"]["precision"].values()) for n in (1, 3)]
        assert sizes[0] == sizes[1]


@pytest.mark.parametrize(
    ("kind", "fields", "field"),
    [
        ("ewc-fisher", {"strength": -1.0}, "strength"),
        ("ewc-fisher", {"fisher_batches": 0}, "fisher_batches"),
        ("online-laplace", {"fisher_batches": -3}, "fisher_batches"),
        ("online-laplace", {"lr": 0.0}, "lr"),
        ("si", {"damping": 0.0}, "damping"),
        ("si", {"strength": float("nan")}, "strength"),
        ("sequential", {"momentum": 1.0}, "momentum"),
    ],
)
def test_numbers_that_cannot_be_are_refused(kind: str, fields: dict[str, Any], field: str) -> None:
    with pytest.raises(SpecError) as caught:
        LEARNERS[kind].config(**fields)
    assert caught.value.field == field
