"""What the baselines share: a plain network; and, for those without packs, the batch learned piece by piece."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from frisket.algos.inner.start import weights_start
from frisket.algos.learner import LOSS_BEFORE, Capabilities, Dense, Prunable, require_task
from frisket.algos.masks.mask_set import MaskSet
from frisket.algos.networks.network import Network, own_logits
from frisket.errors import require
from frisket.types import Batch, Data, Metrics, State, Task

Measured: TypeAlias = "dict[str, Tensor]"
"""What learning from one piece of a batch measured, scalars by name: ``outer_loss``, and whatever else a method has."""


LOGGED: Mapping[str, str] = MappingProxyType(
    {
        "loss_before": LOSS_BEFORE,
        "outer_loss": "mean loss of the steps taken, before each",
    }
)
"""What most of them report."""


@dataclass(frozen=True, kw_only=True)
class PlainConfig:
    """Attributes:
    lr: plain SGD rate.
    samples_per_step: samples of a batch that are learned from at once.
    clip_norm: bound of a gradient's norm; null for none, as published on MNIST.
    """

    lr: float = 0.01
    samples_per_step: int = 1
    clip_norm: float | None = None

    def __post_init__(self) -> None:
        require(self.lr > 0, "lr", self.lr, "above 0")
        require(self.samples_per_step >= 1, "samples_per_step", self.samples_per_step, "at least 1")
        require(self.clip_norm is None or self.clip_norm > 0, "clip_norm", self.clip_norm, "above 0, or null for none")


class PlainLearner(Prunable, ABC):
    """A network that answers from its weights theta; subclasses say how it learns."""

    capabilities = Capabilities()

    def __init__(self, config: PlainConfig, network: Network) -> None:
        self.config, self.network = config, network

    def extra(self) -> State:
        """What a method keeps beside its weights, before the stream."""
        return {}

    def init(self, seed: int, warm_start: State | None = None) -> State:
        return {**weights_start(self.network, seed, warm_start), **self.extra()}

    def predict(self, state: State, x: Tensor, task: Task | None = None) -> Tensor | None:
        """Logits under theta."""
        with torch.no_grad():
            return self.network(state["theta"], x)

    def dense(self, state: State) -> Dense | None:
        return Dense(self.network, state["theta"])

    def masks(self, state: State) -> MaskSet:
        return MaskSet({})

    def loss_of_answer(self, state: State, batch: Batch) -> Tensor:
        """Mean cross-entropy of what is answered to ``batch`` before it is learned from; scalar."""
        logits = self.predict(state, batch.x, batch.task)
        assert logits is not None
        return F.cross_entropy(own_logits(logits, batch.y, self.network.own), batch.y)


class PieceLearner(PlainLearner):
    """A learner that has no packs; subclasses say how it learns from one piece of a batch."""

    @abstractmethod
    def learn(self, state: State, data: Data, piece: int, task: Task | None) -> tuple[State, Measured]:
        """The state after learning from ``data``, the batch's piece number ``piece``, and what was measured."""

    @torch.no_grad()
    def observe(self, state: State, batch: Batch) -> tuple[State, Metrics]:
        if self.capabilities.needs_task:
            require_task(self, batch)
        before = self.loss_of_answer(state, batch)
        measured = defaultdict[str, list[Tensor]](list)
        for piece, data in enumerate(self.pieces(batch)):
            state, found = self.learn(state, data, piece, batch.task)
            for name, value in found.items():
                measured[name].append(value)
        means = {name: float(torch.stack(values).mean()) for name, values in measured.items()}
        return {**state, "step": state["step"] + 1}, {"loss_before": float(before), **means}

    def pieces(self, batch: Batch) -> list[Data]:
        """``batch`` as it is learned from, `samples_per_step` samples at a time."""
        size = self.config.samples_per_step
        return [Data(x, y) for x, y in zip(batch.x.split(size), batch.y.split(size), strict=True)]
