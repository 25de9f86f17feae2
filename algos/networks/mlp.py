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

from frisket.algos.networks.network import Network, kaiming_normal, own_logits, require_blocks, xavier_normal
from frisket.errors import require
from frisket.types import Params

Init = Literal["kaiming_normal", "xavier_uniform", "xavier_normal"]


@dataclass(frozen=True, kw_only=True)
class MLPConfig:
    """Attributes:
    hidden: width of every hidden layer.
    init: ``kaiming_normal`` (fan in, gain sqrt 2; the La-MAML code), ``xavier_uniform`` (the MER code's baselines) or
        ``xavier_normal`` (Meta-BGD); biases start at 0 in all.
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

    def __init__(self, config: MLPConfig, *, in_channels: int, size: int, ways: int, own: int | None = None) -> None:
        require_blocks(own, ways)
        self.config, self.ways, self.own = config, ways, own
        self.widths = (in_channels * size**2, *config.hidden, ways)
        self.layers = tuple(f"fc{i}" for i in range(1, len(self.widths)))
        self.adaptable = tuple(f"{layer}.{part}" for layer in self.layers for part in ("weight", "bias"))
        self.head = self.adaptable[-2:]

    def init(self, generator: torch.Generator) -> Params:
        draw = {
            "kaiming_normal": kaiming_normal, "xavier_uniform": _xavier_uniform, "xavier_normal": xavier_normal
        }[self.config.init]  # fmt: skip
        params: Params = {}
        for layer, inputs, outputs in zip(self.layers, self.widths, self.widths[1:], strict=False):
            params[f"{layer}.weight"] = draw((outputs, inputs), generator)
            params[f"{layer}.bias"] = torch.zeros(outputs)
        return params

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        return self._forward(params, self.first(params, x))[-1]

    def first(self, params: Params, x: Tensor) -> Tensor:
        """What the first layer makes of ``x``, before its ReLU, ``[N, widths[1]]``."""
        return F.linear(x.flatten(1), params["fc1.weight"], params["fc1.bias"])

    def loss_and_gradients(self, params: Params, x: Tensor, y: Tensor) -> tuple[Tensor, Params]:
        loss, grads, delta = self.after_first(params, self.first(params, x), y)
        grads = {"fc1.weight": _outer(delta, x.flatten(1)), "fc1.bias": delta.sum(0), **grads}
        return loss, {k: grads[k] for k in params}

    def after_first(self, params: Params, z: Tensor, y: Tensor) -> tuple[Tensor, Params, Tensor]:
        """From the first layer's output on.

        Args:
            params: weights of at least the later layers.
            z: what the first layer made, before its ReLU, [N, widths[1]].
            y: labels, [N].

        Returns:
            The loss, its gradient for the weights of the later layers, and that for ``z``.
        """
        outputs = self._forward(params, z)
        # outside a sample's own block: logit -inf, probability and delta 0
        logp = F.log_softmax(own_logits(outputs[-1], y, self.own), -1)
        hot = y[:, None] == torch.arange(self.ways, device=y.device)
        loss = -torch.where(hot, logp, 0).sum() / len(y)
        delta = (logp.exp() - hot.to(logp.dtype)) / len(y)  # d loss / d logits
        grads: Params = {}
        for i in reversed(range(1, len(self.layers))):
            name, before = self.layers[i], outputs[i - 1]
            grads[f"{name}.weight"] = _outer(delta, before.relu())
            grads[f"{name}.bias"] = delta.sum(0)
            delta = torch.where(before > 0, delta @ params[f"{name}.weight"], 0)
        return loss, grads, delta

    def _forward(self, params: Params, z: Tensor) -> list[Tensor]:
        """What every layer makes, before its ReLU, the first one having made ``z``; the last entry is the logits."""
        outputs = [z]
        for layer in self.layers[1:]:
            outputs.append(F.linear(outputs[-1].relu(), params[f"{layer}.weight"], params[f"{layer}.bias"]))
        return outputs


def _xavier_uniform(shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    bound = math.sqrt(6 / sum(shape))
    return torch.empty(shape).uniform_(-bound, bound, generator=generator)


def _outer(delta: Tensor, inputs: Tensor) -> Tensor:
    """``delta^T inputs``; of one sample as a plain multiplication, which a compiler can fuse with its use."""
    return delta.T * inputs if len(delta) == 1 else delta.T @ inputs
