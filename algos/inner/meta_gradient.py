"""A task's meta-gradient: adapt, be judged, and what that says of theta and m.

The second order needs every inner step's graph, and with K steps that is the memory. Kept at every n-th step alone
(``checkpoint`` n), fast weights take the place of the graphs between: each stretch of n steps is taken again, with its
graph, when the derivative comes back to it, last one first. One pass more, and the memory of K / n weights and n steps
in place of K steps.
"""

from __future__ import annotations

import torch

from frisket.algos.inner.loop import (
    Asking,
    MetaGradient,
    Support,
    adapt_along,
    adapt_first_order,
    first_order_gradient,
    loss_on,
    second_order_gradient,
    total,
    unroll,
    unroll_along,
)
from frisket.algos.inner.modulation import Modulation
from frisket.algos.networks.network import Network, split
from frisket.algos.parts.gradients import gradients, leaves
from frisket.types import Data, Params


def meta_gradient(
    network: Network, modulation: Modulation, theta: Params, m: Params, support: Data, query: Data, *,
    steps: int, order: int, checkpoint: int | None = None
) -> MetaGradient:  # fmt: skip
    """Adapt from theta on ``support``, judge on ``query``: L and its gradients for theta and m.

    Args:
        steps: K inner steps.
        order: 1 or 2, the order of the outer derivative.
        checkpoint: of order 2, keep every this many steps' fast weights and take the steps between again; None to keep
            the graph of all.
    """
    if order == 1:
        adapted = adapt_first_order(network, modulation, theta, m, support, steps)
        return first_order_gradient(network, modulation, theta, m, adapted, query)
    if checkpoint is not None and checkpoint < steps:
        return _by_stretches(network, modulation, theta, m, support, query, steps, checkpoint)
    _, rest = split(network, theta)
    return second_order_gradient(network, unroll(network, modulation, theta, m, support, steps=steps), rest, query)


def _by_stretches(
    network: Network, modulation: Modulation, theta: Params, m: Params, support: Data, query: Data, steps: int,
    every: int,
) -> MetaGradient:  # fmt: skip
    phi, rest = split(network, leaves(theta))
    passes = Support(network, rest, support, steps, features=modulation.features)
    asking = Asking(modulation, m, passes)
    stretches = [range(first, min(first + every, steps)) for first in range(0, steps, every)]
    kept = []
    for stretch in stretches:
        kept.append((phi, passes.statistics))
        phi = adapt_along(passes, phi, asking, stretch).phi
        if modulation.by_step:  # it is asked again as each stretch is
            asking.asked.clear()
    statistics = passes.statistics

    phi, answering = leaves(phi), leaves({**rest, **statistics})
    loss = loss_on(network, answering, query)(phi)
    found = gradients(loss, {**phi, **answering})
    by_phi, by_rest = {k: found[k] for k in phi}, {k: found[k] for k in rest}
    pulled = []
    for stretch, (start, before) in zip(reversed(stretches), reversed(kept), strict=True):
        passes.step, passes.statistics = stretch.start, before
        by_phi, more, carried = _back(
            passes, leaves(start), Asking(modulation, m, passes, asking.asked), stretch, by_phi
        )
        by_rest, pulled = total([by_rest, more]), [*pulled, *carried]
    by_m = total(pulled) if m else {}
    return MetaGradient(loss.detach(), {**by_phi, **by_rest}, by_m, statistics, asking.noted)


def _back(
    passes: Support, start: Params, asking: Asking, stretch: range, by_end: Params
) -> tuple[Params, Params, list[Params]]:
    """The gradient ``by_end`` for the fast weights after ``stretch``, carried to those before, to the weights that do
    not adapt and to m, by every time rates were asked for."""
    end = unroll_along(passes, start, asking, stretch)
    asked = asking.asked if asking.m else []
    groups = [start, passes.rest, *(one.rates for one in asked)]
    inputs = [value for group in groups for value in group.values()]
    found = iter(
        torch.autograd.grad(
            list(end.values()), inputs, [by_end[k] for k in end], allow_unused=True, materialize_grads=True
        )
    )
    by_start, by_rest, *by_rates = [{k: next(found) for k in group} for group in groups]
    carried = [
        asking.modulation.pull_back(asking.m, one.seen, grads) for one, grads in zip(asked, by_rates, strict=True)
    ]
    return by_start, by_rest, carried
