"""`ManyHeadsSAC`: soft actor-critic on transitions of several tasks at once.

The task of a transition is the last number of its observations (`frisket.algos.networks.layer_norm_mlp.ManyHeads`); it
has an entropy coefficient of its own. As in the released code of Continual World, all gradients of an update are taken
before any step. With g that of the actor and both critics, as one vector, and r the same on ``reference_batch`` of the
transitions ``kept``, g is turned so that it does not raise the losses there (A-GEM,
`frisket.algos.parts.projection.agem_projection`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from frisket.algos.parts import acting, transitions
from frisket.algos.parts.projection import agem_projection
from frisket.algos.sac.agent import SAC
from frisket.types import State


class Found(NamedTuple):
    """Attributes: gradient: of actor and critics, [P]; losses: of critics and actor, and the mean entropy coefficient,
    [3]; density: log density of the actions, [N, 1]."""

    gradient: Tensor
    losses: Tensor
    density: Tensor


class ManyHeadsSAC(SAC):
    """Attributes: kept: transitions that no gradient may hurt; None for none; reference_batch: how many are looked at
    in an update."""

    kept: State | None = None
    reference_batch: int = 0

    def _updated(self, batch: Any, noise: Tensor) -> Tensor:
        assert self.log_ent_coef is not None
        assert self.ent_coef_optimizer is not None
        critics: list[Tensor] = list(self.critic.parameters())
        moving = [*self.actor.parameters(), *critics]
        found = self._found(batch, noise, critics)
        gradient = found.gradient
        if self.kept is not None:
            gradient = agem_projection(gradient, self._found(*self._reference(self.kept), critics).gradient)
        for weight, part in zip(moving, gradient.split([w.numel() for w in moving]), strict=True):
            weight.grad = part.view_as(weight)
        short = (found.density + float(self.target_entropy)).flatten() / len(found.density)
        self.log_ent_coef.grad = torch.zeros_like(self.log_ent_coef).index_add(0, _tasks(batch), -short)
        self._bound(self.log_ent_coef)
        self._bound(*critics)
        for one in (self.ent_coef_optimizer, self.critic.optimizer, self.actor.optimizer):
            one.step()
        return found.losses[:, None]

    def _found(self, batch: Any, noise: Tensor, critics: Sequence[Tensor]) -> Found:
        assert self.log_ent_coef is not None
        eta = self.log_ent_coef.detach().exp()[_tasks(batch), None]
        mean, log_std, _ = self.actor.get_action_dist_params(batch.observations)
        actions, density = acting.squashed(mean, log_std, noise[0])
        with torch.no_grad():
            after = acting.squashed(*self.actor.get_action_dist_params(batch.next_observations)[:2], noise[1])
            value = torch.minimum(*self.critic_target(batch.next_observations, after[0])) - eta * after[1]
            target = batch.rewards + (1 - batch.dones) * self.gamma * value
        first, second = self.critic(batch.observations, batch.actions)
        critic_loss = 0.5 * ((first - target).square().mean() + (second - target).square().mean())
        actor_loss = (eta * density - torch.minimum(*self.critic(batch.observations, actions))).mean()
        grads = (
            *torch.autograd.grad(actor_loss, list(self.actor.parameters())),
            *torch.autograd.grad(critic_loss, critics),
        )
        losses = torch.stack([critic_loss.detach(), actor_loss.detach(), eta.mean()])
        return Found(torch.cat([one.flatten() for one in grads]), losses, density.detach())

    def _reference(self, kept: State) -> tuple[Any, Tensor]:
        return transitions.draw_with_noise(kept, self.reference_batch, self.key, "reference", self._n_updates)


def _tasks(batch: Any) -> Tensor:
    """Number of each transition's task, [N]."""
    return batch.observations.flatten(1)[:, -1].long()
