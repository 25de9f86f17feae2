"""Packs of the replay baselines, and the walk they take, against the same done step by step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from toys import build, double, largest_difference, small_mlp, small_network

from frisket.algos.contract.toys import noise_batch, noise_data
from frisket.algos.learners.replay.er import ER, ERConfig, OnlineSGD, OnlineSGDConfig
from frisket.algos.learners.replay.ewc import EWC, EWCConfig
from frisket.algos.learners.replay.gem import AGEM, GEM, AGEMConfig, GEMConfig
from frisket.algos.learners.replay.learner import PlainLearner
from frisket.algos.learners.replay.mer import MER, MERConfig
from frisket.algos.learners.replay.walk import walk
from frisket.algos.networks.mlp import MLP, MLPConfig
from frisket.algos.networks.network import Network
from frisket.algos.parts.clip import clip_by_global_norm
from frisket.algos.parts.tree import descend, equal_states, lifted, picked, stacked
from frisket.errors import SpecError
from frisket.rng import torch_generator
from frisket.types import Batch, Data, Params

EXACT = 1e-10
LEARNED = {"theta", "fisher", "anchored"}
RATES = torch.tensor([0.02, 0.3, 0.1], dtype=torch.float64)


def online(network: Network, i: int, **fields: Any) -> PlainLearner:
    return OnlineSGD(OnlineSGDConfig(lr=0.02 * (i + 1), **fields), network)


def er(network: Network, i: int, **fields: Any) -> PlainLearner:
    return ER(ERConfig(lr=0.02 * (i + 1), memory_slots=8, replay_batch=4, **fields), network)


def mer(network: Network, i: int, **fields: Any) -> PlainLearner:
    config = MERConfig(
        lr=0.05 * (i + 1), within_rate=0.3 / (i + 1), across_rate=1.2 - 0.2 * i, passes=2, memory_slots=8,
        replay_batch=3, **fields,
    )  # fmt: skip
    return MER(config, network)


def gem(network: Network, i: int, **fields: Any) -> PlainLearner:
    return GEM(GEMConfig(lr=0.05 * (i + 1), margin=0.2 * i, ridge=1e-3 * i, memories=5, **fields), network)


def agem(network: Network, i: int, **fields: Any) -> PlainLearner:
    return AGEM(AGEMConfig(lr=0.05 * (i + 1), memories=5, reference_batch=4, **fields), network)


def ewc(network: Network, i: int, **fields: Any) -> PlainLearner:
    return EWC(EWCConfig(lr=0.05 * (i + 1), strength=30.0 * i, memories=5, **fields), network)


METHODS = [
    (online, {}), (online, {"samples_per_step": 4, "clip_norm": 0.5}), (er, {"samples_per_step": 2}),
    (er, {"samples_per_step": 6, "glances": 2, "clip_norm": 0.5, "alignment": True}),
    (mer, {}), (mer, {"clip_norm": 0.5, "reservoir": "official"}), (gem, {}),
    (gem, {"samples_per_step": 4, "glances": 2, "clip_norm": 0.5}), (agem, {"samples_per_step": 4, "glances": 2}),
    (agem, {"reference": "code", "clip_norm": 0.5}), (ewc, {}), (ewc, {"samples_per_step": 4, "clip_norm": 0.5}),
]  # fmt: skip


@pytest.mark.parametrize(("build_one", "fields"), METHODS)
def test_a_pack_is_its_replicas(build_one: Any, fields: dict[str, Any]) -> None:
    """Three replicas with rates, seeds and batches of their own."""
    learners = [build_one(small_mlp(), i, **fields) for i in range(3)]
    states = [{**(s := one.init(10 + i)), "theta": double(s["theta"])} for i, one in enumerate(learners)]
    pack = learners[0].pack(learners[1:])
    together = pack.join(states)
    for position in range(10):  # tasks begin at 0, 3, 6 and 9
        each = [noise_batch(3 * position + i, dtype=torch.float64) for i in range(3)]
        batches = [Batch(one.x, one.y, position, noise_batch(position).task) for one in each]
        together, metrics = pack.observe(together, batches)
        for i, (one, batch) in enumerate(zip(learners, batches, strict=True)):
            states[i], alone = one.observe(states[i], batch)
            assert metrics[i] == pytest.approx(alone, abs=EXACT)
    for i, state in enumerate(states):
        mine = pack.replica(together, i)
        for name in LEARNED & state.keys():
            assert largest_difference(mine.pop(name), state[name]) < EXACT
        counted = {k: v for k, v in state.items() if k not in LEARNED}
        assert equal_states(mine, counted), "counters, memory: to the bit"
    assert largest_difference(states[0]["theta"], states[1]["theta"]) > 1e-3


@pytest.mark.parametrize("own", [None, 2])
@pytest.mark.parametrize("bound", [None, 0.4])
@pytest.mark.parametrize("chunk", [1, 2, 4, 6])
def test_walk_is_one_step_after_the_other(chunk: int, bound: float | None, own: int | None) -> None:
    """Six samples; chunks of four leave two."""
    network = MLP(MLPConfig(hidden=(12, 7, 5)), in_channels=1, size=16, ways=4, own=own)
    thetas = [double(network.init(torch_generator(i))) for i in range(3)]
    each = [noise_data(i) for i in range(3)]
    theta, data = stacked(thetas), Data(torch.stack([d.x for d in each]), torch.stack([2 * d.y + 1 for d in each]))
    before = {k: v.clone() for k, v in theta.items()}
    ends, losses = walk(network, theta, data, chunk, RATES, bound)
    assert equal_states(theta, before)
    assert list(ends) == list(theta)
    for i, (expected, x, y) in enumerate(zip(thetas, data.x, data.y, strict=True)):
        for at in range(0, 6, chunk):
            to = slice(at, at + chunk)
            loss, grads = network.loss_and_gradients(expected, x[to], y[to])
            if bound is not None:
                assert largest_difference(clip_by_global_norm(grads, bound), grads) > 1e-4, "the bound is felt"
            expected = descend(expected, float(RATES[i]), clip_by_global_norm(grads, bound))
            assert float((losses[i, to].mean() - loss).abs()) < EXACT
        assert largest_difference(picked(ends, i), expected) < EXACT


def test_walk_survives_a_gradient_of_zero() -> None:
    """Dead hidden units and equal logits among one label: nothing to learn, nothing to divide by."""
    network = MLP(MLPConfig(hidden=(3,)), in_channels=1, size=2, ways=1)
    theta = lifted(network.init(torch_generator(0)))
    data = Data(torch.ones(1, 2, 1, 2, 2), torch.zeros(1, 2, dtype=torch.int64))
    ends, losses = walk(network, theta, data, 1, torch.ones(1), 1.0)
    assert equal_states(ends, theta)
    assert losses.tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("build_one", [online, er, mer, gem, agem, ewc])
def test_other_networks_have_packs_too(build_one: Any) -> None:
    """A convolutional network takes its replicas one after the other: packed, the weights are the same bits."""
    learners = [build_one(small_network(), i) for i in range(2)]
    states = [one.init(i) for i, one in enumerate(learners)]
    pack = learners[0].pack(learners[1:])
    together, batches = pack.join(states), [noise_batch(0), noise_batch(1)]
    together, metrics = pack.observe(together, batches)
    for i, one in enumerate(learners):
        end, alone = one.observe(states[i], batches[i])
        assert equal_states(pack.replica(together, i)["theta"], end["theta"])
        assert metrics[i] == pytest.approx(alone, abs=1e-6)


def test_learners_without_packs_say_so() -> None:
    with pytest.raises(SpecError, match="pack"):
        build("independent").pack([build("independent")])


def test_tasks_that_do_not_begin_together_are_refused() -> None:
    pack = ewc(small_mlp(), 0).pack([ewc(small_mlp(), 1)])
    state = pack.join([one.init(i) for i, one in enumerate(pack.learners)])
    with pytest.raises(SpecError, match="do not begin together"):
        pack.observe(state, [noise_batch(2), noise_batch(3)])


def test_a_batch_that_is_learned_in_one_step_or_in_six() -> None:
    """`samples_per_step` is felt."""

    def end(samples: int) -> Params:
        learner = online(small_mlp(), 4, samples_per_step=samples)
        return learner.observe(learner.init(0), Batch(noise_batch(0).x, noise_batch(0).y, 0))[0]["theta"]

    assert largest_difference(end(6), end(1)) > 1e-3
    assert equal_states(end(6), end(60))
