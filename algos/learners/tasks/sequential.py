"""Sequential training: one optimiser step per batch, task after task, and nothing against forgetting.

    theta <- theta - lr u( grad L(theta; batch) )

u is the direction of `optimiser`; under Powerpropagation the step goes by virtual target. It is what every method that
protects old tasks is compared with, and what `ewc-fisher`, `online-laplace` and `si` are at strength 0. `online-adam`
is Adam as OSAKA20 released it: without an answer or a step at the first batch, on phi itself under Powerpropagation.

>>> import torch
>>> from frisket.algos.networks.mlp import MLP, MLPConfig
>>> from frisket.types import Batch
>>> network = MLP(MLPConfig(hidden=(8,)), in_channels=1, size=4, ways=2)
>>> learner = Sequential(SequentialConfig(optimiser="momentum"), network)
>>> state = learner.init(seed=0)
>>> state, _ = learner.observe(state, Batch(torch.rand(4, 1, 4, 4), torch.tensor([0, 0, 1, 1]), position=0))
>>> sorted(state["optimiser"])
['velocity']
"""

from __future__ import annotations

from dataclasses import dataclass

from frisket.algos.learner import Capabilities, Method
from frisket.algos.learners.tasks.learner import TaskLearner
from frisket.algos.networks.network import Network
from frisket.algos.parts.optimiser import OptimiserConfig
from frisket.types import Data, Metrics, State


@dataclass(frozen=True, kw_only=True)
class SequentialConfig(OptimiserConfig):
    """Sequential training; further fields are those of `OptimiserConfig`.

    Attributes:
        fresh_optimiser: whether the optimiser starts afresh with every task, whose ends it must then be told.
    """

    fresh_optimiser: bool = False


class Sequential(TaskLearner):
    """Sequential training. State: that of `TaskLearner`."""

    capabilities = Capabilities(generates=True)

    def __init__(self, config: SequentialConfig, network: Network) -> None:
        super().__init__(config, network, fresh_optimiser=config.fresh_optimiser)

    def learn(self, state: State, data: Data) -> tuple[State, Metrics]:
        effective = self.network.effective(state["theta"])
        loss, grads = self.network.network.loss_and_gradients(effective.theta, data.x, data.y)
        theta, optimiser = self.stepped(state, effective, grads)
        return {**state, "theta": theta, "optimiser": optimiser}, {"loss_before": float(loss)}


METHODS = (
    Method(
        name="sequential",
        config=SequentialConfig,
        build=Sequential,
        summary="one step of any optimiser per batch, no protection",
        page="sequential",
        logged={"loss_before": "mean cross-entropy of the batch before learning from it"},
        quick={"lr": 0.01},
    ),
)
