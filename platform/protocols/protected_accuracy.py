"""What methods that protect old tasks are judged by (powerprop sheet, sections 7, 8 and 11).

From the accuracy matrix of `frisket.platform.protocols.retained_accuracy`, R[i][j] being the accuracy on task j after
task i::

    accuracy      = 1/T sum_j R[T-1][j]                       mean over all tasks seen, each with its own masks
    forgetting    = 1/(T-1) sum_{j<T-1} (R[j][j] - R[T-1][j]) 0 with one task
    capacity_free                                             fraction of the weights no task uses

With ``inference``, the end of the stream is also answered without task labels, in batches of each of its sizes n:
``identified/n`` is how often the task was found, ``accuracy_inferred/n`` the accuracy under the masks that were found,
``accuracy_told/n`` that of the same samples with the task known.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from frisket.algos.learner import KeepsTasks, Learner
from frisket.algos.parts.inference import Form, identify
from frisket.envs.stream import Stream
from frisket.errors import SpecError, require
from frisket.platform.protocols.protocol import Answers, ProtocolKind, Scored
from frisket.platform.protocols.retained_accuracy import RetainedAccuracy, RetainedAccuracyConfig
from frisket.types import Batch, Metrics, State


@dataclass(frozen=True, kw_only=True)
class ProtectedAccuracyConfig(RetainedAccuracyConfig):
    """Further fields are those of `RetainedAccuracyConfig`.

    Attributes:
        inference: sizes of the batches whose task is to be inferred at the end; none by default.
        inference_batches: most batches of each task and size.
        inference_form: ``one_shot``, ``binary`` or ``exhaustive`` (`frisket.algos.parts.inference`).
    """

    inference: tuple[int, ...] = ()
    inference_batches: int = 20
    inference_form: Form = "binary"

    def __post_init__(self) -> None:
        for size in self.inference:
            require(size >= 1, "inference", self.inference, "batch sizes of at least 1")
        require(self.inference_batches >= 1, "inference_batches", self.inference_batches, "at least 1")


class ProtectedAccuracy(RetainedAccuracy):
    """Accuracy, forgetting and free capacity. Scores: those of `RetainedAccuracy`, ``free`` (NaN for a method that
    reports none) and ``inferred`` [sizes, 3], NaN before the end.

    Raises:
        SpecError: ``stream`` is no sequence of tasks; or a task is to be inferred for a method without masks per task.
    """

    headline = "accuracy"
    kind = "protected-accuracy"
    config: ProtectedAccuracyConfig

    def __init__(self, config: ProtectedAccuracyConfig, stream: Stream) -> None:
        super().__init__(config, stream)

    def judgings(self, learner: Learner) -> Iterator[tuple[int, float]]:
        yield from super().judgings(learner)
        if self.config.inference:
            yield self.stream.steps - 1, len(self.config.inference) * self.stream.tasks

    def init(self) -> State:
        nothing = torch.full((len(self.config.inference), 3), math.nan, dtype=torch.float64)
        return {**super().init(), "free": torch.tensor(math.nan, dtype=torch.float64), "inferred": nothing}

    def before(self, answers: Sequence[Answers], scores: Sequence[State], batches: Sequence[Batch]) -> list[Scored]:
        for learner in (answer.learner for answer in answers):
            if self.config.inference and not isinstance(learner, KeepsTasks):
                kind = type(learner).__name__
                raise SpecError("protocol.inference", list(self.config.inference), f"{kind} has no mask for each task")
        return super().before(answers, scores, batches)

    def after(self, answers: Sequence[Answers], known: list[Scored], batches: Sequence[Batch]) -> list[Scored]:
        found = super().after(answers, known, batches)
        if not self.stream.ends_task(batches[0].position):
            return found
        return [self._with_capacity(*one) for one in zip(answers, found, strict=True)]

    def final(self, scores: State) -> Metrics:
        """The metrics over the tasks finished so far; before the first has ended, accuracy of the untrained network."""
        found = super().final(scores)
        metrics = {"accuracy": found["ra"]} if "ra" in found else {}
        if "bti" in found and (tasks := int(scores["rows"])):
            # BTI is minus the sum of what was forgotten over T
            metrics["forgetting"] = 0.0 - found["bti"] * tasks / (tasks - 1) if tasks > 1 else 0.0
        if not math.isnan(free := float(scores["free"])):
            metrics["capacity_free"] = free
        for size, values in zip(self.config.inference, scores["inferred"].tolist(), strict=True):
            if not math.isnan(values[0]):
                names = ("identified", "accuracy_inferred", "accuracy_told")
                metrics |= {f"{name}/{size}": value for name, value in zip(names, values, strict=True)}
        return metrics

    def _with_capacity(self, answer: Answers, known: Scored) -> Scored:
        free = torch.tensor(known.record.get("capacity_free", math.nan), dtype=torch.float64)
        scores = {**known.scores, "free": free}
        if int(scores["rows"]) == self.stream.tasks and self.config.inference:
            scores["inferred"] = torch.tensor([self._infer(answer, n) for n in self.config.inference])
        return Scored(scores, known.record)

    def _infer(self, answer: Answers, size: int) -> tuple[float, float, float]:
        learner, state = answer.learner, answer.state
        assert isinstance(learner, KeepsTasks)
        most, device = size * self.config.inference_batches, state["step"].device
        tests = (self.stream.test_set(task) for task in range(self.stream.tasks))
        sets = [(x[:most].to(device), y[:most].to(device)) for x, y in tests]
        return identify(learner.tasks(state), sets, size, self.config.inference_form)


PROTOCOLS = (
    ProtocolKind(
        name="protected-accuracy",
        config=ProtectedAccuracyConfig,
        build=ProtectedAccuracy,
        headline=ProtectedAccuracy.headline,
        summary="as retained-accuracy, read as accuracy, forgetting and free capacity; tasks inferred",
        journalled=("accuracy", "forgetting", "capacity_free"),
    ),
)
