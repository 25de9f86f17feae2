"""How an episode is drawn from the classes of one image set (maml_family spec, section 6, "Task").

An episode draws N distinct classes of its split in random order, and of each k + q different pictures; label j is
position j. Support comes first, class-major, then the queries, class-major. Every draw is keyed by (seed, split,
number), so any episode can be made without the ones before it.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch

from frisket.envs.data.divisions import SPLITS
from frisket.envs.data.imageset import ImageSet
from frisket.envs.episodes.class_splits import class_split
from frisket.envs.episodes.fields import EpisodeFields
from frisket.errors import require
from frisket.rng import numpy_generator
from frisket.types import Batch, Split, Task

_log = logging.getLogger("frisket.data")

_TURNS = 4


class Drawing:
    """Episodes of one image set: a pure function of (images, config, seed).

    Args:
        config: their numbers, and the division of the classes.
        images: the pictures, of the size they are shown in.
        seed: the run's seed.
        rotations: whether there are four classes for each of the data set's, its pictures turned by 0, 90, 180 and 270
            degrees, all in the split of that one; class c turned r times is class ``r K + c`` of K.
        channels: of what is shown; grey pictures become so many equal ones. None for what they have.

    Raises:
        SpecError: a split has fewer classes than ``ways``, or a class fewer pictures than ``shots + queries`` where
            that is an error.
        DataError: as `frisket.envs.episodes.class_splits.class_split`.
    """

    def __init__(
        self,
        config: EpisodeFields,
        images: ImageSet,
        seed: int,
        *,
        rotations: bool = False,
        channels: int | None = None,
    ) -> None:
        self._images, self._seed = images, seed
        self.ways, self.shots, self.queries = config.ways, config.shots, config.queries
        there, height, width = images.images.shape[1:]
        self.shape = (channels or there, height, width)
        self._splits = class_split(images, config.classes)
        self._samples = images.class_indices()
        self._notes = self._skip_small() if config.small_classes == "skip" else ()
        if rotations:
            require(height == width, "rotations", True, f"false: pictures of {images.name} are {height} x {width}")
            turns = len(images.classes) * np.arange(_TURNS)[:, None]
            self._splits = {split: (turns + classes).reshape(-1) for split, classes in self._splits.items()}
        for split in SPLITS:
            self._require_enough(split, self._splits[split])

    def _skip_small(self) -> tuple[str, ...]:
        """Take classes of too few pictures out of their splits, and say so."""
        images, least = self._images, self.shots + self.queries
        small = {split: [c for c in kept if len(self._samples[c]) < least] for split, kept in self._splits.items()}
        if not any(small.values()):
            return ()
        self._splits = {split: kept[~np.isin(kept, small[split])] for split, kept in self._splits.items()}
        counts = ", ".join(f"{len(small[split])} of {split}" for split in SPLITS)
        note = f"classes of fewer than {least} pictures are passed over: {counts}"
        _log.warning("data %s: %s", images.name, note)
        return (note,)

    def provenance(self) -> dict[str, Any]:
        """That of the pictures, and what was made of them here."""
        told = self._images.provenance.as_dict()
        return {**told, "notes": [*told["notes"], *self._notes]}

    def _require_enough(self, split: Split, classes: np.ndarray) -> None:
        images, found = self._images, len(classes)
        few = "" if found > 1 else "; no episode has fewer than 2: take a data set of more classes"
        require(self.ways <= found, "ways", self.ways, f"at most {found}, the {split} classes of {images.name}{few}")
        fewest = min(classes % len(images.classes), key=lambda c: len(self._samples[c]))
        there, shots = len(self._samples[fewest]), self.shots
        allowed = f"at most {there - shots} with shots = {shots}: {images.classes[fewest]!r} has {there} pictures"
        allowed += "; small_classes: skip passes over such classes"
        require(shots < there, "shots", shots, f"at most {there - 1}: {images.classes[fewest]!r} has {there} pictures")
        require(shots + self.queries <= there, "queries", self.queries, allowed)

    def episode(self, split: Split, number: int, position: int) -> Batch:
        """Episode ``number`` (from 0) of ``split``, which its stream has at ``position``; pictures are as they are
        kept."""
        generator = numpy_generator(self._seed, "episode", split, number)
        pool = self._splits[split]
        classes = pool[generator.choice(len(pool), self.ways, replace=False)]
        count = self.shots + self.queries
        turns, kinds = np.divmod(classes, len(self._samples))
        drawn = np.stack([generator.choice(self._samples[c], count, replace=False) for c in kinds])
        pixels = self._images.images[drawn]
        for place, turn in enumerate(turns):
            if turn:
                pixels[place] = np.rot90(pixels[place], turn, (-2, -1))
        if pixels.shape[2] != self.shape[0]:
            pixels = np.repeat(pixels, self.shape[0], axis=2)
        sides = (pixels[:, : self.shots], pixels[:, self.shots :])
        labels = torch.arange(self.ways)
        y = torch.cat([labels.repeat_interleave(self.shots), labels.repeat_interleave(self.queries)])
        task = Task(self._images.name, tuple(int(c) for c in classes), position)
        x = torch.from_numpy(np.concatenate([side.reshape(-1, *self.shape) for side in sides]))
        return Batch(x, y, position, task, support=self.ways * self.shots)
