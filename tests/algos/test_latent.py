"""Likelihoods with known answers, in float64: the bound and the importance-sampled estimate of latent models."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from frisket.algos.kinds import NETWORKS
from frisket.algos.networks.latent import LatentNetwork
from frisket.algos.networks.powerprop import Powerprop
from frisket.algos.networks.vae import VAE, VAEConfig
from frisket.errors import SpecError
from frisket.rng import torch_generator
from frisket.types import Params

LATENT, PIXELS = 3, 4


class Linear(LatentNetwork):
    """x = W z + b + s noise, whose marginal is normal: N(b, W W^T + s^2). The posterior is what the test says."""

    latent = LATENT

    def init(self, generator: torch.Generator) -> Params:
        raise NotImplementedError

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        raise NotImplementedError

    def images(self, params: Params, z: Tensor) -> Tensor:
        raise NotImplementedError

    def posterior(self, params: Params, x: Tensor) -> tuple[Tensor, Tensor]:
        mean = (x.flatten(1) - params["b"]) @ params["gain"].T
        return mean, params["log_std"].expand(len(x), LATENT)

    def log_conditional(self, params: Params, x: Tensor, z: Tensor) -> Tensor:
        far = (x.flatten(1) - z @ params["W"].T - params["b"]) / params["s"]
        return -0.5 * far.square().sum(-1) - PIXELS * (params["s"].log() + 0.5 * math.log(2 * math.pi))


def linear(*, exact: bool) -> tuple[Linear, Params, Tensor, Tensor]:
    """A model with orthogonal columns in W, so that its true posterior is diagonal; images; their log p(x). The
    encoder's posterior is the true one, or (not ``exact``) a wider one."""
    generator = torch_generator(0, "linear")
    columns = torch.linalg.qr(torch.randn(PIXELS, LATENT, generator=generator).double())[0]
    scale = torch.tensor([0.5, 1.0, 2.0]).double()
    s = torch.tensor(0.7).double()
    weight, offset = columns * scale, torch.randn(PIXELS, generator=generator).double()
    variance = 1 / (1 + scale**2 / s**2)
    params = {
        "W": weight, "b": offset, "s": s,
        "gain": variance[:, None] * weight.T / s**2,
        "log_std": 0.5 * variance.log() + (0.0 if exact else 0.3),
    }  # fmt: skip
    x = torch.randn(6, PIXELS, 1, 1, generator=generator).double()
    marginal = torch.distributions.MultivariateNormal(offset, weight @ weight.T + s**2 * torch.eye(PIXELS).double())
    return Linear(), params, x, marginal.log_prob(x.flatten(1))


def test_with_the_true_posterior_every_sample_says_the_likelihood() -> None:
    """p(x | z) p(z) / q(z | x) is then p(x), whatever z."""
    network, params, x, exact = linear(exact=True)
    for samples in (1, 7):
        found = network.log_likelihood(params, x, samples=samples, seed=0, key=(1,))
        assert torch.allclose(found, exact, rtol=1e-12, atol=1e-12)


def test_with_another_posterior_the_estimate_comes_near_from_below() -> None:
    network, params, x, exact = linear(exact=False)
    gaps = []
    for samples in (1, 100, 20_000):
        repeats = [network.log_likelihood(params, x, samples=samples, seed=0, key=(k,)) for k in range(8)]
        gaps.append(float((exact - torch.stack(repeats)).mean()))
    assert gaps[0] > 5 * gaps[1] > 0
    assert abs(gaps[2]) < 2e-3


def test_the_bound_misses_by_the_divergence_of_the_posteriors() -> None:
    """E[ELBO] = log p(x) - KL(q || true posterior), the mean over noise taken by many draws."""
    network, params, x, exact = linear(exact=False)
    true = params["log_std"] - 0.3
    divergence = 0.5 * ((2 * (params["log_std"] - true)).exp() - 1).sum() - (params["log_std"] - true).sum()
    noise = torch.randn(4000, 1, LATENT, generator=torch_generator(0, "many")).double()
    bounds = torch.stack([network.elbo(params, x, one.expand(6, -1)) for one in noise]).mean(0)
    assert torch.allclose(bounds, exact - divergence, atol=0.15)
    mean, log_std = network.posterior(params, x)
    q, prior = torch.distributions.Normal(mean, log_std.exp()), torch.distributions.Normal(0.0, 1.0)
    gap = torch.distributions.kl_divergence(q, prior).sum(-1)
    fixed = noise[0].expand(6, -1)
    expected = network.log_conditional(params, x, mean + log_std.exp() * fixed) - gap
    assert torch.allclose(network.elbo(params, x, fixed), expected, rtol=1e-12)


def vae(alpha: float = 1.0, latent: int = 2, *, seed: int = 0, far: float = 0.3) -> tuple[VAE, Params]:
    """A tiny VAE in float64 whose weights are ``far`` from their start, biases too."""
    entry = NETWORKS["vae"]
    config = VAEConfig(latent=latent, encoder=(5,), head=(4,), shared=(6,), powerprop_alpha=alpha)
    network = entry.build(config, in_channels=1, size=3, ways=10)
    generator = torch_generator(seed, "vae")
    drawn = {k: v.double() for k, v in network.init(generator).items()}
    drawn = {k: v + far * torch.randn(v.shape, generator=generator).double() for k, v in drawn.items()}
    plain = network.network if isinstance(network, Powerprop) else network
    assert isinstance(plain, VAE)
    return plain, drawn


def vague(params: Params) -> Params:
    """``params`` with an encoder near the prior: samples of a posterior too narrow leave estimates with long tails."""
    return {k: 0.2 * v if k.startswith("encoder2") else v for k, v in params.items()}


def pixels(count: int = 5) -> Tensor:
    return torch.rand(count, 1, 3, 3, generator=torch_generator(0, "pixels")).double()


def test_a_decoder_that_ignores_z_has_the_likelihood_of_its_biases() -> None:
    """And with q = p(z) every sample says so exactly; with any q, in the limit."""
    network, params = vae()
    params = {**params, "shared2.weight": torch.zeros_like(params["shared2.weight"])}
    p = params["shared2.bias"].sigmoid()
    x = pixels()
    exact = (x.flatten(1) * p.log() + (1 - x.flatten(1)) * (1 - p).log()).sum(-1)
    prior = {k: torch.zeros_like(v) if k.startswith("encoder2") else v for k, v in params.items()}
    assert torch.allclose(network.log_likelihood(prior, x, samples=3, seed=0, key=()), exact, rtol=1e-12)
    assert torch.allclose(network.elbo(prior, x, network.target(x, x, 0)), exact, rtol=1e-12)
    found = network.log_likelihood(vague(params), x, samples=20_000, seed=0, key=())
    assert torch.allclose(found, exact, atol=0.02)
    assert not torch.allclose(found, exact, atol=1e-6)


def test_one_latent_dimension_against_the_integral() -> None:
    """log of the integral of p(x | z) N(z; 0, 1), by the trapezoid rule on a fine grid."""
    network, params = vae(latent=1, far=0.6)
    params, x = vague(params), pixels()
    z = torch.linspace(-9, 9, 4001).double()
    each = network.log_conditional(params, x, z[:, None, None].expand(-1, len(x), 1))
    each = each - 0.5 * z[:, None] ** 2 - 0.5 * math.log(2 * math.pi)
    exact = torch.logsumexp(each, 0) + math.log(18 / 4000)
    found = network.log_likelihood(params, x, samples=40_000, seed=0, key=())
    assert torch.allclose(found, exact, atol=0.02)
    assert float((each.max(0).values - each.min(0).values).min()) > 1  # the decoder does not ignore z


def test_the_conditional_is_the_clipped_one_of_the_released_code() -> None:
    network, params = vae()
    params = {**params, "shared2.weight": 40 * params["shared2.weight"]}
    x, z = pixels(), torch.randn(7, 5, 2, generator=torch_generator(0, "z")).double()
    p = network.decode(params, z).sigmoid()
    assert bool((p < 1e-10).any())
    ones, zeros = p.clamp_min(1e-9).log(), (1 - p).clamp_min(1e-9).log()
    expected = (x.flatten(1) * ones + (1 - x.flatten(1)) * zeros).sum(-1)
    assert torch.allclose(network.log_conditional(params, x, z), expected, atol=2e-6)
    assert not torch.isnan(network.loss(params, x, z[0]))


def test_samples_are_drawn_from_their_key() -> None:
    network, params = vae()
    x = pixels()

    def score(seed: int, *key: int) -> Tensor:
        return network.log_likelihood(params, x, samples=1500, seed=seed, key=key)

    assert torch.equal(score(0, 1), score(0, 1))
    assert not torch.equal(score(0, 1), score(0, 2))
    assert not torch.equal(score(0, 1), score(1, 1))
    assert torch.equal(network.target(x, x, 0, 3), network.target(x, -x, 0, 3))
    assert not torch.equal(network.target(x, x, 0, 3), network.target(x, x, 0, 4))
    with pytest.raises(SpecError, match="samples"):
        network.log_likelihood(params, x, samples=0, seed=0, key=())


def test_sizes_and_parts_are_those_of_the_paper() -> None:
    """Shared decoder 642,000 weights and 1,284 biases; head 276,000; encoder 943,600; biases start at 0."""
    network = VAE(VAEConfig(), in_channels=1, size=28, ways=10)
    params = network.init(torch_generator(0))
    shared = {k: v for k, v in params.items() if k not in network.private}
    assert sum(v.numel() for k, v in shared.items() if k.endswith("weight")) == 642_000
    assert sum(v.numel() for k, v in shared.items() if k.endswith("bias")) == 1284
    assert sum(v.numel() for k, v in params.items() if k.startswith("head")) == 276_000
    assert sum(v.numel() for k, v in params.items() if k.startswith("encoder")) == 943_600
    assert not any(bool(v.any()) for k, v in params.items() if k.endswith("bias"))
    bound = math.sqrt(6 / (784 + 500))
    assert 0.99 * bound < float(params["encoder1.weight"].abs().max()) <= bound
    assert tuple(network(params, torch.rand(2, 1, 28, 28)).shape) == (2, 784)
    assert tuple(network.images(params, torch.zeros(3, 50)).shape) == (3, 1, 28, 28)


def test_powerpropagation_reparametrises_the_shared_decoder_alone() -> None:
    built = NETWORKS["vae"].build(VAEConfig(powerprop_alpha=2.0), in_channels=1, size=28, ways=10)
    assert isinstance(built, Powerprop)
    assert built.kernels == ("shared1.weight", "shared2.weight")
    assert built.generates
    network, params = vae(alpha=2.0)
    wrapped, x = Powerprop(network, 2.0), pixels()
    noise = wrapped.target(x, x, 0)
    effective = wrapped.effective(params)
    assert torch.equal(wrapped.loss(params, x, noise), network.loss(effective.theta, x, noise))
    assert torch.equal(wrapped.probabilities(noise), noise.sigmoid())
    assert set(effective.slopes) == {"shared1.weight", "shared2.weight"}


def test_squared_gradients_are_those_of_single_images() -> None:
    network, params = vae()
    x = pixels(3)
    noise = network.target(x, x, 0)
    found = network.squared_gradients(params, x, noise)
    each = [network.loss_and_gradients(params, x[i : i + 1], noise[i : i + 1])[1] for i in range(3)]
    for k, v in found.items():
        expected = torch.stack([g[k] for g in each]).square().mean(0)
        assert torch.allclose(v, expected, rtol=1e-10, atol=1e-14)
