"""`SAC`: stable-baselines3's, with an update that costs less and whose draws have keys.

The update is SB3's to the letter (entropy coefficient, critics, actor, averaging, in this order), without what it does
besides: the critics' gradients are not taken in the actor's step, nothing is read back from the device between two
updates, the averaging of the targets is one call. Each update draws its batch and its noise by (seed, number of the
update), where SB3 draws from global generators: so a run that is stopped goes on with the same bits.
"""

from __future__ import annotations

from typing import Any

import stable_baselines3
import torch
from gymnasium import spaces
from torch import Tensor

from frisket.algos.networks.network import Network
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
            sums += self._updated(*self.drawn(batch_size), critics)
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

    def squashed(self, mean: Tensor, log_std: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The actions that ``noise`` draws, and the log of their density, [N, 1]."""
        return acting.squashed(mean, log_std, noise)

    def _updated(self, batch: Any, noise: Tensor, critics: list[Tensor]) -> Tensor:
        """One update but for the targets' averaging: losses of critics and actor, and the entropy coefficient, [3]."""
        assert self.log_ent_coef is not None
        assert self.ent_coef_optimizer is not None
        mean, log_std, _ = self.actor.get_action_dist_params(batch.observations)
        actions, density = self.squashed(mean, log_std, noise[0])
        eta = self.log_ent_coef.detach().exp()
        # the derivative of -mean(log eta (log p + H)), which is all that its step takes
        self.log_ent_coef.grad = -(density.detach().mean() + float(self.target_entropy)).reshape(1)
        self._bound(self.log_ent_coef)
        self.ent_coef_optimizer.step()

        with torch.no_grad():
            after = self.squashed(*self.actor.get_action_dist_params(batch.next_observations)[:2], noise[1])
            value = torch.minimum(*self.critic_target(batch.next_observations, after[0])) - eta * after[1]
            target = batch.rewards + (1 - batch.dones) * self.gamma * value
        first, second = self.critic(batch.observations, batch.actions)
        critic_loss = 0.5 * ((first - target).square().mean() + (second - target).square().mean())
        self.critic.optimizer.zero_grad()
        critic_loss.backward()
        self._bound(*critics)
        self.critic.optimizer.step()

        for weight in critics:
            weight.requires_grad_(False)
        actor_loss = (eta * density - torch.minimum(*self.critic(batch.observations, actions))).mean()
        for weight in critics:
            weight.requires_grad_(True)
        self.actor.optimizer.zero_grad()
        actor_loss.backward()
        self.actor.optimizer.step()
        return torch.stack([critic_loss.detach(), actor_loss.detach(), eta[0]])

    def _bound(self, *weights: Tensor) -> None:
        """Clip the gradients of ``weights``."""
        if self.clip is None:
            return
        grads = {str(i): w.grad for i, w in enumerate(weights) if w.grad is not None}
        for w, grad in zip(weights, clip_by_global_norm(grads, self.clip).values(), strict=True):
            w.grad = grad


def agent(
    actor: Network, critic: Network, *, observations: int, actions: int, device: torch.device, kind: type[SAC] = SAC,
    **options: Any,
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
