"""Online SGD and experience replay: plain gradient steps, without and with a memory (lamaml spec, sections 4 and 5).

    theta <- theta - lr clip_c( grad L(theta; draws ++ samples) )

`samples_per_step` cuts the stream's batch into the pieces that are learned from one after the other: 1 is the published
setting of the MNIST baselines. ER draws from its memory once per glance and pushes a piece after its last glance;
Online has no memory. Every epoch of a multiple-pass stream pushes again, as in the released code.

Symbols and arguments: c ``clip_norm``, memory slots S ``memory_slots``, draws B_r ``replay_batch``.

>>> import torch
>>> from frisket.algos.networks.mlp import MLP, MLPConfig
>>> from frisket.types import Batch
>>> learner = ER(ERConfig(), MLP(MLPConfig(hidden=(8,)), in_channels=1, size=4, ways=2))
>>> state = learner.init(seed=0)
>>> state, _ = learner.observe(state, Batch(torch.rand(4, 1, 4, 4), torch.tensor([0, 0, 1, 1]), position=0))
>>> int(state["memory"]["age"])
4
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from frisket.algos import reservoir
from frisket.algos.alignment import alignment
from frisket.algos.clip import clip_by_global_norm
from frisket.algos.inner import Data
from frisket.algos.learner import Capabilities
from frisket.algos.networks.network import Network
from frisket.algos.plain_learner import Measured, PlainConfig, PlainLearner, require_memory
from frisket.algos.reservoir import ReservoirRule
from frisket.algos.tree import descend
from frisket.errors import require
from frisket.rng import numpy_generator
from frisket.types import State, Task


@dataclass(frozen=True, kw_only=True)
class OnlineSGDConfig(PlainConfig):
    """Online SGD; all fields are those of `PlainConfig`."""


class OnlineSGD(PlainLearner):
    """Online SGD. State: ``seed, step, theta``."""

    def __init__(self, config: OnlineSGDConfig, network: Network) -> None:
        super().__init__(config, network)

    def learn(self, state: State, data: Data, piece: int, task: Task | None) -> tuple[State, Measured]:
        loss, grads = self.network.loss_and_gradients(state["theta"], data.x, data.y)
        grads = clip_by_global_norm(grads, self.config.clip_norm)
        return {**state, "theta": descend(state["theta"], self.config.lr, grads)}, {"outer_loss": loss}


@dataclass(frozen=True, kw_only=True)
class ERConfig(PlainConfig):
    """Experience replay.

    Attributes:
        memory_slots: S.
        replay_batch: B_r.
        glances: steps per piece, each with fresh draws.
        reservoir: ``official`` or ``textbook`` acceptance (`frisket.algos.reservoir`).
        alignment: also report the metric ``alignment`` (`frisket.algos.alignment`).
    """

    lr: float = 0.1
    memory_slots: int = 200
    replay_batch: int = 10
    glances: int = 1
    reservoir: ReservoirRule = "official"
    alignment: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require_memory(self.memory_slots, self.replay_batch)
        require(self.glances >= 1, "glances", self.glances, "at least 1")


class ER(PlainLearner):
    """Experience replay. State: ``seed, step, theta, memory/x, memory/y, memory/age``."""

    config: ERConfig
    capabilities = Capabilities(replay=True)

    def __init__(self, config: ERConfig, network: Network) -> None:
        super().__init__(config, network)

    def extra(self) -> State:
        return {"memory": reservoir.empty()}

    def learn(self, state: State, data: Data, piece: int, task: Task | None) -> tuple[State, Measured]:
        config, theta, losses, aligned = self.config, state["theta"], [], []
        generator = numpy_generator(int(state["seed"]), "replay", int(state["step"]), piece)
        for _ in range(config.glances):
            meta = reservoir.draw_with(state["memory"], config.replay_batch, data, generator)
            if config.alignment and (cosine := alignment(self.network, theta, meta, len(data.y))) is not None:
                aligned.append(cosine)
            loss, grads = self.network.loss_and_gradients(theta, meta.x, meta.y)
            theta = descend(theta, config.lr, clip_by_global_norm(grads, config.clip_norm))
            losses.append(loss)
        memory = reservoir.push(state["memory"], data, config.memory_slots, config.reservoir, generator)
        measured = {"outer_loss": torch.stack(losses).mean()}
        if aligned:
            measured["alignment"] = torch.stack(aligned).mean()
        return {**state, "theta": theta, "memory": memory}, measured
