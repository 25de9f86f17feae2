"""What an optimiser sees of a network under Powerpropagation (PP21, section 3; powerprop sheet, section 3).

* virtual target: the optimiser works on theta and its direction u becomes ``phi <- phi - lr (u o J(phi))``. For plain
  SGD this is SGD on phi.
* naive: the optimiser works on phi. Adam then divides J out again; an ablation.

`frisket.algos.networks.powerprop` says what theta, phi and J are.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from frisket.algos.networks.powerprop import Effective, by_phi
from frisket.algos.parts.optimiser import Optimiser
from frisket.types import Params, State


@torch.no_grad()
def step(
    optimiser: Optimiser, phi: Params, grads: Params, effective: Effective, state: State, *,
    lr: float | Mapping[str, float], naive: bool = False
) -> tuple[Params, State]:  # fmt: skip
    """One step of the parameters named in ``grads``, by virtual target or (``naive``) on phi itself.

    Args:
        optimiser: gives the direction u.
        phi: parameters of a `Powerprop` network, before the step.
        grads: the loss's gradient by theta, of the weights that may move.
        effective: `Powerprop.effective` of ``phi``.
        state: the optimiser's.
        lr: rate, or one for each name in ``grads``.

    Returns:
        ``(phi, state)``: the named parameters after the step, and the optimiser's state.
    """
    theta, slopes = effective
    if naive:
        decayed = optimiser.decayed(grads, theta)
        direction, state = optimiser.direction(by_phi(decayed, slopes), state)
    else:
        direction, state = optimiser.direction(optimiser.decayed(grads, theta), state)
        direction = by_phi(direction, slopes)
    rates = lr if isinstance(lr, Mapping) else dict.fromkeys(grads, lr)
    return {k: phi[k].sub(direction[k], alpha=rates[k]) for k in grads}, state
