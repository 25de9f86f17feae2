"""Few-shot episodes for pre-training (osaka spec, section 8, "Pretraining").

Classes are split by their order: the first ones are meta-training classes, the next ones meta-validation classes, the
rest is never shown. Within a class, the first half of the samples is the support pool and the second half the query
pool; both are drawn from with replacement. For Omniglot's 1,623 classes of 20 samples that is the released split:
classes 0..899 and 900..999, samples 0..9 and 10..19; any other set of images is split in the same proportions.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from frisket.envs.data import ImageSet
from frisket.envs.episode_stream import EpisodeSource
from frisket.errors import require
from frisket.rng import numpy_generator
from frisket.types import Batch, Split

_OMNIGLOT, _TRAIN_END, _VALIDATION_END = 1623, 900, 1000
_DRAWN_BY: dict[Split, str] = {"train": "train", "validation": "validate"}  # what numbers already published hang on


class HalvedEpisodes(EpisodeSource):
    """Episodes of a stream's own classes: a pure function of (images, ways, shots, queries, seed). There are no test
    classes.

    Args:
        images: where classes and samples come from.
        ways: classes in an episode.
        shots: support images per class.
        queries: query images per class.
        seed: everything random derives from it.
        train_classes: ``[first, end)`` of the meta-training classes; None for the released proportion, 900 / 1623.
        validation_classes: ``[first, end)`` of the meta-validation classes; None for the next 100 / 1623.

    Raises:
        SpecError: a split has fewer classes than ``ways``, or a class has fewer than 2 samples.
    """

    def __init__(
        self, images: ImageSet, *, ways: int, shots: int, queries: int = 15, seed: int,
        train_classes: tuple[int, int] | None = None, validation_classes: tuple[int, int] | None = None
    ) -> None:  # fmt: skip
        self.images, self.ways, self.shots, self.queries, self.seed = images, ways, shots, queries, seed
        count = len(images.classes)
        train_end, validation_end = (round(count * n / _OMNIGLOT) for n in (_TRAIN_END, _VALIDATION_END))
        self._classes: dict[Split, tuple[int, int]] = {
            "train": train_classes or (0, train_end),
            "validation": validation_classes or (train_end, validation_end),
        }
        for split, (first, end) in self._classes.items():
            inside = first >= 0 and end <= count
            require(inside, f"{split} classes", (first, end), f"within the {count} classes of {images.name}")
            require(ways <= end - first, "ways", ways, f"at most {end - first}, the {split} classes of {images.name}")
        self._samples = images.class_indices()
        smallest = min(len(indices) for indices in self._samples)
        require(smallest >= 2, f"samples of a class of {images.name}", smallest, "at least 2: support and query")

    def episode(self, split: Split, number: int) -> Batch:
        first, end = self._classes[split]
        generator = numpy_generator(self.seed, "episode", _DRAWN_BY[split], number)
        classes = first + generator.permutation(end - first)[: self.ways]
        halves = [np.array_split(self._samples[c], 2) for c in classes]
        support = np.concatenate([generator.choice(pool, self.shots) for pool, _ in halves])
        query = np.concatenate([generator.choice(pool, self.queries) for _, pool in halves])
        x = torch.from_numpy(self.images.images[np.concatenate([support, query])])
        y = torch.cat([torch.arange(self.ways).repeat_interleave(n) for n in (self.shots, self.queries)])
        return Batch(x, y, number, support=len(support))

    def numbers(self, x: Tensor) -> Tensor:
        return x.float() / self.images.unit
