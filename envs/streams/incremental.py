"""The three ways in which data can come task by task: new classes under one head, new classes with a head of their own,
the same classes in new domains (van de Ven and Tolias, Three scenarios for continual learning, 2019).

* ``class``: a task brings the next `classes_per_task` classes, the last task what is left; learned and judged among
  the classes of all tasks.
* ``task``: the same, but learned and judged among the task's own classes; whoever is asked is told the task.
* ``domain``: a task is a domain, its samples of all classes: a top folder (DIR/DOMAIN/CLASS), or a value of ``task``.
  The classes need not be the same in all.

Classes and domains come in sorted order, or in one drawn from ``order_seed``, the same for all runs. A pass shows a
task's samples in an order of its own, in whole batches; what is left of a pass is not shown in it. Tasks are as long as
their data, and classes may differ in size: nothing is cut to the smallest.

It takes any data set and suits one's own; the published splits into equal tasks are `split_classes`.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from frisket.envs.data.imageset import ImageSet
from frisket.envs.streams.augment import Augmentation, augment, require_pictures
from frisket.envs.streams.held_out import learn_and_judge
from frisket.envs.streams.kind import StreamKind
from frisket.envs.streams.passes import Passes, passes_in_words
from frisket.envs.streams.scaling import Scale
from frisket.envs.task_stream import TaskStream
from frisket.errors import require
from frisket.rng import numpy_generator
from frisket.types import Batch, Task


@dataclass(frozen=True, kw_only=True)
class IncrementalConfig:
    """Attributes:
    dataset: name of the data set.
    scenario: what a task brings: new classes (``class``), new classes and the word which task it is (``task``), or a
        new domain (``domain``).
    classes_per_task: classes that a task brings; of no effect on domains.
    batch: samples per batch.
    epochs: passes over a task's samples.
    validation: share of every task's samples kept back for `TaskStream.validation_set`.
    augment: how training pictures are changed.
    order_seed: what the order of classes (or domains) is drawn from; null for the sorted one.
    """

    dataset: str = "own"
    scenario: Literal["class", "task", "domain"] = "class"
    classes_per_task: int = 2
    batch: int = 10
    epochs: int = 1
    validation: float = 0.0
    augment: Augmentation = "none"
    order_seed: int | None = None

    def __post_init__(self) -> None:
        for name in ("classes_per_task", "batch", "epochs"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        alone = self.scenario == "task" and self.classes_per_task < 2
        require(not alone, "classes_per_task", self.classes_per_task, "at least 2 where tasks are judged on their own")
        require(0 <= self.validation < 1, "validation", self.validation, "a share, at least 0 and below 1")

    def in_words(self) -> str:
        """What the stream is, for its card."""
        brings = {
            "class": f"{self.classes_per_task} more classes each, all under one head",
            "task": f"{self.classes_per_task} classes each, judged among its own classes",
            "domain": "a domain each",
        }[self.scenario]
        return f"tasks of {brings}, one after the other in {passes_in_words(self.epochs)}"

    def datasets(self) -> tuple[str, str]:
        """Names of the part to learn from and the part to be judged on."""
        return self.dataset, f"{self.dataset}:test"


class IncrementalStream(TaskStream):
    """A data set, task by task.

    Args:
        config: the stream's numbers.
        data: image sets by the names of `IncrementalConfig.datasets`, or their stand-ins.
        seed: the run's seed.

    Raises:
        SpecError: the data do not fit the scenario, or a task has too few samples.
    """

    def __init__(self, config: IncrementalConfig, data: Mapping[str, ImageSet], seed: int) -> None:
        self.config, self.seed = config, seed
        self._train, self._test = train, test = tuple(data[name] for name in config.datasets())
        require(train.classes == test.classes, "dataset", config.dataset, "a set whose splits have the same classes")
        require_pictures(config.augment, train)
        learn, judge = learn_and_judge(train, test)
        if config.scenario == "domain":
            self.classes, groups = tuple(range(len(train.classes))), [(d,) for d in _domains(config, train)]
            keys = train.domains, test.domains
        else:
            self.classes = _ordered(config, len(train.classes))
            size = config.classes_per_task
            groups = [self.classes[start : start + size] for start in range(0, len(self.classes), size)]
            keys = train.labels, test.labels
            even = config.scenario == "class" or len(self.classes) % size == 0
            fix = f"a divisor of {len(self.classes)}, the classes of {train.name}, where tasks are judged on their own"
            require(even, "classes_per_task", size, fix)
        assert keys[0] is not None
        assert keys[1] is not None
        self.tasks, self.ways = len(groups), len(self.classes)
        self.own = config.classes_per_task if config.scenario == "task" else None
        self.names = tuple(train.classes[c] for c in self.classes)
        self.domains = (train.name,)
        channels, height, width = train.images.shape[1:]
        self.shape = (channels, height, width)
        self._label = np.argsort(self.classes)
        self._judge = [judge[np.isin(keys[1][judge], group)] for group in groups]
        pools, self._kept_out = self._divided([learn[np.isin(keys[0][learn], group)] for group in groups])
        for task, (pool, judged) in enumerate(zip(pools, self._judge, strict=True)):
            what = self._called(groups[task])
            require(
                len(judged) > 0, "dataset", config.dataset, f"a set with test samples of every task; {what} has none"
            )
            require(config.batch <= len(pool), "batch", config.batch, f"at most {len(pool)}, the samples of {what}")
        self._per_epoch = [len(pool) // config.batch for pool in pools]
        self._starts = [0, *accumulate(config.epochs * batches for batches in self._per_epoch)]
        self.steps = self._starts[-1]
        self._passes = Passes(pools, None, seed)
        self._scale = Scale(train)

    def _divided(self, pools: list[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Of each task, the samples to learn from and those kept back, both sorted."""
        orders = [numpy_generator(self.seed, "validation", t).permutation(pool) for t, pool in enumerate(pools)]
        cuts = [round(len(order) * self.config.validation) for order in orders]
        pairs = list(zip(orders, cuts, strict=True))
        return [np.sort(order[cut:]) for order, cut in pairs], [np.sort(order[:cut]) for order, cut in pairs]

    def _called(self, group: tuple[int, ...]) -> str:
        """A task by the names of what it brings."""
        known = self._train.domain_names if self.config.scenario == "domain" else self._train.classes
        return " and ".join(known[one] for one in group)

    def start(self, task: int) -> int:
        return self._starts[task]

    def task_index(self, position: int) -> int:
        return bisect.bisect_right(self._starts, position) - 1

    def samples(self, position: int) -> np.ndarray:
        """Indices into the training samples of the batch at ``position``, ``[batch]``."""
        task = self.task_index(position)
        epoch, step = divmod(position - self.start(task), self._per_epoch[task])
        return self._passes(task, epoch)[step * self.config.batch : (step + 1) * self.config.batch]

    def batch(self, position: int) -> Batch:
        index = self.task_index(position)
        epoch = (position - self.start(index)) // self._per_epoch[index]
        chosen = self.samples(position)
        changed = augment(
            self._train.images[chosen], self.config.augment, numpy_generator(self.seed, "augment", position)
        )
        task = Task(self.domains[0], self.classes, self.start(index))
        return Batch(self._scale(changed), self._labels(self._train, chosen), position, task, epoch, self.end(position))

    def test_set(self, task: int) -> tuple[Tensor, Tensor]:
        return self._shown(self._test, self._judge[task])

    def validation_set(self, task: int) -> tuple[Tensor, Tensor]:
        return self._shown(self._train, self._kept_out[task])

    def _shown(self, images: ImageSet, chosen: np.ndarray) -> tuple[Tensor, Tensor]:
        return self._scale(images.images[chosen].astype(np.float32)), self._labels(images, chosen)

    def _labels(self, images: ImageSet, chosen: np.ndarray) -> Tensor:
        return torch.from_numpy(self._label[images.labels[chosen]])

    def provenance(self) -> dict[str, Any]:
        return {images.name: images.provenance.as_dict() for images in (self._train, self._test)}


def _ordered(config: IncrementalConfig, count: int) -> tuple[int, ...]:
    """The order in which ``count`` classes or domains come."""
    if config.order_seed is None:
        return tuple(range(count))
    return tuple(numpy_generator(config.order_seed, "order").permutation(count).tolist())


def _domains(config: IncrementalConfig, train: ImageSet) -> tuple[int, ...]:
    """The domains of ``train`` in the order they come."""
    fix = f"class or task: {train.name} has no domains, which are top folders DIR/DOMAIN/CLASS or an array task"
    require(train.domains is not None, "scenario", config.scenario, fix)
    return _ordered(config, len(train.domain_names))


STREAMS = (
    StreamKind(
        name="incremental",
        config=IncrementalConfig,
        build=IncrementalStream,
        summary="one's own data in tasks: new classes, told apart from all or within the task, or new domains",
        quick={"batch": 8, "epochs": 2, "validation": 0.2},
    ),
)
