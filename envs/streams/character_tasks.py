"""One class of images after the other: the generative tasks of continual learning (VCL18; powerprop sheet, section 9).

Task t shows the images of class t alone (MNIST: digit t, notMNIST: letter t), with pixel values in [0, 1] and not
binarised. An epoch passes once over the class's training images in an order of its own, in full batches; what is left
over after the last full batch is not shown in that epoch. Classes have different numbers of images, so tasks have
different numbers of batches.

Splits:

* test: the published test images. Data without them (notMNIST) are divided by ``test_share``: a random share of every
  class, drawn from ``split_seed``, the same for all runs. Stand-ins without either: see
  `frisket.envs.streams.held_out`.
* validation: the last ``validation`` of every class's training images, in file order or in that of the random division.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor

from frisket.envs.data.imageset import ImageSet
from frisket.envs.streams.held_out import learn_and_judge
from frisket.envs.streams.kind import StreamKind
from frisket.envs.streams.passes import Passes, passes_in_words
from frisket.envs.task_stream import TaskStream
from frisket.errors import require
from frisket.rng import numpy_generator
from frisket.types import Batch, Task


@dataclass(frozen=True, kw_only=True)
class CharacterTasksConfig:
    """Attributes:
    dataset: data set the images are from.
    tasks: T; task t is class t.
    epochs: passes over a task's training images.
    batch: images per batch.
    samples: most training images of a task; null for all.
    validation: share of every class's training images kept back for `TaskStream.validation_set`.
    test_share: share of every class that is judged on, of data without published test images; null where there are.
    split_seed: what the random division is drawn from, the same for all runs.
    """

    dataset: str = "mnist"
    tasks: int = 10
    epochs: int = 200
    batch: int = 50
    samples: int | None = None
    validation: float = 0.1
    test_share: float | None = None
    split_seed: int = 0

    def __post_init__(self) -> None:
        for name in ("tasks", "epochs", "batch"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(0 <= self.validation < 1, "validation", self.validation, "a share, at least 0 and below 1")
        shares = self.test_share is None or 0 < self.test_share < 1
        require(shares, "test_share", self.test_share, "above 0 and below 1, or null for published test images")
        enough = self.samples is None or self.samples >= self.batch
        require(enough, "samples", self.samples, f"at least batch = {self.batch}, or null for all")

    def in_words(self) -> str:
        """What the stream is, for its card."""
        return f"{self.tasks} tasks in sequence, each the images of one class in {passes_in_words(self.epochs)}"

    def datasets(self) -> tuple[str, ...]:
        """Names of the image sets: training and test, or the one that is divided."""
        return (self.dataset, f"{self.dataset}:test") if self.test_share is None else (self.dataset,)


class CharacterTaskStream(TaskStream):
    """Images of one class after the other.

    Args:
        config: the stream's numbers.
        data: image sets by the names of `CharacterTasksConfig.datasets`, or their stand-ins.
        seed: the run's seed.

    Raises:
        SpecError: the data have too few classes, or a class has too few images.
    """

    def __init__(self, config: CharacterTasksConfig, data: Mapping[str, ImageSet], seed: int) -> None:
        self.config, self.seed = config, seed
        self._train, self._test = (data[name] for name in (config.datasets()[0], config.datasets()[-1]))
        self.tasks, self.ways = config.tasks, len(self._train.classes)
        require(config.tasks <= self.ways, "tasks", config.tasks, f"at most {self.ways}, the classes of the data")
        channels, height, width = self._train.images.shape[1:]
        self.shape = (channels, height, width)
        self.domains = (self._train.name,)
        self.classes = self.names = self._train.classes
        pools, self._judge = self._divided()
        cuts = [len(pool) - int(config.validation * len(pool)) for pool in pools]
        self._kept_out = [pool[cut:] for pool, cut in zip(pools, cuts, strict=True)]
        learn = [pool[:cut] for pool, cut in zip(pools, cuts, strict=True)]
        fewest = min(map(len, learn))
        require(config.batch <= fewest, "batch", config.batch, f"at most {fewest}, the fewest images of a class")
        self._passes = Passes(learn, config.samples, seed)
        self._per_epoch = [min(len(pool), config.samples or len(pool)) // config.batch for pool in learn]
        self._starts = [0, *accumulate(config.epochs * batches for batches in self._per_epoch)]
        self.steps = self._starts[-1]

    def start(self, task: int) -> int:
        return self._starts[task]

    def task_index(self, position: int) -> int:
        return bisect.bisect_right(self._starts, position) - 1

    def samples(self, task: int, epoch: int = 0) -> np.ndarray:
        """Indices into the training images of ``task``, in the order they come in ``epoch``."""
        return self._passes(task, epoch)

    def batch(self, position: int) -> Batch:
        index = self.task_index(position)
        epoch, step = divmod(position - self.start(index), self._per_epoch[index])
        first = step * self.config.batch
        x, y = _shown(self._train, self.samples(index, epoch)[first : first + self.config.batch])
        task = Task(self.domains[0], tuple(range(self.ways)), self.start(index))
        return Batch(x, y, position, task, epoch, self.end(position))

    def test_set(self, task: int) -> tuple[Tensor, Tensor]:
        return _shown(self._test, self._judge[task])

    def validation_set(self, task: int) -> tuple[Tensor, Tensor]:
        return _shown(self._train, self._kept_out[task])

    def provenance(self) -> dict[str, Any]:
        return {images.name: images.provenance.as_dict() for images in (self._train, self._test)}

    def _divided(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Of each task, indices into the training images to learn from, and into the test images to be judged on."""
        share, seed = self.config.test_share, self.config.split_seed
        if share is None:
            learn, judge = learn_and_judge(self._train, self._test)
            labels, truth = self._train.labels[learn], self._test.labels[judge]
            return [learn[labels == t] for t in range(self.tasks)], [judge[truth == t] for t in range(self.tasks)]
        orders = [
            numpy_generator(seed, "split", t).permutation(own)
            for t, own in enumerate(self._train.class_indices()[: self.tasks])
        ]
        cuts = [len(order) - round(share * len(order)) for order in orders]
        return [o[:cut] for o, cut in zip(orders, cuts, strict=True)], [
            o[cut:] for o, cut in zip(orders, cuts, strict=True)
        ]


def _shown(images: ImageSet, chosen: np.ndarray) -> tuple[Tensor, Tensor]:
    """The images ``chosen``, pixels in [0, 1], and their labels."""
    return torch.from_numpy(images.images[chosen]).float().div_(images.unit), torch.from_numpy(images.labels[chosen])


STREAMS = (
    StreamKind(
        name="character-tasks",
        config=CharacterTasksConfig,
        build=CharacterTaskStream,
        summary="tasks in sequence, each the images of one class, for generative models",
        quick={"tasks": 3, "batch": 6, "epochs": 2},
    ),
)
