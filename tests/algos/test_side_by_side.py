"""Networks computed side by side: values and gradients are those of each by itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from frisket.algos.networks.layer_norm_mlp import LayerNormMLP, LayerNormMLPConfig
from frisket.rng import torch_generator
from frisket.types import Params

COUNT, SEEN, WAYS = 7, 5, 3


def networks(several: int, hidden: tuple[int, ...], precision: Any = "fp32") -> tuple[LayerNormMLP, Params, Tensor]:
    """A network, weights of ``several`` with no zeros among them, and inputs."""
    network = LayerNormMLP(LayerNormMLPConfig(hidden=hidden, precision=precision), inputs=SEEN, ways=WAYS)
    draws = torch_generator(0)
    weights = {k: torch.randn(several, *v.shape, generator=draws) for k, v in network.init(draws).items()}
    return network, weights, torch.randn(COUNT, SEEN, generator=draws)


@pytest.mark.parametrize("several", [1, 2])
@pytest.mark.parametrize("hidden", [(6,), (6, 4), (6, 4, 8)])
def test_values_and_gradients_are_those_of_each(several: int, hidden: tuple[int, ...]) -> None:
    network, weights, x = networks(several, hidden)
    g = torch.randn(several, COUNT, WAYS, generator=torch_generator(1))
    leaves = {k: v.clone().requires_grad_() for k, v in weights.items()}
    entered = x.clone().requires_grad_()
    outputs = torch.stack([network({k: v[i] for k, v in leaves.items()}, entered) for i in range(several)])
    *expected, by_x = torch.autograd.grad((outputs * g).sum(), [*leaves.values(), entered])

    passed = network.side_by_side(weights, x)
    assert torch.allclose(passed.outputs, outputs, atol=1e-5)
    found = network.side_by_side.gradients(weights, passed, g)
    assert set(found) == set(leaves)
    for k, one in zip(leaves, expected, strict=True):
        assert torch.allclose(found[k], one, rtol=1e-4, atol=1e-5), k
    for first in (0, 2):
        found_by_x = network.side_by_side.by_inputs(weights, passed, g, first)
        assert torch.allclose(found_by_x, by_x[:, first:], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("of_the_second", [0, 1, COUNT])
def test_where_one_network_answers_for_an_input_the_other_has_nothing_to_say(of_the_second: int) -> None:
    network, weights, x = networks(2, (6, 4))
    which = (torch.arange(COUNT) < of_the_second).long()
    g = torch.randn(COUNT, WAYS, generator=torch_generator(1))
    both = torch.stack([torch.where(which[:, None] == k, g, 0) for k in range(2)])
    passed = network.side_by_side(weights, x)
    found = network.side_by_side.by_inputs_of(weights, passed, g[None], which[None], 1)[0]
    assert torch.allclose(found, network.side_by_side.by_inputs(weights, passed, both, 1), rtol=1e-4, atol=1e-6)


def test_groups_of_networks_have_inputs_of_their_own() -> None:
    network, weights, _ = networks(4, (6, 4))
    draws = torch_generator(2)
    x, g = torch.randn(2, COUNT, SEEN, generator=draws), torch.randn(2, 3, WAYS, generator=draws)
    which = torch.randint(2, (2, 3), generator=draws)
    whole = network.side_by_side(weights, x)
    passed = whole.only(3)
    every = torch.randn(4, 3, WAYS, generator=draws)
    by_weights = network.side_by_side.gradients(weights, passed, every)
    by_x = network.side_by_side.by_inputs_of(weights, passed, g, which, 1)
    for group in range(2):
        own = {k: v[2 * group : 2 * group + 2] for k, v in weights.items()}
        alone = network.side_by_side(own, x[group, :3])
        assert torch.allclose(passed.outputs[2 * group : 2 * group + 2], alone.outputs, atol=1e-6)
        expected = network.side_by_side.gradients(own, alone, every[2 * group : 2 * group + 2])
        for k, one in expected.items():
            assert torch.allclose(by_weights[k][2 * group : 2 * group + 2], one, rtol=1e-4, atol=1e-5), k
        found = network.side_by_side.by_inputs_of(own, alone, g[group, None], which[group, None], 1)
        assert torch.allclose(by_x[group], found[0], rtol=1e-4, atol=1e-6)


def test_the_first_of_the_inputs_alone() -> None:
    network, weights, x = networks(1, (6, 4))
    g = torch.randn(1, 3, WAYS, generator=torch_generator(1))
    both = [network.side_by_side(weights, x).only(3), network.side_by_side(weights, x[:3])]
    some, alone = (network.side_by_side.gradients(weights, one, g) for one in both)
    assert all(torch.allclose(some[k], v, rtol=1e-4, atol=1e-6) for k, v in alone.items())


def test_rounded_products_are_near_and_are_rounded() -> None:
    network, weights, x = networks(2, (64, 64, 64))
    rounded, _, _ = networks(2, (64, 64, 64), "bf16")
    g = torch.ones(2, COUNT, WAYS)
    found = []
    for one in (network, rounded):
        passed = one.side_by_side(weights, x)
        found.append({"outputs": passed.outputs, **one.side_by_side.gradients(weights, passed, g)})
    for k, v in found[0].items():
        away = float((found[1][k] - v).norm() / v.norm())
        assert away < 0.05, k
        assert away > 1e-4 or k == "head.bias", k
