"""A Gaussian over the weights, moved by Bayesian gradient descent: what the methods built on BGD share.

`frisket.algos.learners.online.bgd` has the equations and their source.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from frisket.algos.networks.network import Network
from frisket.algos.parts.mean_field import standard_normal
from frisket.errors import require
from frisket.rng import torch_generator
from frisket.types import Params, State

SampleGradient = Callable[[int, Params], "tuple[Tensor, Params]"]
"""``(s, w_s)`` to the loss on the batch, scalar, and its gradient for every weight."""


@dataclass(frozen=True, kw_only=True)
class PosteriorConfig:
    """Attributes:
    mean_lr: eta_mu, rate of the mean.
    sigma_0: first standard deviation of every weight.
    samples: S, weight samples a batch.
    """

    mean_lr: float = 10.0
    sigma_0: float = 0.01
    samples: int = 5

    def __post_init__(self) -> None:
        require(self.mean_lr > 0, "mean_lr", self.mean_lr, "above 0")
        require(self.sigma_0 > 0, "sigma_0", self.sigma_0, "above 0")
        require(self.samples >= 1, "samples", self.samples, "at least 1")


def init_posterior(config: PosteriorConfig, network: Network, seed: int, warm_start: State | None) -> State:
    """``seed, step, mu, sigma`` before the stream: mu fresh weights or the warm start's, sigma constant."""
    mu = network.init(torch_generator(seed, "theta")) if warm_start is None else warm_start["theta"]
    return {
        "seed": torch.tensor(seed),
        "step": torch.zeros((), dtype=torch.int64),
        "mu": mu,
        "sigma": {k: torch.full_like(v, config.sigma_0) for k, v in mu.items()},
    }


def noise(state: State, sample: int) -> Params:
    """eps(t, s), standard normal, shaped like the weights; t is the state's step."""
    return standard_normal(state["mu"], torch_generator(int(state["seed"]), "bgd", int(state["step"]), sample))


def displaced(state: State, eps: Params) -> Params:
    """``mu + sigma o eps``."""
    return {k: mu + state["sigma"][k] * eps[k] for k, mu in state["mu"].items()}


def weight_samples(state: State, samples: int) -> list[Params]:
    """w_1 .. w_S of the state's step."""
    return [displaced(state, noise(state, s)) for s in range(samples)]


def update(mu: Params, sigma: Params, grad: Params, grad_noise: Params, mean_lr: float) -> tuple[Params, Params]:
    """``(mu, sigma)`` after one BGD step, from E[g] and E[g eps] of the summed loss."""
    moved = {k: m - mean_lr * sigma[k] ** 2 * grad[k] for k, m in mu.items()}
    # sqrt(1 + h^2) - h = exp(-asinh h), which does not cancel to 0 for a large h.
    spread = {k: s * torch.exp(-torch.asinh(s * grad_noise[k] / 2)) for k, s in sigma.items()}
    return moved, spread


def posterior_step(config: PosteriorConfig, state: State, images: int, gradient: SampleGradient) -> tuple[State, float]:
    """The Monte-Carlo loop and the BGD step: the state with its new mu and sigma, and the samples' mean loss.

    Args:
        images: N, which turns the gradient of the mean loss into that of the summed one.
        gradient: the method's own gradient at a weight sample.
    """
    grad = {k: torch.zeros_like(v) for k, v in state["mu"].items()}
    grad_noise = {k: torch.zeros_like(v) for k, v in state["mu"].items()}
    total = 0.0
    for s in range(config.samples):
        eps = noise(state, s)
        loss, grads = gradient(s, displaced(state, eps))
        total += float(loss)
        for k, g in grads.items():
            g = g * (images / config.samples)
            grad[k] += g
            grad_noise[k] += g * eps[k]
    mu, sigma = update(state["mu"], state["sigma"], grad, grad_noise, config.mean_lr)
    return {**state, "mu": mu, "sigma": sigma}, total / config.samples
