"""`GaussianTarget`: steps of an actor whose weights have a Gaussian instead of a value (VCL; continual_world spec,
section 5).
"""

from __future__ import annotations

from typing import Any

import torch

from frisket.algos.networks.powerprop import by_phi, by_theta
from frisket.algos.parts import mean_field, virtual_target
from frisket.algos.parts.mean_field import Gaussian
from frisket.algos.sac.steppers import VirtualTarget
from frisket.rng import torch_generator
from frisket.types import Params


class GaussianTarget(VirtualTarget):
    """As `VirtualTarget`, ``phi`` being the means: the actor computes with a sample, a new one for every update.

    Args:
        log_sigma: of the weights that have a Gaussian; written in place.
        prior: what their divergence from is added to the loss; None for none.
        strength: how many times.
        key: what samples are drawn by, with the number of the update.
        number: of the next update.
        rest: what `VirtualTarget` takes. ``state`` has a part for each of ``mean`` and ``log_sigma``.
    """

    def __init__(
        self, *rest: Any, log_sigma: Params, prior: Gaussian | None, strength: float, key: int, number: int,
        **options: Any,
    ) -> None:  # fmt: skip
        self.log_sigma, self.prior, self.strength = log_sigma, prior, strength
        self.key, self.number = key, number
        super().__init__(*rest, **options)

    @torch.no_grad()
    def step(self) -> None:
        drawn = self.network.effective(self._sample)
        grads = by_phi({k: v.grad for k, v in self.weights.items() if v.grad is not None}, drawn.slopes)
        q = self._q
        _, (by_mean, by_sigma) = mean_field.sampled_gradient(q, lambda _: (torch.zeros(()), grads), [self._noise])
        if self.prior is not None:
            pull = mean_field.divergence_gradient(q, self.prior)
            by_mean, by_sigma = (
                {k: g.add(added[k], alpha=self.strength) for k, g in found.items()}
                for found, added in zip((by_mean, by_sigma), pull, strict=True)
            )
        effective = self.network.effective(self.phi)
        by_mean = by_theta({k: {**grads, **by_mean}[k] for k in self.moving}, effective.slopes)
        by_mean = self.clipped(by_mean, self.clip)
        moved, of_mean = virtual_target.step(
            self.optimiser, self.phi, by_mean, effective, self.state["mean"], lr=self.lr
        )
        direction, of_sigma = self.optimiser.direction(by_sigma, self.state["log_sigma"])
        for name, value in moved.items():
            self.phi[name].copy_(value)
        for name, value in direction.items():
            self.log_sigma[name].sub_(value, alpha=self.lr)
        self.state = {"mean": of_mean, "log_sigma": of_sigma}
        self.number += 1
        self._bind()

    @property
    def _q(self) -> Gaussian:
        return Gaussian({k: self.phi[k] for k in self.log_sigma}, self.log_sigma)

    def _bind(self) -> None:
        q = self._q
        self._noise = mean_field.standard_normal(q.mean, torch_generator(self.key, "vcl", self.number))
        self._sample = {**self.phi, **mean_field.sample(q, self._noise)}
        self._bound.bind(self.network.effective(self._sample).theta)
