"""A small AlexNet for pictures of 32 pixels: convolutions with pooling, no normalisation (powerprop sheet, section 4).

F_l filters, k_l kernel sides, H hidden units::

    3 x [conv k_l, F_l filters, padded to keep the side -> ReLU -> max pool 2] -> flatten -> linear H -> ReLU -> linear

The Powerpropagation paper calls its CIFAR-10 network a smaller version of AlexNet and prints no sizes. Those here are
the sheet's: 64, 192 and 256 filters of 5, 3 and 3 pixels, 512 hidden units.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from frisket.algos.networks.kind import SIDE, NetworkKind
from frisket.algos.networks.network import Network, NetworkConfig, kaiming_normal, require_blocks
from frisket.errors import require
from frisket.types import Params

_SIDES = (5, 3, 3)


@dataclass(frozen=True, kw_only=True)
class PooledConvConfig(NetworkConfig):
    """Attributes: filters: of each of the three convolutions; hidden: width of the hidden linear layer."""

    filters: tuple[int, ...] = (64, 192, 256)
    hidden: int = 512

    def __post_init__(self) -> None:
        super().__post_init__()
        require(len(self.filters) == len(_SIDES), "filters", self.filters, f"{len(_SIDES)} numbers")
        require(min(self.filters) >= 1, "filters", self.filters, "at least 1 each")
        require(self.hidden >= 1, "hidden", self.hidden, "at least 1")


class PooledConv(Network):
    """The network for inputs ``[N, in_channels, size, size]`` and ``ways`` labels.

    >>> network = PooledConv(PooledConvConfig(), in_channels=3, size=32, ways=10)
    >>> sum(v.numel() for v in network.init(torch.Generator()).values())
    2661194
    """

    def __init__(
        self, config: PooledConvConfig, *, in_channels: int, size: int, ways: int, own: int | None = None
    ) -> None:
        require_blocks(own, ways)
        left = size // 2 ** len(_SIDES)
        require(left >= 1, SIDE, size, f"at least {2 ** len(_SIDES)} for {len(_SIDES)} poolings")
        self.own = own
        self.convolutions = tuple(f"conv{i}" for i in range(1, len(_SIDES) + 1))
        inputs = (in_channels, *config.filters)
        sizes = zip(config.filters, inputs, _SIDES, strict=False)
        self.shapes: dict[str, tuple[int, ...]] = {
            **{name: (o, i, k, k) for name, (o, i, k) in zip(self.convolutions, sizes, strict=True)},
            "fc1": (config.hidden, config.filters[-1] * left**2),
            "fc2": (ways, config.hidden),
        }
        self.adaptable = tuple(f"{layer}.{part}" for layer in self.shapes for part in ("weight", "bias"))
        self.head = self.adaptable[-2:]

    def init(self, generator: torch.Generator) -> Params:
        """Weights N(0, 2 / fan in), biases 0."""
        params: Params = {}
        for layer, shape in self.shapes.items():
            params[f"{layer}.weight"] = kaiming_normal(shape, generator)
            params[f"{layer}.bias"] = torch.zeros(shape[0])
        return params

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        for layer, side in zip(self.convolutions, _SIDES, strict=True):
            x = F.conv2d(x, params[f"{layer}.weight"], params[f"{layer}.bias"], padding=side // 2)
            x = F.relu(F.max_pool2d(x, 2))  # the same numbers as ReLU before the pool, at a quarter of the work
        x = F.relu(F.linear(x.flatten(1), params["fc1.weight"], params["fc1.bias"]))
        return F.linear(x, params["fc2.weight"], params["fc2.bias"])


NETWORKS = (
    NetworkKind(
        name="pooled-conv",
        config=PooledConvConfig,
        make=PooledConv,
        summary="a small AlexNet: convolutions, pooling, two hidden layers",
        quick={"filters": (2, 3, 2), "hidden": 4},
    ),
)
