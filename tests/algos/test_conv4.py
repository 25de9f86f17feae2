"""Conv4 against a plain `torch.nn` network, and fact A1."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from frisket.algos.networks.conv4 import Conv4, Conv4Config
from frisket.errors import SpecError
from frisket.rng import torch_generator


def plain(channels: int, in_channels: int, ways: int) -> nn.Sequential:
    """The network as the papers draw it: conv, batch norm without running statistics, ReLU, pool."""
    blocks: list[nn.Module] = []
    for i in range(4):
        blocks += [
            nn.Conv2d(in_channels if i == 0 else channels, channels, 3, padding=1),
            nn.BatchNorm2d(channels, track_running_stats=False),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
    return nn.Sequential(*blocks, nn.Flatten(), nn.Linear(channels, ways))


def test_a1_parameter_counts() -> None:
    network = Conv4(Conv4Config(), in_channels=1, size=28, ways=10)
    theta = network.init(torch_generator(0, "theta"))
    adaptable = [k for k in theta if k in network.adaptable]
    norm = [k for k in theta if k not in network.adaptable]
    assert sum(v.numel() for v in theta.values()) == 112_586
    assert len(adaptable) == 10
    assert sum(theta[k].numel() for k in adaptable) == 112_074
    assert len(norm) == 8
    assert sum(theta[k].numel() for k in norm) == 512


@pytest.mark.parametrize(
    ("fields", "size", "count", "features"),
    [
        ({}, 84, 121_093, 1600),
        ({"bias": False}, 84, 121_093 - 256 - 5, 1600),
        ({"channels": 32}, 84, 32 * (27 + 3 * 288 + 4 + 8) + 5 * 801, 800),
        ({}, 100, 113_088 + 5 * (64 * 36 + 1), 2304),
    ],
)
def test_fact_6_few_shot_sizes(fields: dict[str, Any], size: int, count: int, features: int) -> None:
    """Three channels, any side and width, with and without biases."""
    network = Conv4(Conv4Config(**fields), in_channels=3, size=size, ways=5)
    theta = network.init(torch_generator(0, "theta"))
    assert sum(v.numel() for v in theta.values()) == count
    assert network.features == theta["classifier.weight"].shape[1] == features
    assert network(theta, torch.rand(2, 3, size, size)).shape == (2, 5)


@pytest.mark.parametrize(("bias", "adapt_norm"), [(True, True), (True, False), (False, True), (False, False)])
def test_what_is_adapted(bias: bool, adapt_norm: bool) -> None:
    """Convolutions and the output layer, with their biases where they have some, and batch norm where that is said."""
    network = Conv4(Conv4Config(channels=2, bias=bias, adapt_norm=adapt_norm), in_channels=3, size=16, ways=5)
    theta = network.init(torch_generator(0, "theta"))
    assert [k for k in theta if k.endswith("bias") and "bn" not in k] == (
        [f"{layer}.bias" for layer in ("conv1", "conv2", "conv3", "conv4", "classifier")] if bias else []
    )
    assert set(theta) - set(network.adaptable) == (set() if adapt_norm else {k for k in theta if k.startswith("bn")})
    assert len(network.adaptable) == 5 * (1 + bias) + 8 * adapt_norm


@pytest.mark.parametrize("in_channels", [1, 3])
def test_outputs_and_gradients_equal_the_plain_network(in_channels: int) -> None:
    """float64, random gains of both signs, an input with a constant background, where pooling meets ties."""
    torch.manual_seed(0)
    reference = plain(4, in_channels, 5).double()
    network = Conv4(Conv4Config(channels=4), in_channels=in_channels, size=28, ways=5)
    with torch.no_grad():
        for module in reference:
            if isinstance(module, nn.BatchNorm2d):
                module.weight.normal_()
                module.bias.normal_()
    names = list(network.init(torch_generator(0, "theta")))
    params = {k: v.detach().clone().requires_grad_() for k, v in zip(names, reference.parameters(), strict=True)}
    x = torch.rand(6, in_channels, 28, 28, dtype=torch.float64)
    x[:, :, :, :14] = 1.0
    weights = torch.randn(6, 5, dtype=torch.float64)
    ours = (network(params, x) * weights).sum()
    theirs = (reference(x) * weights).sum()
    assert torch.allclose(ours, theirs, rtol=1e-12)
    grads = torch.autograd.grad(ours, list(params.values()))
    expected = torch.autograd.grad(theirs, list(reference.parameters()))
    for name, a, b in zip(names, grads, expected, strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-11), name


def test_without_biases_it_is_the_network_with_biases_of_0() -> None:
    bare = Conv4(Conv4Config(channels=4, bias=False), in_channels=3, size=28, ways=5)
    full = Conv4(Conv4Config(channels=4), in_channels=3, size=28, ways=5)
    theta = bare.init(torch_generator(0, "theta"))
    zeros = {k: torch.zeros(5 if "classifier" in k else 4) for k in full.adaptable if k.endswith("bias")}
    x = torch.rand(6, 3, 28, 28)
    torch.testing.assert_close(bare(theta, x), full({**theta, **zeros}, x))


def test_default_initialisation_is_pytorchs() -> None:
    theta = Conv4(Conv4Config(), in_channels=1, size=28, ways=10).init(torch_generator(3, "theta"))
    for name, inputs in (("conv1", 9), ("conv2", 576), ("classifier", 64)):
        bound = inputs**-0.5
        weight = theta[f"{name}.weight"]
        assert weight.abs().max() <= bound
        assert weight.abs().max() > 0.95 * bound
        assert float(weight.std()) == pytest.approx(bound / 3**0.5, rel=0.1)


def test_too_small_images_are_refused() -> None:
    with pytest.raises(SpecError, match="image size"):
        Conv4(Conv4Config(), in_channels=1, size=8, ways=10)
