"""MER, meta-experience replay, Algorithm 1 (lamaml spec, section 5).

For every sample (x, y), with theta_A = theta::

    `passes` times:
        theta_W = theta
        one SGD step (lr) on (x, y), then one on each of min(k, |M|) draws from the memory
        theta <- theta_W + beta (theta - theta_W)                  within a pass
    theta <- theta_A + gamma (theta - theta_A)                     across passes
    push (x, y)

Symbols and arguments: k ``replay_batch``, beta ``within_rate``, gamma ``across_rate``, S ``memory_slots``.

>>> import torch
>>> from frisket.algos.networks.mlp import MLP, MLPConfig
>>> from frisket.types import Batch
>>> learner = MER(MERConfig(), MLP(MLPConfig(hidden=(8,)), in_channels=1, size=4, ways=2))
>>> state = learner.init(seed=0)
>>> batch = Batch(torch.rand(4, 1, 4, 4), torch.tensor([0, 0, 1, 1]), position=0)
>>> state, metrics = learner.observe(state, batch)
>>> int(state["memory"]["age"])
4
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from frisket.algos.learner import Capabilities, Method
from frisket.algos.learners.replay.learner import LOGGED, Measured, PlainConfig
from frisket.algos.learners.replay.pack import PackedLearner, pieces
from frisket.algos.learners.replay.walk import walk
from frisket.algos.networks.network import Network
from frisket.algos.parts import reservoir
from frisket.algos.parts.clip import spread
from frisket.algos.parts.reservoir import ReservoirRule, require_memory
from frisket.errors import require
from frisket.rng import numpy_generator
from frisket.types import Data, Params, State


@dataclass(frozen=True, kw_only=True)
class MERConfig(PlainConfig):
    """MER.

    Attributes:
        within_rate: beta.
        across_rate: gamma.
        replay_batch: k, draws per pass.
        passes: passes over (sample, draws) per sample of the stream.
        memory_slots: S.
        reservoir: ``textbook``, or ``official`` (the MER authors' code and La-MAML's) acceptance
            (`frisket.algos.parts.reservoir`).
    """

    packed: ClassVar[tuple[str, ...]] = ("lr", "within_rate", "across_rate")

    lr: float = 0.1
    within_rate: float = 0.01
    across_rate: float = 1.0
    replay_batch: int = 10
    passes: int = 5
    memory_slots: int = 200
    reservoir: ReservoirRule = "textbook"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_memory(self.memory_slots, self.replay_batch)
        require(self.passes >= 1, "passes", self.passes, "at least 1")
        for name in ("within_rate", "across_rate"):
            require(getattr(self, name) > 0, name, getattr(self, name), "above 0")
        require(self.samples_per_step == 1, "samples_per_step", self.samples_per_step, "1: MER learns sample by sample")


class MER(PackedLearner):
    """MER. State: ``seed, step, theta, memory/x, memory/y, memory/age``."""

    config: MERConfig
    capabilities = Capabilities(replay=True)

    def __init__(self, config: MERConfig, network: Network) -> None:
        super().__init__(config, network)

    def extra(self) -> State:
        return {"memory": reservoir.empty()}

    def learn(self, state: State, data: Data, hyper: Params) -> tuple[State, Measured]:
        config, theta, memory, losses = self.config, state["theta"], state["memory"], []
        seeds, step = state["seed"].tolist(), int(state["step"][0])
        for piece, sample in enumerate(pieces(data, 1)):
            generators = [numpy_generator(seed, "replay", step, piece) for seed in seeds]
            start = theta
            for _ in range(config.passes):
                drawn = reservoir.draw_each(memory, config.replay_batch, generators)
                samples = sample if drawn is None else Data(*map(_after, sample, drawn))
                end, found = walk(self.network, theta, samples, 1, hyper["lr"], config.clip_norm)
                theta = between(theta, end, hyper["within_rate"])
                losses.append(found.mean(1))
            theta = between(start, theta, hyper["across_rate"])
            memory = reservoir.push_each(memory, sample, config.memory_slots, config.reservoir, generators)
        return {**state, "theta": theta, "memory": memory}, {"outer_loss": torch.stack(losses).mean(0)}


def between(old: Params, new: Params, share: Tensor) -> Params:
    """``old + share (new - old)``, all [P, ...] with one share per replica, [P]."""
    return {k: torch.lerp(v, new[k], spread(share, v)) for k, v in old.items()}


def _after(first: Tensor, then: Tensor) -> Tensor:
    return torch.cat([first, then], 1)


METHODS = (
    Method(
        name="mer",
        config=MERConfig,
        build=MER,
        summary="meta-experience replay: Reptile over replayed samples",
        page="mer",
        logged={**LOGGED, "outer_loss": "mean loss of all SGD steps, before each"},
        quick={"lr": 0.02, "within_rate": 0.3, "passes": 2},
    ),
)
