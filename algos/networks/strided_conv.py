"""The convolutional network of the replay papers (lamaml spec, section 2.3): no pooling, no normalisation, no dropout.

L convolutions, F filters, H_l hidden widths::

    L x [conv 3x3, stride 2, pad 1, F filters -> ReLU] -> flatten -> linear H_1 -> ReLU -> ... -> linear

Each convolution halves the picture's side, rounded up. The papers' networks are::

    CIFAR-100        3x32x32  L = 3  H = 320, 320  100 labels  1,419,940 weights
    TinyImageNet     3x64x64  L = 4  H = 640, 640  200 labels  2,873,640 weights
    split CIFAR-10   3x32x32  L = 4  H = 320, 320   10 labels  1,007,210 weights

The last one is called "4-conv, same as La-MAML" by its paper and not described further; it is read as the TinyImageNet
stack on 32 pixels with the CIFAR widths.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from frisket.algos.networks.kind import NetworkKind
from frisket.algos.networks.network import Network, NetworkConfig, kaiming_normal, require_blocks, xavier_normal
from frisket.errors import require
from frisket.types import Params

_DEEPEST = 100  # convolutions


@dataclass(frozen=True, kw_only=True)
class StridedConvConfig(NetworkConfig):
    """Attributes:
    convolutions: number of convolutions L.
    filters: filters of each.
    hidden: width of every hidden linear layer.
    init: ``kaiming_normal`` (fan in, gain sqrt 2; biases 0), or ``xavier_normal`` as Meta-BGD's code has it, whose
        convolutions start with biases N(0, 2 / (1 + 9 F)) and whose linear layers with 0.
    """

    convolutions: int = 3
    filters: int = 160
    hidden: tuple[int, ...] = (320, 320)
    init: Literal["kaiming_normal", "xavier_normal"] = "kaiming_normal"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(1 <= self.convolutions <= _DEEPEST, "convolutions", self.convolutions, f"1 to {_DEEPEST}")
        require(self.filters >= 1, "filters", self.filters, "at least 1")
        for width in self.hidden:
            require(width >= 1, "hidden", self.hidden, "widths of at least 1")


class StridedConv(Network):
    """The network for inputs ``[N, in_channels, size, size]`` and ``ways`` labels.

    >>> network = StridedConv(StridedConvConfig(), in_channels=3, size=32, ways=100, own=5)
    >>> sum(v.numel() for v in network.init(torch.Generator()).values())
    1419940
    """

    def __init__(
        self, config: StridedConvConfig, *, in_channels: int, size: int, ways: int, own: int | None = None
    ) -> None:
        require_blocks(own, ways)
        self.config, self.own = config, own
        side = size
        for _ in range(config.convolutions):
            side = (side + 1) // 2
        self.channels = (in_channels, *[config.filters] * config.convolutions)
        self.widths = (config.filters * side**2, *config.hidden, ways)
        self.convolutions = tuple(f"conv{i}" for i in range(1, len(self.channels)))
        self.linears = tuple(f"fc{i}" for i in range(1, len(self.widths)))
        layers = (*self.convolutions, *self.linears)
        self.adaptable = tuple(f"{layer}.{part}" for layer in layers for part in ("weight", "bias"))
        self.head = self.adaptable[-2:]

    def init(self, generator: torch.Generator) -> Params:
        shapes = [(o, i, 3, 3) for i, o in zip(self.channels, self.channels[1:], strict=False)]
        shapes += [(o, i) for i, o in zip(self.widths, self.widths[1:], strict=False)]
        xavier = self.config.init == "xavier_normal"
        draw = xavier_normal if xavier else kaiming_normal
        params: Params = {}
        for layer, shape in zip((*self.convolutions, *self.linears), shapes, strict=True):
            params[f"{layer}.weight"] = draw(shape, generator)
            params[f"{layer}.bias"] = bias = torch.zeros(shape[0])
            if xavier and layer in self.convolutions:
                bias.normal_(0, math.sqrt(2 / (1 + 9 * shape[0])), generator=generator)
        return params

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        for layer in self.convolutions:
            x = F.relu(F.conv2d(x, params[f"{layer}.weight"], params[f"{layer}.bias"], stride=2, padding=1))
        x = x.flatten(1)
        for layer in self.linears[:-1]:
            x = F.relu(F.linear(x, params[f"{layer}.weight"], params[f"{layer}.bias"]))
        last = self.linears[-1]
        return F.linear(x, params[f"{last}.weight"], params[f"{last}.bias"])


NETWORKS = (
    NetworkKind(
        name="strided-conv",
        config=StridedConvConfig,
        make=StridedConv,
        summary="strided convolutions and two hidden layers, the CIFAR network of the replay papers",
        quick={"convolutions": 2, "filters": 3, "hidden": (5,)},
    ),
)
