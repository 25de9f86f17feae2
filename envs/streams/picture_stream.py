"""Pictures of any size, a pass after a pass, read as they are asked for (powerprop sheet, section 5: ImageNet).

One task: all classes, one head. A pass shows every training picture once, in an order of its own, in whole batches;
what is left of a pass is not shown in it. ``steps`` ends the stream wherever a pass then stands.

* Training: a random piece of the picture, between ``smallest`` and all of its area and of a shape between 3:4 and 4:3,
  is resized to ``size`` x ``size`` pixels and mirrored with probability 1/2. Ten pieces are tried; if none fits into
  the picture, it is the largest one in the middle whose shape is allowed.
* Judging: as if the picture were resized until its shorter side is ``resize`` and its middle cut out, ``size`` x
  ``size``; the middle alone is resized.

Both resize by Pillow's bilinear filter, which averages where it makes smaller. Every picture's draws come from
`numpy_generator` keyed by (seed, position, place in the batch), so a batch can be made without the ones before it, by
any number of readers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from frisket.envs.data.imageset import Pictures
from frisket.envs.streams.held_out import learn_and_judge
from frisket.envs.streams.kind import StreamKind
from frisket.envs.streams.scaling import Scale
from frisket.envs.task_stream import TaskStream
from frisket.errors import require
from frisket.moves import NOTHING
from frisket.rng import numpy_generator
from frisket.types import Batch, Task

_TRIES = 10
_NARROWEST, _WIDEST = 3 / 4, 4 / 3

Box = tuple[float, float, float, float]
"""Left, upper, right and lower edge of a piece of a picture, in pixels."""


@dataclass(frozen=True, kw_only=True)
class PicturesConfig:
    """Attributes:
    dataset: published data set the pictures are from.
    batch: samples per batch.
    steps: batches of the stream.
    size: side of what the network sees.
    resize: shorter side of a test picture before its middle is cut out.
    smallest: least share of a training picture's area that is shown.
    test_batch: test pictures that are in memory at once.
    test_samples: most test pictures that are judged, spread evenly over all; null for all.
    readers: threads that read and resize pictures.
    """

    dataset: str = "imagenet"
    batch: int = 256
    steps: int = 512_000
    size: int = 224
    resize: int = 256
    smallest: float = 0.08
    test_batch: int = 250
    test_samples: int | None = None
    readers: int = field(default=8, metadata=NOTHING)

    def __post_init__(self) -> None:
        for name in ("batch", "steps", "size", "test_batch", "readers"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.resize >= self.size, "resize", self.resize, f"at least size = {self.size}")
        require(0 < self.smallest <= 1, "smallest", self.smallest, "a share above 0 and at most 1")
        require(self.test_samples is None or self.test_samples >= 1, "test_samples", self.test_samples, "at least 1")

    def in_words(self) -> str:
        """What the stream is, for its card."""
        return f"one task of pictures, {self.size} x {self.size} pixels; {self.steps:,} batches of {self.batch}"

    def datasets(self) -> tuple[str, str]:
        """Names of the training and the test pictures."""
        return self.dataset, f"{self.dataset}:test"


class PictureStream(TaskStream):
    """Passes over labelled pictures.

    Args:
        config: the stream's numbers.
        data: pictures by the names of `PicturesConfig.datasets`, or their stand-ins.
        seed: the run's seed.

    Raises:
        SpecError: fewer pictures than a batch has, or other classes in the two splits.
    """

    tasks = 1

    def __init__(self, config: PicturesConfig, data: Mapping[str, Pictures], seed: int) -> None:
        self.config, self.seed, self.steps = config, seed, config.steps
        self._train, self._test = train, test = tuple(data[name] for name in config.datasets())
        require(train.classes == test.classes, "dataset", config.dataset, "a set whose splits have the same classes")
        bytes_a_pixel = train.unit == 255 and train.channels in (1, 3)
        require(bytes_a_pixel, "dataset", config.dataset, "pictures of one byte a channel, grey or RGB")
        self._pool, judge = learn_and_judge(train, test)
        require(config.batch <= len(self._pool), "batch", config.batch, f"at most {len(self._pool)} ({train.name})")
        wanted = len(judge) if config.test_samples is None else min(config.test_samples, len(judge))
        self._judge = judge[np.arange(wanted) * len(judge) // wanted]
        self.shape = (train.channels, config.size, config.size)
        self.ways, self.names, self.domains = len(train.classes), train.classes, (train.name,)
        self.batches_per_pass = len(self._pool) // config.batch
        self._task = Task(train.name, tuple(range(self.ways)), 0)
        self._scale = Scale(train)
        self._order: tuple[int, np.ndarray] | None = None

    def samples(self, position: int) -> np.ndarray:
        """Indices into the training pictures of the batch at ``position``, ``[batch]``."""
        epoch, step = divmod(position, self.batches_per_pass)
        if self._order is None or self._order[0] != epoch:  # the last pass is kept: positions come in order
            self._order = epoch, numpy_generator(self.seed, "order", epoch).permutation(self._pool)
        return self._order[1][step * self.config.batch : (step + 1) * self.config.batch]

    def batch(self, position: int) -> Batch:
        chosen = self.samples(position)

        def shown(item: int) -> np.ndarray:
            pixels = self._train.picture(int(chosen[item]))
            _, height, width = pixels.shape
            generator = numpy_generator(self.seed, "piece", position, item)
            piece = resized(pixels, random_box(height, width, self.config.smallest, generator), self.config.size)
            return piece[:, :, ::-1] if generator.random() < 0.5 else piece

        x, y = self._read(shown, len(chosen)), torch.from_numpy(self._train.labels[chosen])
        return Batch(x, y, position, self._task, position // self.batches_per_pass, self.end(position))

    def test_batches(self, task: int) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(self._judge), self.config.test_batch):
            yield self._judged(self._judge[start : start + self.config.test_batch])

    def test_set(self, task: int) -> tuple[Tensor, Tensor]:
        """As `TaskStream.test_set`: all of it in memory, 30 GB of ImageNet. `test_batches` is made for it."""
        return self._judged(self._judge)

    def _judged(self, chosen: np.ndarray) -> tuple[Tensor, Tensor]:
        size, share = self.config.size, self.config.size / self.config.resize

        def shown(item: int) -> np.ndarray:
            pixels = self._test.picture(int(chosen[item]))
            _, height, width = pixels.shape
            return resized(pixels, middle_box(height, width, share), size)

        return self._read(shown, len(chosen)), torch.from_numpy(self._test.labels[chosen])

    def _read(self, shown: Callable[[int], np.ndarray], count: int) -> Tensor:
        """``[count, C, size, size]`` of the pictures ``shown`` gives; Pillow reads without the interpreter's lock."""
        pixels = np.empty((count, *self.shape), np.float32)

        def place(item: int) -> None:
            pixels[item] = shown(item)

        with ThreadPoolExecutor(min(self.config.readers, count)) as readers:
            for _ in readers.map(place, range(count)):  # a reader's error is raised here
                pass
        return self._scale(pixels)

    def provenance(self) -> dict[str, Any]:
        return {pictures.name: pictures.provenance.as_dict() for pictures in (self._train, self._test)}


def random_box(height: int, width: int, smallest: float, generator: np.random.Generator) -> Box:
    """A random piece of a picture of ``height`` x ``width`` pixels, at whole pixels.

    Args:
        smallest: least share of the picture's area, which is drawn uniformly; the logarithm of the piece's shape
            (width by height) is drawn uniformly as well.
        generator: what it is drawn from.
    """
    for _ in range(_TRIES):
        area = height * width * generator.uniform(smallest, 1)
        shape = math.exp(generator.uniform(math.log(_NARROWEST), math.log(_WIDEST)))
        wide, high = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
        if 1 <= wide <= width and 1 <= high <= height:
            left, upper = generator.integers(0, [width - wide, height - high], endpoint=True).tolist()
            return left, upper, left + wide, upper + high
    wide, high = min(width, max(1, round(height * _WIDEST))), min(height, max(1, round(width / _NARROWEST)))
    left, upper = (width - wide) // 2, (height - high) // 2
    return left, upper, left + wide, upper + high


def middle_box(height: int, width: int, share: float) -> Box:
    """The square in the middle of a picture whose side is ``share`` of the shorter side."""
    side = min(height, width) * share
    left, upper = (width - side) / 2, (height - side) / 2
    return left, upper, left + side, upper + side


def resized(pixels: np.ndarray, box: Box, size: int) -> np.ndarray:
    """The piece ``box`` of ``pixels`` [C, H, W] uint8, C = 1 or 3, as [C, size, size] uint8."""
    from PIL import Image

    flat = pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0))
    small = np.asarray(Image.fromarray(flat).resize((size, size), Image.Resampling.BILINEAR, box))
    return small[None] if small.ndim == 2 else small.transpose(2, 0, 1)


STREAMS = (
    StreamKind(
        name="pictures",
        config=PicturesConfig,
        build=PictureStream,
        summary="one task of pictures of any size, read as they are asked for: ImageNet from its folders",
        takes=Pictures,
        quick={"batch": 4, "steps": 30, "size": 8, "resize": 10, "test_batch": 7},
    ),
)
