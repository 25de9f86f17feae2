"""How many episodes of every robot task are solved, as it is learned and ever after (continual_world spec, section 8).

An episode counts as solved if it was at any of its steps; actions are drawn as they are in learning. p_i[c, k] is task
i's share of solved episodes at point k = 0 .. K - 1 of task c's phase, measured of the tasks that have begun. The last
point of a phase comes twice: once all of the task is practised, and after its end, once it has been pruned. With the
mean over the last n points, ``tail``::

    P    = 1/T sum_i tail p_i[T-1, :]                        success; the phase's last point after its end
    F    = 1/T sum_i (tail p_i[i, :] - tail p_i[T-1, :])     forgetting; the same
    F'   = 1/T sum_i (tail p_i[i, :] - tail p_i[T-1, :])     forgetting_dense; task i's last point before its end
    A_i  = 1/K sum_k p_i[i, k]                               auc/TASK; the last point after its end
    FT   = 1/T sum_i (A_i - B_i) / (1 - B_i)                 forward_transfer

F is the convention of Continual World's code, F' that of PP21, whose reference is what was there before pruning. Both
are means over all T tasks; the last one's F is 0 by definition, its F' what pruning cost it; ``.../but_last`` are the
means without it. ``success/TASK`` are the parts of P. ``steps/search`` are the environment steps that choosing masks
took, beside those of learning.

B_i is the mean of A_i over the seeds of a reference run, in which every task was learned by itself
(`frisket.algos.learners.robots.sac_single`); a task whose B_i is 1 cannot be learned faster and is left out. Where the
tasks come in turn there is one phase, of all of them, and only P is measured.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from frisket.algos.learner import Learner
from frisket.algos.parts.acting import played
from frisket.envs.robots.stream import RobotStream
from frisket.envs.stream import Stream
from frisket.errors import SpecError, require
from frisket.platform.protocols.bootstrap import Interval, bootstrap
from frisket.platform.protocols.protocol import Answers, Protocol, ProtocolKind, Scored
from frisket.types import Batch, Metrics, State, Task

AUC, SEARCHED = "auc/", "steps/search"


@dataclass(frozen=True, kw_only=True)
class SuccessConfig:
    """Attributes:
    points: K, evaluations in the phase of a task, evenly over its rounds of episodes.
    episodes: of every task at every point.
    tail: n, points that a number is the mean of.
    reference: a run in which every task was learned by itself, or a specification, for its newest finished run of the
        same tasks and points; forward transfer is measured against it. Null measures none.
    references: A of every task in that run, a row for each of its seeds; read from ``reference`` when a run begins.
    """

    points: int = 50
    episodes: int = 10
    tail: int = 5
    reference: str | None = None
    references: tuple[tuple[float, ...], ...] = ()

    def __post_init__(self) -> None:
        for name in ("points", "episodes", "tail"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.tail <= self.points, "tail", self.tail, f"at most points = {self.points}")
        within = all(0 <= share <= 1 for row in self.references for share in row)
        require(within, "references", self.references, "shares of episodes, in [0, 1]")


class Success(Protocol):
    """Success, task by task.

    Scores: ``curve`` [C, K, T], p by phase, point and task, NaN where it was not measured; ``ended`` [C, T], the points
    after a phase's end; ``searched``, environment steps that choosing masks took.

    Args:
        config: when to measure, and how long.
        stream: the tasks.

    Raises:
        SpecError: ``stream`` is none of robot tasks, has fewer rounds than there are points, or other tasks than the
            reference.
    """

    headline = "success"
    by_label = False
    of_actions = True

    def __init__(self, config: SuccessConfig, stream: Stream) -> None:
        if not isinstance(stream, RobotStream):
            raise SpecError("protocol.kind", "success", "needs a stream of robot tasks: robots")
        self.config, self.stream = config, stream
        self.rounds = stream.steps_per_task - 1
        allowed = f"at most {self.rounds}, the rounds of a task"
        require(config.points <= self.rounds, "protocol.points", config.points, allowed)
        for row in config.references:
            require(len(row) == stream.ways, "protocol.references", row, f"one number for each of {stream.ways} tasks")

    def judgings(self, learner: Learner) -> Iterator[tuple[int, float]]:
        worlds = math.ceil(self.config.episodes / self.stream.config.environments)
        for phase in range(self.stream.tasks):
            tasks = self.stream.ways if self.stream.config.together else phase + 1
            for point in range(1, self.config.points + 1):  # the first round by which so many points are due
                rounds = -(-point * self.rounds // self.config.points)
                yield self.stream.start(phase) + rounds - 1, tasks * worlds
            yield self.stream.start(phase + 1) - 1, tasks * worlds

    def init(self) -> State:
        shape = self.stream.tasks, self.config.points, self.stream.ways
        curve = torch.full(shape, math.nan, dtype=torch.float64)
        return {"curve": curve, "ended": curve[:, 0].clone(), "searched": torch.zeros((), dtype=torch.int64)}

    def before(self, answers: Sequence[Answers], scores: Sequence[State], batches: Sequence[Batch]) -> list[Scored]:
        return [Scored(one, {}) for one in scores]

    def after(self, answers: Sequence[Answers], known: list[Scored], batches: Sequence[Batch]) -> list[Scored]:
        position = batches[0].position
        phase = self.stream.task_index(position)
        done = position + 1 - self.stream.start(phase)
        points, device = self.config.points, batches[0].x.device
        if done > self.rounds:
            name, place, number = "ended", (phase,), self.stream.tasks * points + phase
        else:
            before, point = (points * rounds // self.rounds for rounds in (done - 1, done))
            if point == before:
                return known
            name, place, number = "curve", (phase, point - 1), phase * points + point - 1
        begun = range(self.stream.ways if self.stream.config.together else phase + 1)
        found = [self._judged(answer, begun, number, device) for answer in answers]
        return [_with(_counted(one), name, place, rates) for one, rates in zip(known, found, strict=True)]

    def _judged(self, answer: Answers, begun: range, number: int, device: torch.device) -> Tensor:
        """``[T]``: success on the tasks that have ``begun``, NaN of the others, at the evaluation ``number``."""
        found = torch.full((self.stream.ways,), math.nan, dtype=torch.float64)
        for index in begun:
            worlds = self.stream.tests(index, self.config.episodes, number)
            outputs = _outputs(answer, self.stream.told(index), device)
            found[index] = played(worlds, outputs, self.stream.seed, "judge", index, number).success
        return found

    def points(self, scores: State) -> tuple[Metrics, State]:
        return self.final(scores), scores

    def final(self, scores: State) -> Metrics:
        """The module's numbers, over the tasks that have ended; before one has, the last success that was measured, of
        the tasks that had begun."""
        curve, ended, names = scores["curve"], scores["ended"], self.stream.names
        phases = int((~ended[:, 0].isnan()).sum())
        if not phases:
            measured = curve[0, :, 0]
            measured = measured[~measured.isnan()]
            return {"success": float(measured[-1])} if len(measured) else {}
        tasks = self.stream.ways if self.stream.config.together else phases
        kept = _kept(curve, ended)[:phases, :, :tasks]
        last = kept[-1, -self.config.tail :].mean(0)
        found = {"success": float(last.mean()), SEARCHED: float(scores["searched"])}
        parts = {f"success/{name}": float(share) for name, share in zip(names, last, strict=False)}
        if self.stream.config.together:
            return found | parts
        areas = kept.diagonal(dim1=0, dim2=2).mean(0)
        found |= forgetting(curve[:tasks, :, :tasks], ended[:tasks, :tasks], self.config.tail)
        if self.config.references:
            transfer = forward_transfer(areas, torch.tensor(self.config.references)[:, :tasks])
            found |= {} if math.isnan(transfer) else {"forward_transfer": transfer}
        return found | parts | {f"{AUC}{name}": float(area) for name, area in zip(names, areas, strict=False)}


def forgetting(curve: Tensor, ended: Tensor, tail: int) -> Metrics:
    """F and F' of the module's equations, and both without the last of several tasks.

    Args:
        curve: p, [T, K, T].
        ended: the points after the end of each phase, [T, T].
        tail: n.
    """
    kept = _kept(curve, ended)
    own, dense = (one.diagonal(dim1=0, dim2=2)[-tail:].mean(0) for one in (kept, curve))  # [K, T] to [T]
    last = kept[-1, -tail:].mean(0)
    found = {"forgetting": own - last, "forgetting_dense": dense - last}
    but_last = {f"{name}/but_last": float(lost[:-1].mean()) for name, lost in found.items() if len(lost) > 1}
    return {name: float(lost.mean()) for name, lost in found.items()} | but_last


def forward_transfer(areas: Tensor, references: Tensor) -> float:
    """FT of the module's equations, of ``areas`` A [T] and those of the reference's seeds [S, T]; NaN where no task can
    be learned faster."""
    alone = references.mean(0).to(areas)
    room = alone < 1
    return float(((areas - alone) / (1 - alone))[room].mean())


def _kept(curve: Tensor, ended: Tensor) -> Tensor:
    """p with the last point of every phase after its end, [C, K, T]."""
    return torch.cat([curve[:, :-1], ended[:, None]], 1)


def _outputs(answer: Answers, task: Task, device: torch.device) -> Callable[[Tensor], Tensor]:
    """What ``answer`` says of ``task``, to observations on the CPU."""

    def outputs(seen: Tensor) -> Tensor:
        found = answer(seen.to(device), task)
        assert found is not None  # `Answers` has refused it
        return found

    return outputs


def _with(known: Scored, name: str, place: tuple[int, ...], rates: Tensor) -> Scored:
    """``known`` with ``rates`` at ``place`` of the scores ``name``, and in the journal."""
    kept = known.scores[name].clone()
    kept[place] = rates
    shown = [None if math.isnan(rate) else rate for rate in rates.tolist()]
    return Scored({**known.scores, name: kept}, {**known.record, name: shown})


def _counted(known: Scored) -> Scored:
    """``known`` with the steps that the learner reports of choosing masks."""
    steps = int(known.record.get("search_steps", 0))
    return Scored({**known.scores, "searched": known.scores["searched"] + steps}, known.record)


def areas_of(metrics: Metrics) -> tuple[float, ...]:
    """A of every task in the ``metrics`` of a run, in their order; empty where it has none."""
    return tuple(value for name, value in metrics.items() if name.startswith(AUC))


def referred(config: SuccessConfig, seeds: Sequence[Metrics]) -> SuccessConfig:
    """``config`` with the ``seeds`` of a reference run."""
    return dataclasses.replace(config, references=tuple(areas_of(one) for one in seeds))


def intervals(config: SuccessConfig, seeds: Sequence[Metrics]) -> dict[str, Interval]:
    """Of each of the module's means over tasks, where its mean over ``seeds`` lies; of forward transfer, with the
    reference's seeds drawn anew too."""
    if not seeds:
        return {}
    names = [name for name in seeds[0] if name.startswith(("success", "forgetting"))]
    low, high = bootstrap(lambda rows: rows.mean(1), np.array([[one[name] for name in names] for one in seeds]))
    found = {name: Interval(*ends) for name, *ends in zip(names, low.tolist(), high.tolist(), strict=True)}
    areas = [areas_of(one) for one in seeds]
    if config.references and all(areas):
        low, high = bootstrap(_transfers, np.array(areas), np.array(config.references))
        found["forward_transfer"] = Interval(float(low), float(high))
    return found


def _transfers(areas: np.ndarray, references: np.ndarray) -> np.ndarray:
    """`forward_transfer` of resamples: of A [R, seeds, T] and [R, S, T], [R]."""
    pairs = zip(torch.from_numpy(areas.mean(1)), torch.from_numpy(references), strict=True)
    return np.array([forward_transfer(*pair) for pair in pairs])


PROTOCOLS = (
    ProtocolKind(
        name="success",
        config=SuccessConfig,
        build=Success,
        headline=Success.headline,
        summary="share of episodes solved of every robot task, while it is learned and after: success and forgetting",
        journalled=(
            "success",
            "forgetting",
            "forgetting_dense",
            "auc",
            "forward_transfer",
            "steps",
        ),
        referred=referred,
        intervals=intervals,
    ),
)
