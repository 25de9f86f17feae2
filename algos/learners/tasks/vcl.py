"""VCL, variational continual learning: a Gaussian over all weights, whose posterior is the next task's prior (VCL18;
powerprop sheet, section 9).

Every task is learned by gradient descent on

    E_{w ~ q}[ mean loss of the batch ] + KL(q || p) / N,       q = N(mu, sigma^2), diagonal

with K samples ``w = mu + sigma eps`` for the expectation. p is N(0, 1) in the first task and, in each later one, the q
that the task before it ended with; every task starts with mu as it is and with log sigma = s. What is answered comes
from mu.

Under Powerpropagation the Gaussian is over phi, which neither paper defines: a sample is computed with as ``psi(phi)``,
mu steps by virtual target, log sigma by the optimiser's own direction.

A network's private parameters (`frisket.algos.networks.network.Network.private`) have no Gaussian: they are learned as
points, from the mean of their gradients over the K samples. What is random in the network's own loss (a VAE's noise) is
drawn anew for each of the K.

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

from torch import Tensor

from frisket.algos.inner.loop import total
from frisket.algos.learner import Capabilities, Method
from frisket.algos.learners.tasks.learner import TaskLearner
from frisket.algos.networks.network import Network
from frisket.algos.networks.powerprop import by_theta
from frisket.algos.parts import mean_field
from frisket.algos.parts.mean_field import Gaussian
from frisket.algos.parts.optimiser import OptimiserConfig
from frisket.algos.parts.tree import descend
from frisket.errors import require
from frisket.rng import torch_generator
from frisket.types import Data, Metrics, Params, State, TaskEnd


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
    """VCL. State: that of `TaskLearner`, its ``theta`` being mu; ``log_sigma``; ``prior/mean, prior/log_sigma``, p; all
    three without the network's private parameters. ``optimiser`` has a part for each of ``mean`` and ``log_sigma``."""

    config: VCLConfig
    capabilities = Capabilities(needs_task=True, ends_tasks=True, generates=True)

    def __init__(self, config: VCLConfig, network: Network) -> None:
        super().__init__(config, network, fresh_optimiser=True)

    def init(self, seed: int, warm_start: State | None = None) -> State:
        start = super().init(seed, warm_start)
        prior = mean_field.constant(self.network.shared(start["theta"]), 0.0, 0.0)
        return {**start, **self._task(start["theta"], prior)}

    def _task(self, mean: Params, prior: Gaussian) -> State:
        """What a task starts with beside its ``mean``."""
        sigma = mean_field.constant(self.network.shared(mean), 0.0, self.config.log_sigma).log_sigma
        moments = {"mean": self.optimiser.init(mean), "log_sigma": self.optimiser.init(sigma)}
        return {"log_sigma": sigma, "prior": prior._asdict(), "optimiser": moments}

    def learn(self, state: State, data: Data) -> tuple[State, Metrics]:
        before = self.network.network.loss(self.weights_for(state), data.x, data.y)
        theta, seed, step = state["theta"], int(state["seed"]), int(state["step"])
        q = Gaussian(self.network.shared(theta), state["log_sigma"])
        points: list[Params] = []  # gradients of the private parameters, sample by sample

        def gradient(weights: Params) -> tuple[Tensor, Params]:
            target = self.network.target(data.x, data.y, seed, "vcl", step, len(points))
            loss, grads = self.network.loss_and_gradients({**theta, **weights}, data.x, target)
            points.append({k: grads[k] for k in self.network.private})
            return loss, grads

        generators = (torch_generator(seed, "vcl", step, k) for k in range(self.config.samples))
        eps = (mean_field.standard_normal(q.mean, generator) for generator in generators)
        loss, found = mean_field.sampled_gradient(q, gradient, eps)
        pull = mean_field.divergence_gradient(q, Gaussian(**state["prior"]))
        by_mean, by_sigma = (
            {k: g.add(kept[k], alpha=1 / self.config.task_samples) for k, g in grads.items()}
            for grads, kept in zip(found, pull, strict=True)
        )
        by_mean |= {k: g / len(points) for k, g in total(points).items()}
        effective = self.network.effective(theta)
        parts = state["optimiser"]
        theta, of_mean = self.stepped(
            {"theta": theta, "optimiser": parts["mean"]}, effective, by_theta(by_mean, effective.slopes)
        )
        direction, of_sigma = self.optimiser.direction(by_sigma, parts["log_sigma"])
        moved = {
            "theta": theta,
            "log_sigma": descend(q.log_sigma, self.config.lr, direction),
            "optimiser": {"mean": of_mean, "log_sigma": of_sigma},
        }
        return {**state, **moved}, {"loss_before": float(before), "sampled_loss": float(loss)}

    def finish(self, state: State, end: TaskEnd) -> State:
        theta = state["theta"]
        return {**state, **self._task(theta, Gaussian(self.network.shared(theta), state["log_sigma"]))}


METHODS = (
    Method(
        name="vcl",
        config=VCLConfig,
        build=VCL,
        summary="a Gaussian over the weights, each task's posterior the next one's prior",
        page="vcl",
        logged={
            "loss_before": "mean cross-entropy of the batch under mu, before learning from it",
            "sampled_loss": "mean cross-entropy of the batch over the step's weight samples, without the divergence",
        },
        quick={"lr": 0.01, "samples": 2, "task_samples": 100},
    ),
)
