"""BMP: the facts of the gems spec, section 8, in float64 on small networks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from test_fewshot import EPISODES, NETWORK, begun, gradient, near
from torch import Tensor

from frisket.algos.inner.adapter import SQUARES, TIMES
from frisket.algos.inner.layer_mask import RATE, LayerMask
from frisket.algos.inner.loop import adapt_first_order
from frisket.algos.inner.meta_gradient import meta_gradient
from frisket.algos.inner.modulation import Modulation, Seen
from frisket.algos.learners.fewshot.bmp import BMPConfig
from frisket.algos.learners.fewshot.learner import EpisodicLearner
from frisket.algos.learners.fewshot.maml import FOMAMLConfig, MAMLConfig, anil, boil
from frisket.algos.networks.conv4 import Conv4, Conv4Config
from frisket.algos.networks.network import split
from frisket.algos.parts.tree import flatten
from frisket.rng import torch_generator
from frisket.types import Params, State

ALPHA, STEPS = 0.4, 3
LAYERS = ["fc1", "fc2"]


def learner(**fields: Any) -> EpisodicLearner:
    given = {"inner_steps": STEPS, "alpha": ALPHA, "features": "none", **fields}
    return EpisodicLearner(BMPConfig(**given), NETWORK)


def constant(m: Params, *outputs: float) -> Params:
    """``m`` of an adapter whose outputs are these, whatever it sees."""
    bias = m["output.bias"].new_tensor(outputs)
    return {**m, "output.weight": torch.zeros_like(m["output.weight"]), "output.bias": bias}


def lively(state: State, scale: float = 100.0) -> Params:
    """An m whose outputs differ from task to task and from step to step: some layers are shut at times."""
    weight = torch.randn(state["m"]["output.weight"].shape, generator=torch_generator(1), dtype=torch.float64)
    m = {**state["m"], "output.weight": scale * weight, "output.bias": torch.zeros(3, dtype=torch.float64)}
    squares = torch.tensor([0.01, 0.04, 1e-4, 1e-4], dtype=torch.float64)
    return {**m, SQUARES: squares, TIMES: torch.ones(()).double() * 2, RATE: torch.ones(()).double() * 0.3}


@pytest.mark.parametrize("order", [1, 2])
def test_1_all_open_at_one_rate_is_maml_and_all_shut_stays_at_theta(order: Any) -> None:
    ours = learner(order=order)
    maml = EpisodicLearner(MAMLConfig(inner_steps=STEPS, alpha=ALPHA, order=order), NETWORK)
    state = begun(ours)
    opened = {**state, "m": constant(state["m"], 0.0, 0.0, 0.0)}  # a bit is 1 at 0
    found, wanted = ours.gradients(opened, EPISODES), maml.gradients(state, EPISODES)
    assert torch.equal(found["loss"], wanted["loss"])
    near(found["theta"], wanted["theta"])
    for name, value in maml.adapted(state, EPISODES[0])["phi"].items():
        assert torch.equal(ours.adapted(opened, EPISODES[0])["phi"][name], value)

    shut = {**state, "m": constant(state["m"], -0.1, -0.1, 0.0)}
    adapted = ours.adapted(shut, EPISODES[0])
    assert all(torch.equal(v, state["theta"][k]) for k, v in adapted["phi"].items())
    assert ours.masks(adapted).sparsity() == 1
    near(ours.gradients(shut, EPISODES[:1])["theta"], gradient(NETWORK, state["theta"], EPISODES[0], query=True))
    after, metrics = ours.apply(shut, ours.gradients(shut, EPISODES))
    assert (metrics["open_layers"], metrics["not_adapted"]) == (0.0, 1.0)
    moved = (after["m"]["output.bias"] != shut["m"]["output.bias"]).tolist()
    assert moved == [True, True, False]  # shut layers learn to open; no layer had use of the rate


@pytest.mark.parametrize(("build", "head"), [(anil, 1.0), (boil, -1.0)])
def test_2_the_head_alone_is_anil_and_all_else_is_boil(build: Any, head: float) -> None:
    ours, named = learner(order=1), build(FOMAMLConfig(inner_steps=STEPS, alpha=ALPHA), NETWORK)
    state = begun(ours)
    state = {**state, "m": constant(state["m"], -head, head, 0.0)}
    near(ours.gradients(state, EPISODES)["theta"], named.gradients(begun(named), EPISODES)["theta"])
    adapted = ours.adapted(state, EPISODES[0])
    near(adapted["phi"], {**state["theta"], **named.adapted(begun(named), EPISODES[0])["phi"]})
    assert ours.masks(adapted).sparsities() == {k: float((k in NETWORK.head) != (head > 0)) for k in NETWORK.adaptable}


def plainly(m: Params, phi: Params, grads: Params, straight: str, rate_form: str) -> tuple[list[Tensor], Tensor]:
    """The bits and the rate of g, written down from the paper's text, with autograd's graph to ``m``."""
    means = [
        torch.cat([of[f"{layer}.weight"].flatten(), of[f"{layer}.bias"]]).mean()
        for of in (phi, grads)
        for layer in LAYERS
    ]
    u = torch.stack(means).detach() / (m[SQUARES] / (1 - 0.99 ** m[TIMES])).sqrt().detach()
    *scores, r = m["output.weight"] @ (m["hidden.weight"] @ u + m["hidden.bias"]).relu() + m["output.bias"]
    soft = [o if straight == "identity" else o.sigmoid() for o in scores]
    bits = [(o >= 0).double() + (s - s.detach()) for o, s in zip(scores, soft, strict=True)]
    alpha_0 = ALPHA * m[RATE].exp()
    one = torch.log(torch.tensor(torch.e, dtype=torch.float64) - 1)
    return bits, alpha_0 * (2 * r.sigmoid() if rate_form == "sigmoid" else F.softplus(r + one))


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize(("straight", "rate_form"), [("identity", "sigmoid"), ("sigmoid", "softplus")])
def test_3_gradients_are_autograd_s_through_the_straight_through_bits(
    order: Any, straight: Any, rate_form: Any
) -> None:
    """Of theta and of everything in m; in first order the inner gradients are held. Some bits are 0."""
    ours = learner(order=order, straight=straight, rate_form=rate_form)
    state = begun(ours)
    m = lively(state, 10.0)
    m_leaves = {k: v.clone().requires_grad_() for k, v in m.items()}
    theta = {k: v.clone().requires_grad_() for k, v in state["theta"].items()}
    total, bits_seen = torch.zeros((), dtype=torch.float64), []
    for one in EPISODES:
        support, query = one.sides()
        phi = dict(theta)
        for _ in range(STEPS):
            inner = NETWORK.loss(phi, support.x, support.y)
            found = torch.autograd.grad(inner, list(phi.values()), create_graph=order == 2, retain_graph=True)
            grads = dict(zip(phi, found, strict=True))
            bits, alpha = plainly(m_leaves, phi, {k: v.detach() for k, v in grads.items()}, straight, rate_form)
            phi = {k: v - alpha * bits[LAYERS.index(k.partition(".")[0])] * grads[k] for k, v in phi.items()}
            bits_seen += [float(bit.detach()) for bit in bits]
        total = total + NETWORK.loss(phi, query.x, query.y)
    total.backward()
    assert set(bits_seen) == {0.0, 1.0}
    result = ours.gradients({**state, "m": m}, EPISODES)
    torch.testing.assert_close(result["loss"], total.detach(), rtol=1e-12, atol=0)
    for leaf, got in ((theta, result["theta"]), (m_leaves, result["m"])):
        for k, v in leaf.items():
            wanted = torch.zeros_like(v) if v.grad is None else v.grad
            torch.testing.assert_close(got[k], wanted, rtol=1e-8, atol=1e-12)
    assert not result["m"][SQUARES].any()
    assert not result["m"][TIMES].any()


def test_3_closed_forms_of_first_order() -> None:
    """dQ/do_l = - alpha <g_out, G>, dQ/dr = - sum_l bit_l <g_out, G> dalpha/dr: what the last biases get, summed over
    the steps. The shut layer's is not 0."""
    ours = learner(order=1)
    state = begun(ours)
    state = {**state, "m": constant(state["m"], -1.0, 1.0, 0.2)}
    sigmoid = torch.tensor(0.2, dtype=torch.float64).sigmoid()
    alpha, phi, inner = ALPHA * 2 * sigmoid, dict(state["theta"]), []
    for _ in range(STEPS):
        inner.append(gradient(NETWORK, phi, EPISODES[0], query=False))
        phi = {k: v - alpha * inner[-1][k] if k.startswith("fc2") else v for k, v in phi.items()}
    out = gradient(NETWORK, phi, EPISODES[0], query=True)
    products = [sum((out[k] * g[k]).sum() for g in inner for k in out if k.startswith(layer)) for layer in LAYERS]
    found = ours.gradients(state, EPISODES[:1])["m"]
    slope = ALPHA * 2 * sigmoid * (1 - sigmoid)
    wanted = torch.stack([-alpha * products[0], -alpha * products[1], -products[1] * slope])
    torch.testing.assert_close(found["output.bias"], wanted, rtol=1e-8, atol=0)
    torch.testing.assert_close(found[RATE], -products[1] * alpha, rtol=1e-8, atol=0)
    assert float(wanted[0]) != 0


class Replayed(Modulation):
    """Rates that were decided before, whatever is seen."""

    by_step = True

    def __init__(self, rates: list[Params]) -> None:
        self.given = rates

    def init(self, adaptable: Params, generator: torch.Generator) -> Params:
        return {}

    def rates(self, m: Params, seen: Seen) -> Params:
        return self.given[seen.step]


def test_4_tasks_differ_and_nothing_reaches_theta_through_what_the_adapter_sees() -> None:
    ours = learner()
    state = begun(ours)
    m, theta = lively(state), state["theta"]
    assert isinstance(ours.modulation, LayerMask)
    first = Seen(theta, 0, gradient(NETWORK, theta, EPISODES[0], query=False))
    m["output.bias"] = -ours.modulation.adapter(m, first)  # so that the tasks lie on both sides of the first one
    decided = []
    for one in EPISODES:
        support, query = one.sides()
        trail = adapt_first_order(NETWORK, ours.modulation, theta, m, support, STEPS).trail
        assert not any(v.requires_grad for seen, _ in trail for v in (*seen.phi.values(), *seen.grads.values()))
        rates = [ours.modulation.rates(m, seen) for seen, _ in trail]
        decided.append([float(v) for step in rates for v in step.values()])
        found = meta_gradient(NETWORK, ours.modulation, theta, m, support, query, steps=STEPS, order=2)
        held = meta_gradient(NETWORK, Replayed(rates), theta, {}, support, query, steps=STEPS, order=2)
        near(found.theta, held.theta)
    assert decided[0] != decided[1]
    assert len({tuple(rate > 0 for rate in one) for one in decided}) > 1


@pytest.mark.parametrize("product", ["raised", "lowered"])
def test_7_a_layer_whose_gradients_agree_opens(product: str) -> None:
    """Where <g_out, G> > 0 a step of Adam raises o_l; where it is below 0 it lowers it."""
    ours = learner(order=1)
    state = begun(ours)
    state = {**state, "m": constant(state["m"], -1.0, -1.0, 0.0)}
    support, query = EPISODES[0].sides()
    data = query if product == "raised" else support
    inner = gradient(NETWORK, state["theta"], EPISODES[0], query=False)
    out = NETWORK.loss_and_gradients(state["theta"], data.x, data.y)[1]
    products = [sum(float((out[k] * inner[k]).sum()) for k in out if k.startswith(layer)) for layer in LAYERS]
    one = EPISODES[0] if product == "raised" else type(EPISODES[0])(support.x, support.y, 0)
    after, _ = ours.apply(state, ours.gradients(state, [one]))
    moved = (after["m"]["output.bias"] - state["m"]["output.bias"])[:2]
    assert [float(v) > 0 for v in moved] == [p > 0 for p in products]
    assert product == "raised" or all(p > 0 for p in products)  # a task judged on its own support agrees with itself


def test_8_the_adapter_is_small() -> None:
    """2,598 weights for Conv4 of 64 channels at 5 ways, and the rate's own: below a twentieth of the network."""
    network = Conv4(Conv4Config(channels=64), in_channels=3, size=84, ways=5)
    theta = network.init(torch_generator(0, "theta"))
    m = BMPConfig().modulation(network).init(split(network, theta)[0], torch_generator(0))
    learned = sum(v.numel() for k, v in m.items() if k not in (SQUARES, TIMES, RATE))
    assert learned == 74 * 32 + 32 + 32 * 6 + 6 == 2_598
    assert learned < 0.05 * sum(v.numel() for v in theta.values())


def test_kept_at_some_steps_only_it_is_the_same() -> None:
    full, kept = (learner(inner_steps=5, inner_checkpoint=every) for every in (None, 2))
    state = begun(full)
    state = {**state, "m": lively(state)}
    near(flatten(kept.gradients(state, EPISODES)), flatten(full.gradients(state, EPISODES)))


def test_decisions_are_those_it_adapts_by() -> None:
    """At every inner step of a test the bits and the rate of g, written down plainly, on the way it really takes."""
    ours = learner(inner_steps_test=5)
    state = begun(ours)
    state = {**state, "m": lively(state)}
    seen = []
    for one in EPISODES:
        found, phi = ours.decided(state, one), state["theta"]
        assert found is not None
        assert (list(found.layers), found.open.shape) == (LAYERS, (5, 2))
        assert found.rate is not None
        for k in range(5):
            grads = gradient(NETWORK, phi, one, query=False)
            bits, alpha = plainly(state["m"], phi, grads, "identity", "sigmoid")
            assert found.open[k].tolist() == [float(bit) for bit in bits]
            torch.testing.assert_close(found.rate[k], alpha, rtol=1e-12, atol=0)
            phi = {n: v - alpha * bits[LAYERS.index(n.partition(".")[0])] * grads[n] for n, v in phi.items()}
        adapted = ours.adapted(state, one)
        near(phi, adapted["phi"])
        assert found.masks == ours.masks(adapted)
        seen += found.open.flatten().tolist()
    assert set(seen) == {0.0, 1.0}


def test_masks_say_what_the_last_task_left_open() -> None:
    ours = learner()
    state = begun(ours)
    assert ours.masks(state).sparsity() == 0
    state = {**state, "m": lively(state)}
    after, metrics = ours.apply(state, ours.gradients(state, EPISODES))
    union = ours.masks(ours.adapted(state, EPISODES[0]))
    for one in EPISODES[1:]:
        union |= ours.masks(ours.adapted(state, one))
    assert ours.masks(after) == union
    assert 0 < metrics["open_layers"] < 1
    assert metrics["task_lr"] > 0


def test_a_start_that_is_kept_says_what_it_left_open() -> None:
    """The masks of a model are those of the point it was kept at, wherever the stream went on to."""
    ours = learner()
    later = begun(ours)
    earlier = {**later, "opened": {k: torch.zeros_like(v) for k, v in later["opened"].items()}}
    assert ours.masks(later).sparsity() == 0
    assert ours.masks({**later, **ours.start(earlier)}).sparsity() == 1
