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

from frisket.algos.inner.modulation import Modulation, Seen
from frisket.algos.networks.network import Network, split
from frisket.algos.parts.gradients import gradients, leaves
from frisket.errors import SpecError
from frisket.types import Data, Params

Loss = Callable[[Params], Tensor]


class Noted(NamedTuple):
    """What became known of an adaptation as its modulation was asked.

    Attributes:
        measured: what it told of itself (`Modulation.answer`), tensors of the weights' type.
        opened: of one that decides `by_task`, whether s was not 0 at every step, of the shapes of s.
    """

    measured: Params
    opened: Params


class Adapted(NamedTuple):
    """Attributes: phi: fast weights after K steps; grad_sum: G; first_loss: the loss before the first step, scalar;
    trail: what the modulation was asked with, and the sum of the gradients its answer was for, each time; last: the
    gradient at the last step; noted: what else became known; statistics: the network's running ones after K steps, {}
    where it has none or what was adapted to does not tell."""

    phi: Params
    grad_sum: Params
    first_loss: Tensor
    trail: tuple[tuple[Seen, Params], ...] = ()
    last: Mapping[str, Tensor] = MappingProxyType({})
    noted: Noted = Noted({}, {})
    statistics: Mapping[str, Tensor] = MappingProxyType({})

    def weights(self, theta: Params) -> Params:
        """All weights after the adaptation from ``theta``: what queries are answered with."""
        return {**theta, **self.phi, **self.statistics}


class Asked(NamedTuple):
    """Attributes: seen: what a modulation was asked with; rates: its answer, leaves where m is learned."""

    seen: Seen
    rates: Params


class Asking:
    """Asks ``modulation`` for its rates once a step's gradient is known: at every inner step where it goes `by_step`,
    else at step 0 alone.

    Args:
        modulation, m: what is asked.
        passes: those whose features it is shown, where it has to be.
        asked: what it was asked for before.

    Attributes:
        asked: what it was asked for so far.
        noted: what became known since it was made.
    """

    def __init__(
        self, modulation: Modulation, m: Params, passes: Support | None = None, asked: Sequence[Asked] = ()
    ) -> None:
        self.modulation, self.m, self.passes, self.asked = modulation, m, passes, list(asked)
        self.noted = Noted({}, {})

    @torch.no_grad()
    def __call__(self, phi: Params, step: int, grads: Params) -> Params:
        if self.modulation.by_step or not self.asked:
            features = None if self.passes is None else self.passes.features
            seen = self.modulation.looked(Seen(_detached(phi), step, _detached(grads), features))
            rates, measured = self.modulation.answer(self.m, seen, self.noted.measured)
            self._note(measured, rates)
            self.asked.append(Asked(seen, leaves(rates) if self.m else rates))
        return self.asked[-1].rates

    def _note(self, measured: Params, rates: Params) -> None:
        opened = self.noted.opened
        if self.modulation.by_task:
            now = {k: rate != 0 for k, rate in rates.items()}
            opened = {k: v | opened[k] for k, v in now.items()} if opened else now
        self.noted = Noted(measured, opened)


class Unrolled(NamedTuple):
    """An adaptation with its graph. Attributes: modulation, m: what made the rates; theta: the leaves it hangs on,
    beside those in ``asked``; phi: fast weights after K steps; noted: what else became known; statistics: the network's
    running ones after them."""

    modulation: Modulation
    m: Params
    theta: Params
    asked: tuple[Asked, ...]
    phi: Params
    noted: Noted
    statistics: Mapping[str, Tensor]


class MetaGradient(NamedTuple):
    """Attributes: loss: L(phi_K, D'), scalar; theta: dL/dtheta, all weights; m: dL/dm; statistics: the network's
    running ones, which L went by; noted: what became known of the adaptation; last: in first order, the inner loss's
    gradient at the last step."""

    loss: Tensor
    theta: Params
    m: Params
    statistics: Mapping[str, Tensor]
    noted: Noted
    last: Mapping[str, Tensor] = MappingProxyType({})


class Support:
    """The loss of an adaptation's passes over ``data``, as a function of the adaptable weights: each call is the next
    inner step's. The other weights are held at ``rest``.

    Attributes:
        statistics: the network's running ones, as the passes so far have left them.
        features: those of the last pass (`Network.pooled`), without a graph; None unless they were asked for.

    Raises:
        SpecError: the network needs more inner steps.
    """

    def __init__(self, network: Network, rest: Params, data: Data, steps: int, *, features: bool = False) -> None:
        if steps < network.least_steps:
            fix = f"must be at most the {steps} inner steps"
            raise SpecError("network.norm_steps", network.least_steps, fix)
        self.network, self.rest, self.data, self.step = network, rest, data, 0
        self.statistics = {name: rest[name].detach() for name in network.running}
        self.features: Tensor | None = None
        self._pass = self._with_features if features else network.support_loss

    def __call__(self, phi: Params) -> Tensor:
        params = {**self.rest, **self.statistics, **phi}
        loss, self.statistics = self._pass(params, self.data.x, self.data.y, self.step)
        self.step += 1
        return loss

    def _with_features(self, params: Params, x: Tensor, y: Tensor, step: int) -> tuple[Tensor, Params]:
        loss, statistics, self.features = self.network.support_loss_and_features(params, x, y, step)
        return loss, statistics


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
    phi, total, grads, first = start, {}, {}, torch.zeros(())
    for step in steps:
        phi = leaves(phi)
        value = loss(phi)
        grads = gradients(value, phi)
        rates = asking(phi, step, grads)
        with torch.no_grad():
            phi = {name: phi[name] - rates[name] * g for name, g in grads.items()}
            total = {name: total[name] + g for name, g in grads.items()} if total else grads
        first = value.detach() if step == steps.start else first
    sums = [one.seen.grads for one in asking.asked] if asking.modulation.by_step else [total]
    trail = tuple((one.seen, dict(each)) for one, each in zip(asking.asked, sums, strict=True))
    return Adapted(phi, total, first, trail, grads, asking.noted)


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
        return MetaGradient(loss.detach(), theta_grads, {}, adapted.statistics, adapted.noted, adapted.last)
    trail = adapted.trail or ((Seen(adapted.phi), adapted.grad_sum),)
    pulled = [modulation.pull_back(m, seen, {k: -grads[k] * g for k, g in inner.items()}) for seen, inner in trail]
    return MetaGradient(loss.detach(), theta_grads, total(pulled), adapted.statistics, adapted.noted, adapted.last)


def unroll_along(loss: Loss, phi: Params, asking: Asking, steps: range) -> Params:
    """The inner ``steps``, or a stretch of them, from ``phi``: the fast weights after them, whose graph they keep."""
    for step in steps:
        found = torch.autograd.grad(loss(phi), list(phi.values()), create_graph=True)
        grads = dict(zip(phi, found, strict=True))
        rates = asking(phi, step, grads)
        phi = {name: p - rates[name] * grads[name] for name, p in phi.items()}
    return phi


def unroll(
    network: Network, modulation: Modulation, theta: Params, m: Params, support: Data, *, steps: int,
    penalty: Loss | None = None
) -> Unrolled:  # fmt: skip
    """Adapt theta_A on ``support`` with the graph kept; ``penalty`` of phi is added to the inner loss."""
    theta = leaves(theta)
    phi, rest = split(network, theta)
    passes = Support(network, rest, support, steps, features=modulation.features)
    asking = Asking(modulation, m, passes)
    phi = unroll_along(penalised(passes, penalty), phi, asking, range(steps))
    return Unrolled(modulation, m, theta, tuple(asking.asked), phi, asking.noted, passes.statistics)


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
        unrolled.modulation.pull_back(unrolled.m, asked.seen, one)
        for asked, one in zip(unrolled.asked, rate_grads, strict=False)
    ]
    theta = {k: g + direct[k] if k in direct else g for k, g in theta.items()}
    return MetaGradient(loss.detach(), theta, total(pulled) if pulled else {}, unrolled.statistics, unrolled.noted)


def adapt_first_order(
    network: Network, modulation: Modulation, theta: Params, m: Params, support: Data, steps: int,
    penalty: Loss | None = None
) -> Adapted:  # fmt: skip
    """Adapt theta_A on ``support`` at the present rates; ``penalty`` of phi is added to the inner loss."""
    start, rest = split(network, theta)
    passes = Support(network, rest, support, steps, features=modulation.features)
    adapted = adapt_along(penalised(passes, penalty), start, Asking(modulation, m, passes), range(steps))
    return adapted._replace(statistics=passes.statistics)


def _detached(params: Params) -> Params:
    return {k: v.detach() for k, v in params.items()}
