"""stable-baselines3's actor, critics and policy over networks of frisket's.

The modules compute with `frisket.algos.networks.layer_norm_mlp.LayerNormMLP`, a pure function of named weights; the
weights are their parameters, those of both critics [2, ...]. What the weights are at any time, a learner's state says
(`bind`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import SquashedDiagGaussianDistribution
from stable_baselines3.common.policies import BaseModel, BasePolicy, ContinuousCritic
from stable_baselines3.sac.policies import Actor, SACPolicy
from torch import Tensor, nn

from frisket.algos.networks.layer_norm_mlp import LayerNormMLP
from frisket.algos.parts import acting
from frisket.types import Params


class Weights(nn.Module):
    """Named weights as parameters. Attributes: by_name: name to parameter, in the network's order."""

    def __init__(self, start: Params) -> None:
        super().__init__()
        self.by_name: Params = {name: nn.Parameter(value) for name, value in start.items()}
        self.listed = nn.ParameterList(self.by_name.values())

    def bind(self, values: Mapping[str, Tensor]) -> None:
        """From now on the weights are ``values`` themselves; names that are not here stay."""
        for name, value in values.items():
            self.by_name[name].data = value

    def take(self, gradients: Mapping[str, Tensor]) -> None:
        """Gradients for a step; dimensions that are not the weights' own are of length one, or several in one."""
        for name, gradient in gradients.items():
            self.by_name[name].grad = gradient.view_as(self.by_name[name])


class NetworkActor(Actor):
    """SB3's actor over a network of 2A outputs (`frisket.algos.parts.acting`)."""

    use_sde = False

    def __init__(self, observation_space: spaces.Space[Any], action_space: Any, network: LayerNormMLP) -> None:
        BasePolicy.__init__(self, observation_space, action_space, squash_output=True)
        self.network, self.weights = network, Weights(network.init(torch.Generator()))
        self.action_dist = SquashedDiagGaussianDistribution(int(action_space.shape[0]))  # type: ignore[assignment]

    def get_action_dist_params(self, obs: Any) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        return *acting.parts(self.network(self.weights.by_name, obs)), {}


class NetworkCritic(ContinuousCritic):
    """SB3's two critics over a network of one output, which sees observation and action."""

    def __init__(self, observation_space: spaces.Space[Any], action_space: Any, network: LayerNormMLP) -> None:
        BaseModel.__init__(self, observation_space, action_space)
        self.network, self.share_features_extractor, self.n_critics = network, False, 2
        start = network.init(torch.Generator())
        self.both = Weights({k: torch.stack([v, v]) for k, v in start.items()})

    def forward(self, obs: Tensor, actions: Tensor) -> tuple[Tensor, ...]:
        seen = torch.cat([obs.flatten(1), actions], 1)
        return tuple(self.network({k: v[i] for k, v in self.both.by_name.items()}, seen) for i in range(2))


class NetworkPolicy(SACPolicy):
    """SB3's policy of SAC over a network for the actor and one for the critics."""

    def __init__(self, *spaces_and_schedule: Any, actor: LayerNormMLP, critic: LayerNormMLP, **options: Any) -> None:
        self._networks = actor, critic
        super().__init__(*spaces_and_schedule, **options)

    def make_actor(self, features_extractor: Any = None) -> NetworkActor:
        return NetworkActor(self.observation_space, self.action_space, self._networks[0]).to(self.device)

    def make_critic(self, features_extractor: Any = None) -> NetworkCritic:
        return NetworkCritic(self.observation_space, self.action_space, self._networks[1]).to(self.device)
