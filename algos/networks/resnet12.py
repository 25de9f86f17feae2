"""ResNet-12, the larger few-shot network (maml_family sheet, section 3): four residual blocks without dropping.

C channels of a block, whose input has others::

    x -> conv 3x3 -> norm -> leaky ReLU -> conv 3x3 -> norm -> leaky ReLU -> conv 3x3 -> norm -> z
    x -> conv 1x1 -> norm -> s
    z + s -> max pool -> leaky ReLU

then the mean over the picture and a linear layer. Strides are 1, convolutions have no biases, and leaky ReLU's slope is
0.01. Blocks 1 and 2 pool 2x2 with stride 2, block 3 the same with padding 1, block 4 not at all: a side of 84 becomes
42, 21, 11 and 11. (The network of this name in other papers has slope 0.1, pools in every block and drops units.)

The papers write leaky ReLU before the pool. It rises everywhere, so the order changes no value, and pooling first
leaves it a quarter of the work.

Weights start Xavier-uniform, biases at 0. Batch norm goes by a policy (`frisket.algos.networks.norm_policy`); its gains
and shifts, the short cuts' too, are learned by outer loops only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from frisket.algos.networks.kind import SIDE, NetworkKind
from frisket.algos.networks.network import require_blocks, xavier_uniform
from frisket.algos.networks.norm_policy import PolicyConfig, PolicyNetwork
from frisket.algos.networks.normalised import Norm
from frisket.errors import require
from frisket.types import Params

_CHANNELS = {"small": (64, 128, 256, 512), "large": (64, 160, 320, 640)}
_SLOPE = 0.01
_PADDINGS = (0, 0, 1, None)
"""Of the pooling after each block; None where there is none."""


@dataclass(frozen=True, kw_only=True)
class ResNet12Config(PolicyConfig):
    """Attributes:
    width: ``small``, blocks of 64, 128, 256 and 512 channels, or ``large``, of 64, 160, 320 and 640.
    channels: other numbers of channels, one for each block; null for those of ``width``.
    adapt_shortcuts: whether inner loops adapt the 1x1 convolutions of the short cuts.
    """

    width: Literal["small", "large"] = "small"
    channels: tuple[int, ...] | None = None
    adapt_shortcuts: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        fits = self.channels is None or (len(self.channels) == len(_PADDINGS) and min(self.channels) >= 1)
        require(fits, "channels", self.channels, f"null, or {len(_PADDINGS)} numbers of at least 1")


class ResNet12(PolicyNetwork):
    """The network for inputs ``[N, in_channels, size, size]`` and ``ways`` labels.

    >>> network = ResNet12(ResNet12Config(), in_channels=3, size=84, ways=5)
    >>> sum(v.numel() for v in network.init(torch.Generator()).values())
    7999365
    """

    def __init__(
        self, config: ResNet12Config, *, in_channels: int, size: int, ways: int, own: int | None = None
    ) -> None:
        require_blocks(own, ways)
        require(size >= 4, SIDE, size, "at least 4 for 3 poolings, the last of them padded")
        channels = config.channels or _CHANNELS[config.width]
        self.own, self.features = own, channels[-1]
        self.pooled = self.features
        self.kernels: dict[str, tuple[int, int, int, int]] = {}
        for i, (inputs, made) in enumerate(zip((in_channels, *channels), channels, strict=False), start=1):
            self.kernels[f"block{i}.conv1"] = (made, inputs, 3, 3)
            self.kernels[f"block{i}.conv2"] = self.kernels[f"block{i}.conv3"] = (made, made, 3, 3)
            self.kernels[f"block{i}.short"] = (made, inputs, 1, 1)
        super().__init__(config, {f"{name}.norm": shape[0] for name, shape in self.kernels.items()})
        self.classifier = (ways, self.features)
        self.head = ("classifier.weight", "classifier.bias")
        adapted = [name for name in self.kernels if config.adapt_shortcuts or not name.endswith(".short")]
        self.adaptable = (*(f"{name}.weight" for name in adapted), *self.head)

    def init(self, generator: torch.Generator) -> Params:
        params: Params = {}
        for name, shape in self.kernels.items():
            params[f"{name}.weight"] = xavier_uniform(shape, generator)
            params |= self.first_norm(f"{name}.norm")
        params["classifier.weight"] = xavier_uniform(self.classifier, generator)
        params["classifier.bias"] = torch.zeros(self.classifier[0])
        return params | self.first_statistics()

    def blocks(self, params: Params, normalise: Norm, x: Tensor) -> Tensor:
        def convolved(name: str, x: Tensor) -> Tensor:
            kernel = params[f"{name}.weight"]
            return normalise(f"{name}.norm", F.conv2d(x, kernel, padding=kernel.shape[-1] // 2))

        for i, padding in enumerate(_PADDINGS, start=1):
            z = F.leaky_relu(convolved(f"block{i}.conv1", x), _SLOPE)
            z = F.leaky_relu(convolved(f"block{i}.conv2", z), _SLOPE)
            z = convolved(f"block{i}.conv3", z) + convolved(f"block{i}.short", x)
            x = F.leaky_relu(z if padding is None else F.max_pool2d(z, 2, padding=padding), _SLOPE)
        return x

    def read_out(self, params: Params, x: Tensor) -> Tensor:
        return F.linear(x.mean((2, 3)), params["classifier.weight"], params["classifier.bias"])


NETWORKS = (
    NetworkKind(
        name="resnet12",
        config=ResNet12Config,
        make=ResNet12,
        summary="four residual blocks with batch norm, the larger few-shot network",
        quick={"channels": (2, 2, 3, 3)},
        tried_at=(1, 8),
    ),
)
