"""The inner loop kept at some steps only: the same meta-gradients, and memory that grows as the root of K."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import torch
from test_fewshot import EPISODES, NETWORK, begun, near
from test_norm_policy import QUERY, SUPPORT, small, started
from torch import Tensor

from frisket.algos.inner.meta_gradient import meta_gradient
from frisket.algos.inner.modulation import FixedStep, LearnedStep, Modulation, Seen
from frisket.algos.learners.fewshot.learner import EpisodicLearner
from frisket.algos.learners.fewshot.maml import MAMLConfig, anil
from frisket.algos.learners.fewshot.sparse_maml import SparseMAMLConfig
from frisket.algos.networks.network import Adapting, Network, split
from frisket.algos.parts.tree import flatten
from frisket.errors import SpecError
from frisket.types import Params

K = 7


class ByStep(LearnedStep):
    """Rates that differ from step to step, and go by phi."""

    by_step = True

    def rates(self, m: Params, seen: Seen) -> Params:
        return {k: v * (1 + 0.1 * seen.step) for k, v in m.items()}

    def pull_back(self, m: Params, seen: Seen, rate_grads: Params) -> Params:
        return {k: g.sum() * (1 + 0.1 * seen.step) for k, g in rate_grads.items()}


MODULATIONS = {"fixed": FixedStep(0.1), "learned": LearnedStep(0.1), "by step": ByStep(0.1)}
CASES = [(policy, modulation) for policy in ("transductive", "inductive", "per_step") for modulation in MODULATIONS]


def first_m(modulation: Modulation, network: Network, theta: Params) -> Params:
    return modulation.init(split(network, theta)[0], torch.Generator())


@pytest.mark.parametrize("head_alone", [False, True])
@pytest.mark.parametrize(("policy", "name"), CASES)
def test_gradients_and_statistics_are_those_with_all_steps_kept(policy: str, name: str, head_alone: bool) -> None:
    """To 1e-10 in float64, for theta, m and what does not adapt; running statistics are moved once, not twice."""
    network = small("conv4", policy)
    theta = started(network)
    network = Adapting(network, network.head) if head_alone else network
    modulation = MODULATIONS[name]
    m = first_m(modulation, network, theta)
    wanted, *found = (
        meta_gradient(network, modulation, theta, m, SUPPORT, QUERY, steps=K, order=2, checkpoint=every)
        for every in (None, 1, 3, K, K + 1)
    )
    assert bool(wanted.m) == bool(m)
    for one in found:
        assert torch.equal(one.loss, wanted.loss)
        assert one.statistics.keys() == wanted.statistics.keys()
        assert all(torch.equal(one.statistics[k], v) for k, v in wanted.statistics.items())
        for mine, full in ((one.theta, wanted.theta), (one.m, wanted.m)):
            assert mine.keys() == full.keys()
            for k, v in full.items():
                torch.testing.assert_close(mine[k], v, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(("build", "config"), [(EpisodicLearner, MAMLConfig), (anil, MAMLConfig)])
def test_a_learner_takes_the_field(build: Any, config: Any) -> None:
    state = begun(build(config(), NETWORK))
    full, kept = (
        build(config(inner_steps=5, alpha=0.4, inner_checkpoint=every), NETWORK).gradients(state, EPISODES)
        for every in (None, 2)
    )
    near(flatten(kept), flatten(full))


@pytest.mark.parametrize(("fields", "says"), [({"order": 1}, "order: 1"), ({"inner_checkpoint": 0}, "at least 1")])
def test_what_makes_no_sense_is_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError, match=says):
        SparseMAMLConfig(**{"order": 2, "inner_checkpoint": 3, **fields})


def peak(steps: int, checkpoint: int | None) -> int:
    """The most bytes that graphs held at a time in a second-order meta-gradient: tensors saved for a derivative, each
    storage once."""
    network = small("conv4", "transductive")
    theta = started(network)
    held: dict[int, tuple[int, int]] = {}
    most = 0

    class Saved:
        def __init__(self, tensor: Tensor) -> None:
            nonlocal most
            self.tensor, storage = tensor, tensor.untyped_storage()
            self.key = storage.data_ptr()
            size, count = held.get(self.key, (storage.nbytes(), 0))
            held[self.key] = (size, count + 1)
            most = max(most, sum(size for size, _ in held.values()))

        def __del__(self) -> None:
            size, count = held.pop(self.key)
            if count > 1:
                held[self.key] = (size, count - 1)

    with torch.autograd.graph.saved_tensors_hooks(Saved, lambda saved: saved.tensor):
        meta_gradient(network, FixedStep(0.1), theta, {}, SUPPORT, QUERY, steps=steps, order=2, checkpoint=checkpoint)
    return most


def test_memory_grows_as_the_root_of_k() -> None:
    """K = 36 kept at every 6th step against K = 9 at every 3rd: about twice; with all steps kept, about four times."""
    kept, all_of_them = peak(36, 6) / peak(9, 3), peak(36, None) / peak(9, None)
    assert kept < 2.5
    assert 3.5 < all_of_them < 4.5


@pytest.mark.parametrize("fields", [{"order": 1}, {"order": 2}, {"order": 2, "inner_checkpoint": 2}])
def test_outer_steps_leave_no_tensors_behind(fields: dict[str, Any]) -> None:
    """200 of them: as many tensors live after the last as after the tenth."""
    learner = EpisodicLearner(MAMLConfig(inner_steps=4, alpha=0.4, **fields), NETWORK)
    state, counts = begun(learner), {}
    for step in range(1, 201):
        state, _ = learner.apply(state, learner.gradients(state, EPISODES))
        if step in (10, 200):
            gc.collect()
            counts[step] = sum(issubclass(type(one), Tensor) for one in gc.get_objects())
    assert counts[10] == counts[200]
