"""The outer step over a meta-batch of tasks: what an inner loop begins with learns from what became of it.

    phi_tau <- phi_tau - s(m) o grad L(phi_tau, support_tau), K times from theta        tau = 1 .. tasks
    theta   <- theta - Opt_gamma( grad_theta  sum_tau L(phi_tau, query_tau) )
    m       <- m - Opt_gamma_m( grad_m  sum_tau L(phi_tau, query_tau) )

Its two halves are apart, so that several processes can share the tasks of a meta-batch: `OuterStep.gradients` of some
tasks may be added to those of others before `OuterStep.apply` takes them all. Running statistics
(`frisket.algos.networks.norm_policy`) become the mean of what the adaptations made of them. [our default]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from frisket.algos.inner.loop import MetaGradient, adapt_first_order, total
from frisket.algos.inner.meta_gradient import meta_gradient
from frisket.algos.inner.modulation import Modulation
from frisket.algos.networks.network import Network
from frisket.algos.parts.optimiser import Optimiser
from frisket.algos.parts.tree import descend
from frisket.types import Batch, Params, State


class Learned(NamedTuple):
    """What outer steps move. Attributes: theta: all weights; m: the modulation's; moments: the optimiser's, ``theta``
    and ``m``."""

    theta: Params
    m: Params
    moments: State


@dataclass(frozen=True, kw_only=True)
class OuterStep:
    """Attributes:
    network, modulation, optimiser: what computes, s, and Opt.
    inner_steps: K.
    order: 1 or 2, order of the outer derivative.
    lr, modulation_lr: gamma and gamma_m.
    reduction: whether the tasks' losses are added or averaged.
    clamp: bound of every entry of theta's gradient; None for none.
    learn_start: False holds theta.
    inner_checkpoint: as `frisket.algos.inner.meta_gradient` takes it.
    """

    network: Network
    modulation: Modulation
    optimiser: Optimiser
    inner_steps: int
    order: Literal[1, 2]
    lr: float
    modulation_lr: float
    reduction: Literal["sum", "mean"] = "sum"
    clamp: float | None = None
    learn_start: bool = True
    inner_checkpoint: int | None = None

    def gradients(self, theta: Params, m: Params, seed: int, episodes: Sequence[Batch]) -> State:
        """``theta``, ``m``: gradients; ``statistics``: running ones; ``loss``: of the queries; ``tasks``: how many
        these are the sum over.

        Args:
            theta, m: where the tasks begin.
            seed: what a random s is drawn from.
            episodes: the tasks, on the device of theta.
        """
        loss, *sums = self._gradient(theta, m, seed, episodes[0])
        for episode in episodes[1:]:  # added one by one: those of a generated mask are large
            more, *others = self._gradient(theta, m, seed, episode)
            loss, sums = loss + more, [total([a, b]) for a, b in zip(sums, others, strict=True)]
        theta_grads, m_grads, statistics = sums
        tasks = torch.full_like(loss, len(episodes))
        return {"theta": theta_grads, "m": m_grads, "statistics": dict(statistics), "loss": loss, "tasks": tasks}

    def _gradient(self, theta: Params, m: Params, seed: int, episode: Batch) -> MetaGradient:
        support, query = episode.sides()
        drawn = self.modulation.draw(m, seed, "train", episode.position)
        return meta_gradient(
            self.network, self.modulation, theta, drawn, support, query,
            steps=self.inner_steps, order=self.order, checkpoint=self.inner_checkpoint,
        )  # fmt: skip

    def apply(self, learned: Learned, gradients: State) -> Learned:
        """One step along ``gradients``, the sum of what `gradients` gave for all tasks."""
        (theta, m, moments), tasks = learned, gradients["tasks"]
        theta_grads, m_grads = (self._reduced(gradients[name], tasks) for name in ("theta", "m"))
        moments = dict(moments)
        if self.learn_start:
            if (bound := self.clamp) is not None:
                theta_grads = {k: g.clamp(-bound, bound) for k, g in theta_grads.items()}
            direction, moments["theta"] = self.optimiser.direction(theta_grads, moments["theta"])
            theta = descend(theta, self.lr, direction)
            theta |= {k: v / tasks for k, v in gradients["statistics"].items()}
        if m:
            direction, moments["m"] = self.optimiser.direction(m_grads, moments["m"])
            m = descend(m, self.modulation_lr, direction)
        return Learned(theta, m, moments)

    def _reduced(self, grads: Params, tasks: Tensor) -> Params:
        return grads if self.reduction == "sum" else {k: g / tasks for k, g in grads.items()}

    def adapted(self, theta: Params, m: Params, seed: int, support: Batch, steps: int | None = None) -> Params:
        """What the samples of ``support`` make of the adaptable weights and the running statistics, without a graph.

        Args:
            theta, m, seed: as for `gradients`; a random s is drawn by the batch's position, apart from training's.
            steps: None for ``inner_steps``.
        """
        data, _ = support.sides()
        drawn = self.modulation.draw(m, seed, "answer", support.position)
        adapted = adapt_first_order(self.network, self.modulation, theta, drawn, data, steps or self.inner_steps)
        return {**adapted.phi, **adapted.statistics}
