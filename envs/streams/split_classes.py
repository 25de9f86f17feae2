"""Pictures whose classes come in groups, one group a task: split CIFAR and TinyImageNet (lamaml spec, section 6).

T tasks of c classes. The data set's classes are put in an order, drawn anew by every seed or its own; label j is class
j of that order, so task t has the labels t c .. (t + 1) c - 1.

* ``own_classes`` true, task-incremental: a task is learned and judged among its own c labels (CIFAR-100 20 x 5,
  TinyImageNet 40 x 5). False, class-incremental: one head, all T c labels (split CIFAR-10 5 x 2).
* ``order`` ``tasks``: one task after the other, ``epochs`` passes over each (1: single pass, 10: multiple), reshuffled
  in every pass. ``mixed``: all tasks at once, the independent and identically distributed stream the IID upper bound
  learns from; a batch has equal parts of a few tasks drawn at random.

A share of every training class is kept out for validation, by the seed. What is left of a class is drawn from by
`numpy_generator` keyed by (seed, task, epoch) or (seed, position): any batch can be made without the ones before it.

Pictures are scaled to [0, 1], then normalised by the data set's published mean and standard deviation; a stand-in has
none and is left in [0, 1]. Training pictures are augmented (`frisket.envs.streams.augment`), test pictures never.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from frisket.envs.data.imageset import ImageSet
from frisket.envs.streams.augment import Augmentation, augment, require_pictures
from frisket.envs.streams.held_out import learn_and_judge
from frisket.envs.streams.kind import StreamKind
from frisket.envs.streams.passes import passes_in_words
from frisket.envs.streams.scaling import Scale
from frisket.envs.task_stream import TaskStream
from frisket.errors import require
from frisket.rng import numpy_generator
from frisket.types import Batch, Task


@dataclass(frozen=True, kw_only=True)
class SplitClassesConfig:
    """Attributes:
    dataset: published data set the pictures are from.
    tasks: T.
    classes_per_task: c.
    samples: training samples per task; null for all, as many whole batches as the smallest task fills.
    validation: share of each training class that is kept out.
    batch: samples per batch.
    epochs: passes over a task, or over the mixture.
    class_order: ``seeded``, a shuffle that differs by seed, or ``natural``, the data set's own order.
    augment: how training pictures are changed.
    own_classes: whether a task is learned and judged among its own classes.
    order: ``tasks`` in sequence, or all of them ``mixed``.
    mixed_tasks: tasks in a batch of the mixture.
    mixed_batches: batches in an epoch of the mixture.
    """

    dataset: str = "cifar100"
    tasks: int = 20
    classes_per_task: int = 5
    samples: int | None = None
    validation: float = 0.0
    batch: int = 10
    epochs: int = 1
    class_order: Literal["seeded", "natural"] = "seeded"
    augment: Augmentation = "none"
    own_classes: bool = True
    order: Literal["tasks", "mixed"] = "tasks"
    mixed_tasks: int = 4
    mixed_batches: int = 5000

    def __post_init__(self) -> None:
        for name in ("tasks", "classes_per_task", "batch", "epochs", "mixed_tasks", "mixed_batches"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.ways >= 2, "classes_per_task", self.classes_per_task, "at least 2 labels in all")
        own = not self.own_classes or self.classes_per_task >= 2
        require(own, "classes_per_task", self.classes_per_task, "at least 2 where tasks are learned among their own")
        require(0 <= self.validation < 1, "validation", self.validation, "a share in [0, 1)")
        if self.samples is not None:
            require(self.samples >= 1, "samples", self.samples, "at least 1, or null for all")
        if self.order == "mixed":
            require(self.mixed_tasks <= self.tasks, "mixed_tasks", self.mixed_tasks, f"at most tasks = {self.tasks}")
            part, rest = divmod(self.batch, self.mixed_tasks)
            require(rest == 0, "batch", self.batch, f"a multiple of mixed_tasks = {self.mixed_tasks}")
            few = self.samples is not None and self.samples < part
            require(not few, "samples", self.samples, f"at least {part}, a batch's part of a task")
            steps = self.epochs * self.mixed_batches
            whole = steps % self.tasks == 0
            require(
                whole, "epochs", self.epochs, f"such that epochs * mixed_batches is a multiple of {self.tasks} tasks"
            )
        elif self.samples is not None:
            require(self.samples % self.batch == 0, "batch", self.batch, f"a divisor of samples = {self.samples}")

    @property
    def ways(self) -> int:
        """Labels of all tasks, T c."""
        return self.tasks * self.classes_per_task

    def in_words(self) -> str:
        """What the stream is, for its card."""
        tasks = f"{self.tasks} tasks of {self.classes_per_task} classes each"
        if self.order == "mixed":
            return f"{tasks}, mixed in every batch; {self.epochs * self.mixed_batches:,} batches"
        judged = "judged among its own classes" if self.own_classes else "all under one head"
        return f"{tasks}, one after the other in {passes_in_words(self.epochs)}, {judged}"

    def datasets(self) -> tuple[str, str]:
        """Names of the training and the test pictures."""
        return self.dataset, f"{self.dataset}:test"


class SplitClassesStream(TaskStream):
    """Class groups in sequence or mixed.

    Under ``order: mixed`` there is one hidden task, all of them, and ``tasks`` still counts the class groups that are
    judged: `ends_task` then marks T evenly spaced positions, the last of which is the end of the stream.

    Args:
        config: the stream's numbers.
        data: image sets by the names of `SplitClassesConfig.datasets`, or their stand-ins.
        seed: the run's seed.

    Raises:
        SpecError: the data have too few classes or samples.
    """

    def __init__(self, config: SplitClassesConfig, data: Mapping[str, ImageSet], seed: int) -> None:
        self.config, self.seed = config, seed
        self._train, self._test = train, test = tuple(data[name] for name in config.datasets())
        known = len(train.classes)
        require_pictures(config.augment, train)
        require(train.classes == test.classes, "dataset", config.dataset, "a set whose splits have the same classes")
        require(
            config.ways <= known, "tasks", config.tasks, f"at most {known // config.classes_per_task} ({train.name})"
        )
        self.tasks, self.ways = config.tasks, config.ways
        self.own = config.classes_per_task if config.own_classes else None
        self.shape: tuple[int, int, int] = tuple(train.images.shape[1:])
        self.domains = (train.name,)
        order = (
            numpy_generator(seed, "classes").permutation(known) if config.class_order == "seeded" else np.arange(known)
        )
        self.classes = tuple(int(c) for c in order[: self.ways])
        self.names = tuple(train.classes[c] for c in self.classes)
        self._label = np.full(known, -1)
        self._label[list(self.classes)] = np.arange(self.ways)

        pool, judge = learn_and_judge(train, test)
        self._judge = [judge[np.isin(test.labels[judge], group)] for group in self._groups()]
        learn, kept = self._divide(pool)
        self._kept_out = kept
        self._walk: _Walk = {"tasks": _InSequence, "mixed": _Mixed}[config.order](config, learn, seed)
        self.steps = self._walk.steps
        self._scale = Scale(train)

    def _groups(self) -> list[tuple[int, ...]]:
        """The classes of each task."""
        size = self.config.classes_per_task
        return [self.classes[t * size : (t + 1) * size] for t in range(self.tasks)]

    def _divide(self, pool: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Of each task, the indices to learn from and those kept out for validation, both sorted."""
        learn, kept = [], []
        labels = self._train.labels[pool]
        for group in self._groups():
            sides: list[tuple[np.ndarray, np.ndarray]] = []
            for c in group:
                indices = numpy_generator(self.seed, "validation", c).permutation(pool[labels == c])
                cut = round(len(indices) * self.config.validation)
                sides.append((indices[cut:], indices[:cut]))
            learn.append(np.sort(np.concatenate([side[0] for side in sides])))
            kept.append(np.sort(np.concatenate([side[1] for side in sides])))
        return learn, kept

    def samples(self, position: int) -> np.ndarray:
        """Indices into the training pictures of the batch at ``position``, ``[batch]``."""
        return self._walk.samples(position)

    def batch(self, position: int) -> Batch:
        chosen = self.samples(position)
        generator = numpy_generator(self.seed, "augment", position)
        x = self._scale(augment(self._train.images[chosen], self.config.augment, generator))
        task = Task(self.domains[0], self.classes, self._walk.start(position))
        labels, epoch = self._labels_of(self._train, chosen), self._walk.epoch(position)
        return Batch(x, labels, position, task, epoch, self.end(position))

    def test_set(self, task: int) -> tuple[Tensor, Tensor]:
        return self._judged(self._test, self._judge[task])

    def validation_set(self, task: int) -> tuple[Tensor, Tensor]:
        return self._judged(self._train, self._kept_out[task])

    def _judged(self, images: ImageSet, chosen: np.ndarray) -> tuple[Tensor, Tensor]:
        return self._scale(images.images[chosen].astype(np.float32)), self._labels_of(images, chosen)

    def _labels_of(self, images: ImageSet, chosen: np.ndarray) -> Tensor:
        return torch.from_numpy(self._label[images.labels[chosen]])

    def provenance(self) -> dict[str, Any]:
        return {images.name: images.provenance.as_dict() for images in (self._train, self._test)}


class _Walk(ABC):
    """Which samples come when. Attributes: steps: length of the stream in batches."""

    steps: int

    @abstractmethod
    def samples(self, position: int) -> np.ndarray:
        """Indices of the batch at ``position``."""

    @abstractmethod
    def epoch(self, position: int) -> int:
        """The pass ``position`` belongs to."""

    @abstractmethod
    def start(self, position: int) -> int:
        """Where the hidden task of ``position`` began."""


class _InSequence(_Walk):
    """One task after the other, the same number of samples each."""

    def __init__(self, config: SplitClassesConfig, learn: Sequence[np.ndarray], seed: int) -> None:
        self.config, self.learn, self.seed = config, learn, seed
        smallest = min(len(pool) for pool in learn)
        if config.samples is None:
            require(smallest >= config.batch, "batch", config.batch, f"at most {smallest}, the samples of a task")
        else:
            require(config.samples <= smallest, "samples", config.samples, f"at most {smallest}, those of a task")
        self.batches = (config.samples or smallest) // config.batch
        self.steps = config.tasks * config.epochs * self.batches
        self._order: tuple[tuple[int, int], np.ndarray] | None = None

    def _at(self, position: int) -> tuple[int, int, int]:
        """``(task, epoch, batch)``."""
        passes, batch = divmod(position, self.batches)
        return *divmod(passes, self.config.epochs), batch

    def samples(self, position: int) -> np.ndarray:
        task, epoch, batch = self._at(position)
        if self._order is None or self._order[0] != (task, epoch):  # the last pass is kept: positions come in order
            count = self.batches * self.config.batch
            chosen = _chosen(self.learn[task], count, self.seed, task)
            order = numpy_generator(self.seed, "order", task, epoch).permutation(chosen)
            self._order = (task, epoch), order
        return self._order[1][batch * self.config.batch : (batch + 1) * self.config.batch]

    def epoch(self, position: int) -> int:
        return self._at(position)[1]

    def start(self, position: int) -> int:
        return self._at(position)[0] * self.config.epochs * self.batches


class _Mixed(_Walk):
    """Equal parts of ``mixed_tasks`` different tasks in every batch, no sample twice in one."""

    def __init__(self, config: SplitClassesConfig, learn: Sequence[np.ndarray], seed: int) -> None:
        self.config, self.seed = config, seed
        smallest = min(len(pool) for pool in learn)
        part = config.batch // config.mixed_tasks
        require(
            part <= smallest, "batch", config.batch, f"at most {smallest} samples of each of {config.mixed_tasks} tasks"
        )
        require((config.samples or part) <= smallest, "samples", config.samples, f"at most {smallest}, those of a task")
        self.learn = [_chosen(pool, config.samples or len(pool), seed, t) for t, pool in enumerate(learn)]
        self.steps = config.epochs * config.mixed_batches

    def samples(self, position: int) -> np.ndarray:
        generator = numpy_generator(self.seed, "mixed", position)
        part = self.config.batch // self.config.mixed_tasks
        tasks = generator.permutation(self.config.tasks)[: self.config.mixed_tasks]
        return np.concatenate([generator.choice(self.learn[t], part, replace=False, shuffle=False) for t in tasks])

    def epoch(self, position: int) -> int:
        return position // self.config.mixed_batches

    def start(self, position: int) -> int:
        return 0


def _chosen(pool: np.ndarray, count: int, seed: int, task: int) -> np.ndarray:
    """``count`` samples of ``pool``, the same in every epoch."""
    return numpy_generator(seed, "samples", task).permutation(pool)[:count]


STREAMS = (
    StreamKind(
        name="split-classes",
        config=SplitClassesConfig,
        build=SplitClassesStream,
        own_tests=lambda config: config.class_order == "seeded",
        summary="tasks in sequence, each with classes of its own, or all of them mixed",
        quick={"tasks": 3, "classes_per_task": 2, "validation": 0.2, "epochs": 2},
    ),
)
