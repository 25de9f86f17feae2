"""Rotated and permuted images: the MNIST streams of continual learning (lamaml spec, section 6).

A task shows the same images with their pixels moved: pixel j of the task's image is pixel ``map[j]`` of the original,
or blank where the map points outside. So both kinds of task are one table ``[T, H W]`` of indices.

* rotations: task t has one angle, uniform in [span t / T, span (t + 1) / T) degrees, so tasks come in increasing
  angle; nearest neighbour, no enlargement. span is 180.
* permutations: task t has one random order of the pixels, task 0 too.

The published files were made once and every run used the same ones: the angles and orders come from ``task_seed``. The
run's seed chooses each task's training samples, anew for every task, so an image may come back in another task.

Where the data have a published test split it is the test set; for those without see `frisket.envs.held_out`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from frisket.envs.data.imageset import ImageSet
from frisket.envs.held_out import learn_and_judge
from frisket.envs.task_stream import TaskStream
from frisket.errors import require
from frisket.rng import numpy_generator
from frisket.types import Batch, Task

BLANK = -1


@dataclass(frozen=True, kw_only=True)
class PixelTasksConfig(ABC):
    """Attributes:
    dataset: published data set the images are from.
    tasks: T.
    samples: training samples per task.
    batch: samples per batch.
    test_samples: most test samples a task is judged on.
    task_seed: what the tasks are drawn from, the same for all runs.
    """

    dataset: str = "mnist"
    tasks: int = 20
    samples: int = 1000
    batch: int = 10
    test_samples: int = 10_000
    task_seed: int = 0

    def __post_init__(self) -> None:
        for name in ("tasks", "samples", "batch", "test_samples"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.samples % self.batch == 0, "batch", self.batch, f"a divisor of samples = {self.samples}")

    def datasets(self) -> tuple[str, str]:
        """Names of the training and the test images."""
        return self.dataset, f"{self.dataset}:test"

    @abstractmethod
    def maps(self, height: int, width: int) -> np.ndarray:
        """``[T, H W]`` int64: where each pixel comes from, `BLANK` for nowhere."""


@dataclass(frozen=True, kw_only=True)
class RotationsConfig(PixelTasksConfig):
    """Rotations. Attributes: span: degrees the T angles are spread over."""

    span: float = 180.0

    def angles(self) -> np.ndarray:
        """``[T]`` degrees, anticlockwise."""
        draws = [numpy_generator(self.task_seed, "angle", t).random() for t in range(self.tasks)]
        return (np.arange(self.tasks) + np.array(draws)) * self.span / self.tasks

    def maps(self, height: int, width: int) -> np.ndarray:
        return np.stack([rotation_map(angle, height, width) for angle in self.angles()])


@dataclass(frozen=True, kw_only=True)
class PermutationsConfig(PixelTasksConfig):
    """Permutations; with 100 tasks of 200 samples, many permutations."""

    def maps(self, height: int, width: int) -> np.ndarray:
        orders = [numpy_generator(self.task_seed, "order", t).permutation(height * width) for t in range(self.tasks)]
        return np.stack(orders)


class PixelTaskStream(TaskStream):
    """Rotated or permuted images, one pass over every task.

    Args:
        config: the stream's numbers.
        data: image sets by the names of `PixelTasksConfig.datasets`, or their stand-ins.
        seed: the run's seed.
    """

    def __init__(self, config: PixelTasksConfig, data: Mapping[str, ImageSet], seed: int) -> None:
        self.config, self.seed = config, seed
        train, test = (data[name] for name in config.datasets())
        self._train, self._test = train, test
        self._pool, held_out = learn_and_judge(train, test)
        require(
            config.samples <= len(self._pool), "samples", config.samples, f"at most {len(self._pool)} ({train.name})"
        )
        self._held_out = held_out[: config.test_samples]
        self.tasks = config.tasks
        self.steps = config.tasks * (config.samples // config.batch)
        self.shape: tuple[int, int, int] = tuple(train.images.shape[1:])
        self.ways = len(train.classes)
        self.domains = (train.name,)
        channels, height, width = self.shape
        require(channels == 1, "dataset", config.dataset, "a set of images with one channel")
        self.maps = config.maps(height, width)
        self._order: tuple[int, np.ndarray] | None = None
        self._pixels: Tensor | None = None

    def samples(self, task: int) -> np.ndarray:
        """Indices into the training images of ``task``, in the order they come, ``[samples]``."""
        if self._order is None or self._order[0] != task:  # the last task is kept: positions mostly come in order
            order = numpy_generator(self.seed, "samples", task).permutation(len(self._pool))[: self.config.samples]
            self._order = task, self._pool[order]
        return self._order[1]

    def batch(self, position: int) -> Batch:
        index = self.task_index(position)
        first = (position - index * self.steps_per_task) * self.config.batch
        chosen = self.samples(index)[first : first + self.config.batch]
        pixels = self._train.images[chosen].reshape(len(chosen), -1)
        moved = np.where(self.maps[index] == BLANK, 0, pixels[:, self.maps[index]])
        x = torch.from_numpy(moved).float().div_(255).view(-1, *self.shape)
        y = torch.from_numpy(self._train.labels[chosen])
        task = Task(self.domains[0], tuple(range(self.ways)), index * self.steps_per_task)
        return Batch(x, y, position, task)

    def test_set(self, task: int) -> tuple[Tensor, Tensor]:
        """``(x, y)``; x is laid out pixel by pixel in memory, so that moving pixels copies whole rows."""
        if self._pixels is None:
            flat = torch.from_numpy(self._test.images[self._held_out]).flatten(1).T
            blank = torch.zeros(1, flat.shape[1])
            self._pixels = torch.cat([flat.float() / 255, blank])  # the last row is what BLANK = -1 points to
        source = torch.from_numpy(np.where(self.maps[task] == BLANK, len(self._pixels) - 1, self.maps[task]))
        moved = self._pixels.index_select(0, source)
        return moved.T.unflatten(1, self.shape), torch.from_numpy(self._test.labels[self._held_out])

    def provenance(self) -> dict[str, Any]:
        return {images.name: images.provenance.as_dict() for images in (self._train, self._test)}


def rotation_map(angle: float, height: int, width: int) -> np.ndarray:
    """``[H W]``: the source of each pixel of an image turned anticlockwise by ``angle`` degrees about its middle."""
    turn = math.radians(angle)
    rows, columns = np.mgrid[:height, :width] + 0.5
    down, right = rows - height / 2, columns - width / 2
    source_right = np.floor(math.cos(turn) * right - math.sin(turn) * down + width / 2).astype(np.int64)
    source_down = np.floor(math.sin(turn) * right + math.cos(turn) * down + height / 2).astype(np.int64)
    inside = (source_right >= 0) & (source_right < width) & (source_down >= 0) & (source_down < height)
    return np.where(inside, source_down * width + source_right, BLANK).reshape(-1)
