"""Fully connected ReLU network on flattened images, the MNIST network of the replay papers (lamaml spec, section 2.3).

H_l hidden widths::

    flatten -> linear H_1 -> ReLU -> ... -> linear H_n -> ReLU -> linear

784-100-100-10 has 89,610 weights. `MLP.loss_and_gradients` is back-propagation written out: at this size automatic
differentiation costs more than the arithmetic, and a compiler can fuse what is written out with what follows it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from frisket.algos.networks.network import Network
from frisket.errors import require
from frisket.types import Params

Init = Literal["kaiming_normal", "xavier_uniform"]


@dataclass(frozen=True, kw_only=True)
class MLPConfig:
    """Attributes:
    hidden: width of every hidden layer.
    init: ``kaiming_normal`` (fan in, gain sqrt 2; the La-MAML code) or ``xavier_uniform`` (the MER code's baselines);
        biases start at 0 in both.
    """

    hidden: tuple[int, ...] = (100, 100)
    init: Init = "kaiming_normal"

    def __post_init__(self) -> None:
        for width in self.hidden:
            require(width >= 1, "hidden", self.hidden, "widths of at least 1")


class MLP(Network):
    """The network for inputs ``[N, in_channels, size, size]`` and ``ways`` labels.

    >>> network = MLP(MLPConfig(), in_channels=1, size=28, ways=10)
    >>> sum(v.numel() for v in network.init(torch.Generator()).values())
    89610
    """

    def __init__(self, config: MLPConfig, *, in_channels: int, size: int, ways: int) -> None:
        self.config, self.ways = config, ways
        self.widths = (in_channels * size**2, *config.hidden, ways)
        self.layers = tuple(f"fc{i}" for i in range(1, len(self.widths)))
        self.adaptable = tuple(f"{layer}.{part}" for layer in self.layers for part in ("weight", "bias"))
        self.head = self.adaptable[-2:]

    def init(self, generator: torch.Generator) -> Params:
        params: Params = {}
        for layer, inputs, outputs in zip(self.layers, self.widths, self.widths[1:], strict=False):
            weight = torch.empty(outputs, inputs)
            if self.config.init == "kaiming_normal":
                weight.normal_(0, math.sqrt(2 / inputs), generator=generator)
            else:
                bound = math.sqrt(6 / (inputs + outputs))
                weight.uniform_(-bound, bound, generator=generator)
            params[f"{layer}.weight"] = weight
            params[f"{layer}.bias"] = torch.zeros(outputs)
        return params

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        logits, _ = self._forward(params, x)
        return logits

    def loss_and_gradients(self, params: Params, x: Tensor, y: Tensor) -> tuple[Tensor, Params]:
        logits, inputs = self._forward(params, x)
        logp = F.log_softmax(logits, -1)
        hot = y[:, None] == torch.arange(self.ways, device=y.device)
        loss = -torch.where(hot, logp, 0).sum() / len(y)
        delta = (logp.exp() - hot.to(logp.dtype)) / len(y)  # d loss / d logits
        grads: Params = {}
        for i in reversed(range(len(self.layers))):
            name = self.layers[i]
            # One sample's gradient is an outer product: as a plain multiplication a compiler can fuse it with its use.
            grads[f"{name}.weight"] = delta.T * inputs[i] if len(y) == 1 else delta.T @ inputs[i]
            grads[f"{name}.bias"] = delta.sum(0)
            if i:
                delta = torch.where(inputs[i] > 0, delta @ params[f"{name}.weight"], 0)
        return loss, {k: grads[k] for k in params}

    def _forward(self, params: Params, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits, and the input of every layer."""
        inputs = [x.flatten(1)]
        for layer in self.layers[:-1]:
            inputs.append(F.relu(F.linear(inputs[-1], params[f"{layer}.weight"], params[f"{layer}.bias"])))
        last = self.layers[-1]
        return F.linear(inputs[-1], params[f"{last}.weight"], params[f"{last}.bias"]), inputs
