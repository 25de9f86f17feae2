"""VCL: Gaussians against torch.distributions, a step against automatic differentiation, posterior into prior."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sequences import STEPS, batches, network

from frisket.algos.kinds import LEARNERS
from frisket.algos.learners.tasks.vcl import VCL, VCLConfig
from frisket.algos.parts.mean_field import (
    Gaussian,
    constant,
    divergence,
    divergence_gradient,
    sample,
    sampled_gradient,
    standard_normal,
)
from frisket.algos.parts.tree import equal_states, map_tensors
from frisket.errors import SpecError
from frisket.rng import torch_generator
from frisket.types import Batch, Params, State

SHAPES = {"a.weight": (4, 3), "a.bias": (4,)}


def normal(*labels: str | int) -> Params:
    generator = torch_generator(0, *labels)
    return {k: torch.randn(shape, generator=generator, dtype=torch.float64) for k, shape in SHAPES.items()}


def gaussian(label: str) -> Gaussian:
    return Gaussian(normal(label, "mean"), normal(label, "log_sigma"))


def learner_of(alpha: float = 1.0, **fields: Any) -> VCL:
    config = VCLConfig(**{"lr": 0.01, "samples": 3, "task_samples": 50, **fields})
    return VCL(config, network(alpha))


def led(learner: VCL, tasks: range, state: State | None = None) -> State:
    state = learner.init(0) if state is None else state
    for index in tasks:
        for batch in batches(index):
            state, _ = learner.observe(state, batch)
    return state


def test_divergence_is_that_of_the_distributions() -> None:
    q, p = gaussian("q"), gaussian("p")
    expected = 0.0
    for k in SHAPES:
        pair = [torch.distributions.Normal(g.mean[k], g.log_sigma[k].exp()) for g in (q, p)]
        expected += float(torch.distributions.kl_divergence(*pair).sum())
    assert float(divergence(q, p)) == pytest.approx(expected, rel=1e-13)
    assert float(divergence(q, q)) == 0


def test_gradient_of_the_divergence() -> None:
    p, found = gaussian("p"), divergence_gradient(gaussian("q"), gaussian("p"))
    q = Gaussian(*({k: v.requires_grad_() for k, v in part.items()} for part in gaussian("q")))
    divergence(q, p).backward()
    for part, grads in zip(q, found, strict=True):
        for k, v in part.items():
            assert v.grad is not None
            assert torch.allclose(grads[k], v.grad, rtol=1e-12, atol=1e-12)


def test_gradient_through_samples() -> None:
    """Of a mean over three samples, against autograd through ``mu + exp(log sigma) eps``."""
    noise, target = [normal("eps", i) for i in range(3)], normal("target")

    def loss(weights: Params) -> torch.Tensor:
        return torch.stack([(weights[k] - target[k]).pow(4).sum() for k in SHAPES]).sum()

    def gradient(weights: Params) -> tuple[torch.Tensor, Params]:
        leaves = {k: v.detach().requires_grad_() for k, v in weights.items()}
        value = loss(leaves)
        return value.detach(), dict(zip(leaves, torch.autograd.grad(value, list(leaves.values())), strict=True))

    found_loss, found = sampled_gradient(gaussian("q"), gradient, noise)
    q = Gaussian(*({k: v.requires_grad_() for k, v in part.items()} for part in gaussian("q")))
    expected = torch.stack(
        [loss({k: q.mean[k] + q.log_sigma[k].exp() * eps[k] for k in SHAPES}) for eps in noise]
    ).mean()
    expected.backward()
    assert float(found_loss) == pytest.approx(expected.item(), rel=1e-13)
    for part, grads in zip(q, found, strict=True):
        for k, v in part.items():
            assert v.grad is not None
            assert torch.allclose(grads[k], v.grad, rtol=1e-10, atol=1e-10)


def test_samples_have_the_gaussians_moments() -> None:
    like = {"w": torch.zeros(20_000, dtype=torch.float64)}
    drawn = sample(constant(like, 3.0, -1.0), standard_normal(like, torch_generator(0, "eps")))["w"]
    assert float(drawn.mean()) == pytest.approx(3.0, abs=0.02)
    assert float(drawn.std()) == pytest.approx(float(torch.tensor(-1.0).exp()), rel=0.03)


def test_noise_does_not_depend_on_the_order_of_names() -> None:
    like = {k: torch.zeros(shape) for k, shape in SHAPES.items()}
    turned = dict(reversed(like.items()))
    a, b = (standard_normal(one, torch_generator(0, "eps")) for one in (like, turned))
    assert all(torch.equal(a[k], b[k]) for k in SHAPES)


@pytest.mark.parametrize("alpha", [1.0, 2.0])
def test_a_step_of_sgd_is_one_of_the_variational_loss(alpha: float) -> None:
    """In the second task, float64: mean loss of the samples + KL / N, by automatic differentiation through psi."""
    learner = learner_of(alpha, optimiser="sgd", samples=2)
    state, (first, second, *_) = led(learner, range(1)), batches(1)
    state, _ = learner.observe(state, first)
    state = map_tensors(lambda t: t.double() if t.is_floating_point() else t, state)
    x, y = second.x.double(), second.y
    q = Gaussian(*({k: v.clone().requires_grad_() for k, v in state[n].items()} for n in ("theta", "log_sigma")))
    losses = []
    for k in range(2):
        eps = standard_normal(state["theta"], torch_generator(0, "vcl", STEPS + 1, k))
        losses.append(learner.network.loss({n: q.mean[n] + q.log_sigma[n].exp() * eps[n] for n in q.mean}, x, y))
    loss = torch.stack(losses).mean() + divergence(q, Gaussian(**state["prior"])) / 50
    loss.backward()
    after, metrics = learner.observe(state, Batch(x, y, second.position, second.task))
    for name, part in (("theta", q.mean), ("log_sigma", q.log_sigma)):
        for k, v in part.items():
            assert v.grad is not None
            assert torch.allclose(after[name][k], state[name][k] - 0.01 * v.grad, rtol=0, atol=1e-12)
    assert metrics["sampled_loss"] == pytest.approx(torch.stack(losses).mean().item(), rel=1e-12)


def test_posterior_becomes_the_prior_and_log_sigma_starts_again() -> None:
    learner = learner_of()
    state = learner.init(0)
    assert all(not v.any() for part in state["prior"].values() for v in part.values())
    before: State = {}
    for batch in batches(0):
        before = state
        state, _ = learner.observe(state, batch)
    *_, last = batches(0)
    running, _ = learner.observe(before, Batch(last.x, last.y, last.position, last.task))  # the same step, no end
    assert equal_states(running["theta"], state["theta"])
    assert equal_states(state["prior"]["mean"], running["theta"])
    assert equal_states(state["prior"]["log_sigma"], running["log_sigma"])
    assert all(bool((v == -6).all()) for v in state["log_sigma"].values())
    assert any(bool((v != -6).any()) for v in running["log_sigma"].values())
    assert [int(part["t"]) for part in state["optimiser"].values()] == [0, 0]
    assert not equal_states(led(learner, range(1, 2), state)["theta"], state["theta"])


def test_a_strong_prior_holds_the_mean() -> None:
    """The fewer samples a task is said to have, the more the divergence counts."""
    start = led(learner_of(), range(1))
    ways = []
    for task_samples in (1, 10_000_000):
        state = led(learner_of(task_samples=task_samples, optimiser="sgd", lr=1e-5), range(1, 2), start)
        bowl = Gaussian(**start["prior"])
        ways.append(float(divergence(Gaussian(state["theta"], start["prior"]["log_sigma"]), bowl)))
    assert 0 < ways[0] < ways[1]


def test_answers_come_from_the_mean() -> None:
    learner = learner_of(2.0)
    state, (batch, *_) = led(learner, range(1)), batches(1)
    wide = {**state, "log_sigma": {k: v + 3 for k, v in state["log_sigma"].items()}}
    a, b = (learner.predict(one, batch.x) for one in (state, wide))
    assert a is not None
    assert b is not None
    assert torch.equal(a, b)
    assert torch.allclose(a, learner.network(state["theta"], batch.x), atol=1e-6)


@pytest.mark.parametrize("field", ["samples", "task_samples", "log_sigma"])
def test_numbers_that_cannot_be_are_refused(field: str) -> None:
    for value in (0, -1) if field != "log_sigma" else (-41.0, float("nan"), float("inf")):
        with pytest.raises(SpecError) as caught:
            LEARNERS["vcl"].config(**{field: value})
        assert caught.value.field == field
