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

import torch

from frisket.algos import reservoir
from frisket.algos.clip import clip_by_global_norm
from frisket.algos.inner import Data
from frisket.algos.learner import Capabilities
from frisket.algos.networks.network import Network
from frisket.algos.plain_learner import Measured, PlainConfig, PlainLearner, require_memory
from frisket.algos.reservoir import ReservoirRule
from frisket.algos.tree import descend
from frisket.errors import require
from frisket.rng import numpy_generator
from frisket.types import Params, State, Task


@dataclass(frozen=True, kw_only=True)
class MERConfig(PlainConfig):
    """MER.

    Attributes:
        within_rate: beta.
        across_rate: gamma.
        replay_batch: k, draws per pass.
        passes: passes over (sample, draws) per sample of the stream.
        memory_slots: S.
        reservoir: ``textbook`` (MER's code) or ``official`` acceptance (`frisket.algos.reservoir`).
    """

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


class MER(PlainLearner):
    """MER. State: ``seed, step, theta, memory/x, memory/y, memory/age``."""

    config: MERConfig
    capabilities = Capabilities(replay=True)

    def __init__(self, config: MERConfig, network: Network) -> None:
        super().__init__(config, network)

    def extra(self) -> State:
        return {"memory": reservoir.empty()}

    def learn(self, state: State, data: Data, piece: int, task: Task | None) -> tuple[State, Measured]:
        config, start, losses = self.config, state["theta"], []
        generator = numpy_generator(int(state["seed"]), "replay", int(state["step"]), piece)
        theta = start
        for _ in range(config.passes):
            within = theta
            drawn = reservoir.draw(state["memory"], config.replay_batch, generator)
            samples = [data] if drawn is None else [data, *map(Data, drawn.x.split(1), drawn.y.split(1))]
            for x, y in samples:
                loss, grads = self.network.loss_and_gradients(theta, x, y)
                theta = descend(theta, config.lr, clip_by_global_norm(grads, config.clip_norm))
                losses.append(loss)
            theta = between(within, theta, config.within_rate)
        theta = between(start, theta, config.across_rate)
        memory = reservoir.push(state["memory"], data, config.memory_slots, config.reservoir, generator)
        return {**state, "theta": theta, "memory": memory}, {"outer_loss": torch.stack(losses).mean()}


def between(old: Params, new: Params, share: float) -> Params:
    """``old + share (new - old)``."""
    return new if share == 1 else {k: torch.lerp(v, new[k], share) for k, v in old.items()}
