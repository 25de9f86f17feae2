"""EWC, elastic weight consolidation, as in the MER authors' code (lamaml spec, section 5).

When task t ends, the gradient G_t of the mean loss over its first n samples gives F_t = G_t o G_t, and theta is its
anchor theta*_t. Later tasks are learned with

    loss + lambda sum_t sum_i F_t,i (theta_i - theta*_t,i)^2

whose gradient, ``2 lambda (A o theta - B)`` with ``A = sum_t F_t`` and ``B = sum_t F_t o theta*_t``, is all that has to
be kept, however many tasks there were. (F is the square of a mean gradient, not a mean of squares; there is no 1/2.)

Symbols and arguments: lambda ``strength``, n ``memories``.

>>> import torch
>>> from frisket.algos.networks.mlp import MLP, MLPConfig
>>> from frisket.types import Batch, Task
>>> learner = EWC(EWCConfig(memories=3), MLP(MLPConfig(hidden=(8,)), in_channels=1, size=4, ways=2))
>>> state = learner.init(seed=0)
>>> batch = Batch(torch.rand(4, 1, 4, 4), torch.tensor([0, 0, 1, 1]), position=0, task=Task("first", (0, 1), start=0))
>>> state, metrics = learner.observe(state, batch)
>>> state["kept"]["y"]
tensor([0, 0, 1])
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from frisket.algos.learner import Capabilities, Method
from frisket.algos.learners.replay.learner import LOGGED, Measured, PlainConfig
from frisket.algos.learners.replay.pack import PackedLearner, gradients_each, pieces
from frisket.algos.networks.network import Network
from frisket.algos.parts.clip import clip_replicas, spread
from frisket.algos.parts.tree import descend_each
from frisket.errors import require
from frisket.types import Data, Params, State

_NO_TASK = -1


@dataclass(frozen=True, kw_only=True)
class EWCConfig(PlainConfig):
    """EWC. Attributes: strength: lambda; memories: n, the first samples of a task that its F is made of."""

    packed: ClassVar[tuple[str, ...]] = ("lr", "strength")

    strength: float = 100.0
    memories: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.strength >= 0, "strength", self.strength, "at least 0")
        require(self.memories >= 1, "memories", self.memories, "at least 1")


class EWC(PackedLearner):
    """EWC. State: ``seed, step, theta, task`` (start of the running task), ``kept/x, kept/y`` (its first samples),
    ``fisher`` (A) and ``anchored`` (B), both ``{}`` during the first task."""

    config: EWCConfig
    capabilities = Capabilities(needs_task=True, replay=True)

    def __init__(self, config: EWCConfig, network: Network) -> None:
        super().__init__(config, network)

    def extra(self) -> State:
        kept = {"x": torch.zeros(0), "y": torch.zeros(0, dtype=torch.int64)}
        return {"task": torch.tensor(_NO_TASK), "kept": kept, "fisher": {}, "anchored": {}}

    def begin(self, state: State, data: Data) -> State:
        """What the task before taught anchored."""
        kept, theta = state["kept"], state["theta"]
        if not kept["y"].shape[1]:
            return state
        _, grads = gradients_each(self.network, theta, Data(kept["x"], kept["y"]))
        fisher = {k: g * g for k, g in grads.items()}
        anchored = {k: f * theta[k] for k, f in fisher.items()}
        if state["fisher"]:
            fisher = {k: f + state["fisher"][k] for k, f in fisher.items()}
            anchored = {k: a + state["anchored"][k] for k, a in anchored.items()}
        nothing = {k: v[:, :0] for k, v in kept.items()}
        return {**state, "fisher": fisher, "anchored": anchored, "kept": nothing}

    def learn(self, state: State, data: Data, hyper: Params) -> tuple[State, Measured]:
        theta, lr, losses = state["theta"], hyper["lr"], []
        pull = 2 * hyper["strength"]
        for new in pieces(data, self.config.samples_per_step):
            loss, grads = gradients_each(self.network, theta, new)
            if state["fisher"]:
                fisher, anchored = state["fisher"], state["anchored"]
                back = {
                    k: torch.addcmul(anchored[k], fisher[k], v, value=-1) for k, v in theta.items()
                }  # B - A o theta
                grads = {k: g - spread(pull, g) * back[k] for k, g in grads.items()}
            theta = descend_each(theta, lr, clip_replicas(grads, self.config.clip_norm))
            losses.append(loss)
        return {**state, "theta": theta, "kept": self._kept(state["kept"], data)}, {
            "outer_loss": torch.stack(losses).mean(0)
        }

    def _kept(self, kept: State, data: Data) -> State:
        """The task's first samples, with those of ``data`` among them."""
        count = kept["y"].shape[1]
        if count >= self.config.memories:
            return kept
        first = {"x": data.x[:, : self.config.memories - count], "y": data.y[:, : self.config.memories - count]}
        return {k: torch.cat([kept[k], v], 1) if count else v for k, v in first.items()}


METHODS = (
    Method(
        name="replay-ewc",
        config=EWCConfig,
        build=EWC,
        summary="elastic weight consolidation: weights held near earlier tasks' ends",
        page="replay-ewc",
        logged={**LOGGED, "outer_loss": "mean loss of the steps taken, before each, without the penalty"},
        quick={"lr": 0.02, "memories": 3},
    ),
)
