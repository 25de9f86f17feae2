"""Conv4, the few-shot network (osaka spec, section 3), with batch statistics always.

N batch, C channels, H height, W width::

    4 x [conv 3x3, pad 1 -> batch norm (affine, this batch's statistics) -> max pool 2 -> ReLU] -> flatten -> linear

The papers write ReLU before the pool. Both are monotone, so the order changes neither a value nor a gradient, and
pooling first leaves ReLU a quarter of the work.

The first convolution has so few input channels that it is written as what it is, a product of image patches with a
[C_out, 9 C_in] matrix. On a CPU that is several times faster than the convolution routine in both directions, and it
leaves the activations in channels-last order, in which batch norm and pooling are fast too (docs/performance.md has
the figures).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from frisket.algos.networks.kind import NetworkKind
from frisket.algos.networks.network import Network, NetworkConfig, require_blocks
from frisket.errors import require
from frisket.types import Params

BLOCKS = 4


@dataclass(frozen=True, kw_only=True)
class Conv4Config(NetworkConfig):
    """Attributes: channels: filters per block (64 in the papers)."""

    channels: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.channels >= 1, "channels", self.channels, "at least 1")


class Conv4(Network):
    """Conv4 for ``[N, in_channels, size, size]`` inputs and ``ways`` classes.

    With 64 channels, 1x28x28 inputs and 10 ways: 112,586 weights, 10 adaptable tensors (112,074), 8 batch-norm tensors.
    """

    def __init__(self, config: Conv4Config, *, in_channels: int, size: int, ways: int, own: int | None = None) -> None:
        require_blocks(own, ways)
        require(size >= 2**BLOCKS, "image size", size, f"at least {2**BLOCKS} for {BLOCKS} poolings")
        self.channels, self.in_channels, self.ways, self.own = config.channels, in_channels, ways, own
        self.features = config.channels * (size // 2**BLOCKS) ** 2
        layers = [f"conv{i}" for i in range(1, BLOCKS + 1)] + ["classifier"]
        self.adaptable = tuple(f"{layer}.{part}" for layer in layers for part in ("weight", "bias"))
        self.head = ("classifier.weight", "classifier.bias")

    def init(self, generator: torch.Generator) -> Params:
        """PyTorch's default initialisation: uniform within 1/sqrt(fan_in), gains 1, shifts 0."""

        def uniform(shape: tuple[int, ...], inputs: int) -> Tensor:
            bound = 1 / math.sqrt(inputs)
            return torch.empty(shape).uniform_(-bound, bound, generator=generator)

        params: Params = {}
        inputs = self.in_channels
        for i in range(1, BLOCKS + 1):
            params[f"conv{i}.weight"] = uniform((self.channels, inputs, 3, 3), inputs * 9)
            params[f"conv{i}.bias"] = uniform((self.channels,), inputs * 9)
            params[f"bn{i}.weight"] = torch.ones(self.channels)
            params[f"bn{i}.bias"] = torch.zeros(self.channels)
            inputs = self.channels
        params["classifier.weight"] = uniform((self.ways, self.features), self.features)
        params["classifier.bias"] = uniform((self.ways,), self.features)
        return params

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        for i in range(1, BLOCKS + 1):
            convolve = _convolve_patches if i == 1 else _convolve
            x = convolve(x, params[f"conv{i}.weight"], params[f"conv{i}.bias"])
            x = F.batch_norm(x, None, None, params[f"bn{i}.weight"], params[f"bn{i}.bias"], training=True)
            x = F.relu(F.max_pool2d(x, 2))
        return F.linear(x.flatten(1), params["classifier.weight"], params["classifier.bias"])


def _convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """3x3 convolution, padding 1."""
    return F.conv2d(x, weight, bias, padding=1)


def _convolve_patches(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The same as a matrix product; the result lies channels-last in memory."""
    n, _, height, width = x.shape
    patches = F.unfold(x, kernel_size=3, padding=1).transpose(1, 2)  # [N, H W, 9 C_in]
    return F.linear(patches, weight.flatten(1), bias).view(n, height, width, -1).permute(0, 3, 1, 2)


NETWORKS = (
    NetworkKind(
        name="conv4",
        config=Conv4Config,
        make=Conv4,
        summary="four convolutions with batch norm, the OSAKA network",
        quick={"channels": 4},
    ),
)
