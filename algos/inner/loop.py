"""The inner loop and the gradient of what comes after it with respect to what came before.

One inner step is ``phi <- phi - s o grad_phi L(phi, D)`` (osaka spec, section 4), repeated K times from theta_A or from
the current phi. Two outer derivatives are offered:

* first order: the inner gradients count as constants. With ``g_out = grad L(phi_K, D')`` and ``G = sum_k grad L(phi_k,
  D)``, ``dL/dtheta_A = g_out`` and ``dL/ds = -g_out o G``.
* second order: automatic differentiation through the K steps.

Either way the modulation carries dL/ds on to its meta-parameters m. Where s differs from step to step, each step has
its own dL/ds_k, ``-g_out o grad L(phi_k, D)`` in first order, and dL/dm is the sum of what they carry.

Where the network has running statistics (`frisket.algos.networks.norm_policy`), the passes over D move them, and D' is
judged by what they have become. They count as constants in every derivative: dL/dtheta is 0 for them, and a learner
puts what the adaptations made of them in their place.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from frisket.algos.inner.modulation import Modulation
from frisket.algos.networks.network import Network, split
from frisket.algos.parts.gradients import gradients, leaves
from frisket.errors import SpecError
from frisket.types import Data, Params

Loss = Callable[[Params], Tensor]


class Adapted(NamedTuple):
    """Attributes: phi: fast weights after K steps; grad_sum: G; first_loss: the loss before the first step, scalar;
    trail: of a modulation that goes `by_step` the fast weights and their gradient at every step, else empty;
    statistics: the network's running ones after K steps, {} where it has none or what was adapted to does not tell."""

    phi: Params
    grad_sum: Params
    first_loss: Tensor
    trail: tuple[tuple[Params, Params], ...] = ()
    statistics: Mapping[str, Tensor] = MappingProxyType({})

    def weights(self, theta: Params) -> Params:
        """All weights after the adaptation from ``theta``: what queries are answered with."""
        return {**theta, **self.phi, **self.statistics}


class Asked(NamedTuple):
    """Rates a modulation was asked for. Attributes: phi, step: when; rates: the answer, leaves where m is learned."""

    phi: Params
    step: int
    rates: Params


class Asking:
    """Asks ``modulation`` for its rates: at every inner step where it goes `by_step`, else at step 0 alone.

    Attributes:
        asked: what it was asked for so far.
    """

    def __init__(self, modulation: Modulation, m: Params, asked: Sequence[Asked] = ()) -> None:
        self.modulation, self.m, self.asked = modulation, m, list(asked)

    def __call__(self, phi: Params, step: int) -> Params:
        if self.modulation.by_step or not self.asked:
            with torch.no_grad():
                rates = self.modulation.rates(self.m, phi, step)
            self.asked.append(Asked(phi, step, leaves(rates) if self.m else rates))
        return self.asked[-1].rates


class Unrolled(NamedTuple):
    """An adaptation with its graph. Attributes: modulation, m: what made the rates; theta: the leaves it hangs on,
    beside those in ``asked``; phi: fast weights after K steps; statistics: the network's running ones after them."""

    modulation: Modulation
    m: Params
    theta: Params
    asked: tuple[Asked, ...]
    phi: Params
    statistics: Mapping[str, Tensor]


class MetaGradient(NamedTuple):
    """Attributes: loss: L(phi_K, D'), scalar; theta: dL/dtheta, all weights; m: dL/dm; statistics: the network's
    running ones, which L went by."""

    loss: Tensor
    theta: Params
    m: Params
    statistics: Mapping[str, Tensor]


class Support:
    """The loss of an adaptation's passes over ``data``, as a function of the adaptable weights: each call is the next
    inner step's. The other weights are held at ``rest``.

    Attributes:
        statistics: the network's running ones, as the passes so far have left them.

    Raises:
        SpecError: the network needs more inner steps.
    """

    def __init__(self, network: Network, rest: Params, data: Data, steps: int) -> None:
        if steps < network.least_steps:
            fix = f"must be at most the {steps} inner steps"
            raise SpecError("network.norm_steps", network.least_steps, fix)
        self.network, self.rest, self.data, self.step = network, rest, data, 0
        self.statistics = {name: rest[name].detach() for name in network.running}

    def __call__(self, phi: Params) -> Tensor:
        params = {**self.rest, **self.statistics, **phi}
        loss, self.statistics = self.network.support_loss(params, self.data.x, self.data.y, self.step)
        self.step += 1
        return loss


def loss_on(network: Network, rest: Params, data: Data) -> Loss:
    """The network's loss on ``data`` as a function of the adaptable weights, the others held at ``rest``."""
    return lambda phi: network.loss({**rest, **phi}, data.x, data.y)


def penalised(loss: Loss, penalty: Loss | None) -> Loss:
    """``loss + penalty``, or ``loss`` alone."""
    return loss if penalty is None else lambda phi: loss(phi) + penalty(phi)


def total(parts: Sequence[Mapping[str, Tensor]]) -> Params:
    """Elementwise sum of several gradients (or statistics) over the same weights."""
    return {k: functools.reduce(torch.add, [part[k] for part in parts]) for k in parts[0]}


def adapt(loss: Loss, start: Params, modulation: Modulation, m: Params, steps: int) -> Adapted:
    """K = ``steps`` inner steps without a graph: ``phi <- phi - s o grad loss(phi)``."""
    return adapt_along(loss, start, Asking(modulation, m), range(steps))


def adapt_along(loss: Loss, start: Params, asking: Asking, steps: range) -> Adapted:
    """The inner ``steps``, or a stretch of them, from ``start``, without a graph."""
    phi, total, first, trail = start, {}, torch.zeros(()), []
    for step in steps:
        rates = asking(phi, step)
        phi = leaves(phi)
        value = loss(phi)
        grads = gradients(value, phi)
        if asking.modulation.by_step:
            trail.append((phi, grads))
        with torch.no_grad():
            phi = {name: phi[name] - rates[name] * g for name, g in grads.items()}
            total = {name: total[name] + g for name, g in grads.items()} if total else grads
        first = value.detach() if step == steps.start else first
    return Adapted(phi, total, first, tuple(trail))


def first_order_gradient(
    network: Network, modulation: Modulation, theta: Params, m: Params, adapted: Adapted, query: Data
) -> MetaGradient:
    """The first-order meta-gradient at fast weights already ``adapted``; batch norm is read from ``theta``.

    An ``adapted.grad_sum`` of ``{}`` will do where ``m`` is empty: there is no rate to learn.
    """
    _, rest = split(network, theta)
    phi, rest = leaves(adapted.phi), leaves({**rest, **adapted.statistics})
    loss = loss_on(network, rest, query)(phi)
    grads = gradients(loss, {**phi, **rest})
    theta_grads = {k: grads[k] for k in theta}
    if not m:
        return MetaGradient(loss.detach(), theta_grads, {}, adapted.statistics)
    steps = adapted.trail or ((adapted.phi, adapted.grad_sum),)
    pulled = [
        modulation.pull_back(m, at, step, {k: -grads[k] * g for k, g in inner.items()})
        for step, (at, inner) in enumerate(steps)
    ]
    return MetaGradient(loss.detach(), theta_grads, total(pulled), adapted.statistics)


def unroll_along(loss: Loss, phi: Params, asking: Asking, steps: range) -> Params:
    """The inner ``steps``, or a stretch of them, from ``phi``: the fast weights after them, whose graph they keep."""
    for step in steps:
        rates = asking(phi, step)
        grads = torch.autograd.grad(loss(phi), list(phi.values()), create_graph=True)
        phi = {name: p - rates[name] * g for (name, p), g in zip(phi.items(), grads, strict=True)}
    return phi


def unroll(
    network: Network, modulation: Modulation, theta: Params, m: Params, support: Data, *, steps: int,
    penalty: Loss | None = None
) -> Unrolled:  # fmt: skip
    """Adapt theta_A on ``support`` with the graph kept; ``penalty`` of phi is added to the inner loss."""
    theta = leaves(theta)
    phi, rest = split(network, theta)
    passes, asking = Support(network, rest, support, steps), Asking(modulation, m)
    phi = unroll_along(penalised(passes, penalty), phi, asking, range(steps))
    return Unrolled(modulation, m, theta, tuple(asking.asked), phi, passes.statistics)


def second_order_gradient(network: Network, unrolled: Unrolled, rest: Params, query: Data) -> MetaGradient:
    """The meta-gradient through ``unrolled``, judged on ``query`` with the not adapted weights ``rest``.

    ``rest`` need not be the ones the adaptation saw (a stream's outer step may lie between): what reaches them directly
    is added to what reaches theirs through the inner steps. The graph is kept, so several queries can share it.
    """
    rest = leaves({**rest, **unrolled.statistics})
    loss = loss_on(network, rest, query)(unrolled.phi)
    learned = [asked.rates for asked in unrolled.asked] if unrolled.m else []
    groups = (unrolled.theta, rest, *learned)
    inputs = [value for group in groups for value in group.values()]
    grads = iter(torch.autograd.grad(loss, inputs, retain_graph=True, materialize_grads=True))
    theta, direct, *rate_grads = [{k: next(grads) for k in group} for group in groups]
    pulled = [
        unrolled.modulation.pull_back(unrolled.m, asked.phi, asked.step, one)
        for asked, one in zip(unrolled.asked, rate_grads, strict=False)
    ]
    theta = {k: g + direct[k] if k in direct else g for k, g in theta.items()}
    return MetaGradient(loss.detach(), theta, total(pulled) if pulled else {}, unrolled.statistics)


def adapt_first_order(
    network: Network, modulation: Modulation, theta: Params, m: Params, support: Data, steps: int,
    penalty: Loss | None = None
) -> Adapted:  # fmt: skip
    """Adapt theta_A on ``support`` at the present rates; ``penalty`` of phi is added to the inner loss."""
    start, rest = split(network, theta)
    passes = Support(network, rest, support, steps)
    adapted = adapt(penalised(passes, penalty), start, modulation, m, steps)
    return adapted._replace(statistics=passes.statistics)
