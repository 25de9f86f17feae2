"""The outer step over a meta-batch of tasks: what an inner loop begins with learns from what became of it.

    phi_tau <- phi_tau - s(m) o grad L(phi_tau, support_tau), K times from theta        tau = 1 .. tasks
    theta   <- theta - Opt_gamma( grad_theta  sum_tau L(phi_tau, query_tau) )
    m       <- m - Opt_gamma_m( grad_m  sum_tau L(phi_tau, query_tau) )

Its two halves are apart, so that several processes can share the tasks of a meta-batch: `OuterStep.gradients` of some
tasks may be added to those of others before `OuterStep.apply` takes them all. Running statistics
(`frisket.algos.networks.norm_policy`) become the mean of what the adaptations made of them. [our default]

Where every task has a part of the weights to itself (`Modulation.holds_start`), its gradient for theta is that part's
alone, and what is in no task's part stays as it is to the bit, with its moments. The parts travel with the gradients as
counts, how many tasks each weight is in, so that they add up as these do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from frisket.algos.inner.loop import Adapted, adapt_first_order, total
from frisket.algos.inner.meta_gradient import meta_gradient
from frisket.algos.inner.modulation import Modulation
from frisket.algos.networks.network import Network
from frisket.algos.parts.optimiser import Optimiser, within
from frisket.algos.parts.tree import descend
from frisket.types import Batch, Metrics, Params, State


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
    start_optimiser: theta's Opt, where it is not ``optimiser``.
    along: what theta goes along: the gradient of the queries' loss, or in first order that of the support's at the last
        inner step, of what adapts alone.
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
    start_optimiser: Optimiser | None = None
    along: Literal["query", "support"] = "query"

    def first_moments(self, theta: Params, m: Params) -> State:
        """What `Learned.moments` are before the first outer step."""
        return {"theta": self._start_optimiser.init(theta), "m": self.optimiser.init(m)}

    @property
    def _start_optimiser(self) -> Optimiser:
        return self.start_optimiser or self.optimiser

    def gradients(self, theta: Params, m: Params, seed: int, episodes: Sequence[Batch]) -> State:
        """``theta``, ``m``: gradients; ``statistics``: running ones; ``measured``, ``opened``: what became known of the
        adaptations (`frisket.algos.inner.loop.Noted`); ``loss``: of the queries; ``tasks``: how many these are the sum
        over.

        Args:
            theta, m: where the tasks begin.
            seed: what a random s is drawn from.
            episodes: the tasks, on the device of theta.
        """
        sums = self._gradient(theta, m, seed, episodes[0])
        for episode in episodes[1:]:  # added one by one: those of a generated mask are large
            sums = _added(sums, self._gradient(theta, m, seed, episode))
        return {**sums, "tasks": torch.full_like(sums["loss"], len(episodes))}

    def _gradient(self, theta: Params, m: Params, seed: int, episode: Batch) -> State:
        """`gradients` of one task."""
        support, query = episode.sides()
        drawn = self.modulation.draw(m, seed, "train", episode.position)
        found = meta_gradient(
            self.network, self.modulation, theta, drawn, support, query,
            steps=self.inner_steps, order=self.order, checkpoint=self.inner_checkpoint,
        )  # fmt: skip
        measured, opened = found.noted.measured, {k: v.to(theta[k].dtype) for k, v in found.noted.opened.items()}
        theta_grads = found.theta
        if self.along == "support":
            theta_grads = {k: found.last.get(k, torch.zeros_like(v)) for k, v in theta_grads.items()}
        if self.modulation.holds_start:
            theta_grads = {k: g * opened[k] if k in opened else g for k, g in theta_grads.items()}
        return {
            "theta": theta_grads, "m": found.m, "statistics": dict(found.statistics), "measured": measured,
            "opened": opened, "loss": found.loss,
        }  # fmt: skip

    def apply(self, learned: Learned, gradients: State) -> Learned:
        """One step along ``gradients``, the sum of what `gradients` gave for all tasks."""
        (theta, m, moments), tasks = learned, gradients["tasks"]
        theta_grads, m_grads = (self._reduced(gradients[name], tasks) for name in ("theta", "m"))
        moments = dict(moments)
        if self.learn_start:
            if (bound := self.clamp) is not None:
                theta_grads = {k: g.clamp(-bound, bound) for k, g in theta_grads.items()}
            before = moments["theta"]
            direction, moments["theta"] = self._start_optimiser.direction(theta_grads, before)
            if self.modulation.holds_start:
                moved = {k: v > 0 for k, v in gradients["opened"].items()}
                moments["theta"] = within(moved, before, moments["theta"])
                direction = within(moved, {k: torch.zeros_like(v) for k, v in direction.items()}, direction)
            theta = descend(theta, self.lr, direction)
            theta |= {k: v / tasks for k, v in gradients["statistics"].items()}
        if m:
            direction, moments["m"] = self.optimiser.direction(m_grads, moments["m"])
            m = self.modulation.settled(descend(m, self.modulation_lr, direction), gradients["measured"])
        return Learned(theta, m, moments)

    def metrics(self, gradients: State) -> Metrics:
        """What there is to log of a meta-batch: what its adaptations told of themselves and, where they hold theta,
        ``shared``: of the weights that any task could change, the share that all could."""
        tasks = gradients["tasks"]
        found = self.modulation.metrics(gradients["measured"], tasks)
        if self.modulation.holds_start:
            counts = torch.cat([v.flatten() for v in gradients["opened"].values()])
            found["shared"] = float((counts == tasks).sum() / (counts > 0).sum().clamp(min=1))
        return found

    def _reduced(self, grads: Params, tasks: Tensor) -> Params:
        return grads if self.reduction == "sum" else {k: g / tasks for k, g in grads.items()}

    def adapted(self, theta: Params, m: Params, seed: int, support: Batch, steps: int | None = None) -> Adapted:
        """What the samples of ``support`` make of the adaptable weights and the running statistics, without a graph.

        Args:
            theta, m, seed: as for `gradients`; a random s is drawn by the batch's position, apart from training's.
            steps: None for ``inner_steps``.
        """
        data, _ = support.sides()
        drawn = self.modulation.draw(m, seed, "answer", support.position)
        return adapt_first_order(self.network, self.modulation, theta, drawn, data, steps or self.inner_steps)


def _added(these: State, those: State) -> State:
    """Tensors and weights by name, added."""
    return {k: v + those[k] if isinstance(v, Tensor) else total([v, those[k]]) for k, v in these.items()}
