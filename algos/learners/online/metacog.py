"""MetaCOG: an inner loop over per-weight mask logits, BGD over the weights (OSAKA20's baseline; osaka spec, section 8).

    w_eff = w o sigmoid(l)                       every theta_A tensor but the classifier's, which adapts directly
    l, c <- l, c - alpha grad [L + l1 sum sigmoid(l)], K times on D_{t-1}, from l = masks_init and w's own classifier c
    mu, sigma <- BGD step on d L(w_eff, c; D_t) / d w

Two forms (D6): intended, as above, with an adaptation per weight sample; and ``as_released`` (the default, the one
behind Table 6), where the answer ignores the adapted logits and takes every weight as its own, ``w o sigmoid(w)``, with
the classifier not adapted. That is BGD over another parametrisation: the inner loop touches nothing and is not run, so
K, alpha, masks_init and l1 are without effect.

Symbols and arguments: K ``inner_steps``, alpha ``step_size``, first logit ``masks_init``, penalty ``l1``.

>>> import torch
>>> from frisket.algos.networks.conv4 import Conv4, Conv4Config
>>> from frisket.types import Batch
>>> config = MetaCOGConfig(inner_steps=1, as_released=False)
>>> learner = metacog(config, Conv4(Conv4Config(channels=2), in_channels=1, size=16, ways=2))
>>> batch = Batch(torch.rand(4, 1, 16, 16), torch.tensor([0, 0, 1, 1]), position=0)
>>> state, _ = learner.observe(learner.init(seed=0), batch)
>>> state["phi"]["logit.conv1.weight"].shape
torch.Size([5, 2, 1, 3, 3])
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from frisket.algos.learner import Learner, Method
from frisket.algos.learners.online.bgd import BGD
from frisket.algos.learners.online.metabgd import MetaBGD, MetaBGDConfig, own_samples
from frisket.algos.networks.network import Network
from frisket.errors import require
from frisket.types import Params


@dataclass(frozen=True, kw_only=True)
class MetaCOGConfig(MetaBGDConfig):
    """Those of MetaBGD, and:

    Attributes:
        masks_init: value every logit starts an adaptation from.
        l1: weight of ``sum sigmoid(l)`` in the inner loss.
    """

    masks_init: float = 0.5
    l1: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.l1 >= 0, "l1", self.l1, "at least 0")


class Gated(Network):
    """``network`` whose body weights are multiplied by ``sigmoid(logit.NAME)``; the logits and the head adapt."""

    def __init__(self, network: Network) -> None:
        self.network, self.head, self.own = network, network.head, network.own
        self.gated = _body(network)
        self.adaptable = (*(f"logit.{k}" for k in self.gated), *network.head)

    def init(self, generator: torch.Generator) -> Params:
        return self.network.init(generator)

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        gated = {k: params[k] * torch.sigmoid(params[f"logit.{k}"]) for k in self.gated}
        return self.network({**params, **gated}, x)


class SelfGated(Network):
    """``network`` whose body weights are multiplied by their own sigmoid."""

    def __init__(self, network: Network) -> None:
        self.network, self.adaptable, self.head, self.own = network, network.adaptable, network.head, network.own
        self.gated = _body(network)

    def init(self, generator: torch.Generator) -> Params:
        return self.network.init(generator)

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        return self.network({**params, **{k: params[k] * torch.sigmoid(params[k]) for k in self.gated}}, x)


def metacog(config: MetaCOGConfig, network: Network) -> Learner:
    """MetaCOG in the form ``config`` asks for."""
    return _released(config, network) if config.as_released else _intended(config, network)


def _released(config: MetaCOGConfig, network: Network) -> BGD:
    return BGD(config, SelfGated(network))


def _intended(config: MetaCOGConfig, network: Network) -> MetaBGD:
    gated = Gated(network)

    def with_logits(weights: Params) -> Params:
        logits = {f"logit.{k}": torch.full_like(weights[k], config.masks_init) for k in gated.gated}
        return {**weights, **logits}

    def penalty(phi: Params) -> Tensor:
        sums = [torch.sigmoid(phi[f"logit.{k}"]).sum() for k in gated.gated]
        return config.l1 * torch.stack(sums).sum()

    return MetaBGD(config, gated, starts=own_samples, complete=with_logits, penalty=penalty)


def _body(network: Network) -> tuple[str, ...]:
    return tuple(k for k in network.adaptable if k not in network.head)


METHODS = (
    Method(
        name="metacog",
        config=MetaCOGConfig,
        build=metacog,
        summary="BGD over weights gated by an inner loop's logits",
        page="metacog",
        logged={
            "loss_before": "mean over the samples of the loss of the answers that are scored; not at t = 0",
        },
        quick={"inner_steps": 2, "mean_lr": 30.0, "sigma_0": 0.02},
        tried_on="conv4",
        answers_at_once=False,
    ),
)
