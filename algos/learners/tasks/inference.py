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

from frisket.algos.inner.loop import gradients, leaves
from frisket.algos.learners.tasks.protecting import ProtectingLearner
from frisket.errors import MaskError
from frisket.types import Params, State

Form = Literal["one_shot", "binary", "exhaustive"]


class Identified(NamedTuple):
    """Attributes: rate: share of the batches whose task was found; accuracy: under the mask that was inferred; oracle:
    under the task's own."""

    rate: float
    accuracy: float
    oracle: float


def infer_task(learner: ProtectingLearner, state: State, x: Tensor, form: Form = "binary") -> int:
    """The number of the ended task that ``x`` [N, C, H, W] comes from, 0 .. T - 1.

    Raises:
        MaskError: no task has ended yet.
    """
    tasks = list(range(len(state["starts"])))
    if not tasks:
        raise MaskError("task", "infer", "no task has ended yet, so there is no mask to choose from")
    if form == "exhaustive":
        return _least_entropy(learner, state, [x])[0]
    mixture = _Mixture(learner, state)
    while len(tasks) > 1:
        slopes = dict(zip(tasks, mixture.slopes(tasks, x), strict=True))
        ranked = sorted(tasks, key=slopes.__getitem__)
        tasks = ranked[:1] if form == "one_shot" else sorted(ranked[: (len(ranked) + 1) // 2])
    return tasks[0]


def identify(
    learner: ProtectingLearner, state: State, sets: Sequence[tuple[Tensor, Tensor]], batch: int, form: Form = "binary"
) -> Identified:
    """How well tasks are found from batches of ``batch`` samples.

    Args:
        sets: ``(x, y)`` of every ended task, in order; what does not fill a batch is left out.
        batch: samples judged together.
        form: see the module.
    """
    found, right, oracle, batches = 0, 0, 0, 0
    for task, (x, y) in enumerate(sets):
        whole = [part[: len(y) // batch * batch].split(batch) for part in (x, y)]
        own = learner.weights(state, task)
        if form == "exhaustive":
            guesses = _least_entropy(learner, state, whole[0])
        else:
            guesses = [infer_task(learner, state, some, form) for some in whole[0]]
        for some, labels, guess in zip(*whole, guesses, strict=True):
            weights = own if guess == task else learner.weights(state, guess)
            answers = learner.network.network(weights, some).argmax(-1)
            right += int((answers == labels).sum())
            oracle += int((learner.network.network(own, some).argmax(-1) == labels).sum())
            found, batches = found + (guess == task), batches + 1
    return Identified(found / batches, right / (batches * batch), oracle / (batches * batch))


def _least_entropy(learner: ProtectingLearner, state: State, batches: Sequence[Tensor]) -> list[int]:
    """For every batch the task under whose mask alone H is the smallest; a task's weights are made once for all."""
    entropies = []
    for task in range(len(state["starts"])):
        weights = learner.weights(state, task)
        entropies.append(torch.stack([_entropy(learner.network.network(weights, x)) for x in batches]))
    return torch.stack(entropies).argmin(0).tolist()


class _Mixture:
    """The tasks' sub-networks in equal parts."""

    def __init__(self, learner: ProtectingLearner, state: State) -> None:
        self.network, self.store = learner.network, learner.store(state)
        self.theta = self.network.effective(state["theta"]).theta
        copies = [{k: v[t] for k, v in state["own"].items()} for t in range(len(self.store))]
        self.own = [self.network.effective(copy).theta for copy in copies]

    def slopes(self, tasks: Sequence[int], x: Tensor) -> list[float]:
        """dH/da_t of ``tasks``, mixed in equal parts, on ``x``."""
        names = self.store.shapes
        shares = {k: torch.zeros_like(self.theta[k]) for k in names}
        for t in tasks:
            for k, mask in self.store.masks(t).items():
                shares[k] += mask
        mixed: Params = {k: self.theta[k] * share / len(tasks) for k, share in shares.items()}
        mixed |= {k: torch.stack([self.own[t][k] for t in tasks]).mean(0) for k in self.own[0]}
        hung = leaves({**self.theta, **mixed})
        with torch.enable_grad():
            grads = gradients(_entropy(self.network.network(hung, x)), hung)
        pulls = {k: grads[k] * self.theta[k] for k in names}
        return [self._slope(t, pulls, grads) for t in tasks]

    def _slope(self, task: int, pulls: Params, grads: Params) -> float:
        masked = sum(float(torch.where(mask, pulls[k], 0).sum()) for k, mask in self.store.masks(task).items())
        return masked + sum(float((grads[k] * v).sum()) for k, v in self.own[task].items())


def _entropy(logits: Tensor) -> Tensor:
    """Mean over the batch of the entropy of the softmax, scalar."""
    logp = logits.log_softmax(-1)
    return -(logp.exp() * logp).sum(-1).mean()
