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
from typing import ClassVar

import torch

from frisket.algos.learner import Capabilities, Method
from frisket.algos.learners.replay.learner import LOGGED, Measured, PlainConfig
from frisket.algos.learners.replay.pack import PackedLearner, pieces
from frisket.algos.learners.replay.walk import walk
from frisket.algos.networks.network import Network
from frisket.algos.parts import reservoir
from frisket.algos.parts.alignment import ALIGNMENT, alignments
from frisket.algos.parts.reservoir import ReservoirRule, require_memory
from frisket.errors import require
from frisket.rng import numpy_generator
from frisket.types import Data, Params, State


@dataclass(frozen=True, kw_only=True)
class OnlineSGDConfig(PlainConfig):
    """Online SGD; all fields are those of `PlainConfig`."""

    packed: ClassVar[tuple[str, ...]] = ("lr",)


class OnlineSGD(PackedLearner):
    """Online SGD. State: ``seed, step, theta``."""

    def __init__(self, config: OnlineSGDConfig, network: Network) -> None:
        super().__init__(config, network)

    def learn(self, state: State, data: Data, hyper: Params) -> tuple[State, Measured]:
        config = self.config
        theta, losses = walk(self.network, state["theta"], data, config.samples_per_step, hyper["lr"], config.clip_norm)
        return {**state, "theta": theta}, {"outer_loss": losses.mean(1)}


@dataclass(frozen=True, kw_only=True)
class ERConfig(PlainConfig):
    """Experience replay.

    Attributes:
        memory_slots: S.
        replay_batch: B_r.
        glances: steps per piece, each with fresh draws.
        reservoir: ``official`` or ``textbook`` acceptance (`frisket.algos.parts.reservoir`).
        alignment: also report the metric ``alignment`` (`frisket.algos.parts.alignment`).
    """

    packed: ClassVar[tuple[str, ...]] = ("lr",)

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


class ER(PackedLearner):
    """Experience replay. State: ``seed, step, theta, memory/x, memory/y, memory/age``."""

    config: ERConfig
    capabilities = Capabilities(replay=True)

    def __init__(self, config: ERConfig, network: Network) -> None:
        super().__init__(config, network)

    def extra(self) -> State:
        return {"memory": reservoir.empty()}

    def learn(self, state: State, data: Data, hyper: Params) -> tuple[State, Measured]:
        config, theta, memory, losses, aligned = self.config, state["theta"], state["memory"], [], []
        seeds, step = state["seed"].tolist(), int(state["step"][0])
        for piece, new in enumerate(pieces(data, config.samples_per_step)):
            generators = [numpy_generator(seed, "replay", step, piece) for seed in seeds]
            count = new.y.shape[1]
            for _ in range(config.glances):
                meta = reservoir.draw_with_each(memory, config.replay_batch, new, generators)
                if config.alignment and (cosines := alignments(self.network, theta, meta, count)) is not None:
                    aligned.append(cosines)
                theta, loss = walk(self.network, theta, meta, meta.y.shape[1], hyper["lr"], config.clip_norm)
                losses.append(loss.mean(1))
            memory = reservoir.push_each(memory, new, config.memory_slots, config.reservoir, generators)
        measured = {"outer_loss": torch.stack(losses).mean(0)}
        if aligned:
            measured["alignment"] = torch.stack(aligned).mean(0)
        return {**state, "theta": theta, "memory": memory}, measured


METHODS = (
    Method(
        name="online-sgd",
        config=OnlineSGDConfig,
        build=OnlineSGD,
        summary="one SGD step per sample, no memory",
        page="er",
        logged={**LOGGED},
        quick={"lr": 0.02},
    ),
    Method(
        name="er",
        config=ERConfig,
        build=ER,
        summary="experience replay: SGD on new and remembered samples",
        page="er",
        logged={**LOGGED, "alignment": ALIGNMENT},
        quick={"lr": 0.02},
    ),
)
