"""Rotated and permuted images: the MNIST streams of continual learning (lamaml spec, section 6).

A task shows the same images with their pixels moved: pixel j of the task's image is pixel ``map[j]`` of the original,
or blank where the map points outside. So both kinds of task are one table ``[T, H W]`` of indices. Pixels of several
channels move together; D features ``[D, 1, 1]`` are moved as D pixels of one channel, and have no angles.

* rotations: task t has one angle, uniform in [span t / T, span (t + 1) / T) degrees, so tasks come in increasing
  angle; nearest neighbour, no enlargement. span is 180.
* permutations: task t has one random order of the pixels; task 0 too, unless ``identity_first``.

Images may be padded and normalised before their pixels are moved (HSU18: 28 x 28 to 32 x 32, mean 0.1000, standard
deviation 0.2752).

The published files were made once and every run used the same ones: the angles and orders come from ``task_seed``. The
run's seed chooses each task's training samples, anew for every task, so an image may come back in another task.

Where the data have a published test split it is the test set; for those without see `frisket.envs.streams.held_out`.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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

BLANK = -1
_MOST_TASKS, _WIDEST = 10_000, 1_000  # an order of the pixels is kept for every task; pixels
_TOGETHER = 320
"""Images that are moved at a time where many batches are wanted; their floats stay in the processor's cache."""


@dataclass(frozen=True, kw_only=True)
class PixelTasksConfig(ABC):
    """Attributes:
    dataset: published data set the images are from.
    tasks: T.
    samples: training samples per task.
    batch: samples per batch.
    test_samples: most test samples a task is judged on.
    epochs: passes over a task's samples; every pass has an order of its own.
    validation: samples kept back from training for `TaskStream.validation_set`, the last of the training images.
    pad: blank pixels added on every side.
    mean: subtracted from pixels in [0, 1].
    std: what they are then divided by.
    task_seed: what the tasks are drawn from, the same for all runs.
    """

    dataset: str = "mnist"
    tasks: int = 20
    samples: int = 1000
    batch: int = 10
    test_samples: int = 10_000
    epochs: int = 1
    validation: int = 0
    pad: int = 0
    mean: float = 0.0
    std: float = 1.0
    task_seed: int = 0

    def __post_init__(self) -> None:
        for name in ("tasks", "samples", "batch", "test_samples", "epochs"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("validation", "pad"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "at least 0")
        for name, most in (("tasks", _MOST_TASKS), ("pad", _WIDEST)):
            require(getattr(self, name) <= most, name, getattr(self, name), f"at most {most:,}")
        require(self.std > 0, "std", self.std, "above 0")
        require(self.samples % self.batch == 0, "batch", self.batch, f"a divisor of samples = {self.samples}")

    def datasets(self) -> tuple[str, str]:
        """Names of the training and the test images."""
        return self.dataset, f"{self.dataset}:test"

    def in_words(self) -> str:
        """What the stream is, for its card."""
        length = f"{self.samples:,} images a task, {passes_in_words(self.epochs)}"
        return f"{self.tasks} tasks in sequence, each {self.difference()}; {length}"

    @abstractmethod
    def difference(self) -> str:
        """What tells one task from another, in words that follow "each"."""

    @abstractmethod
    def maps(self, height: int, width: int) -> np.ndarray:
        """``[T, H W]`` int64: where each pixel comes from, `BLANK` for nowhere."""


@dataclass(frozen=True, kw_only=True)
class RotationsConfig(PixelTasksConfig):
    """Rotations. Attributes: span: degrees the T angles are spread over."""

    span: float = 180.0

    def difference(self) -> str:
        return f"turned by another angle between 0 and {self.span:g} degrees"

    def angles(self) -> np.ndarray:
        """``[T]`` degrees, anticlockwise."""
        draws = [numpy_generator(self.task_seed, "angle", t).random() for t in range(self.tasks)]
        return (np.arange(self.tasks) + np.array(draws)) * self.span / self.tasks

    def maps(self, height: int, width: int) -> np.ndarray:
        require(width > 1, "dataset", self.dataset, "pictures: features cannot be turned; permutations can be made")
        return np.stack([rotation_map(angle, height, width) for angle in self.angles()])


@dataclass(frozen=True, kw_only=True)
class PermutationsConfig(PixelTasksConfig):
    """Permutations; with 100 tasks of 200 samples, many permutations.

    Attributes:
        identity_first: task 0 shows the images as they are.
    """

    identity_first: bool = False

    def difference(self) -> str:
        return f"with its pixels in another order{', the first as they are' if self.identity_first else ''}"

    def maps(self, height: int, width: int) -> np.ndarray:
        orders = [numpy_generator(self.task_seed, "order", t).permutation(height * width) for t in range(self.tasks)]
        if self.identity_first:
            orders[0] = np.arange(height * width)
        return np.stack(orders)


class PixelTaskStream(TaskStream):
    """Rotated or permuted images.

    Args:
        config: the stream's numbers.
        data: image sets by the names of `PixelTasksConfig.datasets`, or their stand-ins.
        seed: the run's seed.
    """

    def __init__(self, config: PixelTasksConfig, data: Mapping[str, ImageSet], seed: int) -> None:
        self.config, self.seed = config, seed
        train, test = (data[name] for name in config.datasets())
        self._train, self._test = train, test
        pool, held_out = learn_and_judge(train, test)
        require(config.validation < len(pool), "validation", config.validation, f"below {len(pool)} ({train.name})")
        self._pool, self._kept_out = np.split(pool, [len(pool) - config.validation])
        require(
            config.samples <= len(self._pool), "samples", config.samples, f"at most {len(self._pool)} ({train.name})"
        )
        self._held_out = held_out[: config.test_samples]
        self.tasks = config.tasks
        self._steps_per_epoch = config.samples // config.batch
        self.steps = config.tasks * config.epochs * self._steps_per_epoch
        channels, height, width = train.images.shape[1:]
        features = height == width == 1
        require(not (features and config.pad), "pad", config.pad, f"0: {train.name} are features")
        self.shape = (channels, height + 2 * config.pad, width + 2 * config.pad)
        channels, height, width = (1, channels, 1) if features else (channels, height, width)
        self.ways, self.names = len(train.classes), train.classes
        self.domains = (train.name,)
        padded = np.pad(np.arange(height * width).reshape(height, width), config.pad, constant_values=BLANK).reshape(-1)
        moved = config.maps(height + 2 * config.pad, width + 2 * config.pad)
        places = np.where(moved == BLANK, BLANK, padded[moved])
        apart = [np.where(places == BLANK, BLANK, places + c * height * width) for c in range(channels)]
        self.maps = np.concatenate(apart, axis=1)
        self._passes = Passes([self._pool] * config.tasks, config.samples, seed)
        self._pixels: Tensor | None = None

    def reseeded(self, seed: int) -> PixelTaskStream:
        """The tasks are the same in all runs."""
        other = copy.copy(self)
        other.seed, other._passes = seed, Passes(self._passes.pools, self.config.samples, seed)
        return other

    def samples(self, task: int, epoch: int = 0) -> np.ndarray:
        """Indices into the training images of ``task``, in the order they come in ``epoch``, ``[samples]``."""
        return self._passes(task, epoch)

    def batch(self, position: int) -> Batch:
        (batch,) = self._together(position, 1)
        return batch

    def batches(self, first: int, count: int) -> Iterator[Batch]:
        after = first + count
        while first < after:
            left = self._steps_per_epoch - first % self._steps_per_epoch
            together = min(after - first, left, max(1, _TOGETHER // self.config.batch))
            yield from self._together(first, together)
            first += together

    def _together(self, position: int, count: int) -> Iterator[Batch]:
        """``count`` batches of one pass over one task, whose images are moved all at once."""
        index = self.task_index(position)
        epoch, step = divmod(position - index * self.steps_per_task, self._steps_per_epoch)
        size = self.config.batch
        chosen = self.samples(index, epoch)[step * size : (step + count) * size].reshape(count, size)
        task = Task(self.domains[0], tuple(range(self.ways)), index * self.steps_per_task)
        for i, (x, y) in enumerate(self._shown(index, chosen), position):
            yield Batch(x, y, i, task, epoch, self.end(i))

    def validation_set(self, task: int) -> tuple[Tensor, Tensor]:
        ((x, y),) = self._shown(task, self._kept_out[None])
        return x, y

    def _shown(self, task: int, chosen: np.ndarray) -> Iterator[tuple[Tensor, Tensor]]:
        """The training images ``chosen``, ``[batches, N]``, as ``task`` shows them, and their labels, batch by batch.

        A batch lies in memory pixel by pixel, so that moving pixels copies whole rows.
        """
        batches, size = chosen.shape
        area = math.prod(self._train.images.shape[1:])
        pixels = np.zeros(
            (batches, area + 1, size), self._train.images.dtype
        )  # the last row is what BLANK = -1 points to
        pixels[:, :area] = self._train.images[chosen].reshape(batches, size, area).transpose(0, 2, 1)
        moved = torch.from_numpy(pixels.take(self.maps[task], axis=1)).float().div_(self._train.unit)
        for own, labels in zip(self._normalised(moved), self._train.labels[chosen], strict=True):
            yield own.T.view(size, *self.shape), torch.from_numpy(labels)

    def test_set(self, task: int) -> tuple[Tensor, Tensor]:
        """``(x, y)``; x is laid out pixel by pixel in memory, so that moving pixels copies whole rows."""
        if self._pixels is None:
            flat = torch.from_numpy(self._test.images[self._held_out]).flatten(1).T
            # the last row is what BLANK = -1 points to
            self._pixels = torch.cat([flat, flat.new_zeros(1, flat.shape[1])])
        source = torch.from_numpy(np.where(self.maps[task] == BLANK, len(self._pixels) - 1, self.maps[task]))
        # The result's place is taken first, where the last test set lay, before anything smaller breaks it up.
        moved = torch.empty(len(source), self._pixels.shape[1])
        moved.copy_(self._pixels.index_select(0, source))
        x = self._normalised(moved.div_(self._test.unit)).T.unflatten(1, self.shape)
        return x, torch.from_numpy(self._test.labels[self._held_out])

    def _normalised(self, pixels: Tensor) -> Tensor:
        """``pixels`` in [0, 1] as networks see them, in place."""
        return pixels.sub_(self.config.mean).div_(self.config.std)

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


STREAMS = (
    StreamKind(
        name="rotations",
        config=RotationsConfig,
        build=PixelTaskStream,
        summary="tasks in sequence, each the same images turned by another angle",
        quick={"tasks": 3, "samples": 40, "test_samples": 20, "validation": 10},
    ),
    StreamKind(
        name="permutations",
        config=PermutationsConfig,
        build=PixelTaskStream,
        summary="tasks in sequence, each the same images with their pixels in another order",
        quick={"tasks": 3, "samples": 40, "test_samples": 20, "validation": 10},
    ),
)
