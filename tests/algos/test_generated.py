"""Masks that a linear layer generates from noise: fact 9 of the maml spec, section 12, in float64, and what counts."""

from __future__ import annotations

import math

import pytest
import torch
from test_inner import along, directions, final_loss, moved, rates_of, slope, weights
from test_modulations import (
    ALPHA,
    NETWORK,
    QUERY,
    STEPS,
    SUPPORT,
    THETA,
    M,
    close,
    conv4_64,
    everything,
    gradient,
    same,
)

from frisket.algos.inner.first_m import AroundLog, Centred, Share, Uniform
from frisket.algos.inner.generated import MEAN, NOISE, OFFSET, ROWS, SPREAD, Generated, kernel_biases, kernels
from frisket.algos.inner.meta_gradient import meta_gradient
from frisket.algos.inner.modulation import BinaryMask, EntrywiseModulation, ExpRate, Modulation, Seen, StraightRelu
from frisket.algos.networks.conv4 import Conv4, Conv4Config
from frisket.algos.parts import adam
from frisket.algos.parts.optimiser import Nesterov
from frisket.algos.parts.tree import descend
from frisket.rng import torch_generator
from frisket.types import Params

WIDTH = 6
CONVOLUTIONS = [f"conv{i}" for i in range(1, 5)]
NOISES = (MEAN, SPREAD, NOISE)


def plus(width: int = WIDTH, shift: float = 0.0) -> Generated:
    """sparse-MAML+, its convolutions' biases unmasked."""
    return Generated(BinaryMask(ALPHA, Centred(0.0), always=kernel_biases), shift, width)


def apart(m: Params) -> Params:
    """``m`` with mu and sigma no longer what they start at."""
    return {**m, MEAN: m[MEAN] + 0.3, SPREAD: m[SPREAD] * torch.linspace(0.5, 1.5, len(m[SPREAD])).double()}


MASKS = plus()
HERE = apart(rates_of(MASKS, NETWORK, THETA))


def test_which_weights_have_an_m_of_which_kind() -> None:
    """The kernels' is generated, the convolutions' biases have none, batch norm and the head have their own, which is
    what sparse-MAML starts with."""
    assert kernels(THETA) == [f"{k}.weight" for k in CONVOLUTIONS]
    assert kernel_biases(THETA) == [f"{k}.bias" for k in CONVOLUTIONS]
    explicit = {k for k in THETA if not k.startswith("conv")}
    made = {f"{part}{k}" for part in (ROWS, OFFSET) for k in kernels(THETA)}
    assert HERE.keys() == explicit | made | {*NOISES}
    assert MASKS.values(HERE).keys() == explicit | {*kernels(THETA)}
    assert all(v.shape == THETA[k].shape for k, v in MASKS.values(HERE).items())
    with_biases = Generated(BinaryMask(ALPHA, Centred(0.0)), width=WIDTH)
    masked = with_biases.masks(rates_of(with_biases, NETWORK, THETA))
    assert masked.keys() == THETA.keys()
    alone = rates_of(BinaryMask(ALPHA, Centred(0.0), always=kernel_biases), NETWORK, THETA)
    assert same({k: HERE[k] for k in explicit}, {k: alone[k] for k in explicit})


def test_counts_of_the_paper_s_network() -> None:
    """120,837 masked weights of 121,093, 112,320 of them generated; half of them closed at first."""
    network = conv4_64()
    theta = network.init(torch_generator(0, "theta"))
    modulation = plus(width=64)
    m = modulation.init(theta, torch_generator(0, "modulation"))
    assert sum(v.numel() for v in theta.values()) == 121_093
    assert sum(v.numel() for k, v in m.items() if k.startswith(OFFSET)) == 112_320
    assert sum(v.numel() for k, v in m.items() if k.startswith(ROWS)) == 112_320 * 64
    masks = modulation.masks(m)
    assert masks.size == 120_837
    assert masks.sparsity() == pytest.approx(0.5, abs=0.02)  # the weights share one draw
    for k in kernels(theta):
        assert float(m[ROWS + k].abs().max()) <= 1 / 8
        assert float(m[ROWS + k].abs().mean()) == pytest.approx(1 / 16, rel=0.05)
        assert float(m[OFFSET + k].abs().max()) <= 1 / 8
    assert (m[MEAN] == 0).all()
    assert (m[SPREAD] == 1).all()
    assert math.isclose(float(m[NOISE].std()), 1, abs_tol=0.3)


def test_the_kernels_own_rows_are_the_paper_s_matrix() -> None:
    """There A x + b + shift has one row of 9 C_out numbers per input channel; the kernels take theirs in order."""
    network = everything(Conv4(Conv4Config(channels=4), in_channels=3, size=16, ways=2))
    theta = weights(network)
    modulation = plus(shift=0.1)
    m = apart(rates_of(modulation, network, theta))
    whole = torch.cat([m[ROWS + k].reshape(-1, WIDTH) for k in kernels(theta)])
    b = torch.cat([m[OFFSET + k].reshape(-1) for k in kernels(theta)])
    out = (whole @ (m[NOISE] * m[SPREAD] + m[MEAN]) + b + 0.1).reshape(3 + 4 + 4 + 4, 4 * 9)
    values, first = modulation.values(m), 0
    for k, channels in zip(kernels(theta), (3, 4, 4, 4), strict=True):
        expected = out[first : first + channels].reshape(4, channels, 3, 3)
        torch.testing.assert_close(values[k], expected, rtol=1e-12, atol=1e-14)
        first += channels


@pytest.mark.parametrize("order", [1, 2])
def test_9_the_mask_s_gradient_is_carried_on(order: int) -> None:
    """b's is the mask's own, mu's A^T of it, sigma's z o mu's, A's the outer product with x; z has none."""
    values = MASKS.values(HERE)
    mask = BinaryMask(ALPHA, Centred(0.0), always=kernel_biases)
    of_mask, found = gradient(mask, values, order), gradient(MASKS, HERE, order)
    assert torch.equal(found.loss, of_mask.loss)
    assert same(found.theta, of_mask.theta)
    assert found.m.keys() == HERE.keys()
    x = HERE[NOISE] * HERE[SPREAD] + HERE[MEAN]
    back = torch.zeros(WIDTH, dtype=torch.float64)
    for k, g in of_mask.m.items():
        if k not in kernels(THETA):
            assert torch.equal(found.m[k], g)
            continue
        assert torch.equal(found.m[OFFSET + k], g)
        torch.testing.assert_close(found.m[ROWS + k], torch.einsum("oihw,e->oihwe", g, x), rtol=1e-12, atol=0)
        back += HERE[ROWS + k].reshape(-1, WIDTH).T @ g.reshape(-1)
    torch.testing.assert_close(found.m[MEAN], back, rtol=1e-10, atol=1e-15)
    torch.testing.assert_close(found.m[SPREAD], HERE[NOISE] * back, rtol=1e-10, atol=1e-15)
    assert back.abs().min() > 0
    assert (found.m[NOISE] == 0).all()


@pytest.mark.parametrize("name", [ROWS, OFFSET, MEAN, SPREAD])
def test_the_generator_s_gradient_against_finite_differences(name: str) -> None:
    """Over a rate that has a slope, exp(m), through the second-order inner loop."""
    modulation = Generated(ExpRate(AroundLog(0.05)), math.log(0.05), WIDTH)
    m = apart(rates_of(modulation, NETWORK, THETA))
    result = meta_gradient(NETWORK, modulation, THETA, m, SUPPORT, QUERY, steps=STEPS, order=2)
    way = {k: v * k.startswith(name) for k, v in directions(m, 3).items()}
    expected = slope(lambda h: final_loss(NETWORK, modulation, THETA, moved(m, way, h), steps=STEPS), step=1e-5)
    assert along(result.m, way) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "over", [ExpRate(AroundLog(0.05)), StraightRelu(Uniform(0.01, 0.1)), BinaryMask(ALPHA, Share(0.5))]
)
def test_what_is_generated_is_what_the_rates_under_it_take(over: EntrywiseModulation) -> None:
    """Whatever the rates: those of the m that is generated, their masks, and their pull-back for the explicit ones."""
    modulation = Generated(over, 0.05, WIDTH)
    m = rates_of(modulation, NETWORK, THETA)
    values = modulation.values(m)
    assert same(modulation.rates(m, Seen(THETA)), over.rates(values, Seen(THETA)))
    assert modulation.masks(m) == over.masks(values)
    assert modulation.switches_off == over.switches_off
    pulled, below = modulation.pull_back(m, Seen(THETA), M), over.pull_back(values, Seen(THETA), M)
    assert all(torch.equal(pulled[OFFSET + k if k in kernels(THETA) else k], g) for k, g in below.items())


def test_closed_form_and_automatic_differentiation_agree() -> None:
    """Where the rates have the derivative that they define, but for the noise, which is held."""
    modulation = Generated(ExpRate(AroundLog(0.05)), 0.0, WIDTH)
    m = apart(rates_of(modulation, NETWORK, THETA))
    ours, theirs = modulation.pull_back(m, Seen(THETA), M), Modulation.pull_back(modulation, m, Seen(THETA), M)
    close({k: ours[k] for k in m if k != NOISE}, {k: theirs[k] for k in m if k != NOISE})


def drawn(m: Params, *key: str | int, seed: int = 0) -> Params:
    return MASKS.draw(m, seed, *key)


def test_noise_is_a_function_of_its_key_and_nothing_else_is_drawn() -> None:
    first = drawn(HERE, "task", 3)
    assert same(first, drawn(drawn(HERE, "task", 4), "task", 3))
    others = [HERE, drawn(HERE, "task", 4), drawn(HERE, "test", 3), drawn(HERE, "task", 3, seed=1)]
    assert all(not torch.equal(first[NOISE], one[NOISE]) for one in others)
    assert same({k: v for k, v in first.items() if k != NOISE}, {k: v for k, v in HERE.items() if k != NOISE})
    assert first[NOISE].dtype == torch.float64
    assert MASKS.masks(first) != MASKS.masks(HERE)


def test_9_without_spread_all_draws_make_the_same_masks() -> None:
    still = {**HERE, SPREAD: torch.zeros_like(HERE[SPREAD])}
    results = [gradient(MASKS, drawn(still, "task", i)) for i in range(3)]
    assert all(MASKS.masks(drawn(still, "task", i)) == MASKS.masks(still) for i in range(3))
    assert all(same(one.theta, results[0].theta) for one in results)


def test_no_outer_rule_moves_the_noise() -> None:
    """Its gradient is 0; everything else moves."""
    grads = gradient(MASKS, HERE).m
    optimiser = Nesterov(0.9)
    by_sgd = descend(HERE, 0.1, optimiser.direction(grads, optimiser.init(HERE))[0])
    by_adam, _ = adam.step(HERE, grads, adam.init(HERE), 0.1)
    for after in (by_sgd, by_adam):
        assert [k for k in HERE if torch.equal(after[k], HERE[k])] == [NOISE]


def test_the_shift_closes_and_opens() -> None:
    def sparsity(shift: float) -> dict[str, float]:
        modulation = plus(shift=shift)
        return modulation.masks(rates_of(modulation, NETWORK, THETA)).sparsities()

    shut, there, wide = (sparsity(shift) for shift in (-10.0, 0.0, 10.0))
    assert [(shut[k], wide[k]) for k in kernels(THETA)] == [(1.0, 0.0)] * 4
    assert all(0 < there[k] < 1 for k in kernels(THETA))
    assert shut["classifier.weight"] == there["classifier.weight"] == wide["classifier.weight"]


def test_a_mask_over_float32_stays_float32() -> None:
    theta = NETWORK.init(torch_generator(0, "theta"))
    m = MASKS.draw(MASKS.init(theta, torch_generator(0, "modulation")), 0, "task")

    def types(params: Params) -> set[torch.dtype]:
        return {v.dtype for v in params.values()}

    rates = MASKS.rates(m, Seen(theta))
    assert types(m) == types(rates) == types(MASKS.pull_back(m, Seen(theta), theta)) == {torch.float32}
    assert rates.keys() == theta.keys()
