"""Which of the tasks behind a store of masks a batch comes from, when nobody says (powerprop sheet, section 11).

The paper's own algorithm is not published; this is that of SUPSUP20. The network computes with a mixture of the tasks'
sub-networks,

    W(a) = psi(phi) o sum_t a_t F_t,     H(a) = mean entropy of the softmax over the batch under W(a)

and the task whose share a_t would lower H the fastest is the answer. One backward pass gives G = dH/dW, and from it
``dH/da_t = <G, psi(phi) o F_t>`` for all tasks. What is kept for each task (biases, output layers) is mixed with the
same a.

============== ============================================================================================
form           answer
============== ============================================================================================
``one_shot``   the most negative dH/da_t at a = 1/T
``binary``     ceil(log2 T) rounds: the half with the most negative dH/da_t stays, mixed in equal parts
``exhaustive`` the smallest H under a single mask; T forward passes
============== ============================================================================================

A batch is taken to come from one task.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from frisket.algos.masks.select import cleared, ones
from frisket.algos.parts.gradients import gradients, leaves
from frisket.algos.parts.kept_tasks import KeptTasks
from frisket.errors import MaskError
from frisket.types import Params

Form = Literal["one_shot", "binary", "exhaustive"]


class Identified(NamedTuple):
    """Attributes: rate: share of the batches whose task was found; accuracy: under the mask that was inferred; oracle:
    under the task's own."""

    rate: float
    accuracy: float
    oracle: float


def infer_task(tasks: KeptTasks, x: Tensor, form: Form = "binary") -> int:
    """The number of the ended task that ``x`` [N, C, H, W] comes from, 0 .. T - 1.

    Raises:
        MaskError: no task has ended yet.
    """
    if not len(tasks):
        raise MaskError("task", "infer", "no task has ended yet, so there is no mask to choose from")
    if form == "exhaustive":
        return _least_entropy(tasks, [x])[0]
    mixture, left = _Mixture(tasks), list(range(len(tasks)))
    while len(left) > 1:
        slopes = dict(zip(left, mixture.slopes(left, x), strict=True))
        ranked = sorted(left, key=slopes.__getitem__)
        left = ranked[:1] if form == "one_shot" else sorted(ranked[: (len(ranked) + 1) // 2])
    return left[0]


def identify(tasks: KeptTasks, sets: Sequence[tuple[Tensor, Tensor]], batch: int, form: Form = "binary") -> Identified:
    """How well tasks are found from batches of ``batch`` samples.

    Args:
        tasks: those that have ended.
        sets: ``(x, y)`` of every one of them, in order; what does not fill a batch is left out.
        batch: samples judged together.
        form: see the module.
    """
    found, right, oracle, batches = 0, 0, 0, 0
    for task, (x, y) in enumerate(sets):
        whole = [part[: len(y) // batch * batch].split(batch) for part in (x, y)]
        own = tasks.weights(task)
        if form == "exhaustive":
            guesses = _least_entropy(tasks, whole[0])
        else:
            guesses = [infer_task(tasks, some, form) for some in whole[0]]
        for some, labels, guess in zip(*whole, guesses, strict=True):
            weights = own if guess == task else tasks.weights(guess)
            answers = tasks.network(weights, some).argmax(-1)
            right += int((answers == labels).sum())
            oracle += int((tasks.network(own, some).argmax(-1) == labels).sum())
            found, batches = found + (guess == task), batches + 1
    return Identified(found / batches, right / (batches * batch), oracle / (batches * batch))


def _least_entropy(tasks: KeptTasks, batches: Sequence[Tensor]) -> list[int]:
    """For every batch the task under whose mask alone H is the smallest; a task's weights are made once for all."""
    entropies = []
    for task in range(len(tasks)):
        weights = tasks.weights(task)
        entropies.append(torch.stack([_entropy(tasks.network(weights, x)) for x in batches]))
    return torch.stack(entropies).argmin(0).tolist()


class _Mixture:
    """The tasks' sub-networks in equal parts."""

    def __init__(self, kept: KeptTasks) -> None:
        self.kept = kept
        self.own = [kept.own(t) for t in range(len(kept))]

    def slopes(self, tasks: Sequence[int], x: Tensor) -> list[float]:
        """dH/da_t of ``tasks``, mixed in equal parts, on ``x``."""
        theta, store = self.kept.theta, self.kept.store
        shares = {k: torch.zeros_like(theta[k]) for k in store.shapes}
        for t in tasks:
            for k, mask in store.masks(t).items():
                shares[k] += ones(mask, theta[k].dtype)
        mixed: Params = {k: theta[k] * share / len(tasks) for k, share in shares.items()}
        mixed |= {k: torch.stack([self.own[t][k] for t in tasks]).mean(0) for k in self.own[0]}
        hung = leaves({**theta, **mixed})
        with torch.enable_grad():
            grads = gradients(_entropy(self.kept.network(hung, x)), hung)
        pulls = {k: grads[k] * theta[k] for k in store.shapes}
        return [self._slope(t, pulls, grads) for t in tasks]

    def _slope(self, task: int, pulls: Params, grads: Params) -> float:
        masked = sum(float(cleared(mask, pulls[k]).sum()) for k, mask in self.kept.store.masks(task).items())
        return masked + sum(float((grads[k] * v).sum()) for k, v in self.own[task].items())


def _entropy(logits: Tensor) -> Tensor:
    """Mean over the batch of the entropy of the softmax, scalar."""
    logp = logits.log_softmax(-1)
    return -(logp.exp() * logp).sum(-1).mean()
