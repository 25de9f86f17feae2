"""Facts of the few-shot family, in float64 on small networks (maml_family spec, section 12)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from frisket.algos.inner.first_m import Constant
from frisket.algos.inner.modulation import BinaryMask, Seen
from frisket.algos.kinds import LEARNERS
from frisket.algos.learner import Episodic
from frisket.algos.learners.fewshot.learner import EpisodicLearner
from frisket.algos.learners.fewshot.maml import FOMAMLConfig, MAMLConfig, anil, boil
from frisket.algos.learners.fewshot.sparse_maml import SparseMAMLConfig, SparseReluMAMLConfig
from frisket.algos.networks.mlp import MLP, MLPConfig
from frisket.algos.networks.network import Network, split
from frisket.algos.parts.tree import flatten, map_tensors
from frisket.rng import torch_generator
from frisket.types import Batch, Params, State

NETWORK = MLP(MLPConfig(hidden=(5,)), in_channels=1, size=3, ways=3)
KINDS = ("maml", "fomaml", "anil", "boil", "meta-sgd", "exp-maml", "sparse-maml", "sparse-relu-maml")


def episode(number: int) -> Batch:
    """3-way 2-shot with 3 queries a class, of noise, in float64."""
    generator = torch_generator(number, "episode")
    y = torch.cat([torch.arange(3).repeat_interleave(2), torch.arange(3).repeat_interleave(3)])
    return Batch(torch.randn(15, 1, 3, 3, generator=generator, dtype=torch.float64), y, number, support=6)


def begun(learner: Episodic, **entries: Any) -> State:
    """The first state, in float64, with ``entries`` in place of its own."""
    state = map_tensors(lambda t: t.double() if t.is_floating_point() else t, learner.init(0))
    return {**state, **entries}


def gradient(network: Network, weights: Params, episode_: Batch, *, query: bool) -> Params:
    data = episode_.sides()[query]
    return network.loss_and_gradients(weights, data.x, data.y)[1]


def by_hand(state: State, episodes: list[Batch], rates: Params, steps: int) -> tuple[Params, Params]:
    """Sum over tasks of g_out, and of g_out o sum_k g_k: first-order MAML, written down plainly."""
    theta, outer, product = state["theta"], {}, {}
    for one in episodes:
        phi, inner = dict(theta), {k: torch.zeros_like(v) for k, v in theta.items()}
        for _ in range(steps):
            g = gradient(NETWORK, phi, one, query=False)
            phi = {k: v - rates[k] * g[k] if k in rates else v for k, v in phi.items()}
            inner = {k: v + g[k] for k, v in inner.items()}
        out = gradient(NETWORK, phi, one, query=True)
        outer = {k: outer.get(k, 0) + v for k, v in out.items()}
        product = {k: product.get(k, 0) + v * inner[k] for k, v in out.items()}
    return outer, product


def near(found: Params, wanted: Params) -> None:
    for name, value in found.items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-10, atol=1e-14)


EPISODES = [episode(i) for i in range(3)]
MIXED = {
    k: torch.where(torch.arange(v.numel()).view(v.shape) % 2 == 0, 0.3, -0.2).double()
    for k, v in split(NETWORK, NETWORK.init(torch_generator(0, "theta")))[0].items()
}


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_the_gradients_of_sparse_maml_are_equation_5(scale: float) -> None:
    """G_m = - alpha sum_tau g_out o sum_k g_k, G_theta = sum_tau g_out (fact 1)."""
    learner = EpisodicLearner(SparseMAMLConfig(inner_steps=3, alpha=0.4, ste_scale=scale), NETWORK)
    state = begun(learner, m=MIXED)
    outer, product = by_hand(state, EPISODES, {k: 0.4 * (v >= 0).double() for k, v in MIXED.items()}, 3)
    found = learner.gradients(state, EPISODES)
    near(found["theta"], outer)
    near(found["m"], {k: -0.4 * scale * v for k, v in product.items()})


@pytest.mark.parametrize("derivative", ["straight", "plain"])
def test_the_gradients_of_sparse_relu_maml(derivative: Any) -> None:
    learner = EpisodicLearner(SparseReluMAMLConfig(inner_steps=3, derivative=derivative), NETWORK)
    state = begun(learner, m=MIXED)
    outer, product = by_hand(state, EPISODES, {k: v.relu() for k, v in MIXED.items()}, 3)
    found = learner.gradients(state, EPISODES)
    near(found["theta"], outer)
    open_ = {k: torch.ones_like(v) if derivative == "straight" else (v > 0).double() for k, v in MIXED.items()}
    near(found["m"], {k: -v * open_[k] for k, v in product.items()})


def test_an_open_mask_is_fomaml_and_zero_counts_as_open() -> None:
    """Fact 2: to the bit; and where all is closed nothing adapts, though m still learns."""
    plain = EpisodicLearner(FOMAMLConfig(inner_steps=3, alpha=0.4), NETWORK)
    sparse = EpisodicLearner(SparseMAMLConfig(inner_steps=3, alpha=0.4), NETWORK)
    state = begun(plain)
    zero = {k: torch.zeros_like(v) for k, v in MIXED.items()}
    for name, value in flatten(sparse.adapted({**state, "m": zero}, EPISODES[0])["phi"]).items():
        assert torch.equal(value, plain.adapted(state, EPISODES[0])["phi"][name])
    opened, wanted = sparse.gradients({**state, "m": zero}, EPISODES), plain.gradients(state, EPISODES)
    assert all(torch.equal(opened["theta"][k], v) for k, v in wanted["theta"].items())

    closed = {**state, "m": {k: v - 1 for k, v in zero.items()}}
    assert all(torch.equal(v, state["theta"][k]) for k, v in sparse.adapted(closed, EPISODES[0])["phi"].items())
    assert all(bool(v.abs().sum() > 0) for v in sparse.gradients(closed, EPISODES)["m"].values())


@pytest.mark.parametrize(("build", "inside"), [(anil, True), (boil, False)])
def test_a_mask_of_the_head_is_anil_and_of_the_rest_boil(build: Any, inside: bool) -> None:
    """Fact 3."""
    named = build(FOMAMLConfig(inner_steps=3, alpha=0.4), NETWORK)
    masked = EpisodicLearner(SparseMAMLConfig(inner_steps=3, alpha=0.4), NETWORK)
    state = begun(named)
    m = {k: torch.full_like(v, 1.0 if (k in NETWORK.head) == inside else -1.0) for k, v in MIXED.items()}
    phi = {**state["theta"], **named.adapted(state, EPISODES[0])["phi"]}
    near(masked.adapted({**state, "m": m}, EPISODES[0])["phi"], phi)


def test_second_order_is_the_derivative_of_the_adapted_loss() -> None:
    """Against central differences of theta, along random directions (fact 5)."""
    learner = EpisodicLearner(MAMLConfig(inner_steps=3, alpha=0.4), NETWORK)
    state = begun(learner)
    found = learner.gradients(state, EPISODES)["theta"]

    def loss(step: float, direction: Params) -> float:
        theta = {k: v + step * direction[k] for k, v in state["theta"].items()}
        return float(learner.gradients({**state, "theta": theta}, EPISODES)["loss"])

    for i in range(3):
        direction = {k: torch.randn(v.shape, generator=torch_generator(i, k), dtype=v.dtype) for k, v in found.items()}
        slope = (loss(1e-5, direction) - loss(-1e-5, direction)) / 2e-5
        along = float(sum((direction[k] * v).sum() for k, v in found.items()))
        assert along == pytest.approx(slope, rel=1e-6)
    first = EpisodicLearner(MAMLConfig(inner_steps=3, alpha=0.4, order=1), NETWORK).gradients(state, EPISODES)["theta"]
    assert not torch.allclose(first["fc1.weight"], found["fc1.weight"], rtol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_an_outer_step_is_the_sum_over_its_tasks_however_they_are_shared_out(kind: str) -> None:
    row = LEARNERS[kind]
    learner = row.build(row.config(inner_steps=2), NETWORK)
    assert isinstance(learner, Episodic)
    state = begun(learner)
    whole = learner.gradients(state, EPISODES)
    parts = [learner.gradients(state, EPISODES[:1]), learner.gradients(state, EPISODES[1:])]
    added = {k: v + flatten(parts[1])[k] for k, v in flatten(parts[0]).items()}
    near(flatten(whole), added)
    after, metrics = learner.apply(state, whole)
    assert int(after["step"]) == 1
    assert metrics["query_loss"] == pytest.approx(float(whole["loss"]) / 3)
    moved = {k for k, v in after["theta"].items() if not torch.equal(v, state["theta"][k])}
    assert moved == set(state["theta"])  # what does not adapt is meta-learned all the same


@pytest.mark.parametrize("kind", KINDS)
def test_answering_a_task_moves_nothing_that_is_meta_learned(kind: str) -> None:
    row = LEARNERS[kind]
    learner = row.build(row.config(inner_steps=2), NETWORK)
    assert isinstance(learner, Episodic)
    state = begun(learner)
    before = map_tensors(torch.clone, state)
    adapted = learner.adapted(state, EPISODES[0])
    learner.predict(adapted, EPISODES[0].x)
    for name, value in flatten(before).items():
        assert torch.equal(flatten(state)[name], value)
        if not name.startswith("phi/"):
            assert torch.equal(flatten(adapted)[name], value)
    assert any(not torch.equal(v, state["phi"][k]) for k, v in adapted["phi"].items())
    again = {**adapted, **learner.start(adapted)}
    assert all(torch.equal(v, flatten(state)[k]) for k, v in flatten(again).items())


def test_only_the_mask_learns_in_the_second_of_two_phases() -> None:
    learner = EpisodicLearner(SparseMAMLConfig(inner_steps=2, learn_start=False), NETWORK)
    state = begun(learner)
    after, _ = learner.apply(state, learner.gradients(state, EPISODES))
    assert all(torch.equal(v, state["theta"][k]) for k, v in after["theta"].items())
    assert all(not torch.equal(v, state["m"][k]) for k, v in after["m"].items())


def test_the_clamp_bounds_every_entry_of_the_gradient_of_theta() -> None:
    config = FOMAMLConfig(inner_steps=1, clamp=1e-3, optimiser="nesterov", outer_lr=1.0)
    learner = EpisodicLearner(config, NETWORK)
    state = begun(learner)
    after, _ = learner.apply(state, learner.gradients(state, EPISODES))
    most = max(float((v - state["theta"][k]).abs().max()) for k, v in after["theta"].items())
    assert most == pytest.approx(1.9e-3)  # the first step of Nesterov's form is g + 0.9 g


def test_a_warm_start_brings_the_weights_and_a_mask_of_its_own() -> None:
    learner = EpisodicLearner(SparseMAMLConfig(), NETWORK)
    theta: Params = {k: v + 1 for k, v in learner.init(0)["theta"].items()}
    state = learner.init(3, {"theta": theta, "m": {}, "adam": {}})
    assert all(torch.equal(v, theta[k]) for k, v in state["theta"].items())
    assert state["m"].keys() == set(NETWORK.adaptable)


def test_the_rate_of_an_open_weight_is_alpha() -> None:
    mask = BinaryMask(0.25, Constant(0.0))
    phi: dict[str, Tensor] = {"w": torch.ones(2)}
    assert mask.rates({"w": torch.tensor([0.0, -0.1])}, Seen(phi))["w"].tolist() == [0.25, 0.0]
