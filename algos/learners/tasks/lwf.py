"""Learning without Forgetting: the old tasks' answers to the new task's images are held where they were (Li and Hoiem,
Learning without Forgetting, ECCV 2016 and PAMI 2018, equations 1 to 3).

When a task has ended, the weights theta* are kept. While the next ones are learned::

    theta <- theta - lr u( grad [ CE(h(x; theta), y) + lambda T^2 sum_o H(p_o(x; theta*), p_o(x; theta)) ] )
    p_o(x; theta)_c = exp(h_c(x; theta) / T) / sum_c' exp(h_c'(x; theta) / T)         c, c' taught labels of block o
    H(q, p)         = - sum_c q_c log p_c                                             averaged over the batch

u is the direction of `optimiser`. Blocks o are those of `Network.own` that have been taught: the paper's old tasks, its
sum over them included (task-incremental streams). Under one head there is one block, all labels taught before the
running task: only old classes on a class-incremental stream, all of them where tasks share their labels (permutations).

Symbols and arguments: lambda ``strength``, T ``temperature``. Where we differ from the paper: the factor T^2 is Hinton
et al.'s (Distilling the Knowledge in a Neural Network, 2015), so that T does not change the size of the gradient;
theta* answers when it is asked instead of once for all images; no warm-up of the new task's outputs alone; one step per
batch of the stream, however many passes it makes. Under Powerpropagation the step goes by virtual target.

>>> import torch
>>> from frisket.algos.networks.mlp import MLP, MLPConfig
>>> from frisket.types import Batch, Task, TaskEnd
>>> learner = LwF(LwFConfig(), MLP(MLPConfig(hidden=(8,)), in_channels=1, size=4, ways=4))
>>> x, y, state = torch.rand(4, 1, 4, 4), torch.tensor([0, 0, 1, 1]), learner.init(seed=0)
>>> first = Batch(x, y, position=0, task=Task("one", (0, 1, 2, 3), start=0))
>>> end = TaskEnd(1, lambda i: first, lambda: (x[:0], y[:0]))
>>> state, _ = learner.observe(state, Batch(x, y, 0, first.task, end=end))
>>> state["taught"]
tensor([ True,  True, False, False])
>>> _, metrics = learner.observe(state, Batch(x, y + 2, 1, Task("one", (0, 1, 2, 3), start=1)))
>>> sorted(metrics)
['distillation', 'loss_before']
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from frisket.algos.learner import LOSS_BEFORE, Capabilities, Method
from frisket.algos.learners.tasks.learner import TaskLearner
from frisket.algos.learners.tasks.regularised import PenaltyConfig
from frisket.algos.networks.network import Network
from frisket.algos.parts.gradients import gradients, leaves
from frisket.errors import require
from frisket.types import Data, Metrics, Params, State, TaskEnd


@dataclass(frozen=True, kw_only=True)
class LwFConfig(PenaltyConfig):
    """Learning without Forgetting.

    Attributes:
        strength: lambda, the factor of the distillation; 0 learns without.
        temperature: T, which old answers are softened by.
        fresh_optimiser: whether the optimiser starts afresh with every task, each being a training of its own.
    """

    temperature: float = 2.0
    fresh_optimiser: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.temperature < math.inf, "temperature", self.temperature, "above 0 and finite")


class LwF(TaskLearner):
    """Learning without Forgetting.

    State: that of `TaskLearner`; ``teacher``, the weights theta* (before the first end those of the start, of no use);
    ``met`` and ``taught`` [ways] bool, labels that were ever shown, and those shown before the running task.
    """

    config: LwFConfig
    capabilities = Capabilities(needs_task=True, ends_tasks=True)

    def __init__(self, config: LwFConfig, network: Network) -> None:
        super().__init__(config, network, fresh_optimiser=config.fresh_optimiser)

    def init(self, seed: int, warm_start: State | None = None) -> State:
        state = super().init(seed, warm_start)
        none = torch.zeros(len(state["theta"][self.network.head[0]]), dtype=torch.bool)
        return {**state, "teacher": self._copy(state["theta"]), "met": none, "taught": none.clone()}

    def learn(self, state: State, data: Data) -> tuple[State, Metrics]:
        effective = self.network.effective(state["theta"])
        loss, grads = self.network.network.loss_and_gradients(effective.theta, data.x, data.y)
        metrics = {"loss_before": float(loss), "distillation": 0.0}
        if bool(state["taught"].any()):
            held, pull = self.distilled(effective.theta, state["teacher"], data.x, state["taught"])
            grads = {k: g.add(pull[k], alpha=self.config.strength) for k, g in grads.items()}
            metrics["distillation"] = float(held)
        theta, optimiser = self.stepped(state, effective, grads)
        met = state["met"].index_fill(0, data.y, True)
        return {**state, "theta": theta, "optimiser": optimiser, "met": met}, metrics

    def finish(self, state: State, end: TaskEnd) -> State:
        return super().finish({**state, "teacher": self._copy(state["theta"]), "taught": state["met"].clone()}, end)

    @torch.enable_grad()
    def distilled(self, theta: Params, teacher: Params, x: Tensor, taught: Tensor) -> tuple[Tensor, Params]:
        """`distillation` of the weights ``theta`` to those of ``teacher`` on ``x``, and its gradient by theta."""
        network, theta = self.network.network, leaves(theta)
        loss = distillation(network(theta, x), network(teacher, x), taught, network.own, self.config.temperature)
        return loss.detach(), gradients(loss, theta)

    def _copy(self, phi: Params) -> Params:
        return {k: v.detach().clone() for k, v in self.network.effective(phi).theta.items()}


def distillation(logits: Tensor, teacher: Tensor, taught: Tensor, own: int | None, temperature: float) -> Tensor:
    """``T^2 sum_o H(p_o of teacher, p_o of logits)``, mean over samples; scalar.

    Args:
        logits, teacher: [N, ways].
        taught: labels that old tasks had, [ways] bool; at least one.
        own: labels in a block; None for one block.
        temperature: T.
    """
    blocks = taught.unflatten(0, (-1, own or len(taught)))
    old = blocks.any(1)
    closed = ~blocks[old]
    said, answer = ((v.unflatten(1, blocks.shape)[:, old] / temperature) for v in (logits, teacher))
    target = answer.masked_fill(closed, -math.inf).softmax(-1)
    log = said.masked_fill(closed, -math.inf).log_softmax(-1).masked_fill(closed, 0)  # 0 * inf is no 0
    return -(temperature**2) * (target * log).sum((1, 2)).mean()


METHODS = (
    Method(
        name="lwf",
        config=LwFConfig,
        build=LwF,
        summary="learning without forgetting: old tasks' answers to new images are distilled",
        page="lwf",
        logged={
            "loss_before": LOSS_BEFORE,
            "distillation": "T^2 times the cross-entropy of old answers and new ones, before the step; 0 in the first"
            " task",
        },
        quick={"lr": 0.01},
    ),
)
