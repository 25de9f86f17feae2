"""Residual networks of 18 and 50 layers (He et al. 2015), for the ImageNet tables (powerprop sheet, section 5).

Four stages of blocks; the first block of stages 2 to 4 halves the side and doubles the channels::

    stem -> stage 1 (W channels) -> stage 2 (2 W) -> stage 3 (4 W) -> stage 4 (8 W) -> mean over the picture -> linear

    depth 18: 2, 2, 2, 2 blocks   conv 3x3 -> conv 3x3, both W channels
    depth 50: 3, 4, 6, 3 blocks   conv 1x1 -> conv 3x3 -> conv 1x1, of W, W and 4 W channels

Every convolution is followed by batch norm, and every norm but a block's last by ReLU; a block adds its input (through
a 1x1 convolution and norm where the shape changes) and takes ReLU of the sum. A halving block strides in its (first)
3x3 convolution, as released implementations do, not in the 1x1 before it. Convolutions have no biases.

Stem ``large``: 7x7 convolution with stride 2, norm, ReLU, 3x3 max pooling with stride 2. ``small``, for small pictures:
3x3 convolution, norm, ReLU.

Convolutions start as N(0, 2 / fan in), the linear layer as N(0, 0.01^2) with bias 0. Goyal et al. (2017), whose recipe
for large batches the tables follow, start the gain of each block's last norm at 0 (``last_gain``), so that every block
starts as its short cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from frisket.algos.networks.kind import SIDE, NetworkKind
from frisket.algos.networks.network import NetworkConfig, kaiming_normal, require_blocks
from frisket.algos.networks.normalised import Norm, Normalised, fresh_statistics
from frisket.errors import require
from frisket.types import Params

_BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}
_LINEAR_DEVIATION = 0.01


@dataclass(frozen=True, kw_only=True)
class ResNetConfig(NetworkConfig):
    """Attributes:
    depth: 18 or 50.
    width: channels W of the first stage.
    stem: ``large`` or ``small``.
    last_gain: what the gain of each block's last norm starts at.
    statistics_rate: share of a batch in the running statistics after it.
    """

    depth: Literal[18, 50] = 50
    width: int = 64
    stem: Literal["large", "small"] = "large"
    last_gain: float = 1.0
    statistics_rate: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.width >= 1, "width", self.width, "at least 1")
        require(0 < self.statistics_rate <= 1, "statistics_rate", self.statistics_rate, "above 0 and at most 1")


class Convolution(NamedTuple):
    """Attributes: name: of its weight, without the suffix; shape: [out, in, k, k]; stride; norm: of the norm after it;
    last: whether it is a block's last."""

    name: str
    shape: tuple[int, int, int, int]
    stride: int
    norm: str
    last: bool = False


class Block(NamedTuple):
    """Attributes: path: its convolutions in order; short_cut: that of its input, None where that is added as is."""

    path: tuple[Convolution, ...]
    short_cut: Convolution | None


class ResNet(Normalised):
    """The network for inputs ``[N, in_channels, size, size]`` and ``ways`` labels.

    >>> network = ResNet(ResNetConfig(), in_channels=3, size=224, ways=1000)
    >>> sum(v.numel() for v in network.init(torch.Generator()).values())
    25557032
    """

    def __init__(self, config: ResNetConfig, *, in_channels: int, size: int, ways: int, own: int | None = None) -> None:
        require_blocks(own, ways)
        require(size >= 1, SIDE, size, "at least 1")
        self.config, self.own, self.ways = config, own, ways
        self.stem = (
            Convolution("stem", (config.width, in_channels, 7, 7), 2, "stem_norm")
            if config.stem == "large"
            else Convolution("stem", (config.width, in_channels, 3, 3), 1, "stem_norm")
        )
        self.blocks = _blocks(config)
        self.features = self.blocks[-1].path[-1].shape[0]
        self.head = ("fc.weight", "fc.bias")
        self.adaptable = (*(f"{c.name}.weight" for c in self.convolutions()), *self.head)

    def convolutions(self) -> list[Convolution]:
        """All of them, in the order a picture meets them; a short cut after its block's path."""
        inner = [[*block.path, *([block.short_cut] if block.short_cut else [])] for block in self.blocks]
        return [self.stem, *(one for block in inner for one in block)]

    def init(self, generator: torch.Generator) -> Params:
        params: Params = {}
        for convolution in self.convolutions():
            params[f"{convolution.name}.weight"] = kaiming_normal(convolution.shape, generator)
            gain = self.config.last_gain if convolution.last else 1.0
            params[f"{convolution.norm}.weight"] = torch.full((convolution.shape[0],), gain)
            params[f"{convolution.norm}.bias"] = torch.zeros(convolution.shape[0])
        params["fc.weight"] = torch.empty(self.ways, self.features).normal_(0, _LINEAR_DEVIATION, generator=generator)
        params["fc.bias"] = torch.zeros(self.ways)
        return params

    def statistics(self) -> Params:
        return fresh_statistics({c.norm: torch.zeros(c.shape[0]) for c in self.convolutions()})

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        return self._logits(params, self._norm(params, None, moving=True), x)

    def training(self, params: Params, statistics: Params, x: Tensor) -> tuple[Tensor, Params]:
        norm = self._norm(params, moved := dict(statistics), moving=True)
        return self._logits(params, norm, x), moved

    def answering(self, params: Params, statistics: Params, x: Tensor) -> Tensor:
        return self._logits(params, self._norm(params, statistics, moving=False), x)

    def _norm(self, params: Params, statistics: Params | None, *, moving: bool) -> Norm:
        return Norm(params, statistics, moving=moving, rate=self.config.statistics_rate)

    def _logits(self, params: Params, norm: Norm, x: Tensor) -> Tensor:
        x = F.relu(_convolved(params, norm, self.stem, x))
        if self.config.stem == "large":
            x = F.max_pool2d(x, 3, stride=2, padding=1)
        for block in self.blocks:
            added = x if block.short_cut is None else _convolved(params, norm, block.short_cut, x)
            for convolution in block.path:
                x = _convolved(params, norm, convolution, x)
                x = x if convolution.last else F.relu(x)
            x = F.relu(x + added)
        return F.linear(x.mean((2, 3)), params["fc.weight"], params["fc.bias"])


def _convolved(params: Params, norm: Norm, convolution: Convolution, x: Tensor) -> Tensor:
    """Convolution and norm; padding keeps the side but for the stride."""
    padding = convolution.shape[-1] // 2
    return norm(convolution.norm, F.conv2d(x, params[f"{convolution.name}.weight"], None, convolution.stride, padding))


def _blocks(config: ResNetConfig) -> tuple[Block, ...]:
    """The blocks of all stages, in order."""
    blocks, inputs = [], config.width
    for stage, count in enumerate(_BLOCKS[config.depth], start=1):
        width = config.width * 2 ** (stage - 1)
        for i in range(1, count + 1):
            stride = 2 if stage > 1 and i == 1 else 1
            blocks.append(_block(f"stage{stage}.{i}", config.depth, inputs, width, stride))
            inputs = blocks[-1].path[-1].shape[0]
    return tuple(blocks)


def _block(name: str, depth: int, inputs: int, width: int, stride: int) -> Block:
    outputs = width if depth == 18 else 4 * width
    plain = ((width, 3, stride), (outputs, 3, 1))
    bottleneck = ((width, 1, 1), (width, 3, stride), (outputs, 1, 1))
    sizes = plain if depth == 18 else bottleneck
    path, seen = [], inputs
    for i, (made, side, step) in enumerate(sizes, start=1):
        last = i == len(sizes)
        path.append(Convolution(f"{name}.conv{i}", (made, seen, side, side), step, f"{name}.norm{i}", last))
        seen = made
    changes = stride != 1 or inputs != outputs
    short = Convolution(f"{name}.short", (outputs, inputs, 1, 1), stride, f"{name}.short_norm") if changes else None
    return Block(tuple(path), short)


NETWORKS = (
    NetworkKind(
        name="resnet",
        config=ResNetConfig,
        make=ResNet,
        summary="residual network of 18 or 50 layers",
        quick={"depth": 18, "width": 2, "stem": "small"},
    ),
)
