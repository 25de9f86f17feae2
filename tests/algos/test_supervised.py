"""Label smoothing, batches in parts, rates that change, and learners on a network that keeps statistics."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from toys import double, small_mlp, small_network

from frisket.algos.contract.toys import SIZE, WAYS, separable_batch
from frisket.algos.kinds import LEARNERS
from frisket.algos.learners.sparse.rigl import StaticSparse, StaticSparseConfig
from frisket.algos.learners.sparse.supervised import loss_and_gradients
from frisket.algos.masks.ranking import Ranking
from frisket.algos.networks.mlp import MLP, MLPConfig
from frisket.algos.networks.powerprop import Powerprop
from frisket.algos.networks.resnet import ResNet, ResNetConfig
from frisket.algos.parts.schedule import ScheduledConfig
from frisket.algos.parts.tree import equal_states
from frisket.algos.state_file import load_state, save_state
from frisket.errors import SpecError
from frisket.types import Params, State

KINDS = ("iterative-magnitude", "top-kast", "rigl", "static-sparse")


def mlp_case() -> tuple[MLP, Params, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    net = small_mlp(1, ways=3)
    x = torch.rand(7, 1, SIZE, SIZE, generator=generator, dtype=torch.float64)
    return net, double(net.init(generator)), x, torch.tensor([0, 1, 2, 0, 1, 2, 0])


def smoothed(net: MLP, params: Params, x: torch.Tensor, y: torch.Tensor, share: float) -> float:
    """The loss of the module's equation, written out."""
    logp = net(params, x).log_softmax(-1)
    q = torch.full_like(logp, share / logp.shape[-1])
    q[torch.arange(len(y)), y] += 1 - share
    return float(-(q * logp).sum(-1).mean())


@pytest.mark.parametrize("parts", [1, 3])
def test_gradient_of_the_smoothed_loss_by_differences(parts: int) -> None:
    net, params, x, y = mlp_case()
    found = loss_and_gradients(net, params, {}, x, y, smoothing=0.1, parts=parts)
    assert float(found.loss) == pytest.approx(smoothed(net, params, x, y, 0.0), rel=1e-12)
    for name, index in (("fc1.weight", (2, 5)), ("fc3.weight", (1, 3)), ("fc3.bias", (2,))):
        h, ends = 1e-6, list[float]()
        for sign in (1, -1):
            shifted = {**params, name: params[name].clone()}
            shifted[name][index] += sign * h
            ends.append(smoothed(net, shifted, x, y, 0.1))
        assert float(found.grads[name][index]) == pytest.approx((ends[0] - ends[1]) / (2 * h), abs=1e-8)


@pytest.mark.parametrize("parts", [2, 3, 7, 100])
def test_parts_have_the_mean_gradient_of_the_whole(parts: int) -> None:
    """Parts of unequal size too: 7 samples in 2 parts are 4 and 3."""
    net, params, x, y = mlp_case()
    whole, cut = (loss_and_gradients(net, params, {}, x, y, parts=n) for n in (1, parts))
    assert float(whole.loss) == pytest.approx(float(cut.loss), rel=1e-12)
    assert all(torch.allclose(v, cut.grads[k], rtol=1e-10, atol=1e-14) for k, v in whole.grads.items())


def test_parts_of_a_network_with_batch_norm_go_by_their_own_statistics() -> None:
    net, params, x, y = resnet(), double(resnet().init(torch.Generator().manual_seed(0))), *mlp_case()[2:]
    y = y % WAYS
    halves = [
        loss_and_gradients(net, params, double(net.statistics()), *half) for half in ((x[:4], y[:4]), (x[4:], y[4:]))
    ]
    cut = loss_and_gradients(net, params, double(net.statistics()), x, y, parts=2)
    whole = loss_and_gradients(net, params, double(net.statistics()), x, y)
    mean = {k: (4 * v + 3 * halves[1].grads[k]) / 7 for k, v in halves[0].grads.items()}
    assert all(torch.allclose(v, cut.grads[k]) for k, v in mean.items())
    assert not torch.allclose(whole.grads["fc.weight"], cut.grads["fc.weight"])
    _, twice = net.training(params, halves[0].statistics, x[4:])
    assert all(torch.equal(v, twice[k]) for k, v in cut.statistics.items())


def test_without_smoothing_it_is_the_networks_own_back_propagation() -> None:
    net, params, x, y = mlp_case()
    loss, grads = net.loss_and_gradients(params, x, y)
    found = loss_and_gradients(net, params, {}, x, y)
    assert torch.equal(loss, found.loss)
    assert all(torch.equal(v, found.grads[k]) for k, v in grads.items())


def test_rates_of_the_published_recipe() -> None:
    config = ScheduledConfig(lr=1.6, warmup=1564, drops=(9383, 21895, 28150))
    rates = {0: 1.6 / 1564, 781: 0.8, 1563: 1.6, 1564: 1.6, 9382: 1.6, 9383: 0.16, 21895: 0.016, 28150: 0.0016}
    assert {t: config.rate(t) for t in rates} == pytest.approx(rates)


def test_rates_of_a_cosine_with_a_warm_up() -> None:
    config = ScheduledConfig(lr=0.1, cosine=100, warmup=10)
    assert config.rate(4) == pytest.approx(0.1 * 0.5 * (1 + math.cos(math.pi * 0.04)) / 2)
    assert config.rate(50) == pytest.approx(0.05)
    assert config.rate(99) > config.rate(100) == config.rate(500) == pytest.approx(0, abs=1e-12)
    assert {ScheduledConfig(lr=0.1).rate(t) for t in range(5)} == {0.1}


def test_learners_step_at_the_rate_of_their_step() -> None:
    """Plain SGD, so a step divided by the rate is the gradient."""
    fields: dict[str, Any] = {
        "kept": 1.0,
        "scope": "uniform",
        "optimiser": "sgd",
        "lr": 0.5,
        "warmup": 2,
        "drops": (2,),
    }
    learner = StaticSparse(StaticSparseConfig(**fields), small_mlp())
    state = learner.init(0)
    for t, rate in enumerate((0.25, 0.5, 0.05)):
        batch = separable_batch(t)
        _, grads = learner.network.loss_and_gradients(state["theta"], batch.x, batch.y)
        after, _ = learner.observe(state, batch)
        for k, g in grads.items():
            assert torch.allclose(state["theta"][k] - after["theta"][k], rate * g, atol=1e-7)
        state = after


def test_uniform_budgets_keep_the_first_tensor_dense() -> None:
    weights = {"stem": torch.rand(4, 3), "body": torch.rand(10, 10), "head": torch.rand(5, 7)}
    masks = Ranking(weights, "uniform", output=("head",)).keep(0.21)
    assert {k: int(m.sum()) for k, m in masks.items()} == {"stem": 12, "body": 21, "head": 7}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"warmup": -1}, "warmup"),
        ({"drops": (5, 5)}, "drops"),
        ({"drops": (0, 5)}, "drops"),
        ({"drop_factor": 0.0}, "drop_factor"),
        ({"cosine": 0}, "cosine"),
        ({"label_smoothing": 1.0}, "label_smoothing"),
        ({"micro_batches": 0}, "micro_batches"),
    ],
)
def test_numbers_that_cannot_be_are_refused(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(SpecError) as caught:
        StaticSparseConfig(**fields)
    assert caught.value.field == field


def test_smoothing_is_refused_where_tasks_have_labels_of_their_own() -> None:
    net = MLP(MLPConfig(hidden=(4,)), in_channels=1, size=SIZE, ways=4, own=2)
    with pytest.raises(SpecError, match="label_smoothing"):
        StaticSparse(StaticSparseConfig(label_smoothing=0.1), net)


def resnet() -> ResNet:
    config = ResNetConfig(depth=18, width=2, stem="small")
    return ResNet(config, in_channels=1, size=SIZE, ways=WAYS)


def resnet_learner(kind: str, alpha: float) -> Any:
    entry = LEARNERS[kind]
    schedule = {"iterative-magnitude": {"first": 0, "last": 6}, "rigl": {"last": 6}}.get(kind, {})
    config = entry.config(optimiser="momentum", lr=0.05, kept=0.3, scope="uniform", every=2, warmup=3, **schedule)
    return entry.build(config, Powerprop(resnet(), alpha))


@pytest.mark.parametrize(("kind", "alpha"), [*((kind, 1.0) for kind in KINDS), ("top-kast", 2.0)])
def test_sparse_learners_keep_running_statistics_in_their_state(kind: str, alpha: float, tmp_path: Path) -> None:
    """Resumed in the middle, state and answers have the bits of a learner that was never stopped; statistics move, and
    batch norm and the first convolution are in no mask or whole."""
    learner = resnet_learner(kind, alpha)
    states: list[State] = [learner.init(0)]
    for t in range(4):
        states.append(learner.observe(states[-1], separable_batch(t))[0])
    save_state(tmp_path / "state.safetensors", states[2], {})
    state, _ = load_state(tmp_path / "state.safetensors")
    for t in range(2, 4):
        state, _ = learner.observe(state, separable_batch(t))
    assert equal_states(state, states[4])
    assert not any(torch.equal(v, states[4]["statistics"][k]) for k, v in states[3]["statistics"].items())
    assert not [k for k in state["active"] if "norm" in k or "bias" in k]
    assert bool(state["active"]["stem.weight"].all())
    x = separable_batch(9).x
    assert torch.allclose(learner.predict(state, x)[3:5], learner.predict(state, x[3:5]), atol=1e-5)


def test_a_learner_on_a_residual_network_learns() -> None:
    learner = resnet_learner("iterative-magnitude", 2.0)
    state = learner.init(0)
    for t in range(40):
        state, _ = learner.observe(state, separable_batch(t))
    batch = separable_batch(50)
    assert float((learner.predict(state, batch.x).argmax(-1) == batch.y).double().mean()) >= 0.9


def test_networks_without_running_statistics_leave_none_in_the_state() -> None:
    learner = StaticSparse(StaticSparseConfig(), small_network())
    state, _ = learner.observe(learner.init(0), separable_batch(0))
    assert state["statistics"] == {}
