"""The modulations of the few-shot family: the facts of the maml spec, section 12, in float64.

What each one's derivative does in the inner loop, of either order, is proved in `test_inner`; what generates masks, in
`test_generated`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from test_inner import directions, plain_first_order, rates_of, weights
from torch import Tensor
from toys import largest_difference, small_network

from frisket.algos.contract.toys import noise_data
from frisket.algos.inner.first_m import AroundLog, Centred, Constant, Share, Start, Uniform
from frisket.algos.inner.loop import MetaGradient, adapt_first_order, total
from frisket.algos.inner.meta_gradient import meta_gradient
from frisket.algos.inner.modulation import (
    BinaryMask,
    EntrywiseModulation,
    ExpRate,
    FixedStep,
    Modulation,
    PlainRelu,
    Raw,
    Seen,
    Signed,
    StraightRelu,
)  # fmt: skip
from frisket.algos.networks.conv4 import Conv4, Conv4Config
from frisket.algos.networks.network import Adapting, Network, split
from frisket.algos.parts import adam
from frisket.algos.parts.tree import descend, picked, stacked
from frisket.rng import torch_generator
from frisket.types import Data, Params

ALPHA, STEPS = 0.1, 3
SUPPORT, QUERY = noise_data(1), noise_data(2)
HERE = Constant(0.0)


def everything(network: Network) -> Network:
    """``network`` with all its weights adaptable, batch norm too."""
    return Adapting(network, tuple(network.init(torch_generator(0))))


def conv4_64() -> Network:
    """The few-shot network for 84 x 84 RGB images and 5 ways."""
    return everything(Conv4(Conv4Config(channels=64), in_channels=3, size=84, ways=5))


NETWORK = everything(small_network())
THETA = weights(NETWORK)
M = directions(THETA, 1)
"""Half of it below 0."""


def gradient(modulation: Modulation, m: Params, order: int = 1, network: Network = NETWORK) -> MetaGradient:
    return meta_gradient(network, modulation, THETA, m, SUPPORT, QUERY, steps=STEPS, order=order)


def adapted(modulation: Modulation, m: Params, network: Network = NETWORK) -> Params:
    """phi_K."""
    return adapt_first_order(network, modulation, THETA, m, SUPPORT, STEPS).phi


def same(a: Params, b: Params) -> bool:
    """Bit for bit."""
    return a.keys() == b.keys() and all(torch.equal(v, b[k]) for k, v in a.items())


def close(a: Params, b: Params) -> None:
    """Raise AssertionError unless both are equal to 1e-10, relative."""
    assert a.keys() == b.keys()
    for k, v in a.items():
        torch.testing.assert_close(v, b[k], rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize(
    ("modulation", "rate", "slope"),
    [
        (BinaryMask(ALPHA, HERE), lambda m: ALPHA * (m >= 0).double(), lambda m: ALPHA),
        (BinaryMask(ALPHA, HERE, 0.5), lambda m: ALPHA * (m >= 0).double(), lambda m: ALPHA / 2),
        (StraightRelu(HERE), lambda m: m.clamp(min=0), lambda m: 1.0),
        (StraightRelu(HERE, ALPHA), lambda m: ALPHA * m.clamp(min=0), lambda m: ALPHA),
        (PlainRelu(HERE), lambda m: m.clamp(min=0), lambda m: m > 0),
        (PlainRelu(HERE, ALPHA), lambda m: ALPHA * m.clamp(min=0), lambda m: ALPHA * (m > 0).double()),
        (ExpRate(HERE), torch.exp, torch.exp),
        (ExpRate(HERE, ALPHA), lambda m: ALPHA * m.exp(), lambda m: ALPHA * m.exp()),
        (Signed(HERE), lambda m: m, lambda m: 1.0),
    ],
    ids=lambda value: type(value).__name__,
)
def test_1_eq_5_for_every_rate(
    modulation: Modulation, rate: Callable[[Tensor], Tensor], slope: Callable[[Tensor], Tensor | float]
) -> None:
    """G_m = - sum_tasks g_out o sum_k g_k o ds/dm and G_theta = sum_tasks g_out, by plain loops."""
    m = {k: 0.1 * v for k, v in M.items()}
    of_task = [plain_first_order(NETWORK, THETA, {k: rate(v) for k, v in m.items()}, STEPS, *data)
               for data in ((SUPPORT, QUERY), (noise_data(3), noise_data(4)))]  # fmt: skip
    ours = [meta_gradient(NETWORK, modulation, THETA, m, *data, steps=STEPS, order=1)
            for data in ((SUPPORT, QUERY), (noise_data(3), noise_data(4)))]  # fmt: skip
    close(total([one.theta for one in ours]), total([out for out, _ in of_task]))
    expected = [{k: -out[k] * inner[k] * slope(m[k]) for k in m} for out, inner in of_task]
    close(total([one.m for one in ours]), total(expected))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("order", [1, 2])
def test_2_a_mask_that_is_open_everywhere_is_maml(order: int, dtype: torch.dtype) -> None:
    """phi_K and G_theta bit for bit; m = 0 is open."""
    theta = {k: v.to(dtype) for k, v in THETA.items()}
    m = {k: v.abs().to(dtype) for k, v in M.items()}
    m["conv1.weight"] = torch.zeros_like(m["conv1.weight"])
    support, query = (Data(data.x.to(dtype), data.y) for data in (SUPPORT, QUERY))
    fixed, mask = FixedStep(ALPHA), BinaryMask(ALPHA, HERE)
    a, b = (
        meta_gradient(NETWORK, modulation, theta, of, support, query, steps=STEPS, order=order)
        for modulation, of in ((fixed, {}), (mask, m))
    )
    assert torch.equal(a.loss, b.loss)
    assert same(a.theta, b.theta)
    phi = [adapt_first_order(NETWORK, modulation, theta, of, support, STEPS).phi
           for modulation, of in ((fixed, {}), (mask, m))]  # fmt: skip
    assert same(*phi)
    assert mask.masks(m).sparsity() == 0


def test_2_a_mask_that_is_closed_everywhere_holds_theta_and_can_open_again() -> None:
    mask, m = BinaryMask(ALPHA, HERE), {k: -v.abs() for k, v in M.items()}
    assert same(adapted(mask, m), THETA)
    result = gradient(mask, m)
    assert all(bool((result.m[k] != 0).any()) for k in m if k not in ("conv4.bias", "conv1.bias"))
    assert bool((result.m["classifier.weight"] != 0).all())
    assert mask.masks(m).sparsity() == 1


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("method", ["anil", "boil"])
def test_3_masks_on_a_part_are_anil_and_boil(method: str, order: int) -> None:
    """Open on the head alone is adapting the head alone; open on all else is adapting all else. Up to the rounding of a
    network that is asked for fewer gradients; what is closed does not move by a bit."""
    names = tuple(k for k in THETA if (k in NETWORK.head) == (method == "anil"))
    part = Adapting(NETWORK, names)
    m = {k: torch.full_like(v, 0.2 if k in names else -0.2) for k, v in THETA.items()}
    by_mask, by_part = gradient(BinaryMask(ALPHA, HERE), m, order), gradient(FixedStep(ALPHA), {}, order, part)
    close(by_mask.theta, by_part.theta)
    phi = adapted(BinaryMask(ALPHA, HERE), m)
    close({k: phi[k] for k in names}, adapted(FixedStep(ALPHA), {}, part))
    assert all(torch.equal(phi[k], THETA[k]) for k in THETA if k not in names)


@pytest.mark.parametrize(
    ("modulation", "first"),
    [
        (Signed(HERE), ALPHA),
        (StraightRelu(HERE), ALPHA),
        (StraightRelu(HERE, ALPHA), 1.0),
        (PlainRelu(HERE), ALPHA),
        (ExpRate(HERE), math.log(ALPHA)),
        (ExpRate(HERE, ALPHA), 0.0),
    ],
    ids=lambda value: type(value).__name__,
)
def test_4_rates_that_are_alpha_everywhere_are_fomaml(modulation: Modulation, first: float) -> None:
    m = {k: torch.full_like(v, first) for k, v in THETA.items()}
    close(adapted(modulation, m), adapted(FixedStep(ALPHA), {}))
    close(gradient(modulation, m).theta, gradient(FixedStep(ALPHA), {}).theta)


def test_4_the_rectified_rate_s_gradient_is_the_mask_s_over_alpha() -> None:
    rate, mask = ({k: torch.full_like(v, ALPHA) for k, v in THETA.items()} for _ in range(2))
    of_mask = gradient(BinaryMask(ALPHA, HERE), mask).m
    close(gradient(StraightRelu(HERE), rate).m, {k: v / ALPHA for k, v in of_mask.items()})


class Quadratic(Network):
    """The loss ``w H w / 2 + c w``, with H [N, N] in place of the inputs and c [N] in that of the labels."""

    adaptable = ("w",)
    head = ("w",)

    def init(self, generator: torch.Generator) -> Params:
        return {"w": torch.randn(4, generator=generator)}

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        return x @ params["w"]

    def loss(self, params: Params, x: Tensor, y: Tensor) -> Tensor:
        return params["w"] @ self(params, x) / 2 + y @ params["w"]


@pytest.mark.parametrize("steps", [1, 3, 7])
def test_5_second_order_on_a_quadratic(steps: int) -> None:
    """G_theta = (I - alpha H)^K g, where g is the query's gradient at phi_K; in first order g."""
    generator = torch_generator(0, "quadratic")
    root, other = (torch.randn(4, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    c, d = (torch.randn(4, generator=generator, dtype=torch.float64) for _ in range(2))
    support, query = Data(root @ root.T, c), Data(other @ other.T, d)
    network, theta = Quadratic(), {"w": torch.ones(4, dtype=torch.float64)}
    phi = theta["w"]
    for _ in range(steps):
        phi = phi - ALPHA * (support.x @ phi + support.y)
    g = query.x @ phi + query.y
    through = torch.linalg.matrix_power(torch.eye(4, dtype=torch.float64) - ALPHA * support.x, steps)
    for order, expected in ((1, g), (2, through @ g)):
        found = meta_gradient(network, FixedStep(ALPHA), theta, {}, support, query, steps=steps, order=order)
        torch.testing.assert_close(found.theta["w"], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("modulation", "low", "high"),
    [
        (BinaryMask(ALPHA, Centred(0.0)), 0.495, 0.505),
        (BinaryMask(ALPHA, Centred(0.0, 0.5)), 0.495, 0.505),
        (BinaryMask(ALPHA, Centred(0.1, 0.5)), 0.395, 0.405),  # 1/2 - shift / 2b
        (BinaryMask(ALPHA, Centred(-0.25, 0.5)), 0.745, 0.755),
        (BinaryMask(ALPHA, Centred(0.7)), 0.0, 0.0),
        (StraightRelu(Uniform(0.005, 0.1)), 0.0, 0.0),
        (StraightRelu(Constant(ALPHA)), 0.0, 0.0),
    ],
)
def test_7_how_much_is_closed_at_first(modulation: Modulation, low: float, high: float) -> None:
    network = conv4_64()
    theta = network.init(torch_generator(0, "theta"))
    m = modulation.init(split(network, theta)[0], torch_generator(0, "modulation"))
    masks = modulation.masks(m)
    assert masks.size == 121_093
    assert low <= masks.sparsity() <= high


def many(start: Start, shape: tuple[int, ...] = (200, 100)) -> Tensor:
    return start(torch.zeros(shape, dtype=torch.float64), torch_generator(0, "many"))


@pytest.mark.parametrize("shape", [(200, 100), (50, 40, 3, 3), (20_000,)])
@pytest.mark.parametrize("closed", [0.0, 0.25, 0.5, 0.9, 1.0])
def test_a_share_is_closed_in_every_tensor_alike(closed: float, shape: tuple[int, ...]) -> None:
    """Whatever the tensor's own bound b: the draws are in U(-b, b) + b (1 - 2 closed)."""
    bound = 0.5 if len(shape) == 1 else math.sqrt(6 / math.prod(shape[1:]))
    m = many(Share(closed), shape)
    assert float((m < 0).double().mean()) == pytest.approx(closed, abs=0.01 if 0 < closed < 1 else 0)
    middle = bound * (1 - 2 * closed)
    assert middle - bound <= float(m.min()) < middle - 0.99 * bound
    assert middle + 0.99 * bound < float(m.max()) <= middle + bound
    assert float((many(Share(closed, 0.3), shape) < 0).double().mean()) == pytest.approx(closed, abs=0.01)


def test_what_is_centred_has_the_shift_for_its_mean_and_the_bound_s_width() -> None:
    for start, bound in ((Centred(0.1), math.sqrt(6 / 100)), (Centred(0.1, 0.5), 0.5)):
        m = many(start)
        assert float(m.mean()) == pytest.approx(0.1, abs=1e-12)
        assert float(m.max() - m.min()) == pytest.approx(2 * bound, rel=1e-3)


def test_around_a_rate_s_logarithm() -> None:
    m = many(AroundLog(0.1))
    assert math.log(0.1) - 0.05 <= float(m.min()) < float(m.max()) <= math.log(0.1) + 0.05
    assert float(m.mean()) == pytest.approx(math.log(0.1), abs=1e-3)


def test_10_adam_knows_nothing_of_ste_scale_and_sgd_does() -> None:
    """Five outer steps of m: Adam's are alike to what eps makes of the smallest gradient; SGD's first is halved."""
    ends: dict[float, Params] = {}
    for scale in (1.0, 0.5):
        mask, m = BinaryMask(ALPHA, HERE, scale), M
        state = adam.init(m)
        for _ in range(5):
            m, state = adam.step(m, gradient(mask, m).m, state, lr=0.01)
        ends[scale] = m
    grads = gradient(BinaryMask(ALPHA, HERE), M).m
    for k, v in grads.items():
        felt = v.abs() > 1e-5
        assert torch.allclose(ends[1.0][k][felt], ends[0.5][k][felt], rtol=0, atol=1e-4)
    assert largest_difference(ends[1.0], M) > 0.01
    whole, half = (descend(M, 1.0, gradient(BinaryMask(ALPHA, HERE, scale), M).m) for scale in (1.0, 0.5))
    close({k: v - M[k] for k, v in whole.items()}, {k: 2 * (v - M[k]) for k, v in half.items()})
    assert largest_difference(whole, half) > 1e-4


@pytest.mark.parametrize(
    ("modulation", "closed"),
    [
        (BinaryMask(ALPHA, HERE), lambda m: m < 0),
        (StraightRelu(HERE), lambda m: m <= 0),
        (PlainRelu(HERE), lambda m: m <= 0),
        (Raw(HERE), lambda m: m <= 0),  # an outer step rectifies it
        (ExpRate(HERE), None),
        (Signed(HERE), None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_switched_off(modulation: Modulation, closed: Callable[[Tensor], Tensor] | None) -> None:
    """Meta-SGD's rates and those of exp-MAML switch nothing off, whatever their sign."""
    m = {"a": torch.tensor([-1.0, 0.0, 1.0])}
    masks = modulation.masks(m)
    assert modulation.switches_off == bool(masks) == (closed is not None)
    if closed is not None:
        assert torch.equal(~masks["a"], closed(m["a"]))


def test_what_is_always_open_has_no_mask_and_is_in_no_sparsity() -> None:
    """Batch norm left unmasked: its weights take alpha, G has nothing for them, and the share is of the others."""
    mask = BinaryMask(ALPHA, Centred(0.0), always=lambda adaptable: [k for k in adaptable if k.startswith("bn")])
    m = rates_of(mask, NETWORK, THETA)
    assert m.keys() == {k for k in THETA if not k.startswith("bn")}
    result = gradient(mask, m)
    assert result.m.keys() == m.keys()
    assert gradient(mask, m, order=2).m.keys() == m.keys()
    open_there = {k: m.get(k, torch.ones_like(v)) for k, v in THETA.items()}
    plain = gradient(BinaryMask(ALPHA, HERE), open_there)
    assert same(result.theta, plain.theta)
    assert same(result.m, {k: plain.m[k] for k in m})
    assert mask.masks(m).size == sum(v.numel() for v in m.values())
    shut = {k: -v.abs() - 1 for k, v in m.items()}
    phi = adapted(mask, shut)
    assert mask.masks(shut).sparsity() == 1
    assert all(torch.equal(phi[k], THETA[k]) == (k in m) for k in THETA)


@pytest.mark.parametrize(
    "build",
    [
        lambda c: StraightRelu(HERE, c),
        lambda c: PlainRelu(HERE, c),
        lambda c: ExpRate(HERE, c),
        lambda c: BinaryMask(c, HERE, always=lambda adaptable: ["bn1.weight"]),
    ],
)
def test_a_pack_s_replicas_have_scales_of_their_own(build: Callable[[float | Tensor], EntrywiseModulation]) -> None:
    """[P, ...] with c [P] is each replica by itself, bit for bit."""
    masked = build(1.0).init(THETA, torch_generator(0))
    scales, ms = (0.1, 0.7), [{k: one[k] for k in masked} for one in (M, directions(THETA, 2))]
    together, m, theta = build(torch.tensor(scales, dtype=torch.float64)), stacked(ms), stacked([THETA, THETA])
    rates, grads = together.rates(m, Seen(theta)), together.pull_back(m, Seen(theta), theta)
    for i, c in enumerate(scales):
        assert same(picked(rates, i), build(c).rates(ms[i], Seen(THETA)))
        assert same(picked(grads, i), build(c).pull_back(ms[i], Seen(THETA), THETA))


def test_only_what_has_noise_is_drawn() -> None:
    assert FixedStep(ALPHA).draw({}, 0, "task", 1) == {}
    assert BinaryMask(ALPHA, HERE).draw(M, 0, "task", 1) is M
