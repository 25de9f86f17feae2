"""Acting by a network's outputs: a squashed Gaussian over actions (continual_world spec, section 4), and whole episodes
of it.

A network answers an observation with 2A numbers, the mean m and the log standard deviation s of A numbers u; an action
is tanh u:

    u = m + exp(s) e,   e ~ N(0, 1)        log p(tanh u) = sum log N(u; m, exp s) - 2 (log 2 - u - softplus(-2 u))

s is kept within [-20, 2]. The correction is that of tanh itself, without a small number that keeps a logarithm finite.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from frisket.rng import torch_generator
from frisket.types import World

LEAST, MOST = -20.0, 2.0
"""Bounds of s."""


class Played(NamedTuple):
    """What came of N episodes.

    Attributes:
        success: the share of them in which the task was solved at some step.
        rewards: mean over them of the sum of their rewards.
        steps: environment steps taken, in all of them.
    """

    success: float
    rewards: float
    steps: int


def parts(outputs: Tensor) -> tuple[Tensor, Tensor]:
    """``(m, s)``, [..., A] each, of ``outputs`` [..., 2A]."""
    mean, log_std = outputs.chunk(2, -1)
    return mean, log_std.clamp(LEAST, MOST)


def squashed(mean: Tensor, log_std: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """The actions [N, A] that ``noise`` [N, A] draws, and the log of their density, [N, 1]; both differentiable."""
    raw = mean + log_std.exp() * noise
    density = -0.5 * noise.square() - log_std - 2 * (math.log(2) - raw - F.softplus(-2 * raw))
    return raw.tanh(), density.sum(-1, keepdim=True) - 0.5 * math.log(2 * math.pi) * noise.shape[-1]


def action(outputs: Tensor, noise: Tensor) -> Tensor:
    """As `squashed`, the actions alone."""
    mean, log_std = parts(outputs)
    return (mean + log_std.exp() * noise).tanh()


@torch.no_grad()
def played(worlds: Iterable[World], answer: Callable[[Tensor], Tensor], seed: int, *key: str | int) -> Played:
    """Act in ``worlds`` to the end of their episodes, with actions drawn by (``seed``, ``key``).

    Args:
        worlds: where; one after the other.
        answer: outputs [E, 2A] to observations [E, C, H, W].
    """
    solved, rewards, steps, episodes = 0, 0.0, 0, 0
    for number, world in enumerate(worlds):
        seen, ever = world.reset(), torch.zeros(world.environments, dtype=torch.bool)
        draws = torch_generator(seed, *key, number)
        noise = torch.randn(world.horizon, world.environments, world.actions, generator=draws)
        for one in noise:
            outputs = answer(seen)
            seen, reward, _, success, live = world.step(action(outputs, one.to(outputs)))
            ever |= success & live
            rewards += float(reward[live].sum())
            steps += int(live.sum())
        solved, episodes = solved + int(ever.sum()), episodes + world.environments
    return Played(solved / episodes, rewards / episodes, steps)
