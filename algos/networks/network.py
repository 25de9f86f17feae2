"""What a network is to a learner, and the one place where its training loss is written.

Where tasks are learned among their own labels (lamaml spec, section 2, "Task identity"), labels come in blocks of
``own``, task t's being ``t own .. (t + 1) own - 1``. A sample's loss is then the cross-entropy over the logits of its
own block alone, so the other tasks' logits neither enter it nor get a gradient.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from frisket.algos.networks.fisher import squared_gradients
from frisket.errors import SpecError, require
from frisket.types import Params


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """What every network's configuration has.

    Attributes:
        powerprop_alpha: alpha of Powerpropagation (`frisket.algos.networks.powerprop`); 1 is the ordinary network.
    """

    powerprop_alpha: float = 1.0

    def __post_init__(self) -> None:
        allowed = "at least 1 (1 is the ordinary network) and finite"
        require(1 <= self.powerprop_alpha < math.inf, "powerprop_alpha", self.powerprop_alpha, allowed)


class Network(ABC):
    """A pure function of (weights, inputs).

    Attributes:
        adaptable: names of the weights an inner loop may change (theta_A); the others are outer-loop only.
        head: names of the output layer's weights.
        own: size of the blocks of labels that are learned among themselves; None for one head over all labels.
        private: names of the parameters that belong to one task alone: every task starts its own afresh and answers
            with them ever after; nothing masks, holds or reparametrises them.
        generates: models images (`frisket.algos.networks.latent`); its outputs are no logits of labels.
        normalised: answers by running statistics beside its parameters (`frisket.algos.networks.normalised`).
        norm: the policy of its batch norm by name (`frisket.algos.networks.norm_policy`); None where it has none, or
            where a method chooses (`frisket.algos.networks.normalised`).
        running: names of the parameters that are running statistics. No gradient is taken for them; they are what
            `support_loss` made of them.
        least_steps: inner steps that must be taken before it can answer.
        pooled: F, how many features `support_loss_and_features` gives; None for a network that gives none.
    """

    adaptable: tuple[str, ...]
    head: tuple[str, ...]
    own: int | None = None
    private: tuple[str, ...] = ()
    generates: bool = False
    normalised: bool = False
    norm: str | None = None
    running: tuple[str, ...] = ()
    least_steps: int = 0
    pooled: int | None = None

    @abstractmethod
    def init(self, generator: torch.Generator) -> Params:
        """Fresh weights, float32 on the CPU."""

    @abstractmethod
    def __call__(self, params: Params, x: Tensor) -> Tensor:
        """Logits ``[N, ways]`` of inputs ``[N, C, H, W]``."""

    def shared(self, params: Params) -> Params:
        """Those of ``params`` that all tasks share: not `private`."""
        return {k: v for k, v in params.items() if k not in self.private}

    def target(self, x: Tensor, y: Tensor, seed: int, *key: str | int) -> Tensor:
        """What `loss` takes beside inputs ``x`` [N, C, H, W]: here their labels ``y`` [N]. A network whose loss is a
        random estimate draws its noise here, from (``seed``, ``key``)."""
        return y

    def probabilities(self, outputs: Tensor) -> Tensor:
        """What the network's ``outputs`` say, as probabilities of the same shape; here of the labels."""
        return outputs.softmax(-1)

    def loss(self, params: Params, x: Tensor, y: Tensor) -> Tensor:
        """Mean cross-entropy of ``x`` [N, C, H, W] with labels ``y`` [N], each among its own block; scalar."""
        return F.cross_entropy(own_logits(self(params, x), y, self.own), y)

    def support_loss(self, params: Params, x: Tensor, y: Tensor, step: int) -> tuple[Tensor, Params]:
        """``(loss, statistics)``: `loss` in a support pass at inner step ``step`` (from 0), and the `running`
        statistics as it leaves them, without a graph. ``params`` stay as they are."""
        return self.loss(params, x, y), {}

    def support_loss_and_features(
        self, params: Params, x: Tensor, y: Tensor, step: int
    ) -> tuple[Tensor, Params, Tensor]:
        """As `support_loss`, and of the same pass what came out of the last block, its mean over the picture and over
        the inputs, [F] (`pooled`), without a graph. Of networks with `pooled` features."""
        raise SpecError("learner.features", "pooled", f"must be none: {type(self).__name__} gives no pooled features")

    def layer_of(self, name: str) -> str:
        """The layer that owns the weight ``name``: what its tensors' names begin with."""
        return name.rpartition(".")[0] or name

    def loss_and_gradients(self, params: Params, x: Tensor, y: Tensor) -> tuple[Tensor, Params]:
        """`loss` and its gradient for all ``params``, both without a graph. A network may override it with its own
        back-propagation."""
        leaves = {k: v.detach().requires_grad_() for k, v in params.items()}
        with torch.enable_grad():
            loss = self.loss(leaves, x, y)
            grads = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
        return loss.detach(), dict(zip(leaves, grads, strict=True))

    def squared_gradients(self, params: Params, x: Tensor, y: Tensor) -> Params:
        """Mean over the samples of the squares of each one's own gradient (`frisket.algos.networks.fisher`), for all
        ``params``. A network may override it as `loss_and_gradients`."""
        return squared_gradients(lambda p, image, label: self.loss(p, image[None], label[None]), params, x, y)


class Adapting(Network):
    """``network`` with another set of adaptable weights: ANIL adapts ``network.head`` only."""

    def __init__(self, network: Network, adaptable: tuple[str, ...]) -> None:
        self.network, self.adaptable, self.head, self.own = network, adaptable, network.head, network.own
        self.private, self.generates, self.normalised = network.private, network.generates, network.normalised
        self.norm, self.running, self.least_steps = network.norm, network.running, network.least_steps
        self.pooled = network.pooled

    def init(self, generator: torch.Generator) -> Params:
        return self.network.init(generator)

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        return self.network(params, x)

    def support_loss(self, params: Params, x: Tensor, y: Tensor, step: int) -> tuple[Tensor, Params]:
        return self.network.support_loss(params, x, y, step)

    def support_loss_and_features(
        self, params: Params, x: Tensor, y: Tensor, step: int
    ) -> tuple[Tensor, Params, Tensor]:
        return self.network.support_loss_and_features(params, x, y, step)

    def layer_of(self, name: str) -> str:
        return self.network.layer_of(name)


def within_block(logits: Tensor, block: Tensor | int, own: int) -> Tensor:
    """``logits`` with those outside one block of ``own`` labels at minus infinity.

    Args:
        logits: [N, ways] or [S, N, ways].
        block: which block, for every sample ([N] int64) or for all of them.
        own: labels in a block.
    """
    of_label = torch.arange(logits.shape[-1], device=logits.device) // own
    inside = of_label == (block[..., None] if isinstance(block, Tensor) else block)
    return torch.where(inside, logits, -math.inf)


def own_logits(logits: Tensor, y: Tensor, own: int | None) -> Tensor:
    """``logits`` [N, ways] as the samples with labels ``y`` [N] are to learn from them: among their own block of
    labels, or all of them (``own`` None)."""
    return logits if own is None else within_block(logits, y // own, own)


def require_blocks(own: int | None, ways: int) -> None:
    """Raise `SpecError` unless ``ways`` labels can be divided into blocks of ``own``."""
    require(own is None or (own >= 1 and ways % own == 0), "own", own, f"a divisor of the {ways} labels")


def kaiming_normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Normal weights ``shape`` = [out, in, ...] of variance 2 / fan_in, which suits layers followed by ReLU."""
    weight = torch.empty(shape)
    return weight.normal_(0, math.sqrt(2 / fan_in(weight)), generator=generator)


def xavier_normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Normal weights [out, in, ...] of variance 2 / (fan_in + fan_out)."""
    weight = torch.empty(shape)
    fan_out = shape[0] * weight[0, 0].numel()
    return weight.normal_(0, math.sqrt(2 / (fan_in(weight) + fan_out)), generator=generator)


def xavier_uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Uniform weights [out, in, ...] of the same variance (Glorot)."""
    weight = torch.empty(shape)
    bound = math.sqrt(6 / (fan_in(weight) + shape[0] * weight[0, 0].numel()))
    return weight.uniform_(-bound, bound, generator=generator)


def split(network: Network, theta: Params) -> tuple[Params, Params]:
    """``(adaptable, rest)`` of ``theta``: theta_A and, for Conv4, theta_BN (osaka spec, section 1)."""
    adaptable = {k: theta[k] for k in network.adaptable}
    return adaptable, {k: v for k, v in theta.items() if k not in adaptable}


def fan_in(weight: Tensor) -> int:
    """Inputs that meet in one output of a linear or convolution ``weight``, ``[out, in, ...]``."""
    return weight[0].numel()
