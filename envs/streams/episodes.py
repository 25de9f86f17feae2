"""N-way k-shot episodes of one data set (MAML17; maml_family spec, section 6, "Task").

An episode draws N distinct classes of its split in random order, and of each k + q different pictures; label j is
position j. Support comes first, class-major, then the queries, class-major. Every draw is keyed by (seed, split,
number), so any episode can be made without the ones before it. With ``rotations`` there are four classes for each of
the data set's, its pictures turned by 0, 90, 180 and 270 degrees, all in the split of that one; class c turned r times
is class ``r K + c`` of K.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import torch

from frisket.envs.data.imageset import Pictures
from frisket.envs.data.own_pictures import LARGEST_SIDE, NotRgb, Unreadable
from frisket.envs.data.reading import Reading, in_memory
from frisket.envs.episode_stream import EpisodeStream
from frisket.envs.episodes.class_splits import class_split
from frisket.envs.streams.kind import StreamKind
from frisket.envs.streams.scaling import Normalise, Scale
from frisket.errors import require
from frisket.rng import derive, numpy_generator
from frisket.types import Batch, Split, Task

_TURNS = 4


@dataclass(frozen=True, kw_only=True)
class EpisodesConfig:
    """Attributes:
    dataset: data set the classes are of.
    classes: how its classes are divided into meta-training, meta-validation and meta-test ones: ``standard`` as its
        folders, the lists beside it or its papers do, else in file order; ``order`` 64, 16 and 20 % in file order; or
        the name of another published split (`frisket.envs.episodes.class_splits`).
    size: side of the pictures in pixels; None for what they have, 84 for those in folders.
    rotations: whether the pictures of a class turned by 90, 180 and 270 degrees are three classes more.
    unreadable: of pictures in folders, whether one that cannot be read is an error, or passed over with a warning.
    not_rgb: of pictures in folders, whether one of other than three colours is made one of three (``convert``), an
        error, or passed over.
    normalise: what pictures in [0, 1] are normalised by: ``published``, the data set's own constants where it has any,
        ``none``, or ``imagenet``, ImageNet's whatever the data set.
    ways: N, classes in an episode.
    shots: k, support pictures of each class.
    queries: query pictures of each class.
    steps: length of the stream in episodes; an outer step takes as many as the learner's meta-batch.
    """

    dataset: str = "omniglot"
    classes: str = "standard"
    size: int | None = None
    rotations: bool = False
    unreadable: Unreadable = "error"
    not_rgb: NotRgb = "convert"
    normalise: Normalise = "published"
    ways: int = 5
    shots: int = 1
    queries: int = 15
    steps: int = 40_000

    def __post_init__(self) -> None:
        require(self.ways >= 2, "ways", self.ways, "at least 2")
        for name in ("shots", "queries", "steps"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        allowed = self.size is None or 8 <= self.size <= LARGEST_SIDE
        require(allowed, "size", self.size, f"8 to {LARGEST_SIDE:,}, or null")
        for name, allowed in (("unreadable", Unreadable), ("not_rgb", NotRgb), ("normalise", Normalise)):
            known = get_args(allowed)
            require(getattr(self, name) in known, name, getattr(self, name), f"one of {', '.join(known)}")

    def datasets(self) -> tuple[str, ...]:
        """Name of the image set."""
        return (self.dataset,)

    def in_words(self) -> str:
        """What the stream is, for its card."""
        return f"{self.ways}-way {self.shots}-shot episodes with {self.queries} queries a class; {self.steps:,} of them"


class Episodes(EpisodeStream):
    """Episodes over one image set.

    Args:
        config: the stream's numbers.
        data: the pictures by the name ``config.dataset``, or their stand-in.
        seed: the run's seed.

    Raises:
        SpecError: a split has fewer classes than ``ways``, or a class fewer pictures than ``shots + queries``; pictures
            that ImageNet's constants do not fit.
        DataError: as `frisket.envs.data.reading.in_memory` and `class_split`.
    """

    def __init__(self, config: EpisodesConfig, data: Mapping[str, Pictures], seed: int) -> None:
        self.config, self.seed = config, seed
        self.steps, self.ways, self.shots, self.queries = config.steps, config.ways, config.shots, config.queries
        reading = Reading(config.size, config.unreadable, config.not_rgb)
        self._images = images = in_memory(data[config.dataset], reading)
        self.domains = (images.name,)
        channels, height, width = images.images.shape[1:]
        self.shape = (channels, height, width)
        scale = Scale(images, config.normalise)
        self.factor, self.shift = tuple(scale.factor.flatten().tolist()), tuple(scale.shift.flatten().tolist())
        self._splits = class_split(images, config.classes)
        self._samples = images.class_indices()
        if config.rotations:
            require(height == width, "rotations", True, f"false: pictures of {images.name} are {height} x {width}")
            turns = len(images.classes) * np.arange(_TURNS)[:, None]
            self._splits = {split: (turns + classes).reshape(-1) for split, classes in self._splits.items()}
        need = config.shots + config.queries
        for split, classes in self._splits.items():
            found = len(classes)
            require(self.ways <= found, "ways", self.ways, f"at most {found}, the {split} classes of {images.name}")
            fewest = min(classes % len(images.classes), key=lambda c: len(self._samples[c]))
            there = len(self._samples[fewest])
            allowed = f"at most {there} with shots = {config.shots}: {images.classes[fewest]!r} has {there} pictures"
            require(need <= there, "queries", config.queries, allowed.replace(str(there), str(there - config.shots), 1))

    def episode(self, split: Split, number: int) -> Batch:
        generator = numpy_generator(self.seed, "episode", split, number)
        pool = self._splits[split]
        classes = pool[generator.choice(len(pool), self.ways, replace=False)]
        count = self.shots + self.queries
        turns, kinds = np.divmod(classes, len(self._samples))
        drawn = np.stack([generator.choice(self._samples[c], count, replace=False) for c in kinds])
        pixels = self._images.images[drawn]
        for place, turn in enumerate(turns):
            if turn:
                pixels[place] = np.rot90(pixels[place], turn, (-2, -1))
        sides = (pixels[:, : self.shots], pixels[:, self.shots :])
        labels = torch.arange(self.ways)
        y = torch.cat([labels.repeat_interleave(self.shots), labels.repeat_interleave(self.queries)])
        task = Task(self.domains[0], tuple(int(c) for c in classes), number)
        x = torch.from_numpy(np.concatenate([side.reshape(-1, *self.shape) for side in sides]))
        return Batch(x, y, number, task, support=self.ways * self.shots)

    def provenance(self) -> dict[str, Any]:
        return {self._images.name: self._images.provenance.as_dict()}


def pretraining_episodes(
    config: EpisodesConfig, data: Mapping[str, Pictures], *, domain: str | None, queries: int, seed: int
) -> Episodes:
    """Episodes of the same classes, others than the stream's own."""
    require(domain in (None, config.dataset), "pretrain.domain", domain, f"left out, or {config.dataset}")
    return Episodes(dataclasses.replace(config, queries=queries), data, derive(seed, "pretrain"))


STREAMS = (
    StreamKind(
        name="episodes",
        config=EpisodesConfig,
        build=Episodes,
        episodes=pretraining_episodes,
        summary="N-way k-shot episodes, each of classes of its own",
        takes=Pictures,
        quick={"ways": 2, "shots": 2, "queries": 3, "steps": 40},
    ),
)
