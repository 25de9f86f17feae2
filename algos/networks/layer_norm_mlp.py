"""The fully connected network of Continual World (continual_world spec, section 4).

H_l hidden widths::

    flatten -> linear H_1 -> LayerNorm -> tanh -> linear H_2 -> leaky ReLU -> ... -> linear H_n -> leaky ReLU -> linear

The slope of the leaky ReLU is 0.2, LayerNorm's epsilon 1e-3, weights are Glorot uniform and biases 0: the released
code's, which are not torch's own. The output layer is a task's own (`Network.private`), which is one output layer for
each task.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from frisket.algos.networks.kind import NetworkKind
from frisket.algos.networks.network import Network, NetworkConfig, require_blocks, xavier_uniform
from frisket.algos.networks.side_by_side import SideBySide
from frisket.errors import require
from frisket.types import Params

SLOPE, EPSILON = 0.2, 1e-3


@dataclass(frozen=True, kw_only=True)
class LayerNormMLPConfig(NetworkConfig):
    """Attributes:
    hidden: width of every hidden layer, one or more.
    precision: of what soft actor-critic's updates multiply between two hidden layers, forward and back; sums and all
        else are fp32. bf16 is faster where the processor multiplies it (docs/performance.md).
    """

    hidden: tuple[int, ...] = (256, 256, 256, 256)
    precision: Literal["fp32", "bf16"] = "fp32"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(len(self.hidden) > 0 and min(self.hidden) >= 1, "hidden", self.hidden, "one width or more, at least 1")


class LayerNormMLP(Network):
    """The network for flat inputs of ``inputs`` numbers and ``ways`` outputs. Attributes: normalising: names of
    LayerNorm's weights.

    >>> network = LayerNormMLP(LayerNormMLPConfig(), inputs=39, ways=8)
    >>> sum(v.numel() for k, v in network.init(torch.Generator()).items() if k not in network.private)
    208128
    """

    def __init__(self, config: LayerNormMLPConfig, *, inputs: int, ways: int, own: int | None = None) -> None:
        require_blocks(own, ways)
        self.config, self.inputs, self.ways, self.own = config, inputs, ways, own
        self.head = self.private = ("head.weight", "head.bias")
        self.normalising = ("norm1.weight", "norm1.bias")
        self.adaptable = tuple(self.init(torch.Generator()))
        self.products = torch.bfloat16 if config.precision == "bf16" else None

    def sized(self, inputs: int, ways: int) -> LayerNormMLP:
        """The same for other inputs and outputs."""
        return LayerNormMLP(self.config, inputs=inputs, ways=ways)

    def init(self, generator: torch.Generator) -> Params:
        params: Params = {}
        widths = (self.inputs, *self.config.hidden)
        for i, (before, after) in enumerate(pairwise(widths), 1):
            params[f"fc{i}.weight"] = xavier_uniform((after, before), generator)
            params[f"fc{i}.bias"] = torch.zeros(after)
            if i == 1:
                params |= {"norm1.weight": torch.ones(after), "norm1.bias": torch.zeros(after)}
        params["head.weight"] = xavier_uniform((self.ways, widths[-1]), generator)
        params["head.bias"] = torch.zeros(self.ways)
        return params

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        z = F.linear(x.flatten(1), params["fc1.weight"], params["fc1.bias"])
        z = F.layer_norm(z, z.shape[-1:], params["norm1.weight"], params["norm1.bias"], EPSILON).tanh()
        for i in range(2, len(self.config.hidden) + 1):
            z = F.leaky_relu(F.linear(z, params[f"fc{i}.weight"], params[f"fc{i}.bias"]), SLOPE)
        return F.linear(z, params["head.weight"], params["head.bias"])

    @cached_property
    def side_by_side(self) -> SideBySide:
        """What computes with several of them at once."""
        return SideBySide(len(self.config.hidden), SLOPE, EPSILON, self.products)


class ManyHeads(LayerNormMLP):
    """``network`` with the output layers of ``tasks`` tasks at once. Its inputs say which, by a number from 0 in one
    more column, which nothing else sees: ``column``.

    >>> one = LayerNormMLP(LayerNormMLPConfig(hidden=(8,)), inputs=2, ways=3)
    >>> many = ManyHeads(one, tasks=5, column=2)
    >>> many(many.init(torch.Generator()), torch.tensor([[0.1, 0.2, 4.0]])).shape
    torch.Size([1, 3])
    """

    def __init__(self, network: LayerNormMLP, *, tasks: int, column: int) -> None:
        super().__init__(network.config, inputs=network.inputs, ways=tasks * network.ways)
        self.tasks, self.column, self.each = tasks, column, network.ways

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        seen, number, more = x.flatten(1).tensor_split([self.column, self.column + 1], 1)
        outputs = super().__call__(params, torch.cat([seen, more], 1)).view(len(x), self.tasks, self.each)
        return outputs.take_along_dim(number.long()[:, :, None], 1)[:, 0]

    def head_of(self, params: Params, task: int) -> Params:
        """The output layer of one task, for ``network``."""
        return {k: params[k].unflatten(0, (self.tasks, self.each))[task] for k in self.head}


def _make(config: LayerNormMLPConfig, *, in_channels: int, size: int, ways: int, own: int | None) -> LayerNormMLP:
    return LayerNormMLP(config, inputs=in_channels * size**2, ways=ways, own=own)


NETWORKS = (
    NetworkKind(
        name="layer-norm-mlp",
        config=LayerNormMLPConfig,
        make=_make,
        summary="fully connected with LayerNorm and an output layer for each task, the network of Continual World",
        quick={"hidden": (32, 32)},
        tried_at=(3, 1),
    ),
)
