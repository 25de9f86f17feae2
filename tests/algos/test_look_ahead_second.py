"""The second-order look-ahead gradient: fact 11 of the lamaml spec, in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from oracle import eager_look_ahead
from toys import build, double, small_mlp

from frisket.algos.contract.toys import noise_data
from frisket.algos.learners.look_ahead.gradient import LookAhead, MetaLoss, chunks, look_ahead
from frisket.algos.learners.look_ahead.la_maml import LaMAML, LaMAMLConfig
from frisket.algos.learners.look_ahead.pack import LookAheadPack
from frisket.algos.learners.look_ahead.second_order import look_ahead_second
from frisket.algos.networks.mlp import MLP, MLPConfig
from frisket.algos.networks.network import Network
from frisket.algos.networks.strided_conv import StridedConv, StridedConvConfig
from frisket.algos.parts.tree import lifted, picked
from frisket.errors import SpecError
from frisket.rng import torch_generator
from frisket.types import Data, Params

JUDGED: tuple[MetaLoss, ...] = ("mean", "sum", "last")


def tiny(own: int | None = None) -> Network:
    return MLP(MLPConfig(hidden=(4,)), in_channels=1, size=3, ways=4, own=own)


def conv(own: int | None = None) -> Network:
    return StridedConv(
        StridedConvConfig(convolutions=2, filters=2, hidden=(3,)), in_channels=1, size=3, ways=4, own=own
    )


def samples(key: int, count: int = 6) -> Data:
    generator = torch_generator(0, "second", key)
    x = torch.randn(count, 1, 3, 3, generator=generator, dtype=torch.float64)
    return Data(x, torch.arange(count) % 4)


def start(network: Network, scale: float = 0.5) -> tuple[Params, Params]:
    """Weights, their biases off 0, where ReLU has its kink; and rates of either sign."""
    generator = torch_generator(0, "rates")
    theta = double(network.init(torch_generator(0, "theta")))
    theta = {k: v + 0.2 * torch.randn(v.shape, generator=generator, dtype=v.dtype) for k, v in theta.items()}
    rates = {k: scale * torch.randn(v.shape, generator=generator, dtype=v.dtype) for k, v in theta.items()}
    return theta, rates


def value(network: Network, clamp: float | None, theta: Params, rates: Params, judged: MetaLoss) -> float:
    """The meta-loss by itself, from first-order building blocks."""
    phi, losses = theta, []
    for chunk in chunks(samples(1), 3):
        _, g = network.loss_and_gradients(phi, chunk.x, chunk.y)
        bound = {k: v if clamp is None else v.clamp(-clamp, clamp) for k, v in g.items()}
        phi = {k: v - rates[k] * bound[k] for k, v in phi.items()}
        losses.append(float(network.loss(phi, *samples(2, 8))))
    return {"mean": sum(losses) / len(losses), "sum": sum(losses), "last": losses[-1]}[judged]


def second(network: Network, clamp: float | None, theta: Params, rates: Params, judged: MetaLoss) -> LookAhead:
    return look_ahead_second(network, clamp, theta, rates, chunks(samples(1), 3), samples(2, 8), judged)


@pytest.mark.parametrize("judged", JUDGED)
@pytest.mark.parametrize("clamp", [None, 0.05])
@pytest.mark.parametrize("own", [None, 2])
@pytest.mark.parametrize("make", [tiny, conv])
def test_11_finite_differences(
    make: Callable[[int | None], Network], own: int | None, clamp: float | None, judged: MetaLoss
) -> None:
    """Central differences along random directions, in theta alone and in the rates alone."""
    network = make(own)
    theta, rates = start(network)
    ours = second(network, clamp, theta, rates, judged)
    assert float(ours.loss) == pytest.approx(value(network, clamp, theta, rates, judged), rel=1e-12)
    step = 1e-6
    for key in range(4):
        generator = torch_generator(0, "direction", key)
        way = {k: torch.randn(v.shape, generator=generator, dtype=v.dtype) for k, v in theta.items()}

        def moved(params: Params, sign: int, way: Params = way) -> Params:
            return {k: v + sign * step * way[k] for k, v in params.items()}

        by_theta = [value(network, clamp, moved(theta, sign), rates, judged) for sign in (1, -1)]
        by_rates = [value(network, clamp, theta, moved(rates, sign), judged) for sign in (1, -1)]
        for (ahead, behind), grads in ((by_theta, ours.theta), (by_rates, ours.rates)):
            along = float(sum((grads[k] * way[k]).sum() for k in way))
            assert along == pytest.approx((ahead - behind) / (2 * step), rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("judged", JUDGED)
def test_equals_the_first_order_where_the_inner_gradients_are_constants(judged: MetaLoss) -> None:
    """At rates of 0 they do not matter; clamped to (nearly) nothing they are constant. In between the orders differ."""
    network = tiny()
    theta, rates = start(network)
    still = {k: torch.zeros_like(v) for k, v in rates.items()}
    for clamp, at in ((None, still), (1e-9, rates), (0.05, rates)):
        first = eager_look_ahead(network, theta, at, chunks(samples(1), 3), samples(2, 8), clamp=clamp, judged=judged)
        ours = second(network, clamp, theta, at, judged)
        differences = [
            max(float((a[k] - b[k]).abs().max()) for k in a)
            for a, b in ((ours.theta, first.theta), (ours.rates, first.rates))
        ]
        assert (max(differences) < 1e-10) == (clamp != 0.05)
        assert float(ours.loss) == pytest.approx(float(first.loss), abs=1e-12)


def test_one_step_by_hand() -> None:
    """One weight's worth of logistic regression: L(w) = log(1 + exp(-w x)) with label 0 the larger logit.

    Two logits (w x, 0), one inner sample x = 1, rate s, judged on the same sample. With p = 1 / (1 + e^w),
    g = -p, phi = w + s p(w), and d L(phi) / dw = -p(phi) (1 + s p'(w)), p' = -p (1 - p); d L(phi) / ds = -p(phi) p(w).
    """

    class OneWeight(Network):
        adaptable = head = ("w",)

        def init(self, generator: torch.Generator) -> Params:
            return {"w": torch.zeros(1)}

        def __call__(self, params: Params, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([params["w"] * x.flatten(), torch.zeros(len(x), dtype=x.dtype)], dim=1)

    w, s = torch.tensor([0.3], dtype=torch.float64), torch.tensor([0.7], dtype=torch.float64)
    one = Data(torch.ones(1, 1, 1, 1, dtype=torch.float64), torch.tensor([0]))
    ours = look_ahead_second(OneWeight(), None, {"w": w}, {"w": s}, [one], one, "mean")
    p = torch.sigmoid(-w)
    p_phi = torch.sigmoid(-(w + s * p))
    assert float(ours.theta["w"]) == pytest.approx(float(-p_phi * (1 - s * p * (1 - p))), abs=1e-14)
    assert float(ours.rates["w"]) == pytest.approx(float(-p_phi * p), abs=1e-14)


def test_learners_take_it_from_their_configuration() -> None:
    network = small_mlp()
    theta = double(network.init(torch_generator(0, "theta")))
    new, meta = noise_data(1), noise_data(2)
    config = LaMAMLConfig(
        second_order=True, inner_steps=3, inner_rate="raw", inner_clamp=2.0, alpha_init=0.5, clip_norm=None
    )
    learner = LaMAML(config, network)
    m = learner.modulation.init(theta, torch_generator(0))
    whole = Data(torch.cat([meta.x, new.x])[None], torch.cat([meta.y, new.y])[None])
    pack, alone = LookAheadPack([learner]), slice(0, 1)
    moved, moved_m, _, _ = pack.meta_update(lifted(theta), lifted(m), whole, len(new.y), alone)
    moved, moved_m, meta = picked(moved, 0), picked(moved_m, 0), Data(whole.x[0], whole.y[0])
    ahead = look_ahead_second(network, 2.0, theta, m, chunks(new, 3), meta, "mean")
    expected_m = {k: v - 0.3 * ahead.rates[k] for k, v in m.items()}
    assert all(torch.allclose(moved_m[k], v, atol=1e-14) for k, v in expected_m.items())
    expected = {k: v - expected_m[k].relu() * ahead.theta[k] for k, v in theta.items()}
    assert all(torch.allclose(moved[k], v, atol=1e-14) for k, v in expected.items())
    first = look_ahead(network, 2.0, theta, m, chunks(new, 3), meta, "mean")
    assert not torch.allclose(first.theta["fc2.weight"], ahead.theta["fc2.weight"], atol=1e-6)


def test_compiling_it_is_refused() -> None:
    with pytest.raises(SpecError, match="compile"):
        build("la-maml", compile=True, second_order=True).pack([])
