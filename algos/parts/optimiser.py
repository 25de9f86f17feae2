"""Optimisers as pure functions over named tensors that give a direction and leave the step to the caller.

Most methods take their steps by `frisket.algos.parts.tree.descend` or `frisket.algos.parts.adam`. Where something is
done to an optimiser's step before it is taken (Powerpropagation multiplies it, masks stop it), the method takes the
direction u from here and steps ``params - lr u`` itself:

=============  =========================================  =======================
kind           u                                          state
=============  =========================================  =======================
``sgd``        g                                          nothing
``momentum``   v <- mu v + g;  u = v                      v
``nesterov``   v <- mu v + g;  u = g + mu v               v
``adam``       mean / (sqrt(square) + eps), corrected     as `frisket.algos.parts.adam`
=============  =========================================  =======================
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch

from frisket.algos.masks.select import where
from frisket.algos.parts import adam
from frisket.errors import require
from frisket.types import Params, State


@dataclass(frozen=True, kw_only=True)
class OptimiserConfig:
    """Attributes:
    optimiser: ``sgd``, ``momentum``, ``nesterov`` or ``adam``.
    lr: rate.
    momentum: mu of ``momentum`` and ``nesterov``; the others have no use for it.
    weight_decay: lambda of an L2 term, ``lambda theta`` added to the gradient of everything that moves.
    """

    optimiser: Literal["sgd", "momentum", "nesterov", "adam"] = "adam"
    lr: float = 0.001
    momentum: float = 0.9
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        require(self.lr > 0, "lr", self.lr, "above 0")
        require(0 <= self.momentum < 1, "momentum", self.momentum, "in [0, 1)")
        require(self.weight_decay >= 0, "weight_decay", self.weight_decay, "at least 0")


class Optimiser(ABC):
    """Directions. Args: weight_decay: lambda, applied by `decayed`."""

    def __init__(self, weight_decay: float = 0.0) -> None:
        self.weight_decay = weight_decay

    @abstractmethod
    def init(self, params: Params) -> State:
        """The state before the first step of ``params``."""

    @abstractmethod
    def direction(self, grads: Params, state: State) -> tuple[Params, State]:
        """``(u, state)``; the parameters' step is ``- lr u``."""

    def decayed(self, grads: Params, params: Params) -> Params:
        """``grads`` with the L2 term's gradient added."""
        if not self.weight_decay:
            return grads
        return {k: g.add(params[k], alpha=self.weight_decay) for k, g in grads.items()}


class SGD(Optimiser):
    """u = g."""

    def init(self, params: Params) -> State:
        return {}

    def direction(self, grads: Params, state: State) -> tuple[Params, State]:
        return grads, state


class Momentum(Optimiser):
    """v <- mu v + g, from 0; u = v. Args: momentum: mu."""

    def __init__(self, momentum: float, weight_decay: float = 0.0) -> None:
        super().__init__(weight_decay)
        self.momentum = momentum

    def init(self, params: Params) -> State:
        return {"velocity": {k: torch.zeros_like(v) for k, v in params.items()}}

    def direction(self, grads: Params, state: State) -> tuple[Params, State]:
        velocity = {k: self.momentum * state["velocity"][k] + g for k, g in grads.items()}
        return velocity, {"velocity": velocity}


class Nesterov(Momentum):
    """v as `Momentum`'s; u = g + mu v, which is v of the step after if g stays. Equal to ``torch.optim.SGD`` with
    ``nesterov``."""

    def direction(self, grads: Params, state: State) -> tuple[Params, State]:
        velocity, state = super().direction(grads, state)
        return {k: g + self.momentum * velocity[k] for k, g in grads.items()}, state


class Adam(Optimiser):
    """`frisket.algos.parts.adam`, whose step at the rate -1 is the direction."""

    def init(self, params: Params) -> State:
        return adam.init(params)

    def direction(self, grads: Params, state: State) -> tuple[Params, State]:
        return adam.update(grads, state, -1.0)


class FusedAdam(Adam):
    """`Adam` with epsilon inside one kernel of torch's, equal to it up to rounding; the state's moments are written in
    place. Worth it for many small tensors. Args: epsilon: added to the root of the mean square."""

    def __init__(self, epsilon: float, weight_decay: float = 0.0) -> None:
        super().__init__(weight_decay)
        self.epsilon = epsilon

    def direction(self, grads: Params, state: State) -> tuple[Params, State]:
        directions = {k: torch.zeros_like(g) for k, g in grads.items()}
        # what a step of rate -1 makes of 0
        return directions, self.step(directions, grads, state, -1.0)

    @torch.no_grad()
    def step(self, params: Params, grads: Params, state: State, lr: float) -> State:
        """``- lr u``, of the parameters named in ``grads``, written into ``params``; the state after it."""
        t = state["t"] + 1
        lists = ([of[k] for k in grads] for of in (params, grads, state["mean"], state["square"]))
        torch._fused_adam_(  # pyright: ignore
            *lists, [], [t.float()] * len(grads), beta1=adam.BETA_1, beta2=adam.BETA_2, lr=lr, weight_decay=0.0,
            eps=self.epsilon, amsgrad=False, maximize=False,
        )  # fmt: skip
        return {**state, "t": t}


def within(moved: Params, before: State, after: State) -> State:
    """``after`` where a parameter may move, ``before`` elsewhere: directions, or an optimiser's state.

    Args:
        moved: boolean, by parameter; one that is not here may move, and so may what is kept for all of them.
        before, after: tensors by parameter, of the parameters' shapes, or dicts of them.
    """
    found: State = {}
    for k, v in after.items():
        if isinstance(v, dict):
            found[k] = within(moved, before[k], v)
        else:
            found[k] = where(moved[k], v, before[k]) if k in moved else v
    return found


def build_optimiser(config: OptimiserConfig) -> Optimiser:
    """The optimiser ``config`` names."""
    if config.optimiser in ("momentum", "nesterov"):
        kind = Momentum if config.optimiser == "momentum" else Nesterov
        return kind(config.momentum, config.weight_decay)
    return {"sgd": SGD, "adam": Adam}[config.optimiser](config.weight_decay)
