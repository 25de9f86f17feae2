"""Penalties and Fisher information against automatic differentiation and against sums over tasks, in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from toys import double, largest_difference, small_mlp, small_network

from frisket.algos.contract.toys import noise_data
from frisket.algos.networks.fisher import squared_gradients
from frisket.algos.networks.mlp import MLP, MLPConfig
from frisket.algos.networks.network import Network
from frisket.algos.networks.powerprop import Powerprop, by_phi, by_theta
from frisket.algos.parts.importance import EWCPenalty, LaplacePenalty, Regulariser, SIPenalty
from frisket.errors import SpecError
from frisket.rng import torch_generator
from frisket.types import Params, State

TASKS = 3
SHAPES = {"a.weight": (4, 3), "a.bias": (4,)}
PENALTIES: dict[str, Callable[[float], Regulariser]] = {"ewc": EWCPenalty, "laplace": LaplacePenalty, "si": SIPenalty}
every_penalty = pytest.mark.parametrize("penalty", list(PENALTIES))


def normal(*labels: str | int) -> Params:
    generator = torch_generator(0, *labels)
    return {k: torch.randn(shape, generator=generator, dtype=torch.float64) for k, shape in SHAPES.items()}


def fisher(task: int) -> Params:
    return {k: v.square() for k, v in normal("fisher", task).items()}


def led(penalty: Regulariser, tasks: int = TASKS) -> State:
    """The penalty's state after tasks that ended at `normal`, one step each."""
    weights = normal("w", 0)
    state = penalty.init(weights)
    for task in range(tasks):
        after = normal("w", task + 1)
        state = penalty.after_step(state, normal("g", task), weights, after)
        state = penalty.task_end(state, after, lambda task=task: fisher(task))
        weights = after
    return state


@every_penalty
def test_gradient_is_that_of_the_value(penalty: str) -> None:
    one = PENALTIES[penalty](3.5)
    state, weights = led(one), {k: v.requires_grad_() for k, v in normal("here").items()}
    expected = torch.autograd.grad(one.value(weights, state), list(weights.values()))
    found = one.gradient(weights, state)
    assert all(torch.allclose(found[k], g, rtol=1e-12, atol=0) for k, g in zip(weights, expected, strict=True))


@every_penalty
def test_before_a_task_has_ended_nothing_is_held(penalty: str) -> None:
    one = PENALTIES[penalty](100.0)
    state = one.after_step(one.init(normal("w", 0)), normal("g", 0), normal("w", 0), normal("w", 1))
    assert all(not g.any() for g in one.gradient(normal("here"), state).values())


@every_penalty
def test_only_the_named_weights_are_covered(penalty: str) -> None:
    one, whole = PENALTIES[penalty](1.0), {**normal("w", 0), "own": torch.ones(2, dtype=torch.float64)}
    state = one.init({k: whole[k] for k in SHAPES})
    state = one.after_step(state, whole, whole, {k: v + 1 for k, v in whole.items()})
    state = one.task_end(state, whole, lambda: fisher(0))
    assert set(one.gradient(whole, state)) == set(state["anchor"]) == set(SHAPES)


def test_ewc_is_the_sum_over_tasks() -> None:
    """Value up to the constant and gradient: of one bowl about the weighted mean, and of a bowl per task."""
    one, state = EWCPenalty(7.0), led(EWCPenalty(7.0))

    def by_task(weights: Params) -> torch.Tensor:
        bowls = [
            (fisher(t)[k] * (weights[k] - normal("w", t + 1)[k]).square()).sum() for t in range(TASKS) for k in SHAPES
        ]
        return 7.0 / 2 * torch.stack(bowls).sum()

    here, there = ({k: v.requires_grad_() for k, v in normal(label).items()} for label in ("here", "there"))
    expected = dict(zip(here, torch.autograd.grad(by_task(here), list(here.values())), strict=True))
    with torch.no_grad():
        assert largest_difference(one.gradient(here, state), expected) < 1e-12
    moved = (one.value(here, state) - one.value(there, state)).item()
    assert moved == pytest.approx((by_task(here) - by_task(there)).item(), rel=1e-12)


def test_ewc_after_one_task_is_laplace_bit_for_bit_and_not_after_two() -> None:
    ewc, laplace = led(EWCPenalty(1.0), 1), led(LaplacePenalty(1.0), 1)
    assert all(torch.equal(ewc[part][k], laplace[part][k]) for part in ewc for k in SHAPES)
    ewc, laplace = led(EWCPenalty(1.0), 2), led(LaplacePenalty(1.0), 2)
    assert largest_difference(ewc["precision"], laplace["precision"]) == 0
    assert largest_difference(ewc["anchor"], laplace["anchor"]) > 0.1
    assert largest_difference(laplace["anchor"], normal("w", 2)) == 0


def test_a_weight_no_task_uses_is_free_and_finite() -> None:
    one = EWCPenalty(1.0)
    state = one.task_end(one.init(normal("w", 0)), normal("w", 1), lambda: {k: v * 0 for k, v in fisher(0).items()})
    assert all(not g.any() for g in one.gradient(normal("here"), state).values())
    assert largest_difference(state["anchor"], normal("w", 0)) == 0


def test_si_path_of_a_quadratic_is_the_loss_it_lost() -> None:
    """loss = 1/2 sum h w^2 by gradient descent: a step takes ``- g d`` off to first order, of which ``h d^2 / 2`` comes
    back; so path = drop + sum_steps h d^2 / 2, weight by weight."""
    h, weights, one = fisher(9), normal("w", 0), SIPenalty(1.0)
    state, back = one.init(weights), {k: torch.zeros_like(v) for k, v in weights.items()}
    for _ in range(20):
        grads = {k: h[k] * v for k, v in weights.items()}
        after = {k: v - 0.05 * grads[k] for k, v in weights.items()}
        state = one.after_step(state, grads, weights, after)
        back = {k: v + h[k] * (after[k] - weights[k]).square() / 2 for k, v in back.items()}
        weights = after
    start = normal("w", 0)
    drop = {k: h[k] * (start[k].square() - weights[k].square()) / 2 for k in weights}
    assert largest_difference(state["path"], {k: drop[k] + back[k] for k in drop}) < 1e-13
    ended = one.task_end(state, weights, dict)
    for k, precision in ended["precision"].items():
        way = (weights[k] - start[k]).square()
        assert torch.allclose(precision, state["path"][k] / (way + 1e-6), rtol=1e-14, atol=0)
        assert torch.equal(ended["anchor"][k], weights[k])
        assert not ended["path"][k].any()


def test_si_with_a_floor_differs_where_it_would_be_below_alone() -> None:
    plain, floored = SIPenalty(1.0), SIPenalty(1.0, floor=0.0)
    a, b = led(plain, 1), led(floored, 1)
    below = {k: v < 0 for k, v in a["precision"].items()}
    assert any(bool(v.any()) for v in below.values())
    for k in SHAPES:
        assert torch.equal(b["precision"][k], torch.where(below[k], 0, a["precision"][k]))
        assert torch.equal(a["anchor"][k], b["anchor"][k])


def test_si_adds_up_over_tasks_and_never_asks_for_fisher() -> None:
    one = SIPenalty(1.0)
    first, both = led(one, 1), led(one, 2)
    step = {k: normal("w", 2)[k] - normal("w", 1)[k] for k in SHAPES}
    for k in SHAPES:
        added = -normal("g", 1)[k] * step[k] / (step[k].square() + 1e-6)
        assert torch.allclose(both["precision"][k], first["precision"][k] + added, rtol=1e-13, atol=1e-13)

    def refuse() -> Params:
        raise AssertionError("SI has no use for it")

    one.task_end(one.init(normal("w", 0)), normal("w", 1), refuse)


def networks() -> dict[str, Network]:
    blocks = MLP(MLPConfig(hidden=(8,)), in_channels=1, size=16, ways=2, own=1)
    return {"mlp": small_mlp(), "conv4": small_network(), "own blocks": blocks}


def by_sample(network: Network, params: Params) -> Params:
    """Mean of squared gradients, one backward pass per sample."""
    data, total = noise_data(0), {k: torch.zeros_like(v) for k, v in params.items()}
    for i in range(len(data.y)):
        leaves = {k: v.clone().requires_grad_() for k, v in params.items()}
        loss = network.loss(leaves, data.x[i : i + 1], data.y[i : i + 1])
        grads = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
        total = {k: v + g.square() / len(data.y) for (k, v), g in zip(total.items(), grads, strict=True)}
    return total


@pytest.mark.parametrize("kind", ["mlp", "conv4", "own blocks"])
def test_fisher_is_the_mean_of_squares_sample_by_sample(kind: str) -> None:
    network = networks()[kind]
    params, data = double(network.init(torch_generator(0, "theta"))), noise_data(0)
    found = network.squared_gradients(params, data.x, data.y)
    assert list(found) == list(params)
    assert largest_difference(found, by_sample(network, params)) < 1e-12
    assert all(not v.requires_grad for v in found.values())


@pytest.mark.parametrize("alpha", [1.5, 2.0, 3.0])
@pytest.mark.parametrize("kind", ["mlp", "conv4"])
def test_fisher_in_phi_is_that_in_theta_times_the_slope_squared(kind: str, alpha: float) -> None:
    """Against one backward pass per sample through psi itself."""
    network = Powerprop(networks()[kind], alpha)
    phi, data = double(network.init(torch_generator(0, "theta"))), noise_data(0)
    found = network.squared_gradients(phi, data.x, data.y)
    assert largest_difference(found, by_sample(network, phi)) < 1e-12
    theta, slopes = network.effective(phi)
    in_theta = network.network.squared_gradients(theta, data.x, data.y)
    for k in network.kernels:
        assert torch.allclose(found[k], slopes[k].square() * in_theta[k], rtol=1e-12, atol=0)


@pytest.mark.parametrize("chunk", [1, 4, 64])
def test_fisher_of_any_loss_on_some_of_the_parameters(chunk: int) -> None:
    """A loss with noise among its samples, and parameters that stay outside; chunks of any size."""
    fixed, generator = normal("fixed")["a.weight"], torch_generator(0, "x")
    x, noise = (torch.randn(6, 3, generator=generator, dtype=torch.float64) for _ in range(2))

    def loss(params: Params, one: torch.Tensor, eps: torch.Tensor) -> torch.Tensor:
        return F.softplus((params["w"] * (one + eps)) @ fixed.T).sum()

    weights = {"w": normal("w")["a.weight"][0]}
    total = torch.zeros(3, dtype=torch.float64)
    for one, eps in zip(x, noise, strict=True):
        leaf = {"w": weights["w"].clone().requires_grad_()}
        total += torch.autograd.grad(loss(leaf, one, eps), [leaf["w"]])[0].square() / 6
    found = squared_gradients(loss, weights, x, noise, chunk=chunk)
    assert torch.allclose(found["w"], total, rtol=1e-12, atol=0)


def test_gradients_by_phi_and_by_theta_are_inverse_where_there_is_a_slope() -> None:
    slopes = {"a.weight": fisher(0)["a.weight"] + 0.1}
    there = by_theta(by_phi(normal("g"), slopes), slopes)
    assert largest_difference(there, normal("g")) < 1e-12
    flat = by_theta({"w": torch.ones(2)}, {"w": torch.tensor([0.0, 1.0])})
    assert torch.isfinite(flat["w"]).all()


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: EWCPenalty(-1.0), "strength"),
        (lambda: LaplacePenalty(float("nan")), "strength"),
        (lambda: SIPenalty(1.0, damping=0.0), "damping"),
    ],
)
def test_numbers_that_cannot_be_are_refused(make: Callable[[], Regulariser], field: str) -> None:
    with pytest.raises(SpecError) as caught:
        make()
    assert caught.value.field == field
