"""What an adapter sees of a task, and how it is scaled (gems spec, section 2), in float64 on small networks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from test_bmp import LAYERS, STEPS, learner
from test_fewshot import EPISODES, NETWORK, begun, gradient, near
from torch import Tensor

from frisket.algos.contract.toys import noise_data
from frisket.algos.inner.adapter import SQUARES, Adapter, layers_of
from frisket.algos.inner.layer_mask import LayerMask
from frisket.algos.inner.loop import adapt_first_order
from frisket.algos.inner.meta_gradient import meta_gradient
from frisket.algos.inner.modulation import Seen
from frisket.algos.learners.fewshot.bmp import BMPConfig
from frisket.algos.learners.fewshot.learner import EpisodicLearner
from frisket.algos.learners.fewshot.mmsup import MMSUPConfig
from frisket.algos.networks.conv4 import Conv4, Conv4Config
from frisket.algos.networks.network import split
from frisket.algos.networks.normalised import Norm
from frisket.algos.parts.tree import flatten, map_tensors
from frisket.errors import SpecError
from frisket.rng import torch_generator
from frisket.types import Params


def test_which_layers_there_are() -> None:
    assert layers_of(NETWORK) == {k: (f"{k}.weight", f"{k}.bias") for k in LAYERS}
    conv4 = Conv4(Conv4Config(channels=2, adapt_norm=True), in_channels=1, size=16, ways=2)
    blocks = [(f"conv{i}.weight", f"conv{i}.bias", f"bn{i}.weight", f"bn{i}.bias") for i in range(1, 5)]
    assert list(layers_of(conv4).values()) == [*blocks, ("classifier.weight", "classifier.bias")]


def test_what_it_sees_is_divided_by_a_running_rms_that_training_alone_moves() -> None:
    ours = learner(rms_momentum=0.9)
    assert isinstance(ours.modulation, LayerMask)
    state = begun(ours)
    theta, adapter = state["theta"], ours.modulation.adapter
    assert torch.equal(adapter.scale(state["m"]), torch.ones(4, dtype=torch.float64))
    squares = []
    for one in EPISODES:
        phi = adapt_first_order(NETWORK, ours.modulation, theta, state["m"], one.sides()[0], STEPS)
        squares += [adapter.means(seen._replace(means=None)) ** 2 for seen, _ in phi.trail]
    mean = torch.stack(squares).mean(0)
    after, _ = ours.apply(state, ours.gradients(state, EPISODES))
    torch.testing.assert_close(after["m"][SQUARES], 0.1 * mean, rtol=1e-10, atol=0)
    torch.testing.assert_close(adapter.scale(after["m"]), mean.sqrt().clamp(min=1e-12), rtol=1e-10, atol=0)
    shared = [ours.gradients(state, EPISODES[:1]), ours.gradients(state, EPISODES[1:])]
    added = {k: v + flatten(shared[1])[k] for k, v in flatten(shared[0]).items()}
    near(flatten(ours.gradients(state, EPISODES)), added)
    adapted = ours.adapted(after, EPISODES[0])
    assert all(torch.equal(v, after["m"][k]) for k, v in adapted["m"].items())


@pytest.mark.parametrize("statistics", ["mean", "abs"])
def test_the_statistics_of_a_layer_are_of_all_its_tensors(statistics: Any) -> None:
    ours = learner(statistics=statistics)
    assert isinstance(ours.modulation, LayerMask)
    theta = begun(ours)["theta"]
    grads = gradient(NETWORK, theta, EPISODES[0], query=False)
    whole = [torch.cat([of[f"{k}.weight"].flatten(), of[f"{k}.bias"]]) for of in (theta, grads) for k in LAYERS]
    wanted = [v.mean() for v in whole] + ([v.abs().mean() for v in whole] if statistics == "abs" else [])
    found = ours.modulation.adapter.means(Seen(theta, 0, grads))
    torch.testing.assert_close(found, torch.stack(wanted), rtol=1e-12, atol=1e-15)
    assert float(found[3]) == 0  # the head's gradients sum to 0 over labels, and what rounding leaves is not told
    assert bool((found[:3] != 0).all())


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize(("kind", "asked"), [("bmp", STEPS), ("mmsup", 1)])
def test_means_are_worked_out_once_for_every_time_rates_are_asked_for(
    kind: str, asked: int, order: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not again for what is measured, nor for the derivative; and the numbers are those of working them out anew."""
    config = BMPConfig(inner_steps=STEPS, features="none", order=order)
    ours = EpisodicLearner(config if kind == "bmp" else MMSUPConfig(inner_steps=STEPS, order=order), NETWORK)
    state, anew, worked_out = begun(ours), Adapter.means, list[Seen]()

    def counting(adapter: Adapter, seen: Seen) -> Tensor:
        worked_out.extend([seen] if seen.means is None else [])
        return anew(adapter, seen)

    monkeypatch.setattr(Adapter, "means", counting)
    found = flatten(ours.gradients(state, EPISODES[:1]))
    assert len(worked_out) == asked
    monkeypatch.setattr(Adapter, "means", lambda adapter, seen: anew(adapter, seen._replace(means=None)))
    again = flatten(ours.gradients(state, EPISODES[:1]))
    assert all(torch.equal(v, again[k]) for k, v in found.items())


def test_features_come_from_the_support_s_own_pass() -> None:
    """Their value, by the network as far as its last block; and not one pass more."""

    class Counting(Conv4):
        passes = 0

        def blocks(self, params: Params, normalise: Norm, x: Tensor) -> Tensor:
            self.passes += 1
            return super().blocks(params, normalise, x)

    network = Counting(Conv4Config(channels=3), in_channels=1, size=16, ways=2)
    theta = map_tensors(torch.Tensor.double, network.init(torch_generator(0, "theta")))
    modulation = BMPConfig().modulation(network)
    m = map_tensors(torch.Tensor.double, modulation.init(split(network, theta)[0], torch_generator(0)))
    support = noise_data(1)
    trail = adapt_first_order(network, modulation, theta, m, support, 2).trail
    assert network.passes == 2
    for seen, _ in trail:
        out = network.blocks({**theta, **seen.phi}, network._normalise(theta, {}, 0, moving=False), support.x)
        assert seen.features is not None
        torch.testing.assert_close(seen.features, out.mean((0, 2, 3)), rtol=1e-12, atol=0)
    for order, checkpoint in ((1, None), (2, None), (2, 1)):
        result = meta_gradient(
            network, modulation, theta, m, support, noise_data(2), steps=2, order=order, checkpoint=checkpoint
        )
        assert bool(result.m["hidden.weight"].any())


def test_a_network_without_blocks_has_no_features() -> None:
    with pytest.raises(SpecError, match=r"features.*none"):
        EpisodicLearner(BMPConfig(), NETWORK)
