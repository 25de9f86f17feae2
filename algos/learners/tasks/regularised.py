"""Learning one task after the other with a penalty of `frisket.algos.parts.importance` on all parameters that tasks
share.

    g = grad loss by theta,   pull = grad penalty by phi
    phi <- phi - lr (u(g + pull / J) o J)

u is the optimiser's direction. The penalty lives in phi, its precision and its anchor too (F_phi = J^2 o F_theta), and
reaches the optimiser as every gradient does: by theta. At alpha = 1 phi is theta and J is 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import torch

from frisket.algos.learner import Capabilities
from frisket.algos.learners.tasks.learner import TaskLearner
from frisket.algos.networks.network import Network
from frisket.algos.networks.powerprop import by_phi, by_theta
from frisket.algos.parts.importance import Regulariser
from frisket.algos.parts.optimiser import OptimiserConfig
from frisket.errors import require
from frisket.types import Data, Metrics, Params, State, TaskEnd

LOGGED: Mapping[str, str] = MappingProxyType(
    {
        "loss_before": "mean cross-entropy of the batch before learning from it, without the penalty",
    }
)
"""What these learners report."""


@dataclass(frozen=True, kw_only=True)
class PenaltyConfig(OptimiserConfig):
    """Attributes:
    strength: factor of the penalty; 0 learns without.
    fresh_optimiser: whether the optimiser starts afresh with every task (VCL18's code) or goes on (HSU18's).
    """

    strength: float = 1.0
    fresh_optimiser: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.strength >= 0, "strength", self.strength, "at least 0")


@dataclass(frozen=True, kw_only=True)
class FisherConfig(PenaltyConfig):
    """Attributes:
    fisher_batches: batches of a task, from its first one on, that its F is made of; null for those of one pass over its
        samples.
    """

    repeated: ClassVar[str] = "fisher_batches"

    fisher_batches: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        allowed = "at least 1, or null for a pass over the task's samples"
        require(self.fisher_batches is None or self.fisher_batches >= 1, "fisher_batches", self.fisher_batches, allowed)


class RegularisedLearner(TaskLearner):
    """State: that of `TaskLearner` and ``penalty``, the regulariser's own.

    Args:
        config: the optimiser and whether it starts afresh.
        network: what learns.
        regulariser: the penalty.
        fisher_batches: as `FisherConfig`; a penalty that wants no F has no use for it.
    """

    config: PenaltyConfig
    capabilities = Capabilities(needs_task=True, ends_tasks=True, generates=True)

    def __init__(
        self, config: PenaltyConfig, network: Network, regulariser: Regulariser, fisher_batches: int | None = None
    ) -> None:
        super().__init__(config, network, fresh_optimiser=config.fresh_optimiser)
        self.regulariser, self.fisher_batches = regulariser, fisher_batches

    def init(self, seed: int, warm_start: State | None = None) -> State:
        start = super().init(seed, warm_start)
        return {**start, "penalty": self.regulariser.init(self.network.shared(start["theta"]))}

    def learn(self, state: State, data: Data) -> tuple[State, Metrics]:
        phi, penalty = state["theta"], state["penalty"]
        effective = self.network.effective(phi)
        loss, grads = self.network.network.loss_and_gradients(effective.theta, data.x, data.y)
        pull = by_theta(self.regulariser.gradient(phi, penalty), effective.slopes)
        pulled = {k: g + pull[k] if k in pull else g for k, g in grads.items()}
        after, optimiser = self.stepped(state, effective, pulled)
        penalty = self.regulariser.after_step(penalty, by_phi(grads, effective.slopes), phi, after)
        return {**state, "theta": after, "optimiser": optimiser, "penalty": penalty}, {"loss_before": float(loss)}

    def finish(self, state: State, end: TaskEnd) -> State:
        phi, seed = state["theta"], int(state["seed"])
        penalty = self.regulariser.task_end(state["penalty"], phi, lambda: self.fisher(phi, end, seed))
        return super().finish({**state, "penalty": penalty}, end)

    def fisher(self, phi: Params, end: TaskEnd, seed: int = 0) -> Params:
        """F of the task that ends, by phi: the mean over samples of the squared gradients of their labels'
        log-likelihood, or of the bound of a network with latent variables, whose noise comes from ``seed``."""
        device = next(iter(phi.values())).device
        found, samples = {k: torch.zeros_like(v) for k, v in self.network.shared(phi).items()}, 0
        for index in range(min(self.fisher_batches or end.steps, end.steps)):
            batch = end.batch(index)
            if self.fisher_batches is None and batch.epoch:
                break
            x, y = batch.x.to(device), batch.y.to(device)
            target = self.network.target(x, y, seed, batch.position, "fisher")
            squares = self.network.squared_gradients(phi, x, target)
            found = {k: v.add(squares[k], alpha=len(batch.y)) for k, v in found.items()}
            samples += len(batch.y)
        return {k: v / samples for k, v in found.items()}
