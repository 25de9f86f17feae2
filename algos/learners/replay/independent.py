"""Independent: a small network of its own for every task (lamaml spec, section 5).

    theta_t <- theta_{t-1}                                         when task t begins
    theta_t <- theta_t - lr clip_c( grad L(theta_t; samples) )

Nothing is forgotten, and nothing learned later helps an earlier task. So that T networks are about as large as one, the
published ones have hidden layers of floor(100 / T). A task that has not begun yet is answered by the newest network,
which is what its own will start from.

>>> import torch
>>> from frisket.algos.networks.mlp import MLP, MLPConfig
>>> from frisket.types import Batch, Task
>>> learner = Independent(IndependentConfig(), MLP(MLPConfig(hidden=(5,)), in_channels=1, size=4, ways=2))
>>> state = learner.init(seed=0)
>>> x, y = torch.rand(4, 1, 4, 4), torch.tensor([0, 0, 1, 1])
>>> for t in range(3):
...     state, _ = learner.observe(state, Batch(x, y, position=t, task=Task("one", (0, 1), start=t)))
>>> state["theta"]["fc1.weight"].shape
torch.Size([3, 5, 16])
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from frisket.algos.learner import Capabilities, Method
from frisket.algos.learners.replay.learner import LOGGED, Measured, PieceLearner, PlainConfig
from frisket.algos.networks.network import Network
from frisket.algos.parts.clip import clip_by_global_norm
from frisket.algos.parts.tree import descend
from frisket.types import Data, Params, State, Task


@dataclass(frozen=True, kw_only=True)
class IndependentConfig(PlainConfig):
    """Independent networks; all fields are those of `PlainConfig`."""


class Independent(PieceLearner):
    """Independent networks. State: ``seed, step``, ``theta`` (weights with a first axis of tasks met, one row before
    the first), ``starts`` [tasks met], where each began."""

    capabilities = Capabilities(needs_task=True)

    def __init__(self, config: IndependentConfig, network: Network) -> None:
        super().__init__(config, network)

    def init(self, seed: int, warm_start: State | None = None) -> State:
        state = super().init(seed, warm_start)
        return {**state, "theta": {k: v[None] for k, v in state["theta"].items()}}

    def extra(self) -> State:
        return {"starts": torch.zeros(0, dtype=torch.int64)}

    def dense(self, state: State) -> None:
        """None: there is a network for each task."""

    def predict(self, state: State, x: Tensor, task: Task | None = None) -> Tensor | None:
        """Logits of the task's own network."""
        with torch.no_grad():
            return self.network(_row(state["theta"], _row_of(state, task)), x)

    def learn(self, state: State, data: Data, piece: int, task: Task | None) -> tuple[State, Measured]:
        assert task is not None
        theta, starts = state["theta"], state["starts"]
        if not bool((starts == task.start).any()):
            if len(starts):
                theta = {k: torch.cat([v, v[-1:]]) for k, v in theta.items()}
            starts = torch.cat([starts, starts.new_tensor([task.start])])
        state = {**state, "theta": theta, "starts": starts}
        row = _row_of(state, task)
        own = _row(theta, row)
        loss, grads = self.network.loss_and_gradients(own, data.x, data.y)
        for k, v in descend(own, self.config.lr, clip_by_global_norm(grads, self.config.clip_norm)).items():
            theta[k][row] = v
        return state, {"outer_loss": loss}


def _row_of(state: State, task: Task | None) -> int:
    starts = state["starts"].tolist()
    return starts.index(task.start) if task is not None and task.start in starts else -1


def _row(stacked: Params, row: int) -> Params:
    return {k: v[row] for k, v in stacked.items()}


METHODS = (
    Method(
        name="independent",
        config=IndependentConfig,
        build=Independent,
        summary="a small network of its own for every task",
        page="independent",
        logged={**LOGGED},
        quick={"lr": 0.02},
    ),
)
