"""VCL, variational continual learning: a Gaussian over all weights, whose posterior is the next task's prior (VCL18;
powerprop sheet, section 9).

Every task is learned by gradient descent on

    E_{w ~ q}[ mean loss of the batch ] + KL(q || p) / N,       q = N(mu, sigma^2), diagonal

with K samples ``w = mu + sigma eps`` for the expectation. p is N(0, 1) in the first task and, in each later one, the q
that the task before it ended with; every task starts with mu as it is and with log sigma = s. What is answered comes
from mu.

Under Powerpropagation the Gaussian is over phi, which neither paper defines: a sample is computed with as ``psi(phi)``,
mu steps by virtual target, log sigma by the optimiser's own direction.

Symbols and arguments: K ``samples``, N ``task_samples``, s ``log_sigma``.

>>> import torch
>>> from frisket.algos.networks.mlp import MLP, MLPConfig
>>> from frisket.types import Batch, Task, TaskEnd
>>> learner = VCL(VCLConfig(samples=2, task_samples=4), MLP(MLPConfig(hidden=(8,)), in_channels=1, size=4, ways=2))
>>> x, y, task = torch.rand(4, 1, 4, 4), torch.tensor([0, 0, 1, 1]), Task("first", (0, 1), start=0)
>>> end = TaskEnd(1, lambda i: Batch(x, y, i, task), lambda: (x, y))
>>> state, _ = learner.observe(learner.init(seed=0), Batch(x, y, position=0, task=task, end=end))
>>> bool((state["prior"]["mean"]["fc1.weight"] == state["theta"]["fc1.weight"]).all())
True
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F

from frisket.algos import mean_field
from frisket.algos.inner import Data
from frisket.algos.learner import Capabilities
from frisket.algos.mean_field import Gaussian
from frisket.algos.networks.network import Network, own_logits
from frisket.algos.optimiser import OptimiserConfig
from frisket.algos.powerprop import by_theta
from frisket.algos.task_learner import TaskLearner
from frisket.algos.tree import descend
from frisket.errors import require
from frisket.rng import torch_generator
from frisket.types import Metrics, Params, State, TaskEnd


@dataclass(frozen=True, kw_only=True)
class VCLConfig(OptimiserConfig):
    """VCL; further fields are those of `OptimiserConfig`. The optimiser starts afresh with every task.

    Attributes:
        samples: K, weight samples a step.
        task_samples: N, training samples of a task.
        log_sigma: s.
    """

    samples: int = 10
    task_samples: int = 60_000
    log_sigma: float = -6.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.samples >= 1, "samples", self.samples, "at least 1")
        require(self.task_samples >= 1, "task_samples", self.task_samples, "at least 1")
        require(abs(self.log_sigma) <= 40, "log_sigma", self.log_sigma, "in [-40, 40], whose squares float32 can hold")


class VCL(TaskLearner):
    """VCL. State: that of `TaskLearner`, its ``theta`` being mu; ``log_sigma``; ``prior/mean, prior/log_sigma``, p.
    ``optimiser`` has one part for each of ``mean`` and ``log_sigma``."""

    config: VCLConfig
    capabilities = Capabilities(needs_task=True, ends_tasks=True)

    def __init__(self, config: VCLConfig, network: Network) -> None:
        super().__init__(config, network)

    def init(self, seed: int, warm_start: State | None = None) -> State:
        start = super().init(seed, warm_start)
        return {**start, **self._task(start["theta"], mean_field.constant(start["theta"], 0.0, 0.0))}

    def _task(self, mean: Params, prior: Gaussian) -> State:
        """What a task starts with beside its ``mean``."""
        sigma = mean_field.constant(mean, 0.0, self.config.log_sigma).log_sigma
        moments = {"mean": self.optimiser.init(mean), "log_sigma": self.optimiser.init(sigma)}
        return {"log_sigma": sigma, "prior": prior._asdict(), "optimiser": moments}

    def learn(self, state: State, data: Data) -> tuple[State, Metrics]:
        answer = self.predict(state, data.x)
        assert answer is not None
        before = F.cross_entropy(own_logits(answer, data.y, self.network.own), data.y)
        q, seed, step = Gaussian(state["theta"], state["log_sigma"]), int(state["seed"]), int(state["step"])
        generators = (torch_generator(seed, "vcl", step, k) for k in range(self.config.samples))
        loss, found = mean_field.sampled_gradient(
            q,
            lambda weights: self.network.loss_and_gradients(weights, data.x, data.y),
            (mean_field.standard_normal(q.mean, generator) for generator in generators),
        )
        pull = mean_field.divergence_gradient(q, Gaussian(**state["prior"]))
        by_mean, by_sigma = (
            {k: g.add(kept[k], alpha=1 / self.config.task_samples) for k, g in grads.items()}
            for grads, kept in zip(found, pull, strict=True)
        )
        effective = self.network.effective(q.mean)
        parts = state["optimiser"]
        theta, of_mean = self.stepped(
            {"theta": q.mean, "optimiser": parts["mean"]}, effective, by_theta(by_mean, effective.slopes)
        )
        direction, of_sigma = self.optimiser.direction(by_sigma, parts["log_sigma"])
        moved = {
            "theta": theta,
            "log_sigma": descend(q.log_sigma, self.config.lr, direction),
            "optimiser": {"mean": of_mean, "log_sigma": of_sigma},
        }
        return {**state, **moved}, {"loss_before": float(before), "sampled_loss": float(loss)}

    def finish(self, state: State, end: TaskEnd) -> State:
        return {**state, **self._task(state["theta"], Gaussian(state["theta"], state["log_sigma"]))}
