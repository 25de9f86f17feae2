"""What the baselines share: a plain network, the stream's batch learned piece by piece."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from frisket.algos.inner import Data
from frisket.algos.learner import Capabilities, Learner
from frisket.algos.masks import MaskSet
from frisket.algos.networks.network import Network
from frisket.algos.start import weights_start
from frisket.errors import SpecError, require
from frisket.types import Batch, Metrics, State, Task


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


class PlainLearner(Learner, ABC):
    """A network that answers from its weights theta; subclasses say how it learns from one piece of a batch."""

    capabilities = Capabilities()

    def __init__(self, config: PlainConfig, network: Network) -> None:
        self.config, self.network = config, network

    @abstractmethod
    def learn(self, state: State, data: Data, piece: int, task: Task | None) -> tuple[State, Tensor]:
        """``(state, loss)`` after learning from ``data``, the batch's piece number ``piece``."""

    def extra(self) -> State:
        """What a method keeps beside its weights, before the stream."""
        return {}

    def init(self, seed: int, warm_start: State | None = None) -> State:
        return {**weights_start(self.network, seed, warm_start), **self.extra()}

    def predict(self, state: State, x: Tensor, task: Task | None = None) -> Tensor | None:
        """Logits under theta."""
        with torch.no_grad():
            return self.network(state["theta"], x)

    @torch.no_grad()
    def observe(self, state: State, batch: Batch) -> tuple[State, Metrics]:
        if self.capabilities.needs_task and batch.task is None:
            raise SpecError(
                "learner.kind", type(self).__name__, "needs to be told the task: use a stream with task labels"
            )
        before = self.network.loss(state["theta"], batch.x, batch.y)
        size, losses = self.config.samples_per_step, []
        for piece, (x, y) in enumerate(zip(batch.x.split(size), batch.y.split(size), strict=True)):
            state, loss = self.learn(state, Data(x, y), piece, batch.task)
            losses.append(loss)
        metrics = {"loss_before": float(before), "outer_loss": float(torch.stack(losses).mean())}
        return {**state, "step": state["step"] + 1}, metrics

    def masks(self, state: State) -> MaskSet:
        return MaskSet({})


def require_memory(slots: int, replay_batch: int) -> None:
    """Raise `SpecError` unless a memory of ``slots`` can serve draws of ``replay_batch``."""
    require(replay_batch >= 0, "replay_batch", replay_batch, "at least 0")
    require(
        slots >= max(replay_batch, 1), "memory_slots", slots, f"at least 1 and at least replay_batch = {replay_batch}"
    )
