"""ResNet-12 against a plain `torch.nn` network, and its sizes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frisket.algos.networks.resnet12 import ResNet12, ResNet12Config
from frisket.errors import SpecError
from frisket.rng import torch_generator

CHANNELS = (2, 3, 4, 5)


class PlainBlock(nn.Module):
    """A residual block as the papers draw it: activation before the pool."""

    def __init__(self, inputs: int, made: int, pool: nn.Module) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(inputs, made, 3, padding=1, bias=False), norm(made)
        self.conv2, self.norm2 = nn.Conv2d(made, made, 3, padding=1, bias=False), norm(made)
        self.conv3, self.norm3 = nn.Conv2d(made, made, 3, padding=1, bias=False), norm(made)
        self.short, self.short_norm = nn.Conv2d(inputs, made, 1, bias=False), norm(made)
        self.activation, self.pool = nn.LeakyReLU(0.01), pool

    def forward(self, x: Tensor) -> Tensor:
        z = self.activation(self.norm1(self.conv1(x)))
        z = self.activation(self.norm2(self.conv2(z)))
        z = self.norm3(self.conv3(z)) + self.short_norm(self.short(x))
        return self.pool(self.activation(z))


def norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, track_running_stats=False)


def plain(in_channels: int, ways: int) -> nn.Sequential:
    pools = (nn.MaxPool2d(2), nn.MaxPool2d(2), nn.MaxPool2d(2, padding=1), nn.Identity())
    sizes = zip((in_channels, *CHANNELS), CHANNELS, pools, strict=False)
    blocks = [PlainBlock(inputs, made, pool) for inputs, made, pool in sizes]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS[-1], ways))


@pytest.mark.parametrize(("width", "count", "features"), [("small", 7_999_365, 512), ("large", 12_427_525, 640)])
def test_fact_6_parameter_counts(width: Any, count: int, features: int) -> None:
    network = ResNet12(ResNet12Config(width=width), in_channels=3, size=84, ways=5)
    theta = network.init(torch_generator(0))
    assert sum(v.numel() for v in theta.values()) == count
    assert network.features == theta["classifier.weight"].shape[1] == features
    assert not [k for k in network.adaptable if "norm" in k]
    assert len(network.adaptable) == 4 * 4 + 2
    assert set(theta) - set(network.adaptable) == {k for k in theta if "norm" in k}


@pytest.mark.parametrize(("size", "sides"), [(84, [84, 42, 21, 11]), (32, [32, 16, 8, 5]), (4, [4, 2, 1, 1])])
def test_sides_by_block(size: int, sides: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what each block convolves; block 4 keeps its side."""
    network = ResNet12(ResNet12Config(channels=CHANNELS), in_channels=3, size=size, ways=5)
    seen: list[tuple[int, ...]] = []
    convolve = F.conv2d
    monkeypatch.setattr(
        F, "conv2d", lambda x, *a, **k: seen.append(tuple(convolve(x, *a, **k).shape)) or convolve(x, *a, **k)
    )
    network(network.init(torch_generator(0)), torch.randn(2, 3, size, size))
    assert seen == [(2, c, s, s) for c, s in zip(CHANNELS, sides, strict=True) for _ in range(4)]


@pytest.mark.parametrize(("in_channels", "size"), [(1, 8), (3, 13)])
def test_outputs_and_gradients_equal_the_plain_network(in_channels: int, size: int) -> None:
    """float64, random gains of both signs."""
    torch.manual_seed(0)
    reference = plain(in_channels, 5).double()
    with torch.no_grad():
        for module in reference.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.normal_()
                module.bias.normal_()
    network = ResNet12(ResNet12Config(channels=CHANNELS), in_channels=in_channels, size=size, ways=5)
    names = list(network.init(torch_generator(0)))
    params = {k: v.detach().clone().requires_grad_() for k, v in zip(names, reference.parameters(), strict=True)}
    x = torch.randn(6, in_channels, size, size, dtype=torch.float64)
    weights = torch.randn(6, 5, dtype=torch.float64)
    ours, theirs = (network(params, x) * weights).sum(), (reference(x) * weights).sum()
    assert torch.allclose(ours, theirs, rtol=1e-12)
    grads = torch.autograd.grad(ours, list(params.values()))
    expected = torch.autograd.grad(theirs, list(reference.parameters()))
    for name, a, b in zip(names, grads, expected, strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-11), name


def test_weights_start_xavier_uniform() -> None:
    theta = ResNet12(ResNet12Config(), in_channels=3, size=84, ways=5).init(torch_generator(3))
    for name, fans in (("block1.conv1", 9 * (3 + 64)), ("block3.short", 128 + 256), ("classifier", 512 + 5)):
        weight, bound = theta[f"{name}.weight"], math.sqrt(6 / fans)
        assert 0.95 * bound < float(weight.abs().max()) <= bound
        assert float(weight.std()) == pytest.approx(bound / 3**0.5, rel=0.1)
    assert not theta["classifier.bias"].any()
    assert all((v == float(k.endswith("weight"))).all() for k, v in theta.items() if "norm" in k)


def test_short_cuts_are_left_to_the_outer_loop_where_that_is_said() -> None:
    network = ResNet12(ResNet12Config(channels=CHANNELS, adapt_shortcuts=False), in_channels=1, size=8, ways=5)
    assert len(network.adaptable) == 4 * 3 + 2
    assert not [k for k in network.adaptable if "short" in k]


def test_too_small_images_are_refused() -> None:
    with pytest.raises(SpecError, match="image size"):
        ResNet12(ResNet12Config(), in_channels=1, size=3, ways=5)
