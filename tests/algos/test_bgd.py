"""BGD, MetaBGD and MetaCOG: the update by hand, the noise, and what ``as_released`` changes (D6)."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from toys import build, run, small_network

from frisket.algos.contract.toys import noise_batch
from frisket.algos.parts import posterior
from frisket.algos.parts.tree import equal_states
from frisket.types import Params, State


def gaussian(mu: list[float], sigma: list[float]) -> State:
    return {
        "seed": torch.tensor(0),
        "step": torch.tensor(1),
        "mu": {"w": torch.tensor(mu, dtype=torch.float64)},
        "sigma": {"w": torch.tensor(sigma, dtype=torch.float64)},
    }


def test_update_by_hand() -> None:
    """mu = 1, sigma = 0.1, E[g] = 2, E[g eps] = 4, eta_mu = 10: mu <- 1 - 10 * 0.01 * 2 = 0.8, and with
    h = 0.1 * 4 / 2 = 0.2, sigma <- 0.1 * (sqrt(1.04) - 0.2) = 0.0819804. With E[g eps] = -4:
    0.1 * (sqrt(1.04) + 0.2) = 0.1219804."""
    one = {"w": torch.tensor([1.0, 1.0], dtype=torch.float64)}
    sigma = {"w": torch.tensor([0.1, 0.1], dtype=torch.float64)}
    grad = {"w": torch.tensor([2.0, 2.0], dtype=torch.float64)}
    grad_noise = {"w": torch.tensor([4.0, -4.0], dtype=torch.float64)}
    mu, spread = posterior.update(one, sigma, grad, grad_noise, mean_lr=10.0)
    torch.testing.assert_close(mu["w"], torch.tensor([0.8, 0.8], dtype=torch.float64))
    root = math.sqrt(1.04)
    torch.testing.assert_close(
        spread["w"], torch.tensor([0.1 * (root - 0.2), 0.1 * (root + 0.2)], dtype=torch.float64), rtol=1e-12, atol=0
    )


def test_sigma_stays_positive_however_large_the_gradient() -> None:
    _, spread = posterior.update(
        {"w": torch.zeros(1)}, {"w": torch.full((1,), 0.01)}, {"w": torch.zeros(1)}, {"w": torch.full((1,), 1e9)}, 10.0
    )
    assert 0 < float(spread["w"]) < 1e-6


def test_posterior_step_on_a_parabola() -> None:
    """L = w^2 / 2, so g_s = N w_s: E[g] and E[g eps] by a plain loop over the same noise."""
    state = gaussian([0.3, -2.0], [0.1, 0.5])
    config = posterior.PosteriorConfig(mean_lr=0.5, samples=4)
    after, loss = posterior.posterior_step(config, state, 6, lambda s, w: (w["w"].pow(2).sum() / 2, {"w": w["w"]}))
    eps = [posterior.noise(state, s)["w"] for s in range(4)]
    samples = [state["mu"]["w"] + state["sigma"]["w"] * e for e in eps]
    grad = 6 * torch.stack(samples).mean(0)
    grad_noise = 6 * torch.stack([w * e for w, e in zip(samples, eps, strict=True)]).mean(0)
    sigma = state["sigma"]["w"]
    torch.testing.assert_close(after["mu"]["w"], state["mu"]["w"] - 0.5 * sigma**2 * grad)
    torch.testing.assert_close(
        after["sigma"]["w"], sigma * torch.sqrt(1 + (sigma * grad_noise / 2) ** 2) - sigma**2 * grad_noise / 2
    )
    assert loss == pytest.approx(sum(float(w.pow(2).sum()) / 2 for w in samples) / 4)


def test_bgd_step_equals_plain_autograd() -> None:
    """The gradient is that of the summed loss: N times the mean loss's."""
    learner = build("bgd", samples=2)
    state = run(learner, learner.init(0), range(1), noise_batch)
    batch = noise_batch(1)
    total = {k: torch.zeros_like(v) for k, v in state["mu"].items()}
    for s in range(2):
        w = {k: v.clone().requires_grad_() for k, v in posterior.displaced(state, posterior.noise(state, s)).items()}
        F.cross_entropy(small_network()(w, batch.x), batch.y, reduction="sum").backward()
        total = {k: total[k] + w[k].grad / 2 for k in w}  # type: ignore[operator]
    after, _ = learner.observe(state, batch)
    for k, mu in state["mu"].items():
        expected = mu - 30.0 * state["sigma"][k] ** 2 * total[k]
        torch.testing.assert_close(after["mu"][k], expected, rtol=1e-4, atol=1e-6)


def test_noise_is_a_function_of_seed_step_and_sample() -> None:
    state = build("bgd").init(0)
    values = [
        posterior.noise({**state, "seed": torch.tensor(seed), "step": torch.tensor(step)}, sample)["conv1.weight"]
        for seed, step, sample in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    ]
    assert torch.equal(values[0], posterior.noise(state, 0)["conv1.weight"])
    assert len({v.numpy().tobytes() for v in values}) == 4
    backwards = {**state, "mu": dict(reversed(state["mu"].items()))}
    assert torch.equal(
        values[0], posterior.noise(backwards, 0)["conv1.weight"]
    )  # a state read from a file is in other order


def test_noise_is_standard_normal_over_all_tensors() -> None:
    state = {**gaussian([0.0], [1.0]), "mu": {"a": torch.zeros(200, 50), "b": torch.zeros(10_000)}}
    eps = torch.cat([v.flatten() for v in posterior.noise(state, 0).values()])
    assert float(eps.mean()) == pytest.approx(0, abs=0.03)
    assert float(eps.std()) == pytest.approx(1, abs=0.03)


def still_batch_norm(state: State) -> State:
    """The state without any doubt about batch norm."""
    frozen: Params = {k: torch.zeros_like(v) if k.startswith("bn") else v for k, v in state["sigma"].items()}
    return {**state, "sigma": frozen}


@pytest.mark.parametrize(("as_released", "alike"), [(True, True), (False, False)])
def test_metabgd_samples_share_one_adaptation_as_released(as_released: bool, alike: bool) -> None:
    """D6: as released, samples differ through batch norm alone; in the intended form through every weight."""
    learner = build("metabgd", as_released=as_released)
    state = still_batch_norm(run(learner, learner.init(0), range(2), noise_batch))
    logits = learner.predict(state, noise_batch(2).x)
    assert logits is not None
    assert all(torch.equal(logits[0], other) for other in logits[1:]) == alike


def test_metabgd_as_released_starts_from_the_last_sample_before_the_update() -> None:
    learner = build("metabgd", step_size=1e-12)  # so small that phi is its own start
    state = run(learner, learner.init(0), range(2), noise_batch)
    after, _ = learner.observe(state, noise_batch(2))
    start = posterior.displaced(state, posterior.noise(state, 4))
    assert torch.equal(after["phi"]["conv2.weight"][0], start["conv2.weight"])
    assert not torch.equal(after["mu"]["conv2.weight"], state["mu"]["conv2.weight"])


def test_metabgd_intended_starts_from_the_samples_to_come() -> None:
    learner = build("metabgd", step_size=1e-12, as_released=False)
    state = run(learner, learner.init(0), range(2), noise_batch)
    after, _ = learner.observe(state, noise_batch(2))
    for s in range(5):
        start = posterior.displaced(after, posterior.noise(after, s))
        assert torch.equal(after["phi"]["conv2.weight"][s], start["conv2.weight"])


@pytest.mark.parametrize("as_released", [True, False])
def test_metabgd_orders_agree_at_a_vanishing_step_only(as_released: bool) -> None:
    """The delayed second-order path against the first-order one, which it must meet as alpha goes to 0."""

    def gap(step_size: float) -> float:
        ends = []
        for order in (1, 2):
            learner = build("metabgd", order=order, step_size=step_size, as_released=as_released, samples=2)
            ends.append(run(learner, learner.init(0), range(2), noise_batch)["mu"])
        return max(float((ends[0][k] - ends[1][k]).abs().max()) for k in ends[0])

    assert gap(1e-9) < 1e-5
    assert gap(0.1) > 1e-4


def test_metacog_as_released_is_deaf_to_its_inner_loop() -> None:
    """D6: K, step size, masks_init and l1 change nothing as released, and do in the intended form."""
    plain: dict[str, Any] = {"inner_steps": 1, "step_size": 0.1}
    other: dict[str, Any] = {"inner_steps": 2, "step_size": 0.3, "masks_init": 0.1, "l1": 0.5}

    def end(fields: dict[str, Any], as_released: bool) -> State:
        learner = build("metacog", as_released=as_released, **fields)
        return run(learner, learner.init(0), range(3), noise_batch)

    assert equal_states(end(plain, True), end(other, True))
    assert not torch.equal(end(plain, False)["mu"]["conv1.weight"], end(other, False)["mu"]["conv1.weight"])


def test_metacog_as_released_gates_each_weight_with_itself() -> None:
    """w sigmoid(w) for theta_A but the classifier; batch norm and the classifier are read as they are."""
    learner = build("metacog", sigma_0=1e-12)
    state = run(learner, learner.init(0), range(1), noise_batch)
    x = noise_batch(1).x
    gated = {k: v * torch.sigmoid(v) if k.startswith("conv") else v for k, v in state["mu"].items()}
    logits = learner.predict(state, x)
    assert logits is not None
    torch.testing.assert_close(logits[0], small_network()(gated, x))


def test_metacog_l1_closes_the_gates() -> None:
    def mean_gate(l1: float) -> float:
        learner = build("metacog", as_released=False, l1=l1, step_size=0.1)
        state = run(learner, learner.init(0), range(1), noise_batch)
        return float(torch.sigmoid(state["phi"]["logit.conv2.weight"]).mean())

    assert mean_gate(5.0) < mean_gate(0.0) - 0.03
