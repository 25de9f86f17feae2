"""Powerpropagation: weights that move the more, the larger they are (PP21; powerprop sheet, sections 2 and 3).

A reparametrised network stores phi and computes with

    theta = psi(phi) = phi |phi|^(alpha-1),     J(phi) = dtheta/dphi = alpha |phi|^(alpha-1),     alpha >= 1

in every linear and convolution weight; biases and batch norm are what they were. 0 is a critical point of psi for
alpha > 1, so training spreads weights apart and more of them can be pruned. phi starts as ``sign(theta)
|theta|^(1/alpha)`` of the network's own start theta, so the first function does not depend on alpha.

J is written out, never left to automatic differentiation: that of ``phi * |phi|**(alpha-1)`` is NaN at phi = 0 for
1 < alpha < 2, and pruned networks are full of zeros. Where a second derivative is asked for, abs(phi) counts as at
least 1e-12 in it, because it has no bound near 0 for alpha < 2.

What an optimiser may see of this is told in `frisket.algos.parts.virtual_target`.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from frisket.algos.masks.select import cleared
from frisket.algos.networks.network import Network, NetworkConfig
from frisket.types import Params

_NEAREST = 1e-12


class _Psi(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, phi: Tensor, alpha: float) -> Tensor:
        ctx.save_for_backward(phi)
        ctx.alpha = alpha
        return phi * phi.abs().pow(alpha - 1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0] * slope(ctx.saved_tensors[0], ctx.alpha), None


class _Slope(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, phi: Tensor, alpha: float) -> Tensor:
        ctx.save_for_backward(phi)
        ctx.alpha = alpha
        return phi.abs().pow(alpha - 1) * alpha

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (phi,), alpha = ctx.saved_tensors, ctx.alpha
        bend = alpha * (alpha - 1) * phi.abs().clamp_min(_NEAREST).pow(alpha - 2) * phi.sign()
        return grads[0] * bend, None


def psi(phi: Tensor, alpha: float) -> Tensor:
    """``phi |phi|^(alpha-1)``, with J as its derivative; any shape."""
    return phi if alpha == 1 else _apply(_Psi, phi, alpha)


def slope(phi: Tensor, alpha: float) -> Tensor:
    """J(phi) = ``alpha |phi|^(alpha-1)``; 0 at phi = 0 for alpha > 1."""
    return torch.ones_like(phi) if alpha == 1 else _apply(_Slope, phi, alpha)


def psi_inverse(theta: Tensor, alpha: float) -> Tensor:
    """The phi of a weight theta, ``sign(theta) |theta|^(1/alpha)``."""
    return theta if alpha == 1 else theta.sign() * theta.abs().pow(1 / alpha)


class Effective(NamedTuple):
    """Attributes: theta: the weights computed with, all of them; slopes: J of those that are reparametrised."""

    theta: Params
    slopes: Params


class Powerprop(Network):
    """``network`` with every linear and convolution weight reparametrised that tasks share; its parameters are phi.

    Args:
        network: what computes with theta.
        alpha: the power; at 1 every number is that of ``network``, bit for bit.

    Raises:
        SpecError: alpha is below 1.
    """

    def __init__(self, network: Network, alpha: float) -> None:
        NetworkConfig(powerprop_alpha=alpha)
        self.network, self.alpha = network, alpha
        self.adaptable, self.head, self.own = network.adaptable, network.head, network.own
        self.private, self.generates, self.normalised = network.private, network.generates, network.normalised
        self.norm, self.running, self.least_steps = network.norm, network.running, network.least_steps
        self.pooled = network.pooled

    @cached_property
    def kernels(self) -> tuple[str, ...]:
        """Names of the linear and convolution weights that tasks share."""
        start = self.network.init(torch.Generator())
        return tuple(k for k, v in start.items() if v.dim() > 1 and k not in self.private)

    def init(self, generator: torch.Generator) -> Params:
        theta = self.network.init(generator)
        return {k: psi_inverse(v, self.alpha) if k in self.kernels else v for k, v in theta.items()}

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        return self.network(self._theta(params), x)

    def target(self, x: Tensor, y: Tensor, seed: int, *key: str | int) -> Tensor:
        return self.network.target(x, y, seed, *key)

    def probabilities(self, outputs: Tensor) -> Tensor:
        return self.network.probabilities(outputs)

    def loss(self, params: Params, x: Tensor, y: Tensor) -> Tensor:
        return self.network.loss(self._theta(params), x, y)

    def support_loss(self, params: Params, x: Tensor, y: Tensor, step: int) -> tuple[Tensor, Params]:
        return self.network.support_loss(self._theta(params), x, y, step)

    def support_loss_and_features(
        self, params: Params, x: Tensor, y: Tensor, step: int
    ) -> tuple[Tensor, Params, Tensor]:
        return self.network.support_loss_and_features(self._theta(params), x, y, step)

    def layer_of(self, name: str) -> str:
        return self.network.layer_of(name)

    def loss_and_gradients(self, params: Params, x: Tensor, y: Tensor) -> tuple[Tensor, Params]:
        """As `Network.loss_and_gradients`, by phi."""
        with torch.no_grad():
            theta, slopes = self.effective(params)
        loss, grads = self.network.loss_and_gradients(theta, x, y)
        return loss, by_phi(grads, slopes)

    def squared_gradients(self, params: Params, x: Tensor, y: Tensor) -> Params:
        """As `Network.squared_gradients`, by phi: F_phi = J^2 o F_theta."""
        with torch.no_grad():
            theta, slopes = self.effective(params)
        return by_phi(by_phi(self.network.squared_gradients(theta, x, y), slopes), slopes)

    def effective(self, params: Params) -> Effective:
        """theta and J together, at the price of one power; without a graph. ``slopes`` is empty at alpha = 1."""
        if self.alpha == 1:
            return Effective(params, {})
        powers = {k: params[k].abs().pow_(self.alpha - 1) for k in self.kernels if k in params}
        theta = {k: v * powers[k] if k in powers else v for k, v in params.items()}
        return Effective(theta, {k: p.mul_(self.alpha) for k, p in powers.items()})

    def _theta(self, params: Params) -> Params:
        return {k: psi(v, self.alpha) if k in self.kernels else v for k, v in params.items()}


def as_powerprop(network: Network) -> Powerprop:
    """``network`` as a `Powerprop`: itself if it is one, else with alpha = 1."""
    return network if isinstance(network, Powerprop) else Powerprop(network, 1)


def masked(theta: Params, masks: Params) -> Params:
    """``theta`` with the entries that ``masks`` close at 0; tensors without a mask as they are."""
    return {k: cleared(masks[k], v) if k in masks else v for k, v in theta.items()}


def by_phi(grads: Params, slopes: Params) -> Params:
    """Gradients (or directions) by theta as those by phi: times J."""
    return {k: g * slopes[k] if k in slopes else g for k, g in grads.items()}


def by_theta(grads: Params, slopes: Params) -> Params:
    """Gradients by phi as those by theta: over J, so that what is written in phi (a penalty) can go to an optimiser
    that works on theta. J counts as at least 1e-12; a weight at 0 does not move whatever is said of it."""
    return {k: g / slopes[k].clamp_min(_NEAREST) if k in slopes else g for k, g in grads.items()}


def _apply(function: type[torch.autograd.Function], phi: Tensor, alpha: float) -> Tensor:
    result = function.apply(phi, alpha)
    assert isinstance(result, Tensor)
    return result
