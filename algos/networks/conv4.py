"""Conv4, the few-shot network (osaka spec, section 3; maml_family sheet, sections 3 and 4).

N batch, C channels, H height, W width::

    4 x [conv 3x3, pad 1 -> batch norm (affine) -> max pool 2 -> ReLU] -> flatten -> linear

Batch norm goes by a policy (`frisket.algos.networks.norm_policy`), by the batch it is given where nothing else is said.
OSAKA's inner loops leave its gains and shifts alone; few-shot ones adapt them too (``adapt_norm``).

The papers write ReLU before the pool. Both are monotone, so the order changes neither a value nor a gradient, and
pooling first leaves ReLU a quarter of the work.

A first convolution with one input channel is written as what it is, a product of image patches with a [9, C_out]
matrix. On a CPU that is several times faster than the convolution routine in both directions. Activations lie in
channels-last order, in which batch norm and pooling are fast too (docs/performance.md has the figures).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from frisket.algos.networks.kind import SIDE, NetworkKind
from frisket.algos.networks.layers import channels_last, convolve
from frisket.algos.networks.network import require_blocks
from frisket.algos.networks.norm_policy import PolicyConfig, PolicyNetwork
from frisket.algos.networks.normalised import Norm
from frisket.errors import require
from frisket.types import Params

BLOCKS = 4


@dataclass(frozen=True, kw_only=True)
class Conv4Config(PolicyConfig):
    """Attributes:
    channels: filters per block (64 in the papers).
    bias: whether convolutions and the output layer have biases.
    adapt_norm: whether inner loops adapt batch norm's gains and shifts too.
    precision: of what the convolutions of several channels multiply, forward and backward; sums and all else are fp32.
        bf16 is faster where the processor multiplies it (docs/performance.md), and slower elsewhere.
    """

    channels: int = 64
    bias: bool = True
    adapt_norm: bool = False
    precision: Literal["fp32", "bf16"] = "fp32"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.channels >= 1, "channels", self.channels, "at least 1")
        fix = "false with norm: per_step, under which each inner step has gains and shifts of its own"
        require(not (self.adapt_norm and self.norm == "per_step"), "adapt_norm", self.adapt_norm, fix)


class Conv4(PolicyNetwork):
    """Conv4 for ``[N, in_channels, size, size]`` inputs and ``ways`` classes.

    With 64 channels, 1x28x28 inputs and 10 ways: 112,586 weights, 10 adaptable tensors (112,074), 8 batch-norm tensors.
    With 3x84x84 inputs and 5 ways: 121,093 weights, 1,600 features.
    """

    def __init__(self, config: Conv4Config, *, in_channels: int, size: int, ways: int, own: int | None = None) -> None:
        require_blocks(own, ways)
        require(size >= 2**BLOCKS, SIDE, size, f"at least {2**BLOCKS} for {BLOCKS} poolings")
        super().__init__(config, {f"bn{i}": config.channels for i in range(1, BLOCKS + 1)})
        self.own, self.bias, filters = own, config.bias, config.channels
        self.products = torch.bfloat16 if config.precision == "bf16" else None
        self.pooled = filters
        self.features = filters * (size // 2**BLOCKS) ** 2
        self.layers: dict[str, tuple[int, ...]] = {
            **{f"conv{i}": (filters, filters if i > 1 else in_channels, 3, 3) for i in range(1, BLOCKS + 1)},
            "classifier": (ways, self.features),
        }
        parts = ("weight", "bias") if config.bias else ("weight",)
        norms = [name for norm in self.norms for name in self.first_norm(norm)] if config.adapt_norm else []
        self.adaptable = (*(f"{layer}.{part}" for layer in self.layers for part in parts), *norms)
        self.head = tuple(f"classifier.{part}" for part in parts)

    def init(self, generator: torch.Generator) -> Params:
        """PyTorch's default initialisation: uniform within 1/sqrt(fan_in), gains 1, shifts 0."""

        def uniform(shape: tuple[int, ...], inputs: int) -> Tensor:
            bound = 1 / math.sqrt(inputs)
            return torch.empty(shape).uniform_(-bound, bound, generator=generator)

        params: Params = {}
        for layer, shape in self.layers.items():
            params[f"{layer}.weight"] = uniform(shape, math.prod(shape[1:]))
            if self.bias:
                params[f"{layer}.bias"] = uniform(shape[:1], math.prod(shape[1:]))
            if layer.startswith("conv"):
                params |= self.first_norm(layer.replace("conv", "bn"))
        return params | self.first_statistics()

    def blocks(self, params: Params, normalise: Norm, x: Tensor) -> Tensor:
        for i in range(1, BLOCKS + 1):
            weight, bias = self._layer(params, f"conv{i}")
            if x.shape[1] == 1:
                x = _convolve_patches(x, weight, bias)
            else:
                x = convolve(channels_last(x), weight, bias, padding=1, products=self.products)
            x = normalise.pooled(f"bn{i}", x)
        return x

    def read_out(self, params: Params, x: Tensor) -> Tensor:
        return F.linear(x.flatten(1), *self._layer(params, "classifier"))

    def layer_of(self, name: str) -> str:
        """As `Network.layer_of`; a batch norm is its convolution's."""
        return name.partition(".")[0].replace("bn", "conv")

    def _layer(self, params: Params, name: str) -> tuple[Tensor, Tensor | None]:
        """Weight and bias."""
        return params[f"{name}.weight"], params[f"{name}.bias"] if self.bias else None


def _convolve_patches(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """3x3 convolution of one input channel, padding 1, as a matrix product; the result lies channels-last in memory."""
    n, _, height, width = x.shape
    padded = F.pad(x[:, 0], (1, 1, 1, 1))
    shifts = [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    rows = [weight.flatten(1).t()]
    if bias is not None:  # as one factor more; added to the product it would be a pass over all of it, and back another
        shifts.append(torch.ones_like(shifts[0]))
        rows.append(bias[None])
    patches = torch.stack(shifts).flatten(1).t()  # [N H W, 9 or 10]
    kernel = torch.cat(rows)  # [9 or 10, C_out]; the order its gradient is fast in
    return (patches @ kernel).view(n, height, width, -1).permute(0, 3, 1, 2)


NETWORKS = (
    NetworkKind(
        name="conv4",
        config=Conv4Config,
        make=Conv4,
        summary="four convolutions with batch norm, the network of OSAKA and of few-shot learning",
        quick={"channels": 4},
    ),
)
