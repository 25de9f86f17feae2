"""The inner loop's meta-gradients, proved in float64: by hand, in closed form and by finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from toys import double, small_network

from frisket.algos.contract.toys import noise_data
from frisket.algos.inner.first_m import AroundLog, Centred, Constant, Uniform
from frisket.algos.inner.loop import adapt, loss_on, second_order_gradient, unroll
from frisket.algos.inner.meta_gradient import meta_gradient
from frisket.algos.inner.modulation import (
    BinaryMask,
    ExpRate,
    FixedStep,
    LearnedStep,
    Modulation,
    PlainRelu,
    Raw,
    ScaledRate,
    Seen,
    Signed,
    StraightRelu,
)  # fmt: skip
from frisket.algos.learners.online.metacog import Gated
from frisket.algos.networks.network import Adapting, Network, split
from frisket.rng import torch_generator
from frisket.types import Data, Params

SUPPORT, QUERY = noise_data(1), noise_data(2)
MODULATIONS: dict[str, Modulation] = {
    "learned": LearnedStep(0.1),
    "fixed": FixedStep(0.1),
    "binary": BinaryMask(0.1, Centred(0.0)),
    "relu": StraightRelu(Uniform(0.005, 0.1)),
    "binary, half": BinaryMask(0.1, Uniform(-0.1, 0.3), 0.5),
    "relu, half closed": StraightRelu(Uniform(-0.1, 0.1)),
    "plain relu": PlainRelu(Uniform(-0.1, 0.1)),
    "raw": Raw(Uniform(-0.1, 0.1)),
    "signed": Signed(Uniform(-0.1, 0.1)),
    "exp": ExpRate(AroundLog(0.05)),
    "relu, scaled": StraightRelu(Uniform(0.05, 1.0), 0.1),
    "plain relu, scaled": PlainRelu(Uniform(-1.0, 1.0), 0.1),
    "exp, scaled": ExpRate(AroundLog(0.5, 0.2), 0.1),
}


class OneWeight(Network):
    """Logits ``(w x, 0)`` of a scalar input: L = log(1 + exp(-w x)) for label 0."""

    adaptable = ("w",)
    head = ("w",)

    def init(self, generator: torch.Generator) -> Params:
        return {"w": torch.zeros(1)}

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        return torch.cat([params["w"] * x, torch.zeros_like(x)], dim=1)


def one_weight_gradient(modulation: Modulation, m: Params, order: int) -> tuple[float, Params]:
    data = [Data(torch.tensor([[x]], dtype=torch.float64), torch.tensor([0])) for x in (1.0, 2.0)]
    theta = {"w": torch.zeros(1, dtype=torch.float64)}
    result = meta_gradient(OneWeight(), modulation, theta, m, *data, steps=1, order=order)
    return float(result.theta["w"]), result.m


def test_a_case_worked_by_hand() -> None:
    """w = 0, support x = 1, query x = 2, both of label 0, one step of size 1; s is the logistic function.

    Inner gradient G = -s(-w x) x = -1/2, so phi = 1/2. Query: wx = 1, g_out = -2 s(-1) = -0.537883.
    First order: dL/dw = g_out. Step size: dL/d eta = -g_out G = -0.268941.
    Second order: d phi / dw = 1 - L''(0) = 1 - s(0) s(0) = 3/4, so dL/dw = 0.75 g_out = -0.403412; dL/d eta as before.
    """
    out = -2 / (1 + math.e)
    eta = {"w": torch.ones((), dtype=torch.float64)}
    first, first_eta = one_weight_gradient(LearnedStep(1.0), eta, order=1)
    assert first == pytest.approx(out, rel=1e-12)
    assert float(first_eta["w"]) == pytest.approx(out / 2, rel=1e-12)
    second, second_eta = one_weight_gradient(LearnedStep(1.0), eta, order=2)
    assert second == pytest.approx(0.75 * out, rel=1e-12)
    assert float(second_eta["w"]) == pytest.approx(out / 2, rel=1e-12)
    mask = {"w": torch.full((1,), 0.2, dtype=torch.float64)}
    for order in (1, 2):
        _, by_mask = one_weight_gradient(BinaryMask(1.0, Constant(0.0)), mask, order)
        assert float(by_mask["w"]) == pytest.approx(out / 2, rel=1e-12)


def weights(network: Network) -> Params:
    return double(network.init(torch_generator(0, "theta")))


def rates_of(modulation: Modulation, network: Network, theta: Params) -> Params:
    return double(modulation.init(split(network, theta)[0], torch_generator(0, "modulation")))


def plain_first_order(
    network: Network, theta: Params, rates: Params, steps: int, support: Data = SUPPORT, query: Data = QUERY
) -> tuple[Params, Params]:
    """``(g_out for all weights, G)`` by plain loops over autograd."""
    adaptable, rest = split(network, theta)
    phi = {k: v.clone() for k, v in adaptable.items()}
    total = {k: torch.zeros_like(v) for k, v in phi.items()}
    for _ in range(steps):
        inner = {k: v.clone().requires_grad_() for k, v in phi.items()}
        F.cross_entropy(network({**rest, **inner}, support.x), support.y).backward()
        for k, v in inner.items():
            assert v.grad is not None
            total[k] += v.grad
            phi[k] = phi[k] - rates[k] * v.grad
    last = {k: v.clone().requires_grad_() for k, v in {**rest, **phi}.items()}
    F.cross_entropy(network(last, query.x), query.y).backward()
    return {k: v.grad for k, v in last.items() if v.grad is not None}, total


def test_a4_mask_gradient_in_closed_form() -> None:
    """A4: dL/dm = -alpha_0 g_out o G for every entry, open or closed, and dL/dtheta = g_out."""
    network, modulation = small_network(), BinaryMask(0.1, Centred(0.0))
    theta = weights(network)
    m = rates_of(modulation, network, theta)
    rates = {k: 0.1 * (v >= 0).double() for k, v in m.items()}
    out, total = plain_first_order(network, theta, rates, steps=3)
    result = meta_gradient(network, modulation, theta, m, SUPPORT, QUERY, steps=3, order=1)
    for k in m:
        torch.testing.assert_close(result.m[k], -0.1 * out[k] * total[k], rtol=1e-6, atol=1e-15)
    for k in theta:
        torch.testing.assert_close(result.theta[k], out[k], rtol=1e-6, atol=1e-15)


def test_a4_step_size_gradient_is_an_inner_product() -> None:
    """A4: for one step size per tensor, dL/deta_k = -<g_out, G> over tensor k."""
    network, modulation = small_network(), LearnedStep(0.1)
    theta = weights(network)
    eta = rates_of(modulation, network, theta)
    out, total = plain_first_order(network, theta, eta, steps=3)
    result = meta_gradient(network, modulation, theta, eta, SUPPORT, QUERY, steps=3, order=1)
    for k in eta:
        assert result.m[k].shape == ()
        torch.testing.assert_close(result.m[k], -(out[k] * total[k]).sum(), rtol=1e-6, atol=1e-15)


def test_a5_closed_relu_rates_still_get_a_gradient() -> None:
    """A5: where m < 0 the rate is 0, and its gradient -g_out o G is not, unless g_out or G is."""
    network, modulation = small_network(), StraightRelu(Uniform(-0.1, -0.01))
    theta = weights(network)
    m = rates_of(modulation, network, theta)
    out, total = plain_first_order(network, theta, {k: torch.zeros_like(v) for k, v in m.items()}, steps=2)
    result = meta_gradient(network, modulation, theta, m, SUPPORT, QUERY, steps=2, order=1)
    assert all((v < 0).all() for v in m.values())
    for k in m:
        torch.testing.assert_close(result.m[k], -out[k] * total[k], rtol=1e-6, atol=1e-15)
    assert (result.m["conv1.weight"] != 0).all()
    assert (result.m["classifier.weight"] != 0).all()


def straight(modulation: Modulation, m: Params, adaptable: Params) -> Params:
    """s(m) with the graph that the method defines: the value of `Modulation.rates`, the derivative written out here."""
    rates = modulation.rates({k: v.detach() for k, v in m.items()}, Seen(adaptable))
    if isinstance(modulation, BinaryMask):
        slopes = {k: modulation.alpha_0 * modulation.ste_scale * torch.ones_like(v) for k, v in m.items()}
    elif isinstance(modulation, ScaledRate):
        of = {PlainRelu: lambda v: (v > 0).double(), StraightRelu: torch.ones_like, ExpRate: torch.exp}
        slopes = {k: modulation.lr_scale * of[type(modulation)](v.detach()) for k, v in m.items()}
    else:
        slopes = {k: torch.ones_like(v) for k, v in m.items()}
    return {k: rates[k] + slopes[k] * (m[k] - m[k].detach()) if k in m else rates[k] for k in rates}


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("name", list(MODULATIONS))
def test_every_modulation_gives_the_gradient_that_its_derivative_defines(name: str, order: int) -> None:
    """In the inner loop, of either order, against automatic differentiation through s(m); in first order G is held."""
    network, modulation = small_network(), MODULATIONS[name]
    theta = weights(network)
    m = rates_of(modulation, network, theta)
    theta_leaves = {k: v.clone().requires_grad_() for k, v in theta.items()}
    m_leaves = {k: v.clone().requires_grad_() for k, v in m.items()}
    adaptable, rest = split(network, theta_leaves)
    rates = straight(modulation, m_leaves, adaptable)
    if order == 1:
        _, total = plain_first_order(network, theta, modulation.rates(m, Seen(split(network, theta)[0])), steps=3)
        phi = {k: v - rates[k] * total[k] for k, v in adaptable.items()}
    else:
        phi = adaptable
        for _ in range(3):
            inner = F.cross_entropy(network({**rest, **phi}, SUPPORT.x), SUPPORT.y)
            grads = torch.autograd.grad(inner, list(phi.values()), create_graph=True)
            phi = {k: v - rates[k] * g for (k, v), g in zip(phi.items(), grads, strict=True)}
    F.cross_entropy(network({**rest, **phi}, QUERY.x), QUERY.y).backward()
    result = meta_gradient(network, modulation, theta, m, SUPPORT, QUERY, steps=3, order=order)
    for leaf, found in ((theta_leaves, result.theta), (m_leaves, result.m)):
        assert leaf.keys() == found.keys()
        for k, v in leaf.items():
            assert v.grad is not None
            torch.testing.assert_close(found[k], v.grad, rtol=1e-9, atol=1e-14)


class Decaying(Modulation):
    """``exp(m) / (1 + step)``, and a factor for how large phi is: every step has a rate of its own."""

    by_step = True

    def init(self, adaptable: Params, generator: torch.Generator) -> Params:
        return {k: torch.full_like(v, -2.0) for k, v in adaptable.items()}

    def rates(self, m: Params, seen: Seen) -> Params:
        return {k: v.exp() / (1 + seen.step) * (1 + seen.phi[k].abs().mean()) for k, v in m.items()}


@pytest.mark.parametrize("order", [1, 2])
def test_a_modulation_that_goes_by_step_is_asked_at_every_one(order: int) -> None:
    """s at step k of the fast weights there, its own dL/ds_k each, against loops over autograd that hold what s owes to
    phi, and in first order the inner gradients."""
    network, modulation = small_network(), Decaying()
    theta = weights(network)
    m = rates_of(modulation, network, theta)
    theta_leaves = {k: v.clone().requires_grad_() for k, v in theta.items()}
    m_leaves = {k: v.clone().requires_grad_() for k, v in m.items()}
    phi, rest = split(network, theta_leaves)
    for step in range(3):
        inner = F.cross_entropy(network({**rest, **phi}, SUPPORT.x), SUPPORT.y)
        grads = torch.autograd.grad(inner, list(phi.values()), create_graph=order == 2, retain_graph=True)
        size = {k: 1 + v.detach().abs().mean() for k, v in phi.items()}
        phi = {
            k: v - m_leaves[k].exp() / (1 + step) * size[k] * g
            for (k, v), g in zip(phi.items(), grads, strict=True)
        }  # fmt: skip
    held = {k: v.detach() for k, v in rest.items()} if order == 1 else rest
    F.cross_entropy(network({**held, **phi}, QUERY.x), QUERY.y).backward()
    result = meta_gradient(network, modulation, theta, m, SUPPORT, QUERY, steps=3, order=order)
    for k, v in m_leaves.items():
        assert v.grad is not None
        torch.testing.assert_close(result.m[k], v.grad, rtol=1e-9, atol=1e-14)
    for k in phi:
        grad = theta_leaves[k].grad
        assert grad is not None
        torch.testing.assert_close(result.theta[k], grad, rtol=1e-9, atol=1e-14)


def directions(params: Params, key: int) -> Params:
    generator = torch_generator(5, "direction", key)
    return {k: torch.randn(v.shape, generator=generator, dtype=torch.float64) for k, v in params.items()}


def moved(params: Params, along: Params, by: float) -> Params:
    return {k: v + by * along[k] for k, v in params.items()}


def slope(value: Callable[[float], Tensor], step: float = 1e-6) -> float:
    return float((value(step) - value(-step)) / (2 * step))


def along(grads: Params, direction: Params) -> float:
    return sum(float((g * direction[k]).sum()) for k, g in grads.items())


def final_loss(
    network: Network, modulation: Modulation, theta: Params, m: Params, rest: Params | None = None, steps: int = 3
) -> Tensor:
    """L(phi_K, D') as plain arithmetic."""
    adaptable, own_rest = split(network, theta)
    phi = adapt(loss_on(network, own_rest, SUPPORT), adaptable, modulation, m, steps).phi
    with torch.no_grad():
        return loss_on(network, own_rest if rest is None else rest, QUERY)(phi)


# Where no rate is closed and none is a mask, the derivative that a modulation defines is that of its rates.
SMOOTH = [name for name in MODULATIONS if "binary" not in name and "closed" not in name]


@pytest.mark.parametrize("name", SMOOTH)
def test_second_order_against_finite_differences(name: str) -> None:
    network, modulation = small_network(), MODULATIONS[name]
    theta = weights(network)
    m = rates_of(modulation, network, theta)
    result = meta_gradient(network, modulation, theta, m, SUPPORT, QUERY, steps=3, order=2)
    assert float(result.loss) == pytest.approx(float(final_loss(network, modulation, theta, m)), rel=1e-12)
    for key in range(3):
        way = directions(theta, key)
        expected = slope(lambda h, way=way: final_loss(network, modulation, moved(theta, way, h), m))
        assert along(result.theta, way) == pytest.approx(expected, rel=1e-4)
    if m:
        way = {k: v * 0.01 for k, v in directions(m, 9).items()}
        if name.startswith("plain relu"):  # so near a kink that a step crosses it there is no derivative
            way = {k: v * (m[k].abs() > 1e-4) for k, v in way.items()}
        expected = slope(lambda h: final_loss(network, modulation, theta, moved(m, way, h)), step=1e-4)
        assert along(result.m, way) == pytest.approx(expected, rel=1e-4)


def test_second_order_for_the_mask_weights_theta_with_the_open_entries_only() -> None:
    """With a mask, dL/dtheta by finite differences: closed entries go straight through the inner steps."""
    network, modulation = small_network(), BinaryMask(0.1, Centred(0.0))
    theta = weights(network)
    m = rates_of(modulation, network, theta)
    result = meta_gradient(network, modulation, theta, m, SUPPORT, QUERY, steps=3, order=2)
    way = directions(theta, 0)
    expected = slope(lambda h: final_loss(network, modulation, moved(theta, way, h), m))
    assert along(result.theta, way) == pytest.approx(expected, rel=1e-4)


def test_second_order_with_another_batch_norm_at_the_query() -> None:
    """The stream's delayed outer step: the query's batch norm is newer than the adaptation's, and has its share."""
    network, modulation = small_network(), LearnedStep(0.1)
    theta = weights(network)
    eta = rates_of(modulation, network, theta)
    rest = {k: v + 0.1 for k, v in split(network, theta)[1].items()}
    unrolled = unroll(network, modulation, theta, eta, SUPPORT, steps=3)
    result = second_order_gradient(network, unrolled, rest, QUERY)
    way = directions(theta, 1)
    expected = slope(lambda h: final_loss(network, modulation, moved(theta, way, h), eta, moved(rest, way, h)))
    assert along(result.theta, way) == pytest.approx(expected, rel=1e-4)
    again = second_order_gradient(network, unrolled, rest, QUERY)
    assert all(torch.equal(v, again.theta[k]) for k, v in result.theta.items())  # one graph serves several queries


def test_second_order_with_a_penalty_on_gated_weights() -> None:
    """MetaCOG's inner loop: the logits adapt under an l1 penalty, the gradient is for the weights behind them."""
    plain = small_network()
    network = Gated(plain)
    theta = {**weights(plain), **{f"logit.{k}": torch.full_like(v, 0.4) for k, v in weights(plain).items()
                                  if k in network.gated}}  # fmt: skip
    modulation = FixedStep(0.1)

    def penalty(phi: Params) -> Tensor:
        return 0.01 * torch.stack([torch.sigmoid(phi[f"logit.{k}"]).sum() for k in network.gated]).sum()

    def value(theta: Params) -> Tensor:
        adaptable, rest = split(network, theta)
        base = loss_on(network, rest, SUPPORT)
        phi = adapt(lambda phi: base(phi) + penalty(phi), adaptable, modulation, {}, 3).phi
        with torch.no_grad():
            return loss_on(network, rest, QUERY)(phi)

    unrolled = unroll(network, modulation, theta, {}, SUPPORT, steps=3, penalty=penalty)
    result = second_order_gradient(network, unrolled, split(network, theta)[1], QUERY)
    way = directions(theta, 2)
    assert along(result.theta, way) == pytest.approx(slope(lambda h: value(moved(theta, way, h))), rel=1e-4)


def test_orders_differ_and_agree_at_a_vanishing_step() -> None:
    network = small_network()
    theta = weights(network)

    def gap(step: float) -> float:
        first, second = (
            meta_gradient(network, FixedStep(step), theta, {}, SUPPORT, QUERY, steps=2, order=order) for order in (1, 2)
        )
        return max(float((first.theta[k] - second.theta[k]).abs().max()) for k in theta)

    assert gap(0.1) > 1e-3
    assert gap(1e-9) < 1e-7


def test_adapting_the_head_alone_leaves_the_body_to_the_outer_loop() -> None:
    plain = small_network()
    network = Adapting(plain, plain.head)
    theta = weights(plain)
    adaptable, rest = split(network, theta)
    assert sorted(adaptable) == sorted(plain.head)
    phi = adapt(loss_on(network, rest, SUPPORT), adaptable, FixedStep(0.1), {}, 2).phi
    assert not torch.equal(phi["classifier.weight"], theta["classifier.weight"])
    result = meta_gradient(network, FixedStep(0.1), theta, {}, SUPPORT, QUERY, steps=2, order=2)
    assert float(result.theta["conv1.weight"].abs().max()) > 0


def test_first_loss_and_gradient_sum() -> None:
    """`Adapted.first_loss` is L(phi_0), and start - rate * grad_sum is phi_K."""
    network = small_network()
    adaptable, rest = split(network, weights(network))
    loss = loss_on(network, rest, SUPPORT)
    adapted = adapt(loss, adaptable, FixedStep(0.1), {}, 4)
    with torch.no_grad():
        assert float(adapted.first_loss) == pytest.approx(float(loss(adaptable)), rel=1e-12)
    for k, v in adaptable.items():
        torch.testing.assert_close(adapted.phi[k], v - 0.1 * adapted.grad_sum[k], rtol=1e-12, atol=1e-14)
