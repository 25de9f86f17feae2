"""Fully connected ReLU network on flattened images, the MNIST network of the replay papers (lamaml spec, section 2.3).

H_l hidden widths::

    flatten -> linear H_1 -> ReLU -> ... -> linear H_n -> ReLU -> linear

784-100-100-10 has 89,610 weights. `MLP.backward` is back-propagation written out: at this size automatic
differentiation costs more than the arithmetic, and a compiler can fuse what is written out with what follows it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from frisket.algos.networks.kind import NetworkKind
from frisket.algos.networks.network import (
    Network,
    NetworkConfig,
    fan_in,
    kaiming_normal,
    own_logits,
    require_blocks,
    xavier_normal,
    xavier_uniform,
)
from frisket.errors import require
from frisket.types import Params

Init = Literal["kaiming_normal", "xavier_uniform", "xavier_normal", "truncated_normal", "uniform"]


class Backward(NamedTuple):
    """A batch taken forward and back through the network; leading dimensions are replicas.

    Attributes:
        inputs: what layers 2, 3, ... see, after the ReLU, each [..., N, width].
        deltas: derivative of each sample's own loss by what layers 1, 2, ... make, each [..., N, width].
        losses: cross-entropy of each sample, [..., N].
    """

    inputs: tuple[Tensor, ...]
    deltas: tuple[Tensor, ...]
    losses: Tensor


@dataclass(frozen=True, kw_only=True)
class MLPConfig(NetworkConfig):
    """Attributes:
    hidden: width of every hidden layer.
    init: ``kaiming_normal`` (fan in, gain sqrt 2; the La-MAML code), ``xavier_uniform`` (the MER code's baselines) or
        ``xavier_normal`` (Meta-BGD), ``truncated_normal`` (variance 1 / fan in, nothing beyond two standard
        deviations of the normal it is cut from; the Powerpropagation notebook) or ``uniform`` (within 1 / sqrt(fan
        in), torch's own; HSU18); biases start at 0 in all.
    """

    hidden: tuple[int, ...] = (100, 100)
    init: Init = "kaiming_normal"

    def __post_init__(self) -> None:
        super().__post_init__()
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
            "kaiming_normal": kaiming_normal, "xavier_uniform": xavier_uniform, "xavier_normal": xavier_normal,
            "truncated_normal": _truncated_normal, "uniform": _uniform,
        }[self.config.init]  # fmt: skip
        params: Params = {}
        for layer, inputs, outputs in zip(self.layers, self.widths, self.widths[1:], strict=False):
            params[f"{layer}.weight"] = draw((outputs, inputs), generator)
            params[f"{layer}.bias"] = torch.zeros(outputs)
        return params

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        return self._forward(params, self.first(params, x))[-1]

    def first(self, params: Params, x: Tensor) -> Tensor:
        """What the first layer makes of images ``x`` [N, C, H, W] before its ReLU, ``[N, widths[1]]``; or, of
        replicas, of ``[P, N, ...]``, ``[P, N, widths[1]]``."""
        weight, bias = params["fc1.weight"], params["fc1.bias"]
        return _linear(x.flatten(weight.dim() - 1), weight, bias)

    def loss_and_gradients(self, params: Params, x: Tensor, y: Tensor) -> tuple[Tensor, Params]:
        run = self.backward(params, self.first(params, x), y)
        inputs, grads = (x.flatten(y.dim()), *run.inputs), {}
        for layer, delta, given in zip(self.layers, run.deltas, inputs, strict=True):
            delta = delta / y.shape[-1]
            grads[f"{layer}.weight"], grads[f"{layer}.bias"] = outer(delta, given), delta.sum(-2)
        return run.losses.mean(-1), {k: grads[k] for k in params}

    def squared_gradients(self, params: Params, x: Tensor, y: Tensor) -> Params:
        """A sample's gradient is ``d a^T`` in every layer, its square ``d^2 (a^2)^T``: no gradient is formed."""
        run = self.backward(params, self.first(params, x), y)
        inputs, squares = (x.flatten(1), *run.inputs), {}
        for layer, delta, given in zip(self.layers, run.deltas, inputs, strict=True):
            delta = delta.square() / len(y)
            squares[f"{layer}.weight"], squares[f"{layer}.bias"] = outer(delta, given.square()), delta.sum(0)
        return {k: squares[k] for k in params}

    def backward(self, params: Params, z: Tensor, y: Tensor) -> Backward:
        """Forward from the first layer's output ``z`` [..., N, widths[1]] and back to it, sample by sample.

        Args:
            params: weights of at least the later layers, with the same leading dimensions as ``z``.
            z: what the first layer made, before its ReLU.
            y: labels, [..., N].
        """
        outputs = self._forward(params, z)
        # outside a sample's own block: logit -inf, probability and delta 0
        logp = F.log_softmax(own_logits(outputs[-1], y, self.own), -1)
        hot = y[..., None] == torch.arange(self.ways, device=y.device)
        deltas = [logp.exp() - hot.to(logp.dtype)]
        for layer, before in zip(reversed(self.layers[1:]), reversed(outputs[:-1]), strict=True):
            # ReLU's own derivative: ``torch.where`` decides number by number
            deltas.insert(0, torch.ops.aten.threshold_backward(deltas[0] @ params[f"{layer}.weight"], before, 0))
        losses = -torch.where(hot, logp, 0).sum(-1)
        return Backward(tuple(before.relu() for before in outputs[:-1]), tuple(deltas), losses)

    def _forward(self, params: Params, z: Tensor) -> list[Tensor]:
        """What every layer makes, before its ReLU, the first one having made ``z``; the last entry is the logits."""
        outputs = [z]
        for layer in self.layers[1:]:
            outputs.append(_linear(outputs[-1].relu(), params[f"{layer}.weight"], params[f"{layer}.bias"]))
        return outputs


def _uniform(shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    weight = torch.empty(shape)
    bound = 1 / math.sqrt(fan_in(weight))
    return weight.uniform_(-bound, bound, generator=generator)


_CUT = 0.87962566103423978
"""Standard deviation of a unit normal cut at two."""


def _truncated_normal(shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    weight = torch.empty(shape)
    deviation = math.sqrt(1 / fan_in(weight)) / _CUT
    low, high = (0.5 * math.erfc(-cut / math.sqrt(2)) for cut in (-2, 2))
    uniform = weight.uniform_(low, high, generator=generator)
    return torch.special.ndtri(uniform).mul_(deviation)


def outer(deltas: Tensor, inputs: Tensor) -> Tensor:
    """``sum_n deltas_n inputs_n^T``: [..., N, O], [..., N, I] to [..., O, I]; of one sample as a plain multiplication,
    which a compiler can fuse with its use."""
    return deltas.mT * inputs if inputs.shape[-2] == 1 else deltas.mT @ inputs


def _linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.linear(x, weight, bias) if weight.dim() == 2 else torch.baddbmm(bias[..., None, :], x, weight.mT)


NETWORKS = (
    NetworkKind(
        name="mlp",
        config=MLPConfig,
        make=MLP,
        summary="fully connected ReLU layers on flattened inputs, the MNIST network of the replay papers",
        quick={"hidden": (32, 32)},
    ),
)
