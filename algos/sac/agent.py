"""`SAC`: stable-baselines3's, with an update that costs less and whose draws have keys.

The update is SB3's to the letter (entropy coefficient, critics, actor, averaging, in this order), without what it does
besides: both critics compute together, and so does the actor for the observations of both ends; the critics' gradients
are not taken in the actor's step; derivatives are written out (`frisket.algos.networks.side_by_side`), nothing is read
back from the device between two updates, and the averaging of the targets is one call. Each update draws its batch and
its noise by (seed, number of the update), where SB3 draws from global generators: so a run that is stopped goes on with
the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import stable_baselines3
import torch
from gymnasium import spaces
from torch import Tensor

from frisket.algos.networks.layer_norm_mlp import LayerNormMLP
from frisket.algos.parts import acting, transitions
from frisket.algos.parts.clip import clip_by_global_norm
from frisket.algos.sac.policy import NetworkPolicy
from frisket.types import Metrics, Params, State

S = TypeVar("S", bound="SAC")


class SAC(stable_baselines3.SAC):
    """SB3's SAC.

    Attributes:
        key: what the draws of its updates come from.
        memory: the transitions it learns from (`frisket.algos.parts.transitions`).
        clip: bound of the critics' gradients, all as one vector, and of the entropy coefficient's; None for none.
    """

    key: int = 0
    memory: State
    clip: float | None = None

    def train(self, gradient_steps: int, batch_size: int = 64) -> None:
        self.losses(gradient_steps, batch_size)

    @property
    def replicas(self) -> int:
        """R, of those that learn in step."""
        return 1

    def losses(self, gradient_steps: int, batch_size: int) -> list[Metrics]:
        """As `train`; for every replica the means of the losses, each before its update, and of the entropy
        coefficient."""
        self.policy.set_training_mode(True)
        critics: list[Tensor] = list(self.critic.parameters())
        targets: list[Tensor] = list(self.critic_target.parameters())
        sums = torch.zeros(3, self.replicas, device=self.device)
        for _ in range(gradient_steps):
            sums += self._updated(*self.drawn(batch_size))
            with torch.no_grad():
                torch._foreach_lerp_(targets, critics, self.tau)  # pyright: ignore
            self._n_updates += 1
        names = "critic_loss", "actor_loss", "entropy_coefficient"
        return [dict(zip(names, one, strict=True)) for one in (sums / max(gradient_steps, 1)).T.tolist()]

    def drawn(self, batch_size: int) -> tuple[Any, Tensor]:
        """What the next update learns from: `Transitions`, or SB3's own, and noise [2, N, A] for the actions at their
        beginnings and their ends."""
        return transitions.draw_with_noise(self.memory, batch_size, self.key, "update", self._n_updates)

    @torch.no_grad()
    def _updated(self, batch: Any, noise: Tensor) -> Tensor:
        """One update but for the targets' averaging: losses of critics and actor, and the entropy coefficient, [3, R].

        With u = m + exp(s) e, an action a = tanh u and p its density (`frisket.algos.parts.acting`), the derivatives of
        log p are 2a by u and, beside that, -1 by s. R actors are computed side by side, and 2R critics.
        """
        assert self.log_ent_coef is not None
        assert self.ent_coef_optimizer is not None
        made: Any = self.policy
        actor, critics = made.actor.weights, made.critic.both
        thinks, judges = made.actor.network.side_by_side, made.critic.network.side_by_side
        own = self._wide(actor.by_name, 1)
        pairs, targets = (self._wide(one.both.by_name, 2) for one in (made.critic, made.critic_target))
        replicas, count = self.replicas, batch.rewards.shape[-2]
        noise = noise.reshape(replicas, 2 * count, -1)
        observations, after = (
            one.reshape(replicas, count, -1) for one in (batch.observations, batch.next_observations)
        )
        thought = thinks(own, torch.cat([observations, after], 1))
        raw_mean, raw_std = thought.outputs.chunk(2, -1)
        log_std = raw_std.clamp(acting.LEAST, acting.MOST)
        actions, density = acting.squashed(raw_mean, log_std, noise)
        (actions, after_actions), (density, after_density) = actions.split(count, 1), density.split(count, 1)
        eta = self.log_ent_coef.detach().exp().view(replicas, 1, 1)
        # the derivative of -mean(log eta (log p + H)), which is all that its step takes
        short = -(density.mean((1, 2)) + float(self.target_entropy))
        self.log_ent_coef.grad = short.view_as(self.log_ent_coef)
        self._bound(self.log_ent_coef)
        self.ent_coef_optimizer.step()

        ahead = _in_pairs(judges(targets, torch.cat([after, after_actions], 2)).outputs).amin(1)
        target = batch.rewards + (1 - batch.dones) * self.gamma * (ahead - eta * after_density)
        found = judges(pairs, torch.cat([observations, batch.actions.view_as(actions)], 2))
        errors = (_in_pairs(found.outputs) - target.view_as(ahead)[:, None]).flatten(0, 1)
        critic_loss = 0.5 * _in_pairs(errors).square().sum((1, 2, 3)) / count
        critics.take(judges.gradients(pairs, found, errors / count))
        self._bound(*critics.parameters())
        self.critic.optimizer.step()

        found = judges(pairs, torch.cat([observations, actions], 2))
        value, lower = _in_pairs(found.outputs).min(1)
        actor_loss = (eta * density - value).mean((1, 2))
        by_value = torch.full_like(value, -1 / count)
        by_action = judges.by_inputs_of(pairs, found, by_value, lower[..., 0], observations.shape[2])
        by_raw = by_action * (1 - actions.square()) + 2 * eta / count * actions
        by_std = by_raw * log_std[:, :count].exp() * noise[:, :count] - eta / count
        by_std = by_std * (raw_std[:, :count] == log_std[:, :count])
        actor.take(thinks.gradients(own, thought.only(count), torch.cat([by_raw, by_std], 2)))
        self.actor.optimizer.step()
        return torch.stack([critic_loss, actor_loss, eta.flatten()])

    def _wide(self, weights: Mapping[str, Tensor], networks: int) -> Params:
        """The weights of so many networks of every replica side by side, [R networks, ...]."""
        return dict(weights) if networks > 1 else {k: v[None] for k, v in weights.items()}

    def _bound(self, *weights: Tensor) -> None:
        """Clip the gradients of ``weights``."""
        if self.clip is None:
            return
        grads = {str(i): w.grad for i, w in enumerate(weights) if w.grad is not None}
        for w, grad in zip(weights, self.clipped(grads, self.clip).values(), strict=True):
            w.grad = grad

    def clipped(self, grads: Params, bound: float | None) -> Params:
        """``grads`` of the weights of a replica as one vector under ``bound``."""
        return clip_by_global_norm(grads, bound)


def _in_pairs(of_critics: Tensor) -> Tensor:
    """[2R, ...] as [R, 2, ...]."""
    return of_critics.unflatten(0, (-1, 2))


def agent(
    actor: LayerNormMLP, critic: LayerNormMLP, *, observations: int, actions: int, device: torch.device, kind: type[S],
    **options: Any,
) -> S:  # fmt: skip
    """A ``kind`` of `SAC` over these networks, without an environment or a memory.

    Args:
        actor, critic: of 2A outputs, and of one.
        observations: numbers of an observation.
        actions: A.
        device: where it learns.
        options: SB3's own.
    """
    made = kind(
        NetworkPolicy, None, buffer_size=1, device=device, _init_setup_model=False,  # type: ignore[arg-type]
        policy_kwargs={"actor": actor, "critic": critic}, **options,
    )  # fmt: skip
    made.observation_space = spaces.Box(-float("inf"), float("inf"), (observations,))
    made.action_space = spaces.Box(-1.0, 1.0, (actions,))
    made.n_envs = 1
    with torch.random.fork_rng(devices=[]):  # what SB3 draws as it is made is replaced, and nobody else's
        made._setup_model()
    return made
