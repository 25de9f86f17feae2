"""Residual networks: their size, and what batch norm answers by."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from toys import double

from frisket.algos.networks.powerprop import Powerprop
from frisket.algos.networks.resnet import ResNet, ResNetConfig
from frisket.errors import SpecError
from frisket.types import Params


def network(**fields: Any) -> ResNet:
    """Eighteen layers of 2 to 16 channels for 1 x 8 x 8 pictures of three classes."""
    config = ResNetConfig(**{"depth": 18, "width": 2, "stem": "small", **fields})
    return ResNet(config, in_channels=1, size=8, ways=3)


def started(net: ResNet) -> tuple[Params, Params, torch.Tensor]:
    """Weights, statistics and eight pictures, in float64."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, 1, 8, 8, generator=generator, dtype=torch.float64) * 2 + 1
    return double(net.init(generator)), double(net.statistics()), x


@pytest.mark.parametrize(("depth", "count"), [(50, 25_557_032), (18, 11_689_512)])
def test_sizes_for_imagenet(depth: Any, count: int) -> None:
    net = ResNet(ResNetConfig(depth=depth), in_channels=3, size=224, ways=1000)
    params = net.init(torch.Generator())
    assert sum(v.numel() for v in params.values()) == count
    kernels = [k for k, v in params.items() if v.dim() > 1]
    assert kernels[0] == "stem.weight"
    assert kernels[-1] == "fc.weight"
    assert len(kernels) == {50: 54, 18: 21}[depth]
    assert len(net.statistics()) == 2 * (len(kernels) - 1)


@pytest.mark.parametrize(("stem", "side"), [("large", 7), ("small", 28)])
def test_the_side_of_the_last_stage(stem: Any, side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    net = ResNet(ResNetConfig(depth=50, width=1, stem=stem), in_channels=3, size=224, ways=4)
    seen: list[tuple[int, ...]] = []
    convolve = F.conv2d
    monkeypatch.setattr(
        F, "conv2d", lambda x, *rest: seen.append(tuple(convolve(x, *rest).shape)) or convolve(x, *rest)
    )
    net(net.init(torch.Generator().manual_seed(0)), torch.randn(1, 3, 224, 224))
    assert seen[-1] == (1, 32, side, side)


def test_statistics_by_hand() -> None:
    """After one batch 0.9 of the start and 0.1 of the batch's mean and unbiased variance; those given stay."""
    net = network()
    params, statistics, x = started(net)
    logits, moved = net.training(params, statistics, x)
    z = F.conv2d(x, params["stem.weight"], padding=1)
    assert torch.allclose(moved["stem_norm.mean"], 0.1 * z.mean((0, 2, 3)))
    assert torch.allclose(moved["stem_norm.variance"], 0.9 + 0.1 * z.transpose(0, 1).flatten(1).var(1))
    assert moved.keys() == statistics.keys()
    assert not any(torch.equal(moved[k], v) for k, v in statistics.items())
    assert all(torch.equal(v, double(net.statistics())[k]) for k, v in statistics.items())
    assert torch.equal(logits, net(params, x))


def test_an_answer_by_running_statistics_does_not_depend_on_its_neighbours() -> None:
    net = network()
    params, statistics, x = started(net)
    for _ in range(5):
        _, statistics = net.training(params, statistics, x)
    together, alone = net.answering(params, statistics, x), net.answering(params, statistics, x[2:3])
    assert torch.allclose(together[2:3], alone)
    assert not torch.allclose(net(params, x)[2:4], net(params, x[2:4]))


def test_a_last_gain_of_0_makes_every_block_its_short_cut() -> None:
    net = network(last_gain=0.0)
    params, _, x = started(net)
    before = net(params, x)
    inner = {k: v + 1 if ".conv" in k else v for k, v in params.items()}
    short = {k: v * 1.5 + 0.1 if k.endswith(".short.weight") else v for k, v in params.items()}
    assert torch.equal(before, net(inner, x))
    assert not torch.allclose(before, net(short, x))
    assert not torch.allclose(before, network()(params | {"stage1.1.norm2.weight": torch.ones(2).double()}, x))


def test_powerprop_computes_the_same_function_at_the_start() -> None:
    net = network()
    generators = (torch.Generator().manual_seed(3) for _ in range(2))
    plain, phi = net.init(next(generators)), Powerprop(net, 2.0).init(next(generators))
    x = torch.randn(4, 1, 8, 8)
    assert torch.allclose(net(plain, x), Powerprop(net, 2.0)(phi, x), atol=1e-5)
    assert torch.equal(phi["stem_norm.weight"], plain["stem_norm.weight"])


@pytest.mark.parametrize(("field", "value"), [("width", 0), ("statistics_rate", 0.0), ("statistics_rate", 1.5)])
def test_numbers_that_cannot_be_are_refused(field: str, value: Any) -> None:
    with pytest.raises(SpecError) as caught:
        ResNetConfig(**{field: value})
    assert caught.value.field == field
