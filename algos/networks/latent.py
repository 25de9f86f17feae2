"""Networks that generate: a latent variable model, the bound it is trained by and its likelihood (VCL18; powerprop
sheet, section 9).

    p(z) = N(0, I),     q(z | x) = N(mean(x), diag exp(2 log_std(x))),     z_k = mean + exp(log_std) o eps_k

    ELBO(x)      = log p(x | z_1) - KL(q(z | x) || N(0, I))                   one sample
    log p(x)     ~ log 1/K sum_k p(x | z_k) p(z_k) / q(z_k | x)               K samples from the posterior

The second is a lower bound in the mean too, tight as K grows, and what test images are judged by. Its sum is taken with
its largest term subtracted.

N images, K samples, Z latent dimensions.
"""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import Tensor

from frisket.algos.networks.network import Network
from frisket.errors import require
from frisket.rng import torch_generator
from frisket.types import Params

_ROWS = 5000
"""Latent points decoded at once; the draws depend on it."""


class LatentNetwork(Network):
    """A latent variable model with a diagonal Gaussian posterior. Attributes: latent: Z."""

    latent: int
    generates = True

    @abstractmethod
    def posterior(self, params: Params, x: Tensor) -> tuple[Tensor, Tensor]:
        """``(mean, log_std)`` of q(z | x), each [N, Z], for images ``x`` [N, C, H, W]."""

    @abstractmethod
    def log_conditional(self, params: Params, x: Tensor, z: Tensor) -> Tensor:
        """log p(x | z), [..., N], of images ``x`` [N, C, H, W] under latent points ``z`` [..., N, Z]."""

    @abstractmethod
    def images(self, params: Params, z: Tensor) -> Tensor:
        """The mean of p(x | z), [N, C, H, W], for ``z`` [N, Z]."""

    def target(self, x: Tensor, y: Tensor, seed: int, *key: str | int) -> Tensor:
        """The noise eps [N, Z] of the bound; labels count for nothing."""
        noise = torch.randn(len(x), self.latent, generator=torch_generator(seed, "latent", *key))
        return noise.to(x)

    def elbo(self, params: Params, x: Tensor, noise: Tensor) -> Tensor:
        """The bound of every image, [N], with ``noise`` eps [N, Z]."""
        mean, log_std = self.posterior(params, x)
        std = log_std.exp()
        divergence = 0.5 * (mean**2 + std**2 - 1).sum(-1) - log_std.sum(-1)
        return self.log_conditional(params, x, mean + std * noise) - divergence

    def loss(self, params: Params, x: Tensor, y: Tensor) -> Tensor:
        """Minus the mean bound; ``y``: noise, as `target` draws it."""
        return -self.elbo(params, x, y).mean()

    @torch.no_grad()
    def log_likelihood(
        self, params: Params, x: Tensor, *, samples: int, seed: int, key: tuple[str | int, ...]
    ) -> Tensor:
        """The importance-sampled log p(x), [N] float64, of images ``x`` [N, C, H, W].

        Args:
            samples: K.
            seed, key: what the posterior samples are drawn from, together with their place among the K.
        """
        require(samples >= 1, "samples", samples, "at least 1")
        mean, log_std = self.posterior(params, x)
        std, at_once = log_std.exp(), max(_ROWS // len(x), 1)
        weights = []
        for first in range(0, samples, at_once):
            size = (min(at_once, samples - first), len(x), self.latent)
            noise = torch.randn(size, generator=torch_generator(seed, "importance", *key, first)).to(mean)
            z = mean + std * noise
            # log p(z) - log q(z | x): the constants cancel
            ratio = 0.5 * (noise**2 - z**2).sum(-1) + log_std.sum(-1)
            weights.append((self.log_conditional(params, x, z) + ratio).double())
        return torch.logsumexp(torch.cat(weights), 0) - math.log(samples)
