"""What a network is to a learner."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from frisket.types import Params


class Network(ABC):
    """A pure function of (weights, inputs).

    Attributes:
        adaptable: names of the weights an inner loop may change (theta_A); the others are outer-loop only.
        head: names of the output layer's weights.
        own: labels come in blocks of so many, and a sample is judged among its own block; None for one block.
    """

    adaptable: tuple[str, ...]
    head: tuple[str, ...]
    own: int | None = None

    @abstractmethod
    def init(self, generator: torch.Generator) -> Params:
        """Fresh weights, float32 on the CPU."""

    @abstractmethod
    def __call__(self, params: Params, x: Tensor) -> Tensor:
        """Logits ``[N, ways]`` of inputs ``[N, C, H, W]``."""

    def loss_and_gradients(self, params: Params, x: Tensor, y: Tensor) -> tuple[Tensor, Params]:
        """Mean cross-entropy of ``x`` [N, C, H, W] with labels ``y`` [N], scalar, and its gradient for all ``params``,
        both without a graph. A network may override it with its own back-propagation."""
        leaves = {k: v.detach().requires_grad_() for k, v in params.items()}
        with torch.enable_grad():
            loss = F.cross_entropy(self(leaves, x), y)
            grads = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
        return loss.detach(), dict(zip(leaves, grads, strict=True))


class Adapting(Network):
    """``network`` with another set of adaptable weights: ANIL adapts ``network.head`` only."""

    def __init__(self, network: Network, adaptable: tuple[str, ...]) -> None:
        self.network, self.adaptable, self.head = network, adaptable, network.head

    def init(self, generator: torch.Generator) -> Params:
        return self.network.init(generator)

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        return self.network(params, x)


def split(network: Network, theta: Params) -> tuple[Params, Params]:
    """``(adaptable, rest)`` of ``theta``: theta_A and, for Conv4, theta_BN (osaka spec, section 1)."""
    adaptable = {k: theta[k] for k in network.adaptable}
    return adaptable, {k: v for k, v in theta.items() if k not in adaptable}


def fan_in(weight: Tensor) -> int:
    """Inputs that meet in one output of a linear or convolution ``weight``, ``[out, in, ...]``."""
    return weight[0].numel()
