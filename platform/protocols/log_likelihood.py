"""What generative models of a sequence of tasks are judged by (powerprop sheet, section 9).

R[i][j] is the importance-sampled log-likelihood of task j's test images after task i, with K ``samples`` from the
task's own encoder (`frisket.algos.networks.latent`), in nats, the mean over images in full batches of ``batch``; the
rest is left out, as in the released code of VCL::

    log_likelihood   = 1/T sum_j R[T-1][j]                       the headline; log_likelihood/J is R[T-1][J]
    learned          = mean of R[j][j] over the finished tasks   each right after its own training
    forgetting       = 1/(T-1) sum_{j<T-1} (R[j][j] - R[T-1][j]) 0 with one task

The samples are drawn from the run's seed and the task alone, so a task whose weights have not changed since has not
changed its score by a bit. Along the way ``recent/bound`` is the mean evidence bound of the batches before learning
from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from frisket.algos.learner import TaskWeights
from frisket.algos.networks.latent import LatentNetwork
from frisket.envs.stream import Stream
from frisket.errors import SpecError, require
from frisket.platform.protocols.protocol import Answers, ProtocolKind, Scored
from frisket.platform.protocols.task_matrix import TaskMatrix
from frisket.types import Batch, Metrics, State, Task


@dataclass(frozen=True, kw_only=True)
class LogLikelihoodConfig:
    """Attributes:
    samples: K.
    batch: images judged together.
    test_images: most test images of a task, the first ones; null for all.
    entries: ``all`` of the matrix, or those that are ``needed``: the diagonal and the last row.
    """

    samples: int = 5000
    batch: int = 50
    test_images: int | None = None
    entries: Literal["all", "needed"] = "needed"

    def __post_init__(self) -> None:
        for name in ("samples", "batch"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        enough = self.test_images is None or self.test_images >= self.batch
        require(enough, "test_images", self.test_images, f"at least batch = {self.batch}, or null for all")


class LogLikelihood(TaskMatrix):
    """Log-likelihood of every task's test images.

    Scores: those of `TaskMatrix`; ``bound`` and ``bound_steps``, the bound on batches since the last points.

    Raises:
        SpecError: ``stream`` is no sequence of tasks, or a task has fewer test images than a batch.
    """

    headline = "log_likelihood"
    by_label = False
    kind = "log-likelihood"
    recorded = "likelihoods"

    def __init__(self, config: LogLikelihoodConfig, stream: Stream) -> None:
        super().__init__(stream)
        self.config = config
        most = min(len(self.stream.test_set(task)[1]) for task in range(self.stream.tasks))
        require(config.batch <= most, "protocol.batch", config.batch, f"at most {most}, the test images of a task")
        self.fewest = config.batch

    def init(self) -> State:
        nothing = torch.zeros((), dtype=torch.float64)
        return {**super().init(), "bound": nothing, "bound_steps": nothing.clone()}

    def before(self, answers: Sequence[Answers], scores: Sequence[State], batches: Sequence[Batch]) -> list[Scored]:
        found = []
        for answer, one, batch in zip(answers, scores, batches, strict=True):
            if not isinstance(answer.learner, TaskWeights):
                fix = "one that answers a task with one network's weights: packnet, ewc-fisher, vcl"
                raise SpecError("learner.kind", type(answer.learner).__name__, fix)
            assert batch.task is not None
            record = {"domain": batch.task.domain, "switch": batch.task.start == batch.position}
            found.append(Scored(one, record))
        return found

    def after(self, answers: Sequence[Answers], known: list[Scored], batches: Sequence[Batch]) -> list[Scored]:
        return super().after(answers, [_with_bound(one) for one in known], batches)

    def columns(self, row: int) -> range:
        tasks = self.stream.tasks
        return range(tasks) if self.config.entries == "all" or row == tasks - 1 else range(row, row + 1)

    def judge(self, answers: Sequence[Answers], x: Tensor, y: Tensor, task: Task) -> list[float]:
        batch = self.config.batch
        whole = min(len(x), self.config.test_images or len(x)) // batch * batch
        return [self._log_likelihood(answer, x[:whole].split(batch), task) for answer in answers]

    def points(self, scores: State) -> tuple[Metrics, State]:
        steps = int(scores["bound_steps"])
        points = {"recent/bound": float(scores["bound"]) / steps} if steps else {}
        closed = {k: torch.zeros_like(scores[k]) for k in ("bound", "bound_steps")}
        return {**points, **self.final(scores)}, {**scores, **closed}

    def final(self, scores: State) -> Metrics:
        """What is known so far: nothing before the first task has ended, ``learned`` alone before the last has."""
        rows, tasks = int(scores["rows"]), self.stream.tasks
        if not rows:
            return {}
        own, last = scores["matrix"].diagonal()[:rows], scores["matrix"][-1]
        metrics = {"learned": float(own.mean())}
        if rows == tasks:
            each = {f"log_likelihood/{j}": value for j, value in enumerate(last.tolist())}
            lost = float((own - last)[:-1].mean()) if tasks > 1 else 0.0
            metrics |= {"log_likelihood": float(last.mean()), **each, "forgetting": lost}
        return metrics

    def _log_likelihood(self, answer: Answers, batches: Sequence[Tensor], task: Task) -> float:
        learner, state = answer.learner, answer.state
        assert isinstance(learner, TaskWeights)
        network, theta = learner.computes, learner.weights_for(state, task)
        assert isinstance(network, LatentNetwork)
        seed, total = int(state["seed"]), 0.0
        for i, x in enumerate(batches):
            key = ("test", task.start, i)
            found = network.log_likelihood(theta, x, samples=self.config.samples, seed=seed, key=key)
            total += float(found.mean())
        return total / len(batches)


def _with_bound(known: Scored) -> Scored:
    scores = known.scores
    moved = {"bound": scores["bound"] - known.record["loss_before"], "bound_steps": scores["bound_steps"] + 1}
    return Scored({**scores, **moved}, known.record)


PROTOCOLS = (
    ProtocolKind(
        name="log-likelihood",
        config=LogLikelihoodConfig,
        build=LogLikelihood,
        headline=LogLikelihood.headline,
        summary="importance-sampled log-likelihood of every task's test images, of generative models",
        journalled=("learned",),
        final=("log_likelihood", "forgetting"),
    ),
)
