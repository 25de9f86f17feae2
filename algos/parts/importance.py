"""Penalties that hold weights near what earlier tasks made of them: what EWC, online Laplace and SI share (powerprop
sheet, sections 8 and 9).

All of them learn a later task with

    loss + strength / 2 sum_i A_i (w_i - a_i)^2,        gradient  strength A o (w - a)

and differ in how the precision A and the anchor a change when a task ends at w*, F being its Fisher information:

==================  ===================================  ====================================
`EWCPenalty`        A <- A + F                           a <- a + F / A o (w* - a), A the new
`LaplacePenalty`    A <- A + F                           a <- w*
`SIPenalty`         A <- A + path / ((w* - a)^2 + xi)    a <- w*
==================  ===================================  ====================================

EWC adds one bowl per task, ``F_t (w - w*_t)^2``. Their sum is one bowl again, of precision ``sum F_t`` about the mean
of the w*_t weighted by F_t, up to a constant, so the state does not grow with the tasks.

The model is none of their business: w is any named set of tensors, the loss a classifier's or a VAE's. Under
Powerpropagation w is phi, and so are A and a; the precision of a small weight loses J^2, which leaves it free for later
tasks.

How a learner goes along with one::

    kept = penalty.init(w)                                       before the first task
    grads = loss's gradient;  pull = penalty.gradient(w, kept)   at every step: move by grads + pull
    kept = penalty.after_step(kept, grads, before, after)        grads without the pull
    kept = penalty.task_end(kept, w, fisher)                     after every task
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from frisket.errors import require
from frisket.types import Params, State


class Regulariser(ABC):
    """A quadratic penalty over a named set of weights.

    State: ``precision`` (A) and ``anchor`` (a), by name; a method may add to it.

    Args:
        strength: at least 0.
    """

    def __init__(self, strength: float) -> None:
        require(strength >= 0, "strength", strength, "at least 0")
        self.strength = strength

    def init(self, params: Params) -> State:
        """The state before the first task, of the weights the penalty is to cover: A = 0, a = ``params``."""
        return {"precision": {k: torch.zeros_like(v) for k, v in params.items()}, "anchor": dict(params)}

    def value(self, params: Params, state: State) -> Tensor:
        """The penalty, scalar, up to a term without w; ``params`` may hold more than is covered."""
        terms = [(f * (params[k] - state["anchor"][k]).square()).sum() for k, f in sorted(state["precision"].items())]
        return self.strength / 2 * torch.stack(terms).sum()

    def gradient(self, params: Params, state: State) -> Params:
        """Its gradient, by the names that are covered."""
        anchor = state["anchor"]
        return {k: self.strength * f * (params[k] - anchor[k]) for k, f in state["precision"].items()}

    def after_step(self, state: State, grads: Params, before: Params, after: Params) -> State:
        """The state after a step of the weights.

        Args:
            grads: gradient of the loss without the penalty, at ``before``.
            before, after: the weights before and after the step.
        """
        return state

    @abstractmethod
    def task_end(self, state: State, params: Params, fisher: Callable[[], Params]) -> State:
        """The state once a task has ended.

        Args:
            params: the weights it ended with.
            fisher: gives the task's F at ``params`` (`frisket.algos.networks.fisher`), for those that want it.
        """


class EWCPenalty(Regulariser):
    """Elastic weight consolidation: ``strength / 2 sum_t sum_i F_t,i (w_i - w*_t,i)^2`` over the tasks t that ended."""

    def task_end(self, state: State, params: Params, fisher: Callable[[], Params]) -> State:
        precision, anchor = {}, {}
        for k, f in fisher().items():
            total = state["precision"][k] + f
            # 0 where no task had any use for a weight
            share = f / total.clamp_min(torch.finfo(f.dtype).tiny)
            precision[k], anchor[k] = total, torch.lerp(state["anchor"][k], params[k], share)
        return {"precision": precision, "anchor": anchor}


class LaplacePenalty(Regulariser):
    """Online Laplace (Laplace propagation): the F of all tasks summed, about the latest weights."""

    def task_end(self, state: State, params: Params, fisher: Callable[[], Params]) -> State:
        found = fisher()
        precision = {k: v + found[k] for k, v in state["precision"].items()}
        return {"precision": precision, "anchor": {k: params[k] for k in precision}}


class SIPenalty(Regulariser):
    """Synaptic intelligence: a weight is as important as the loss it brought down on its way, for the way it went.

    ``path`` (omega) of the state sums ``- dloss/dw (w_new - w_old)`` over a task's steps: to first order what each
    weight took off the loss. It is below 0 where a weight's way led upwards, and so may A be, which then drives the
    weight away from its anchor; a ``floor`` of 0 lets it go free instead.

    Args:
        damping: xi, above 0.
        floor: least A, after every task; None for none, as published.
    """

    def __init__(self, strength: float, damping: float = 1e-6, floor: float | None = None) -> None:
        super().__init__(strength)
        require(damping > 0, "damping", damping, "above 0")
        self.damping, self.floor = damping, floor

    def init(self, params: Params) -> State:
        return {**super().init(params), "path": {k: torch.zeros_like(v) for k, v in params.items()}}

    def after_step(self, state: State, grads: Params, before: Params, after: Params) -> State:
        path = {k: v - grads[k] * (after[k] - before[k]) for k, v in state["path"].items()}
        return {**state, "path": path}

    def task_end(self, state: State, params: Params, fisher: Callable[[], Params]) -> State:
        precision, anchor = {}, {k: params[k] for k in state["path"]}
        for k, path in state["path"].items():
            way = (anchor[k] - state["anchor"][k]).square()
            found = state["precision"][k] + path / (way + self.damping)
            precision[k] = found if self.floor is None else found.clamp_min(self.floor)
        return {"precision": precision, "anchor": anchor, "path": {k: torch.zeros_like(v) for k, v in anchor.items()}}
