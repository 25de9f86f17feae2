"""Which of its tasks a model answers as, for methods that keep a mask for each task."""

from __future__ import annotations

from numbers import Integral
from typing import get_args

from torch import Tensor

from frisket.algos.learner import KeepsTasks, Learner, TaskWeights
from frisket.algos.parts.inference import Form, infer_task
from frisket.errors import ModelError
from frisket.types import State, Task

INFER = "infer"


def keeping_tasks(learner: Learner) -> KeepsTasks:
    """``learner`` as a method with a mask for each task. Raises `ModelError` for any other."""
    if not isinstance(learner, KeepsTasks):
        kind = type(learner).__name__
        raise ModelError("model", kind, "keeps no mask for each task; leave the task out, or take a model of packnet")
    return learner


def choose_task(learner: KeepsTasks, state: State, x: Tensor, task: int | str | Task | None, form: str) -> int:
    """The number of the task that ``x`` is to be answered as.

    Args:
        learner, state: the model's.
        x: ``[N, C, H, W]``, looked at only where the task is to be inferred; all from one task.
        task: a number, also as text; where it began; ``infer``; or None, the only task of a model of one.
        form: how to infer it (`frisket.algos.parts.inference`).

    Raises:
        ModelError: no such task or form, no task named where there are several, none to infer it from.
    """
    starts = learner.starts(state)
    count = len(starts)
    if task is None and count == 1:
        return 0
    if isinstance(task, Task) and task.start in starts:
        return starts.index(task.start)
    if task != INFER:
        return task_number(task, count, INFER)
    forms: tuple[Form, ...] = get_args(Form)
    if form not in forms:
        raise ModelError("form", form, f"one of: {', '.join(forms)}")
    if learner.capabilities.acts:
        raise ModelError("task", task, "must be a number: tasks are inferred from labels, and this model acts")
    if learner.computes.generates:
        raise ModelError("task", task, "must be a number: tasks are inferred from labels, and this model gives none")
    if not len(x):
        raise ModelError("x", tuple(x.shape), "must hold an input to infer the task from")
    return infer_task(learner.tasks(state), x, form)


def known_task(learner: Learner, state: State, task: int | str, ways: int) -> Task:
    """The task number ``task`` of a method that says where its tasks began, among those that have ended; of one whose
    tasks do not end, among the ``ways`` of its stream. Raises `ModelError` for another."""
    starts = learner.starts(state) if isinstance(learner, TaskWeights) else []
    if not learner.capabilities.ends_tasks:
        starts = list(range(ways))
    number = task_number(task, len(starts), None)
    return Task("", (number,), starts[number])


def task_number(task: object, count: int, word: str | None) -> int:
    """``task``, a number or its digits, if it is among 0 .. ``count`` - 1.

    Raises:
        ModelError: it is not; the message also offers the ``word`` that the caller understands.
    """
    if isinstance(task, str) and task.isascii() and task.isdecimal():
        number = int(task)
    else:
        number = int(task) if isinstance(task, Integral) and not isinstance(task, bool) else -1
    if 0 <= number < count:
        return number
    numbers = "0, the only task" if count == 1 else f"a task from 0 to {count - 1}"
    raise ModelError("task", task, f"must be {numbers}" + (f", or {word!r}" if word else ""))
