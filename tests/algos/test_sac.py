"""Soft actor-critic: its update is stable-baselines3's, and its parts are those of Continual World (continual_world
spec, facts C2, C3, C11)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import stable_baselines3
import torch
from gymnasium import Env, spaces
from stable_baselines3.common.distributions import SquashedDiagGaussianDistribution
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from torch import Tensor
from torch.distributions import Normal
from torch.nn.functional import softplus

from frisket.algos.contract.toys import line_batch
from frisket.algos.kinds import LEARNERS
from frisket.algos.learners.robots.learner import RobotLearner
from frisket.algos.learners.robots.regularised import PenalisedRobotLearner, everywhere, fisher, sensitivity
from frisket.algos.learners.robots.sac import SACConfig
from frisket.algos.networks.layer_norm_mlp import LayerNormMLP, LayerNormMLPConfig
from frisket.algos.networks.powerprop import Powerprop
from frisket.algos.parts import acting, transitions
from frisket.algos.parts.tree import equal_states
from frisket.algos.sac.agent import SAC
from frisket.algos.sac.policy import NetworkPolicy
from frisket.errors import SpecError
from frisket.rng import torch_generator
from frisket.types import Batch, Stepped, Task

UPDATES, BATCH, SEEN, ACTIONS = 200, 32, 5, 2


class Spaces(Env[np.ndarray, np.ndarray]):
    """Nothing but spaces: what SB3 wants of an environment to be made."""

    observation_space = spaces.Box(-1, 1, (SEEN,), np.float32)
    action_space = spaces.Box(-1, 1, (ACTIONS,), np.float32)


def batches() -> Iterator[tuple[ReplayBufferSamples, Tensor]]:
    for update in range(UPDATES):
        draws = torch_generator(0, "transitions", update)
        seen, after, actions = (torch.randn(BATCH, n, generator=draws) for n in (SEEN, SEEN, ACTIONS))
        dones, rewards = (torch.rand(BATCH, 1, generator=draws) < 0.1).float(), torch.randn(BATCH, 1, generator=draws)
        noise = torch.randn(2, BATCH, ACTIONS, generator=draws)
        yield ReplayBufferSamples(seen, actions.tanh(), after, dones, rewards), noise


class Exact(SquashedDiagGaussianDistribution):
    """SB3's without the small number in its density, which is infinite without it where an action rounds to 1."""

    def log_prob(self, actions: Tensor, gaussian_actions: Tensor | None = None) -> Tensor:
        assert gaussian_actions is not None
        raw = gaussian_actions
        return (self.distribution.log_prob(raw) - 2 * (math.log(2) - raw - softplus(-2 * raw))).sum(1)


class Told(SAC):
    """Learns from `batches`."""

    told: Iterator[tuple[Any, Tensor]]

    def drawn(self, batch_size: int) -> tuple[Any, Tensor]:
        return next(self.told)


def made(kind: type[Any], hidden: tuple[int, ...]) -> Any:
    """SB3's agent over networks which it differentiates by itself."""
    actor = LayerNormMLP(LayerNormMLPConfig(hidden=hidden), inputs=SEEN, ways=2 * ACTIONS)
    agent = kind(
        NetworkPolicy, Spaces(), policy_kwargs={"actor": actor, "critic": actor.sized(SEEN + ACTIONS, 1)},
        learning_rate=1e-3, buffer_size=1, seed=0,
    )  # fmt: skip
    for i, own in enumerate((agent.actor.weights, agent.critic.both)):
        for k, v in own.by_name.items():
            v.data.copy_(0.3 * torch.randn(v.shape, generator=torch_generator(i, k)))
    agent.critic_target.load_state_dict(agent.critic.state_dict())
    agent.actor.action_dist = Exact(ACTIONS)
    agent.set_logger(Logger(None, []))
    return agent


@pytest.mark.parametrize("hidden", [(32, 32), (32, 32, 32)])
def test_the_update_is_that_of_stable_baselines3(monkeypatch: pytest.MonkeyPatch, hidden: tuple[int, ...]) -> None:
    stock, ours = made(stable_baselines3.SAC, hidden), made(Told, hidden)
    ours.policy.load_state_dict(stock.policy.state_dict())
    ours.told, told = batches(), list(batches())
    noise = iter([draw for _, both in told for draw in both])
    samples = iter([batch for batch, _ in told])
    monkeypatch.setattr(stock.replay_buffer, "sample", lambda *_, **__: next(samples))
    monkeypatch.setattr(Normal, "rsample", lambda self, shape=(): self.loc + self.scale * next(noise))
    for _ in range(UPDATES):
        stock.train(1, BATCH)
        losses = ours.losses(1, BATCH)[0]
        names = {"critic_loss": "critic_loss", "actor_loss": "actor_loss", "ent_coef": "entropy_coefficient"}
        for theirs, own in names.items():
            expected = float(stock.logger.name_to_value[f"train/{theirs}"])
            assert math.isclose(losses[own], expected, rel_tol=1e-4, abs_tol=1e-5)
    moved = 0.0
    start = made(stable_baselines3.SAC, hidden).policy.state_dict()
    for name, expected in stock.policy.state_dict().items():
        assert torch.allclose(ours.policy.state_dict()[name], expected, rtol=1e-3, atol=1e-5), name
        moved = max(moved, float((expected - start[name]).abs().max()))
    assert moved > 0.05  # there was something to be equal in
    assert torch.allclose(ours.log_ent_coef, stock.log_ent_coef, atol=1e-5)


def test_the_density_is_that_of_the_squashed_gaussian() -> None:
    draws = torch_generator(0)
    mean, log_std, noise = torch.randn(3, 50, ACTIONS, generator=draws, dtype=torch.float64)
    actions, density = acting.squashed(mean, log_std / 2, noise)
    raw = torch.atanh(actions)
    jacobian = torch.log(1 - actions.square()).sum(-1, keepdim=True)
    expected = Normal(mean, (log_std / 2).exp()).log_prob(raw).sum(-1, keepdim=True) - jacobian
    assert torch.allclose(density, expected)
    outputs = torch.cat([mean, log_std / 2], -1)
    assert torch.equal(acting.action(outputs, noise), actions)
    far = torch.full((1, ACTIONS), 30.0)
    assert bool(acting.squashed(far, far.clamp_max(0), torch.zeros_like(far))[1].isfinite().all())


def test_deviations_are_kept_within_their_bounds() -> None:
    _, log_std = acting.parts(torch.tensor([[0.0, 0.0, -50.0, 50.0]]))
    assert log_std.tolist() == [[-20.0, 2.0]]


def learner(observations: int = 39, actions: int = 4, **fields: Any) -> RobotLearner:
    network = LayerNormMLP(LayerNormMLPConfig(), inputs=observations, ways=2 * actions)
    return RobotLearner(SACConfig(**{"memory_slots": 100, **fields}), network)


def test_c2_sizes_and_target_entropy() -> None:
    made_ = learner()
    state = made_.init(0)
    assert round(made_.target_entropy, 4) == -4.0007
    assert state["log_eta"].tolist() == [1.0]
    head = made_.network.private
    assert sum(v.numel() for k, v in state["theta"].items() if k not in head) == 208_128
    assert sum(v.numel() for k, v in state["theta"].items() if k in head) == 2056
    assert sum(state["theta"][k].numel() for k in made_.network.kernels) == 206_592
    assert sum(v.numel() for k, v in state["critics"].items() if k not in head) == 2 * 209_152
    assert equal_states(state["critics"], state["targets"])
    assert not torch.equal(*state["critics"]["fc1.weight"])


class Rail:
    """One place to be at, which never moves; an action is its own reward."""

    environments, actions, horizon = 2, 1, 10

    def __init__(self) -> None:
        self.taken: list[Tensor] = []

    def reset(self) -> Tensor:
        return torch.zeros(2, 1, 1, 1)

    def step(self, actions: Tensor) -> Stepped:
        self.taken.append(actions)
        never = torch.zeros(2, dtype=torch.bool)
        return Stepped(torch.zeros(2, 1, 1, 1), actions[:, 0], never, never, ~never)


def small(**fields: Any) -> RobotLearner:
    config = {"batch": 8, "start_steps": 15, "update_after": 8, "update_every": 4, "updates": 2, "memory_slots": 64}
    return RobotLearner(
        SACConfig(**{**config, **fields}), LayerNormMLP(LayerNormMLPConfig(hidden=(16, 16)), inputs=1, ways=2)
    )


def rail_batch(position: int, start: int = 0) -> tuple[Batch, Rail]:
    world = Rail()
    task = Task("rail", (0,), start)
    return Batch(world.reset(), torch.zeros(2, dtype=torch.int64), position, task, world=world), world


def test_c4_random_at_first_then_by_the_actor_and_updates_are_counted() -> None:
    made_ = small()
    batch, world = rail_batch(0)
    state, metrics = made_.observe(made_.init(0), batch)
    draws = torch_generator(0, "act", 0)
    uniform = 2 * torch.rand(10, 2, 1, generator=draws) - 1
    told = [torch.equal(taken, one) for taken, one in zip(world.taken, uniform, strict=True)]
    assert told == [True] * 8 + [False] * 2  # up to 15 steps taken: those that begin with 0, 2, .., 14
    assert int(state["acted"]) == 20
    assert int(state["updates"]) == 2 * len([8, 12, 16, 20])
    assert int(state["memory"]["pushed"]) == 20
    assert not state["memory"]["terminated"].any()
    assert torch.equal(state["memory"]["actions"][:20].view(10, 2, 1), torch.stack(world.taken))
    said = {"loss_before", "actor_loss", "entropy_coefficient", "return", "practised_success", "acted", "updates"}
    assert said == set(metrics)
    assert (metrics["acted"], metrics["updates"]) == (20, 8)


def test_c4_a_task_begins_with_an_empty_memory_and_fresh_moments() -> None:
    made_ = small(update_after=21)
    state, _ = made_.observe(made_.init(0), rail_batch(0)[0])
    state, _ = made_.observe(state, rail_batch(1)[0])
    assert int(state["optimiser"]["actor"]["t"]) > 0
    state, metrics = made_.observe(state, rail_batch(2, start=2)[0])
    assert int(state["memory"]["pushed"]) == int(state["acted"]) == 20
    assert [int(one["t"]) for one in state["optimiser"].values()] == [0, 0, 0]
    assert state["log_eta"].tolist() == [1.0]
    assert "loss_before" not in metrics


def test_c11_alpha_one_is_the_plain_actor_to_the_bit() -> None:
    plain = small(updates=5)
    wrapped = RobotLearner(plain.config, Powerprop(plain.plain, 1))
    states = [one.init(0) for one in (plain, wrapped)]
    for position in range(50):
        states = [one.observe(s, rail_batch(position)[0])[0] for one, s in zip((plain, wrapped), states, strict=True)]
    assert int(states[0]["updates"]) > 1000
    assert equal_states(*states)


def test_the_memory_keeps_the_newest() -> None:
    memory = transitions.empty(4, (1, 1, 1), 1)
    for number in range(6):
        row = torch.full((1, 1), float(number))
        transitions.push(memory, row.view(1, 1, 1, 1), row.view(1, 1, 1, 1) + 0.5, row, row, row)
    assert sorted(memory["actions"].flatten().tolist()) == [2, 3, 4, 5]
    assert transitions.stored(memory) == 4
    drawn = transitions.draw(memory, 1000, torch_generator(0))
    assert set(drawn.rewards.flatten().tolist()) == {2, 3, 4, 5}
    assert torch.equal(drawn.next_observations, drawn.observations + 0.5)
    assert transitions.stored(transitions.emptied(memory)) == 0


@pytest.mark.parametrize(
    ("fields", "said"),
    [({"memory_slots": 10**12}, "GiB"), ({"discount": 1.0}, "discount"), ({"clip": 0.0}, "clip"), ({"lr": 0.0}, "lr")],
)
def test_what_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        learner(**fields)


def test_learns_what_pays() -> None:
    made_ = small(lr=0.01, log_eta=-3.0, discount=0.0, update_every=1, updates=1)
    state = made_.init(0)
    returns = []
    for position in range(20):
        state, metrics = made_.observe(state, rail_batch(position)[0])
        returns.append(metrics["return"])
    assert returns[0] < 3
    assert returns[-1] > 7


def penalised(kind: str, alpha: float = 1.0, **fields: Any) -> PenalisedRobotLearner:
    row = LEARNERS[kind]
    network = LayerNormMLP(LayerNormMLPConfig(hidden=(6, 5)), inputs=3, ways=2)
    made_ = row.build(row.config(**{**row.quick, **fields}), Powerprop(network, alpha) if alpha > 1 else network)
    assert isinstance(made_, PenalisedRobotLearner)
    return made_


@pytest.mark.parametrize("alpha", [1.0, 1.5])
def test_importances_one_observation_at_a_time(alpha: float) -> None:
    made_ = penalised("sac-ewc", alpha)
    phi = made_.init(0)["theta"]
    seen = torch.randn(4, 3, 1, 1, generator=torch_generator(1))
    found = [how(made_, phi, seen) for how in (everywhere, fisher, sensitivity)]
    for i, one in enumerate(seen):
        leaves = {k: v.clone().requires_grad_() for k, v in phi.items()}
        mean, log_std = acting.parts(made_.network(leaves, one[None])[0])
        std = log_std.exp()
        shared = [leaves[k] for k in made_.network.shared(leaves)]
        by_mean, by_std = (torch.autograd.grad(v.sum(), shared, retain_graph=True) for v in (mean.tanh(), std))
        length = torch.autograd.grad(mean.tanh().square().sum() + log_std.square().sum(), shared)
        for k, dm, ds, dl in zip(made_.network.shared(phi), by_mean, by_std, length, strict=True):
            ewc = ((dm.square() + 2 * ds.square()) / (std.square().sum() + 1e-6)).clamp_min(1e-5)
            for own, expected in zip(found, (torch.ones_like(dl), ewc.detach(), dl.abs()), strict=True):
                assert torch.allclose(own[k][i], expected, rtol=1e-4, atol=1e-7), k


@pytest.mark.parametrize("kind", ["sac-l2", "sac-ewc", "sac-mas"])
def test_c8_the_penalty_is_0_where_a_task_begins_and_importances_grow(kind: str) -> None:
    made_ = penalised(kind)
    state, before = made_.init(0), None
    assert made_.pull(state) is None
    for position in range(9):
        state, _ = made_.observe(state, line_batch(position, (3, 1, 1)))
        if position % 3 == 2:
            assert float(made_.penalty.value(state["theta"], state["penalty"])) == 0
            pull = made_.pull(state)
            assert pull is not None
            assert not any(v.any() for v in pull(state["theta"]).values())
            precision = {k: v.clone() for k, v in state["penalty"]["precision"].items()}
            assert before is None or all(bool((v >= before[k]).all()) for k, v in precision.items())
            assert sum(float(v.sum()) for v in precision.values()) > 0
            before = precision


def test_a_strong_penalty_holds_the_shared_weights_and_none_does_not() -> None:
    moved = []
    for strength in (0.0, 1e6):
        made_ = penalised("sac-l2", strength=strength, lr=1e-4)
        state, held = made_.init(0), dict[str, Tensor]()
        for position in range(6):
            state, _ = made_.observe(state, line_batch(position, (3, 1, 1)))
            if position == 2:
                held = {k: v.clone() for k, v in made_.network.shared(state["theta"]).items()}
        moved.append(max(float((state["theta"][k] - v).abs().max()) for k, v in held.items()))
    assert moved[1] < moved[0] / 2
