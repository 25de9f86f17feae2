"""`SAC`: stable-baselines3's, with an update that costs less and whose draws have keys.

The update is SB3's to the letter (entropy coefficient, critics, actor, averaging, in this order), without what it does
besides: both critics compute together, and so does the actor for the observations of both ends; the critics' gradients
are not taken in the actor's step; derivatives are written out (`frisket.algos.networks.side_by_side`), nothing is read
back from the device between two updates, and the averaging of the targets is one call. Each update draws its batch and
its noise by (seed, number of the update), where SB3 draws from global generators: so a run that is stopped goes on with
the same bits.
"""

from __future__ import annotations

from typing import Any

import stable_baselines3
import torch
from gymnasium import spaces
from torch import Tensor

from frisket.algos.networks.layer_norm_mlp import LayerNormMLP
from frisket.algos.parts import acting, transitions
from frisket.algos.parts.clip import clip_by_global_norm
from frisket.algos.sac.policy import NetworkPolicy
from frisket.rng import torch_generator
from frisket.types import Metrics, State


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

    def losses(self, gradient_steps: int, batch_size: int) -> Metrics:
        """As `train`; the means of the losses, each before its update, and the last entropy coefficient."""
        self.policy.set_training_mode(True)
        critics: list[Tensor] = list(self.critic.parameters())
        targets: list[Tensor] = list(self.critic_target.parameters())
        sums = torch.zeros(3, device=self.device)
        for _ in range(gradient_steps):
            sums += self._updated(*self.drawn(batch_size))
            with torch.no_grad():
                torch._foreach_lerp_(targets, critics, self.tau)  # pyright: ignore
            self._n_updates += 1
        critic, actor, eta = (sums / max(gradient_steps, 1)).tolist()
        return {"critic_loss": critic, "actor_loss": actor, "entropy_coefficient": eta}

    def drawn(self, batch_size: int) -> tuple[Any, Tensor]:
        """What the next update learns from: `Transitions`, or SB3's own, and noise [2, N, A] for the actions at their
        beginnings and their ends."""
        generator = torch_generator(self.key, "update", self._n_updates)
        batch = transitions.draw(self.memory, batch_size, generator)
        noise = torch.randn(2, batch_size, batch.actions.shape[1], generator=generator)
        return batch, noise.to(batch.actions.device)

    @torch.no_grad()
    def _updated(self, batch: Any, noise: Tensor) -> Tensor:
        """One update but for the targets' averaging: losses of critics and actor, and the entropy coefficient, [3].

        With u = m + exp(s) e, an action a = tanh u and p its density (`frisket.algos.parts.acting`), the derivatives of
        log p are 2a by u and, beside that, -1 by s.
        """
        assert self.log_ent_coef is not None
        assert self.ent_coef_optimizer is not None
        made: Any = self.policy
        actor, critics, targets = made.actor.weights, made.critic.both, made.critic_target.both
        count = len(batch.rewards)
        observations, after = batch.observations.flatten(1), batch.next_observations.flatten(1)
        thinks, judges = made.actor.network.side_by_side, made.critic.network.side_by_side
        own = {k: v[None] for k, v in actor.by_name.items()}
        thought = thinks(own, torch.cat([observations, after]))
        raw_mean, raw_std = thought.outputs[0].chunk(2, -1)
        log_std = raw_std.clamp(acting.LEAST, acting.MOST)
        actions, density = acting.squashed(raw_mean, log_std, noise.flatten(0, 1))
        (actions, after_actions), (density, after_density) = actions.split(count), density.split(count)
        eta = self.log_ent_coef.detach().exp()
        # the derivative of -mean(log eta (log p + H)), which is all that its step takes
        self.log_ent_coef.grad = -(density.mean() + float(self.target_entropy)).reshape(1)
        self._bound(self.log_ent_coef)
        self.ent_coef_optimizer.step()

        ahead = judges(targets.by_name, torch.cat([after, after_actions], 1)).outputs.amin(0)
        target = batch.rewards + (1 - batch.dones) * self.gamma * (ahead - eta * after_density)
        found = judges(critics.by_name, torch.cat([observations, batch.actions], 1))
        errors = found.outputs - target
        critic_loss = 0.5 * errors.square().sum() / count
        critics.take(judges.gradients(critics.by_name, found, errors / count))
        self._bound(*critics.parameters())
        self.critic.optimizer.step()

        found = judges(critics.by_name, torch.cat([observations, actions], 1))
        value, lower = found.outputs.min(0)
        actor_loss = (eta * density - value).mean()
        by_value = torch.full_like(value, -1 / count)
        by_action = judges.by_inputs_of(critics.by_name, found, by_value, lower[:, 0], observations.shape[1])
        by_raw = by_action * (1 - actions.square()) + 2 * eta / count * actions
        by_std = by_raw * log_std[:count].exp() * noise[0] - eta / count
        by_std = by_std * (raw_std[:count] == log_std[:count])
        gradients = thinks.gradients(own, thought.only(count), torch.cat([by_raw, by_std], 1)[None])
        actor.take({k: v[0] for k, v in gradients.items()})
        self.actor.optimizer.step()
        return torch.stack([critic_loss, actor_loss, eta[0]])

    def _bound(self, *weights: Tensor) -> None:
        """Clip the gradients of ``weights``."""
        if self.clip is None:
            return
        grads = {str(i): w.grad for i, w in enumerate(weights) if w.grad is not None}
        for w, grad in zip(weights, clip_by_global_norm(grads, self.clip).values(), strict=True):
            w.grad = grad


def agent(
    actor: LayerNormMLP, critic: LayerNormMLP, *, observations: int, actions: int, device: torch.device,
    kind: type[SAC] = SAC, **options: Any,
) -> SAC:  # fmt: skip
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
