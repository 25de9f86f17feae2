"""Batch norm by its three policies, in both networks that have them: what a support pass moves, what an answer depends
on, and meta-gradients against finite differences, in float64."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from test_contract import names
from test_conv4 import plain
from test_inner import along, directions, moved, slope
from torch import Tensor, nn
from toys import double

from frisket.algos.contract import NETWORK_CHECKS, NetworkTrial
from frisket.algos.contract.toys import SHAPE, WAYS, noise_data, separable_episode
from frisket.algos.inner import pretrain
from frisket.algos.inner.loop import Adapted, adapt_first_order, loss_on, unroll
from frisket.algos.inner.meta_gradient import meta_gradient
from frisket.algos.inner.modulation import FixedStep, LearnedStep
from frisket.algos.kinds import NETWORKS
from frisket.algos.networks.conv4 import Conv4Config
from frisket.algos.networks.module import module_network
from frisket.algos.networks.network import Adapting, Network, split
from frisket.algos.networks.powerprop import Powerprop
from frisket.algos.networks.resnet12 import ResNet12Config
from frisket.errors import SpecError
from frisket.findings import Check
from frisket.rng import torch_generator
from frisket.types import Params

SUPPORT, QUERY = noise_data(1), noise_data(2)
STEPS, OWN_STEPS = 3, 2
NEAR = 3e-8
"""Step of a finite difference: so small that hardly one crosses a kink of some ReLU or pool, where phi jumps."""
ALONE: dict[str, dict[str, Any]] = {
    "inductive": {"norm": "inductive"},
    "per_step": {"norm": "per_step", "norm_steps": OWN_STEPS},
}
POLICIES: dict[str, dict[str, Any]] = {"transductive": {}, **ALONE}
SMALL: dict[str, dict[str, Any]] = {"conv4": {"channels": 2}, "resnet12": {"channels": (2, 2, 2, 3)}}
CASES = [(kind, policy) for kind in SMALL for policy in POLICIES]

every_network = pytest.mark.parametrize("kind", list(SMALL))
every_policy = pytest.mark.parametrize("policy", list(POLICIES))
without_neighbours = pytest.mark.parametrize("policy", list(ALONE))


def small(kind: str, policy: str, **fields: Any) -> Network:
    """A network of few channels for 1 x 16 x 16 images."""
    config = NETWORKS[kind].config(**SMALL[kind], **POLICIES[policy], **fields)
    return NETWORKS[kind].build(config, in_channels=SHAPE[0], size=SHAPE[1], ways=WAYS)


def started(network: Network) -> Params:
    """First weights in float64, gains and shifts and statistics moved off 1 and 0."""
    generator = torch_generator(0, "theta")
    theta = double(network.init(generator))
    noise = {k: 0.2 * torch.rand(v.shape, generator=generator, dtype=v.dtype) for k, v in theta.items()}
    return {k: v + noise[k] if v.dim() == 1 else v for k, v in theta.items()}


def adapted(network: Network, theta: Params, steps: int = STEPS) -> Adapted:
    return adapt_first_order(network, FixedStep(0.1), theta, {}, SUPPORT, steps)


def of_set(params: Params, step: int) -> Params:
    """The parameters of a ``per_step`` network that inner step ``step`` goes by, under the names of the others."""
    own = re.compile(r"\.(\d+)\.(weight|bias|mean|variance)$")
    chosen = {k: v for k, v in params.items() if not (found := own.search(k)) or found[1] == str(step)}
    return {own.sub(r".\2", k): v for k, v in chosen.items()}


@pytest.mark.parametrize(("kind", "policy"), CASES)
@pytest.mark.parametrize("check", NETWORK_CHECKS, ids=names)
def test_the_contract_holds_under_every_policy(check: Check[NetworkTrial], kind: str, policy: str) -> None:
    row = NETWORKS[kind]
    check(NetworkTrial(replace(row, quick={**row.quick, **POLICIES[policy]})))


@pytest.mark.parametrize("fields", [{"bias": False}, {"adapt_norm": True}, {"adapt_norm": True, "norm": "inductive"}])
@pytest.mark.parametrize("check", [c for c in NETWORK_CHECKS if "blocks" not in names(c)], ids=names)
def test_the_contract_holds_in_conv4s_other_forms(check: Check[NetworkTrial], fields: dict[str, Any]) -> None:
    row = NETWORKS["conv4"]
    check(NetworkTrial(replace(row, quick={**row.quick, **fields})))


@pytest.mark.parametrize(("kind", "policy"), CASES)
def test_a_network_and_what_wraps_it_name_the_policy(kind: str, policy: str) -> None:
    network = small(kind, policy)
    for one in (network, Adapting(network, network.head), small(kind, policy, powerprop_alpha=2.0)):
        assert one.norm == policy
        assert one.running == network.running
        assert one.least_steps == (OWN_STEPS if policy == "per_step" else 0)
    assert bool(network.running) == (policy != "transductive")


def test_a_module_has_a_policy_where_it_has_batch_norm() -> None:
    def build(normed: bool) -> Network:
        def make(config: Any, in_channels: int, size: int, ways: int) -> nn.Module:
            layers = [nn.Flatten(), nn.Linear(in_channels * size**2, 3), *([nn.BatchNorm1d(3)] if normed else [])]
            return nn.Sequential(*layers, nn.Linear(3, ways))

        kind = module_network(make, name="own", summary="a module")
        return kind.build(kind.config(), in_channels=1, size=4, ways=2)

    assert [build(normed).norm for normed in (True, False)] == ["transductive", None]


@pytest.mark.parametrize(("step", "own"), [(0, 0), (1, 1), (7, 1)])
@without_neighbours
def test_a_support_pass_moves_statistics_a_tenth(policy: str, step: int, own: int) -> None:
    """0.9 of what they were and 0.1 of the batch's mean and unbiased variance: those of the step's own set alone."""
    network = small("conv4", policy)
    theta = started(network)
    _, after = network.support_loss(theta, SUPPORT.x, SUPPORT.y, step)
    z = F.conv2d(SUPPORT.x, theta["conv1.weight"], theta["conv1.bias"], padding=1).transpose(0, 1).flatten(1)
    name = f"bn1.{own}" if policy == "per_step" else "bn1"
    torch.testing.assert_close(after[f"{name}.mean"], 0.9 * theta[f"{name}.mean"] + 0.1 * z.mean(1))
    torch.testing.assert_close(after[f"{name}.variance"], 0.9 * theta[f"{name}.variance"] + 0.1 * z.var(1))
    others = [k for k in after if policy == "per_step" and f".{own}." not in k]
    assert all(torch.equal(after[k], theta[k]) for k in others)
    assert set(after) == set(network.running)


def test_inductive_is_a_module_that_trains_on_the_support_and_is_evaluated_on_the_queries() -> None:
    """Plain gradient descent on `torch.nn` modules with running statistics, every parameter adapted."""
    network = NETWORKS["conv4"].build(
        Conv4Config(channels=4, adapt_norm=True, norm="inductive"), in_channels=1, size=16, ways=WAYS
    )
    module = plain(4, 1, WAYS).double()
    for layer in list(module):
        if isinstance(layer, nn.BatchNorm2d):
            layer.track_running_stats = True
            layer.register_buffer("running_mean", torch.zeros(4, dtype=torch.float64))
            layer.register_buffer("running_var", torch.ones(4, dtype=torch.float64))
    theta = double(network.init(torch_generator(0)))
    weights = [name for name in theta if name not in network.running]
    theta |= {k: p.detach().clone() for k, p in zip(weights, module.parameters(), strict=True)}
    for _ in range(STEPS):
        grads = torch.autograd.grad(F.cross_entropy(module(SUPPORT.x), SUPPORT.y), list(module.parameters()))
        with torch.no_grad():
            for p, g in zip(module.parameters(), grads, strict=True):
                p -= 0.1 * g
    module.eval()
    found = adapted(network, theta).weights(theta)
    torch.testing.assert_close(network(found, QUERY.x), module(QUERY.x), rtol=1e-9, atol=1e-11)


@every_network
def test_per_step_takes_the_set_of_the_step(kind: str) -> None:
    """Step k as a network without sets takes it that is given set k (the last one from there on): same fast weights,
    same statistics, and answers by the last set, bit for bit."""
    network, single = small(kind, "per_step"), small(kind, "inductive")
    theta = started(network)
    phi = split(network, theta)[0]
    statistics = {k: theta[k] for k in network.running}
    for step in range(STEPS):
        own = min(step, OWN_STEPS - 1)
        leaves = {k: v.detach().requires_grad_() for k, v in phi.items()}
        loss, after = single.support_loss(of_set({**theta, **statistics, **leaves}, own), SUPPORT.x, SUPPORT.y, 0)
        grads = torch.autograd.grad(loss, list(leaves.values()))
        phi = {k: v - 0.1 * g for (k, v), g in zip(phi.items(), grads, strict=True)}
        statistics |= {re.sub(r"(\w+)$", rf"{own}.\1", k): v for k, v in after.items()}
    found = adapted(network, theta)
    assert all(torch.equal(found.phi[k], v) for k, v in phi.items())
    assert all(torch.equal(found.statistics[k], v) for k, v in statistics.items())
    answer = single(of_set({**theta, **statistics, **phi}, OWN_STEPS - 1), QUERY.x)
    assert torch.equal(network(found.weights(theta), QUERY.x), answer)


def test_per_step_needs_as_many_steps_as_it_has_sets() -> None:
    network = small("conv4", "per_step")
    for run in (adapted, lambda n, t, k: unroll(n, FixedStep(0.1), t, {}, SUPPORT, steps=k)):
        with pytest.raises(SpecError, match="norm_steps") as caught:
            run(network, started(network), OWN_STEPS - 1)
        assert caught.value.value == OWN_STEPS


@every_network
@every_policy
def test_fact_8_permuted_queries_have_permuted_answers(kind: str, policy: str) -> None:
    network = small(kind, policy)
    theta = started(network)
    weights, order = adapted(network, theta).weights(theta), torch.tensor([3, 0, 5, 1, 4, 2])
    straight, permuted = network(weights, QUERY.x), network(weights, QUERY.x[order])
    torch.testing.assert_close(permuted, straight[order], rtol=1e-9, atol=1e-12)


@every_network
@without_neighbours
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fact_8_an_answer_does_not_depend_on_the_other_queries(kind: str, policy: str, dtype: torch.dtype) -> None:
    """Bit for bit among any others; alone too, up to how a product of another size is rounded."""
    network = small(kind, policy)
    theta = started(network)
    weights = {k: v.to(dtype) for k, v in adapted(network, theta).weights(theta).items()}
    x, *others = (noise_data(key, dtype=dtype).x for key in (2, 3, 4))
    among = network(weights, x)
    for other in (*others, 100 * others[0]):
        assert torch.equal(network(weights, torch.cat([other[:2], x[2:3], other[3:]]))[2], among[2])
    torch.testing.assert_close(network(weights, x[2:3])[0], among[2])


@every_network
def test_fact_8_a_transductive_answer_depends_on_the_other_queries(kind: str) -> None:
    network = small(kind, "transductive")
    theta = started(network)
    weights = adapted(network, theta).weights(theta)
    among = network(weights, QUERY.x)
    others = torch.cat([noise_data(3).x[:2], QUERY.x[2:3], noise_data(3).x[3:]])
    for batch, place in ((others, 2), (QUERY.x[2:4], 0)):
        assert not torch.allclose(network(weights, batch)[place], among[2], rtol=1e-3)


@pytest.mark.parametrize(("kind", "policy"), CASES)
@pytest.mark.parametrize("order", [1, 2])
def test_evaluation_and_gradients_leave_the_weights_they_are_given(kind: str, policy: str, order: int) -> None:
    """To the bit, running statistics too; they have no gradient, and what a support set makes of them is handed on."""
    network = small(kind, policy)
    theta = started(network)
    before = {k: v.clone() for k, v in theta.items()}
    found = adapted(network, theta)
    network(found.weights(theta), QUERY.x)
    result = meta_gradient(network, FixedStep(0.1), theta, {}, SUPPORT, QUERY, steps=STEPS, order=order)
    assert all(torch.equal(v, before[k]) for k, v in theta.items())
    assert set(result.theta) == set(theta)
    assert set(found.statistics) == set(result.statistics) == set(network.running)
    for k in network.running:
        assert not result.theta[k].any()
        assert not result.statistics[k].requires_grad
        assert not torch.equal(result.statistics[k], theta[k])
        torch.testing.assert_close(result.statistics[k], found.statistics[k])


def query_loss(network: Network, theta: Params, eta: Params, statistics: Params) -> Callable[..., Tensor]:
    """L(phi_K, D') by ``(theta, eta)`` moved, the running ``statistics`` held, as plain arithmetic."""

    def value(way: Params, rate_way: Params, h: float) -> Tensor:
        start, rates = moved(theta, way, h), moved(eta, rate_way, h)
        found = adapt_first_order(network, LearnedStep(0.1), start, rates, SUPPORT, STEPS)
        rest = {**split(network, start)[1], **statistics}
        with torch.no_grad():
            return loss_on(network, rest, QUERY)(found.phi)

    return value


FORMS = [(kind, policy, {}) for kind, policy in CASES] + [
    ("conv4", "transductive", {"adapt_norm": True}),
    ("conv4", "inductive", {"adapt_norm": True}),
    ("conv4", "per_step", {"bias": False}),
    ("resnet12", "inductive", {"adapt_shortcuts": False}),
]


@pytest.mark.parametrize(("kind", "policy", "fields"), FORMS)
def test_second_order_against_finite_differences(kind: str, policy: str, fields: dict[str, Any]) -> None:
    """For theta, gains and shifts of every step too, and for learned step sizes."""
    network = small(kind, policy, **fields)
    theta = started(network)
    eta = {k: torch.full((), 0.1, dtype=torch.float64) for k in network.adaptable}
    result = meta_gradient(network, LearnedStep(0.1), theta, eta, SUPPORT, QUERY, steps=STEPS, order=2)
    still = {k: torch.zeros_like(v) for k, v in eta.items()}
    value = query_loss(network, theta, eta, dict(result.statistics))
    assert float(result.loss) == pytest.approx(float(value(theta, still, 0.0)), rel=1e-12)
    for key in range(3):
        way = {k: v * (k not in network.running) for k, v in directions(theta, key).items()}
        expected = slope(lambda h, way=way: value(way, still, h), NEAR)
        assert along(result.theta, way) == pytest.approx(expected, rel=1e-4, abs=1e-6)
    way = {k: 0.1 * v for k, v in directions(eta, 9).items()}
    unmoved = {k: torch.zeros_like(v) for k, v in theta.items()}
    assert along(result.m, way) == pytest.approx(slope(lambda h: value(unmoved, way, h), NEAR), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(("kind", "policy", "fields"), FORMS)
def test_first_order_against_finite_differences(kind: str, policy: str, fields: dict[str, Any]) -> None:
    """The derivative at the fast weights, whatever led there held."""
    network = small(kind, policy, **fields)
    theta = started(network)
    found = adapted(network, theta)
    result = meta_gradient(network, FixedStep(0.1), theta, {}, SUPPORT, QUERY, steps=STEPS, order=1)
    at = found.weights(theta)
    for key in range(3):
        way = {k: v * (k not in network.running) for k, v in directions(at, key).items()}
        expected = slope(lambda h, way=way: network.loss(moved(at, way, h), QUERY.x, QUERY.y))
        assert along(result.theta, way) == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_gains_of_earlier_steps_learn_in_second_order_only() -> None:
    network = small("conv4", "per_step")
    theta = started(network)
    first, second = (
        meta_gradient(network, FixedStep(0.1), theta, {}, SUPPORT, QUERY, steps=STEPS, order=k).theta for k in (1, 2)
    )
    assert not first["bn1.0.weight"].any()
    assert all(v.any() for v in (first["bn1.1.weight"], second["bn1.0.weight"], second["bn1.1.weight"]))


@without_neighbours
def test_pre_training_goes_on_with_the_mean_over_the_meta_batch(policy: str) -> None:
    """After one outer step of two episodes; the validation after it moves nothing."""
    config = pretrain.PretrainConfig(
        epochs=1, meta_batch=2, inner_steps=STEPS, meta_batches_per_epoch=1, validation_episodes=2
    )
    network = small("conv4", policy)
    start = pretrain.init(config, network, seed=0)["theta"]
    (state,) = pretrain.pretrain(config, network, separable_episode, seed=0)
    episodes = [separable_episode("train", i) for i in range(2)]
    ends = [adapt_first_order(network, FixedStep(0.1), start, {}, e.sides()[0], STEPS).statistics for e in episodes]
    for k in network.running:
        torch.testing.assert_close(state["theta"][k], (ends[0][k] + ends[1][k]) / 2)


def test_powerprop_leaves_statistics_alone() -> None:
    network = small("conv4", "inductive")
    theta = started(network)
    wrapped = Powerprop(network, 2.0)
    assert not set(wrapped.kernels) & set(network.running)
    _, after = wrapped.support_loss({k: v.sign() * v.abs().sqrt() if k in wrapped.kernels else v
                                     for k, v in theta.items()}, SUPPORT.x, SUPPORT.y, 0)  # fmt: skip
    for k, v in network.support_loss(theta, SUPPORT.x, SUPPORT.y, 0)[1].items():
        torch.testing.assert_close(after[k], v)


@pytest.mark.parametrize(
    ("config", "fields", "field"),
    [
        (Conv4Config, {"norm_steps": 0}, "norm_steps"),
        (Conv4Config, {"adapt_norm": True, "norm": "per_step"}, "adapt_norm"),
        (ResNet12Config, {"norm_steps": 0}, "norm_steps"),
        (ResNet12Config, {"channels": (2, 2, 2)}, "channels"),
        (ResNet12Config, {"channels": (2, 2, 2, 0)}, "channels"),
    ],
)
def test_mistakes_are_named(config: type[Any], fields: dict[str, Any], field: str) -> None:
    with pytest.raises(SpecError) as caught:
        config(**fields)
    assert caught.value.field == field
