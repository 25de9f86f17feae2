"""MMSUP: the facts of the gems spec, section 8, in float64 on small networks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from test_fewshot import EPISODES, NETWORK, begun, gradient, near
from torch import Tensor

from frisket.algos.inner.loop import adapt_first_order
from frisket.algos.inner.modulation import Seen
from frisket.algos.inner.subnet import Subnet
from frisket.algos.learners.fewshot.learner import EpisodicLearner
from frisket.algos.learners.fewshot.maml import MAMLConfig
from frisket.algos.learners.fewshot.mmsup import MMSUPConfig
from frisket.algos.networks.conv4 import Conv4, Conv4Config
from frisket.algos.networks.network import split
from frisket.algos.parts.tree import flatten
from frisket.errors import SpecError
from frisket.rng import torch_generator
from frisket.types import Batch, Params, State

ALPHA, STEPS = 0.4, 3
RANKED = ("fc1.weight", "fc2.weight")


def learner(**fields: Any) -> EpisodicLearner:
    return EpisodicLearner(MMSUPConfig(**{"inner_steps": STEPS, "alpha": ALPHA, **fields}), NETWORK)


def subnet(learner_: EpisodicLearner) -> Subnet:
    assert isinstance(learner_.modulation, Subnet)
    return learner_.modulation


def lively(state: State) -> State:
    """``state`` with an adapter whose outputs differ from task to task."""
    weight = torch.randn(state["m"]["output.weight"].shape, generator=torch_generator(1), dtype=torch.float64)
    seen_at = {
        "inputs.squares": torch.tensor([0.01, 0.04, 1e-4, 1e-4]).double(),
        "inputs.times": torch.ones(()).double(),
    }
    return {**state, "m": {**state["m"], "output.weight": weight, "output.bias": torch.zeros(2).double(), **seen_at}}


def masks_of(learner_: EpisodicLearner, state: State, episode: Batch) -> Params:
    masks = learner_.masks(learner_.adapted(state, episode))
    return {k: masks[k].double() for k in masks}


@pytest.mark.parametrize("order", [1, 2])
def test_5_nothing_frozen_is_maml(order: Any) -> None:
    ours = learner(sparsity=(0.0, 0.0), order=order, reduction="sum")
    maml = EpisodicLearner(MAMLConfig(inner_steps=STEPS, alpha=ALPHA, order=order), NETWORK)
    state = begun(ours)
    found, wanted = ours.gradients(state, EPISODES), maml.gradients(state, EPISODES)
    assert torch.equal(found["loss"], wanted["loss"])
    near(found["theta"], wanted["theta"])
    after, metrics = ours.apply(state, found)
    near(after["theta"], maml.apply(begun(maml), wanted)[0]["theta"])
    assert metrics["shared"] == 1
    assert metrics["frozen"] == 0


def test_a_number_is_the_sparsity_of_all_layers() -> None:
    found, wanted = (
        flatten(ours.gradients(begun(ours), EPISODES)) for ours in (learner(sparsity=0.3), learner(sparsity=(0.3, 0.3)))
    )
    assert found.keys() == wanted.keys()
    assert all(torch.equal(v, wanted[k]) for k, v in found.items())


def test_weights_that_are_no_numbers_any_more_end_nothing() -> None:
    """The run says that it has diverged; the method goes on."""
    ours = learner()
    state = begun(ours)
    lost = {**state, "theta": {k: v * float("nan") for k, v in state["theta"].items()}}
    assert all(bool(v.isnan().all()) for v in ours.gradients(lost, EPISODES)["theta"].values())


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("score", ["weight", "weight_times_gradient"])
def test_5_the_largest_are_kept_and_what_is_frozen_does_not_move_by_a_bit(score: Any, kept: bool) -> None:
    sparsity = (0.3, 0.85)
    ours = learner(sparsity=sparsity, score=score, k_means_kept=kept)
    state = begun(ours)
    theta = state["theta"]
    masks = masks_of(ours, state, EPISODES[0])
    grads = gradient(NETWORK, theta, EPISODES[0], query=False)
    for name, s in zip(RANKED, sparsity, strict=True):
        n, share = theta[name].numel(), s if kept else 1 - s
        assert int(masks[name].sum()) == round(share * n)
        scores = (theta[name] if score == "weight" else theta[name] * grads[name]).abs()
        assert scores[masks[name] == 1].min() > scores[masks[name] == 0].max()
    assert all(bool(v.all()) for k, v in masks.items() if k not in RANKED)
    phi = ours.adapted(state, EPISODES[0])["phi"]
    for k, v in phi.items():
        assert torch.equal(v[masks[k] == 0], theta[k][masks[k] == 0])
        assert bool((v != theta[k])[masks[k] == 1].any())


def same_entries(a: Tensor, b: Tensor, where: Tensor) -> bool:
    return torch.equal(a[where], b[where])


@pytest.mark.parametrize("fields", [{"optimiser": "adam"}, {"optimiser": "nesterov"}, {"outer": "eq7", "order": 1}])
def test_5_what_is_in_no_subnet_does_not_move_nor_do_its_moments(fields: Any) -> None:
    """Also after steps that gave it moments, which would move it on."""
    ours = learner(**fields)
    state = begun(ours)
    state, _ = ours.apply(state, ours.gradients(state, EPISODES))
    state = lively(state)
    union = ours.masks(ours.adapted(state, EPISODES[0])) | ours.masks(ours.adapted(state, EPISODES[1]))
    common = ours.masks(ours.adapted(state, EPISODES[0])) & ours.masks(ours.adapted(state, EPISODES[1]))
    after, metrics = ours.apply(state, ours.gradients(state, EPISODES[:2]))
    assert union.sparsity() > 0
    assert ours.masks(after) == union
    assert metrics["shared"] == pytest.approx((1 - common.sparsity()) / (1 - union.sparsity()))
    for k, inside in union.items():
        assert same_entries(after["theta"][k], state["theta"][k], ~inside)
        assert bool((after["theta"][k] != state["theta"][k])[inside].any())
    before = flatten(state["outer"]["theta"])
    for name, moment in flatten(after["outer"]["theta"]).items():
        k = name.rpartition("/")[2]
        if k in union:
            assert same_entries(moment, before[name], ~union[k])
            assert not torch.equal(moment, before[name])


@pytest.mark.parametrize("order", [1, 2])
def test_6_theta_goes_along_the_mean_of_the_tasks_gradients_within_their_subnets(order: Any) -> None:
    ours = learner(order=order, optimiser="nesterov", outer_lr=1.0)
    state = lively(begun(ours))
    wanted: Params = {k: torch.zeros_like(v) for k, v in state["theta"].items()}
    for one in EPISODES:
        masks = masks_of(ours, state, one)
        theta = {k: v.clone().requires_grad_() for k, v in state["theta"].items()}
        support, query = one.sides()
        phi = dict(theta)
        for _ in range(STEPS):
            inner = NETWORK.loss(phi, support.x, support.y)
            grads = torch.autograd.grad(inner, list(phi.values()), create_graph=order == 2, retain_graph=True)
            phi = {k: v - ALPHA * masks[k] * g for (k, v), g in zip(phi.items(), grads, strict=True)}
        found = torch.autograd.grad(NETWORK.loss(phi, query.x, query.y), list(theta.values()))
        wanted = {k: wanted[k] + masks[k] * g / len(EPISODES) for k, g in zip(theta, found, strict=True)}
    after, _ = ours.apply(state, ours.gradients(state, EPISODES))
    near({k: state["theta"][k] - v for k, v in after["theta"].items()}, {k: 1.9 * v for k, v in wanted.items()})


def test_6_where_all_subnets_are_equal_it_is_maml_within_them() -> None:
    ours = learner(sparsity=(0.5, 0.5), order=1)
    state = begun(ours)
    found, masks = ours.gradients(state, EPISODES), masks_of(ours, state, EPISODES[0])
    outer: Params = {k: torch.zeros_like(v) for k, v in state["theta"].items()}
    for one in EPISODES:
        phi = dict(state["theta"])
        for _ in range(STEPS):
            g = gradient(NETWORK, phi, one, query=False)
            phi = {k: v - ALPHA * masks[k] * g[k] for k, v in phi.items()}
        outer = {k: outer[k] + masks[k] * v for k, v in gradient(NETWORK, phi, one, query=True).items()}
    near(found["theta"], outer)
    assert ours.apply(state, found)[1]["shared"] == 1


def test_eq_7_goes_along_the_support_s_gradient_at_the_last_step_at_alpha() -> None:
    ours = learner(sparsity=(0.5, 0.2), order=1, outer="eq7")
    state = begun(ours)
    masks = masks_of(ours, state, EPISODES[0])
    expected = dict(state["theta"])
    for one in EPISODES:
        phi, g = dict(state["theta"]), {}
        for _ in range(STEPS):
            g = gradient(NETWORK, phi, one, query=False)
            phi = {k: v - ALPHA * masks[k] * g[k] for k, v in phi.items()}
        expected = {k: v - ALPHA * masks[k] * g[k] / len(EPISODES) for k, v in expected.items()}
    near(ours.apply(state, ours.gradients(state, EPISODES))[0]["theta"], expected)


@pytest.mark.parametrize("spread", ["even", "threshold"])
def test_the_sparsity_s_gradient_preserves_the_count(spread: Any) -> None:
    """dQ/ds_l = + alpha <g_out, sum_k G^k> over the ranked weights, G unmasked: what the last biases get over ds/do;
    spread towards the threshold, the derivative of a mask's mean stays -1."""
    ours = learner(order=1, spread=spread)
    state = begun(ours)
    m = {**state["m"], "output.weight": torch.zeros_like(state["m"]["output.weight"])}
    state = {**state, "m": m}
    masks, phi, inner = masks_of(ours, state, EPISODES[0]), dict(state["theta"]), []
    for _ in range(STEPS):
        inner.append(gradient(NETWORK, phi, EPISODES[0], query=False))
        phi = {k: v - ALPHA * masks[k] * inner[-1][k] for k, v in phi.items()}
    out = gradient(NETWORK, phi, EPISODES[0], query=True)
    soft = m["output.bias"].sigmoid()
    slopes = 0.95 * soft * (1 - soft)
    torch.testing.assert_close(0.95 * soft, torch.full_like(soft, 0.1))
    found = ours.gradients(state, EPISODES[:1])["m"]["output.bias"]
    if spread == "even":
        products = torch.stack([(out[k] * sum(g[k] for g in inner)).sum() for k in RANKED])
        torch.testing.assert_close(found, ALPHA * products * slopes, rtol=1e-8, atol=0)
    theta = state["theta"]
    seen = Seen(theta, 0, inner[0])
    pulled = subnet(ours).pull_back(m, seen, {k: torch.ones_like(v) for k, v in theta.items()})["output.bias"]
    sizes = torch.tensor([float(theta[k].numel()) for k in RANKED], dtype=torch.float64)
    torch.testing.assert_close(pulled, -ALPHA * sizes * slopes, rtol=1e-8, atol=0)


def test_7_a_layer_whose_gradients_agree_freezes_less() -> None:
    """A task judged on its own support agrees with itself: a step of the adapter lowers every s."""
    ours = learner(order=1, alpha=0.01)
    state = begun(ours)
    support, _ = EPISODES[0].sides()
    one = Batch(support.x, support.y, 0)
    seen = adapt_first_order(NETWORK, ours.modulation, state["theta"], state["m"], support, STEPS).trail[0][0]
    after, _ = ours.apply(state, ours.gradients(state, [one]))
    moved = {**after["m"], "inputs.times": state["m"]["inputs.times"]}  # as it was asked
    assert bool((subnet(ours).frozen(moved, seen) < subnet(ours).frozen(state["m"], seen)).all())


def test_decisions_are_the_sizes_of_the_parts() -> None:
    """Once for a task; nothing where the sparsity is given, and of a method that decides nothing by task."""
    ours = learner()
    state = lively(begun(ours))
    opened = []
    for one in EPISODES:
        found = ours.decided(state, one)
        assert found is not None
        assert (found.layers, found.open.shape, found.rate) == (("fc1", "fc2"), (1, 2), None)
        for name, share in zip(RANKED, found.open[0].tolist(), strict=True):
            assert int(found.masks[name].sum()) == round(share * found.masks[name].numel())
        assert found.masks == ours.masks(ours.adapted(state, one))
        opened.append(found.open)
    assert not torch.equal(opened[0], opened[1])
    given = learner(sparsity=(0.5, 0.2))
    assert given.decided(begun(given), EPISODES[0]) is None
    maml = EpisodicLearner(MAMLConfig(inner_steps=STEPS, alpha=ALPHA), NETWORK)
    assert maml.decided(begun(maml), EPISODES[0]) is None


def test_8_the_adapter_is_small() -> None:
    """517 weights for the five layers of Conv4."""
    network = Conv4(Conv4Config(channels=64), in_channels=3, size=84, ways=5)
    theta = network.init(torch_generator(0, "theta"))
    m = MMSUPConfig().modulation(network).init(split(network, theta)[0], torch_generator(0))
    assert sum(v.numel() for k, v in m.items() if not k.startswith("inputs.")) == 10 * 32 + 32 + 32 * 5 + 5 == 517


def test_an_outer_step_is_the_sum_over_its_tasks_however_they_are_shared_out() -> None:
    ours = learner()
    state = lively(begun(ours))
    parts = [flatten(ours.gradients(state, some)) for some in (EPISODES[:1], EPISODES[1:])]
    whole = flatten(ours.gradients(state, EPISODES))
    near(whole, {k: v + parts[1][k] for k, v in parts[0].items()})
    assert {v.dtype for v in whole.values()} == {torch.float64}
    counts = {float(c) for k, v in whole.items() if k.startswith("opened/") for c in v.flatten()}
    assert counts <= {0.0, 1.0, 2.0, 3.0}
    assert len(counts) > 2


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"sparsity": (0.1, 0.2, 0.3)}, "must have 2 shares, for the layers fc1, fc2"),
        ({"sparsity": (0.1, 1.2)}, "a share from 0 to 1"),
        ({"sparsity": 1.2}, "a share from 0 to 1"),
        ({"sparsity": ()}, "one for each layer"),
        ({"sparsity_start": 0.95}, "below sparsity_most"),
        ({"outer": "eq7"}, "order: 1"),
        ({"outer": "eq7", "order": 1, "reduction": "sum"}, "mean over tasks"),
        ({"features": "pooled"}, "none: the network has no blocks"),
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError, match=says):
        learner(**fields)
