"""What stands where stable-baselines3 has its optimisers: steps of parameters that a learner's state holds.

Neither the weights nor the moments are the stepper's own: it writes into the tensors it was given, or says in `state`
and `phi` what goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import torch
from torch import Tensor

from frisket.algos.masks.protection import held
from frisket.algos.networks.powerprop import Powerprop, masked
from frisket.algos.parts import virtual_target
from frisket.algos.parts.optimiser import FusedAdam
from frisket.algos.sac.policy import Weights
from frisket.types import Params, State


class Stepper:
    """Plain steps.

    Args:
        optimiser: gives the direction.
        weights: parameters by name.
        state: the optimiser's.
        lr: rate.
    """

    def __init__(self, optimiser: FusedAdam, weights: Mapping[str, Tensor], state: State, lr: float) -> None:
        self.optimiser, self.weights, self.state, self.lr = optimiser, weights, state, lr

    def step(self) -> None:
        self.state = self.optimiser.step(dict(self.weights), _gradients(self.weights), self.state, self.lr)


class VirtualTarget(Stepper):
    """Steps of an actor by virtual target (`frisket.algos.parts.virtual_target`), with what protects its weights.

    Args:
        optimiser, state, lr: as `Stepper`.
        network: whose parameters phi are.
        weights: what the actor computes with; it is bound anew after every step.
        phi: the parameters; written in place.
        moving: names of those that move.
        open_: where weights may change (`frisket.algos.masks.protection.Protection.open`); empty for everywhere.
        active: the weights that compute; empty for all.
        clipped: gradients under a bound (`frisket.algos.sac.agent.SAC.clipped`).
        clip: that of the gradients of the weights that may change; None for none.
        pull: gives the gradient by theta, at phi, of what is added to the loss, of some of the weights; None for none.
    """

    def __init__(
        self, optimiser: FusedAdam, network: Powerprop, weights: Weights, phi: Params, state: State, *, lr: float,
        moving: Collection[str], open_: Params, active: Params,
        clipped: Callable[[Params, float | None], Params], clip: float | None = None,
        pull: Callable[[Params], Params] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(optimiser, weights.by_name, state, lr)
        self.clipped = clipped
        self.network, self.phi, self.moving = network, phi, moving
        self.open, self.active, self.clip, self.pull = open_, active, clip, pull
        self._bound = weights
        self._bind()

    @torch.no_grad()
    def step(self) -> None:
        gradients = _gradients(self.weights)
        kept = self.open or self.active or self.pull or self.clip
        if self.network.alpha == 1 and not kept:  # theta is phi: the same step without its detours
            self.state = self.optimiser.step(
                self.phi, {k: gradients[k] for k in self.moving}, self.state, self.lr
            )  # fmt: skip
            return
        grads = masked({k: gradients[k] for k in self.moving}, self.open) if self.clip else gradients
        if self.pull is not None:
            added = self.pull(self.phi)
            grads = {k: g + added[k] if k in added else g for k, g in grads.items()}
        grads = self.clipped({k: grads[k] for k in self.moving}, self.clip)
        moved, self.state = virtual_target.step(
            self.optimiser, self.phi, grads, self.network.effective(self.phi), self.state, lr=self.lr
        )
        after = held(self.phi, moved, self.open)
        torch._foreach_copy_([self.phi[k] for k in after], list(after.values()))  # pyright: ignore
        self._bind()

    def _bind(self) -> None:
        self._bound.bind(masked(self.network.effective(self.phi).theta, self.active))


def _gradients(weights: Mapping[str, Tensor]) -> Params:
    return {name: weight.grad for name, weight in weights.items() if weight.grad is not None}
