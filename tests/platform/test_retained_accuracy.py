"""RA, BTI, LA and FWT with matrices worked out by hand, and with a learner that plays back given answers."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from frisket.algos.learner import Alone, Capabilities, Learner
from frisket.algos.masks.mask_set import MaskSet
from frisket.envs.stream import Stream
from frisket.envs.task_stream import TaskStream
from frisket.errors import SpecError
from frisket.platform.protocols.retained_accuracy import RetainedAccuracy, RetainedAccuracyConfig, retention
from frisket.platform.run.drive import supervised
from frisket.types import Batch, Metrics, State, Task


def test_10_identity_matrix() -> None:
    for tasks in (2, 5, 20):
        found = retention(torch.eye(tasks, dtype=torch.float64), torch.zeros(tasks))
        assert found["ra"] == pytest.approx(1 / tasks)
        assert found["bti"] == pytest.approx(-(tasks - 1) / tasks)
        assert found["la"] == 1
        assert found["fwt"] == 0


def test_worked_out_by_hand() -> None:
    matrix = torch.tensor([[0.9, 0.3, 0.1], [0.6, 0.8, 0.4], [0.5, 0.7, 1.0]], dtype=torch.float64)
    before = torch.tensor([0.1, 0.2, 0.1], dtype=torch.float64)
    found = retention(matrix, before)
    assert found["ra"] == pytest.approx((0.5 + 0.7 + 1.0) / 3)
    assert found["bti"] == pytest.approx(((0.5 - 0.9) + (0.7 - 0.8) + 0) / 3)
    assert found["la"] == pytest.approx((0.9 + 0.8 + 1.0) / 3)
    assert found["fwt"] == pytest.approx(((0.3 - 0.2) + (0.4 - 0.1)) / 3)


class Rows(TaskStream):
    """3 tasks of 2 batches; task j's test inputs are j everywhere."""

    tasks, steps, shape, ways, domains = 3, 6, (1, 1, 1), 2, ("rows",)

    def batch(self, position: int) -> Batch:
        start = self.task_index(position) * 2
        return Batch(
            torch.full((4, 1, 1, 1), -1.0), torch.zeros(4, dtype=torch.int64), position, Task("rows", (0, 1), start)
        )

    def test_set(self, task: int) -> tuple[Tensor, Tensor]:
        return torch.full((10, 1, 1, 1), float(task)), torch.zeros(10, dtype=torch.int64)

    def provenance(self) -> dict[str, Any]:
        return {}


class Scripted(Learner):
    """After n observed batches answers ``right(n, j)`` of task j's 10 test samples, and all of a training batch."""

    def __init__(self, right: Callable[[int, int], int], needs_task: bool = False) -> None:
        self.capabilities = Capabilities(needs_task=needs_task)
        self.right, self.asked, self.shown = right, [], []

    def init(self, seed: int, warm_start: State | None = None) -> State:
        return {"step": torch.tensor(0)}

    def predict(self, state: State, x: Tensor, task: Task | None = None) -> Tensor | None:
        j, n = int(x[0]), int(state["step"])
        self.shown.append(task)
        if j >= 0:
            self.asked.append((n, j))
        right = self.right(n, j) if j >= 0 else len(x)
        return torch.nn.functional.one_hot((torch.arange(len(x)) >= right).long(), 2).float()

    def observe(self, state: State, batch: Batch) -> tuple[State, Metrics]:
        self.shown.append(batch.task)
        return {"step": state["step"] + 1}, {"outer_loss": 0.5}

    def masks(self, state: State) -> MaskSet:
        return MaskSet({})


TABLE = {0: (1, 2, 1), 2: (9, 3, 1), 4: (6, 8, 4), 6: (5, 7, 10)}  # of 10, by batches seen


def play(learner: Scripted, **config: Any) -> tuple[RetainedAccuracy, State, list[dict[str, Any]]]:
    stream = Rows()
    protocol = RetainedAccuracy(RetainedAccuracyConfig(**config), stream)
    state, scores, records = learner.init(0), protocol.init(), []
    for position in range(stream.steps):
        outcome = supervised(Alone(learner), protocol, state, [scores], [stream.batch(position)])
        state, ((scores, record),) = outcome.state, outcome.scored
        records.append(record)
    return protocol, scores, records


def test_matrix_is_measured_before_training_and_at_the_end_of_every_task() -> None:
    protocol, scores, records = play(Scripted(lambda n, j: TABLE[n][j]))
    expected = torch.tensor([TABLE[n] for n in (2, 4, 6)], dtype=torch.float64) / 10
    assert torch.equal(scores["matrix"], expected)
    assert torch.equal(scores["before"], torch.tensor(TABLE[0], dtype=torch.float64) / 10)
    assert [r.get("row") for r in records] == [None, [0.9, 0.3, 0.1], None, [0.6, 0.8, 0.4], None, [0.5, 0.7, 1.0]]
    assert [r["switch"] for r in records] == [True, False] * 3
    assert all(r["accuracy"] == 1.0 and r["outer_loss"] == 0.5 for r in records)
    assert protocol.final(scores) == retention(expected, scores["before"])


def test_needed_entries_give_the_same_numbers_with_fewer_test_sets() -> None:
    everything, needed = (Scripted(lambda n, j: TABLE[n][j]) for _ in range(2))
    protocol, scores, _ = play(everything)
    fewer, few_scores, records = play(needed, entries="needed")
    assert fewer.final(few_scores) == protocol.final(scores)
    assert (len(everything.asked), len(needed.asked)) == (12, 10)
    assert math.isnan(few_scores["matrix"][1, 0])
    assert records[3]["row"] == [None, 0.8, 0.4]
    halfway = {**few_scores, "rows": torch.tensor(2)}
    assert fewer.final(halfway).keys() == {"la", "fwt"}, "nothing is said of what is not measured yet"


class OneAtATime(Rows):
    """Refuses to make a test set while an earlier one is held."""

    def __init__(self) -> None:
        self.made: list[weakref.ref[Tensor]] = []

    def test_set(self, task: int) -> tuple[Tensor, Tensor]:
        assert all(one() is None for one in self.made)
        x, y = super().test_set(task)
        self.made.append(weakref.ref(x))
        return x, y


def test_one_test_set_is_held_at_a_time() -> None:
    stream, learner = OneAtATime(), Scripted(lambda n, j: TABLE[n][j])
    protocol = RetainedAccuracy(RetainedAccuracyConfig(), stream)
    supervised(Alone(learner), protocol, learner.init(0), [protocol.init()], [stream.batch(0)])
    assert len(stream.made) == 3


def test_numbers_on_the_way_are_those_of_the_tasks_so_far() -> None:
    stream, learner = Rows(), Scripted(lambda n, j: TABLE[n][j])
    protocol = RetainedAccuracy(RetainedAccuracyConfig(), stream)
    state, scores = learner.init(0), protocol.init()
    outcome = supervised(Alone(learner), protocol, state, [scores], [stream.batch(0)])
    state, ((scores, _),) = outcome.state, outcome.scored
    assert protocol.final(scores) == {"ra": pytest.approx(0.4 / 3)}
    outcome = supervised(Alone(learner), protocol, state, [scores], [stream.batch(1)])
    state, ((scores, _),) = outcome.state, outcome.scored
    points, closed = protocol.points(scores)
    assert points == {"recent/accuracy": 1.0, "ra": 0.9, "bti": 0.0, "la": 0.9, "fwt": 0.0}
    assert "recent/accuracy" not in protocol.points(closed)[0]


def test_task_stays_hidden_unless_declared() -> None:
    hidden, shown = Scripted(lambda n, j: 0), Scripted(lambda n, j: 0, needs_task=True)
    play(hidden)
    play(shown)
    assert set(hidden.shown) == {None}
    assert {t.start for t in shown.shown if t} == {0, 2, 4}
    assert None not in shown.shown


def test_a_stream_without_test_sets_is_refused() -> None:
    class Endless(Stream):
        def batch(self, position: int) -> Batch:
            raise NotImplementedError

        def provenance(self) -> dict[str, Any]:
            return {}

    with pytest.raises(SpecError, match=r"protocol\.kind.*split-classes"):
        RetainedAccuracy(RetainedAccuracyConfig(), Endless())
