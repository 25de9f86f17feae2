"""Adam as a pure function over named tensors (Kingma and Ba, Algorithm 1), its moments part of a learner's state."""

from __future__ import annotations

import torch

from frisket.types import Params, State

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


def init(params: Params) -> State:
    """Zero moments for ``params`` and a step count of 0."""
    zeros = {k: torch.zeros_like(v) for k, v in params.items()}
    return {"t": torch.zeros((), dtype=torch.int64), "mean": zeros, "square": {k: v.clone() for k, v in zeros.items()}}


@torch.no_grad()
def update(grads: Params, state: State, lr: float) -> tuple[Params, State]:
    """``(delta, state)``: add ``delta`` to the parameters. Equal to ``torch.optim.Adam`` up to rounding."""
    t = state["t"] + 1
    # in place on what is made here: every pass over a large network's numbers counts
    mean = {k: (BETA_1 * state["mean"][k]).add_(g, alpha=1 - BETA_1) for k, g in grads.items()}
    square = {k: (BETA_2 * state["square"][k]).addcmul_(g, g, value=1 - BETA_2) for k, g in grads.items()}
    scale_1 = 1 - torch.pow(BETA_1, t.double())
    scale_2 = 1 - torch.pow(BETA_2, t.double())
    delta = {
        k: (mean[k] / (square[k] / scale_2.to(g.dtype)).sqrt_().add_(EPSILON)).mul_((-lr / scale_1).to(g.dtype))
        for k, g in grads.items()
    }
    return delta, {"t": t, "mean": mean, "square": square}


def step(params: Params, grads: Params, state: State, lr: float) -> tuple[Params, State]:
    """``(params, state)`` after one Adam step of ``params`` along ``-grads``."""
    delta, state = update(grads, state, lr)
    return {k: v + delta[k] for k, v in params.items()}, state
