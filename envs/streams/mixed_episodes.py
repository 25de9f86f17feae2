"""N-way k-shot episodes of several data sets, each of one (gems spec, section 5, "Multi-distribution sampling").

Which data set a meta-training episode is of is `frisket.envs.episodes.turns`; how it is drawn,
`frisket.envs.episodes.drawing`. A data set's own episodes, counted by themselves, are those that the stream `episodes`
draws of it with the same seed, whatever else is in the mixture. Validation and test episodes take the data sets in
turn. Of the data sets in ``rotations`` there are four classes for each, its pictures turned by 0, 90, 180 and 270
degrees, all in the split of that one.

All pictures are brought to one size and number of channels: where one data set has three, grey pictures become three
equal channels. Where embedded data stand in for several data sets each has a part of them
(`frisket.envs.episodes.stand_ins`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from frisket.envs.data.folders import PictureFolder
from frisket.envs.data.imageset import ImageSet, Pictures
from frisket.envs.data.reading import SIDE, in_memory
from frisket.envs.episode_stream import EpisodeStream
from frisket.envs.episodes.drawing import Drawing
from frisket.envs.episodes.fields import EpisodeFields
from frisket.envs.episodes.stand_ins import shared_out, stands_in
from frisket.envs.episodes.turns import SUM_TOLERANCE, Turns
from frisket.envs.streams.kind import StreamKind
from frisket.envs.streams.scaling import Scale
from frisket.errors import require
from frisket.rng import derive
from frisket.types import Batch, Split

_LEAST = 0.001
"""Of a share: the thousandth part, so that a block of turns has at most a thousand."""

Shared = Literal["none", "imagenet"]
"""By which mean and deviation pictures of any data set are normalised."""

SAME_PICTURES = (
    ("cifar100", "cifar_fs", "fc100"),
    ("imagenet", "tinyimagenet", "miniimagenet", "tieredimagenet"),
)
"""Data sets that have pictures in common and divide their classes differently: what one tests another may train on."""


@dataclass(frozen=True, kw_only=True)
class MixedEpisodesConfig(EpisodeFields):
    """Attributes:
    domains: share of each data set among the meta-training episodes; they sum to 1. All null for equal shares.
    size: side of the pictures in pixels; None for that of the largest, which of pictures in folders is 84.
    rotations: data sets of which a class's pictures turned by 90, 180 and 270 degrees are three classes more.
    normalise: what pictures in [0, 1] are normalised by, the same for every data set: ``none``, or ``imagenet``,
        ImageNet's constants; grey stand-ins are left as they are.
    """

    domains: dict[str, float | None] = field(
        default_factory=lambda: {"omniglot": None, "cifar_fs": None, "miniimagenet": None}
    )
    rotations: tuple[str, ...] = ()
    normalise: Shared = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_known("normalise", get_args(Shared))
        require(bool(self.domains), "domains", self.domains, "at least one data set with its share")
        known = {name: share for name, share in self.domains.items() if share is not None}
        fix = f"numbers of all data sets, or null of all: {', '.join(self.domains.keys() - known)} have none"
        require(len(known) in (0, len(self.domains)), "domains", self.domains, fix)
        for name, share in known.items():
            require(_LEAST <= share <= 1, f"domains.{name}", share, f"a share from {_LEAST} to 1; null for equal ones")
        total = math.fsum(self.shares())
        fix = f"shares that sum to 1, not {total:g}; null of every data set for equal ones"
        require(abs(total - 1) <= SUM_TOLERANCE, "domains", self.domains, fix)
        named = set(self.rotations) <= self.domains.keys() and len(set(self.rotations)) == len(self.rotations)
        require(named, "rotations", list(self.rotations), f"of the domains, each once: {', '.join(self.domains)}")
        bases = [name.partition(":")[0] for name in self.domains]
        for alike in SAME_PICTURES:
            both = [name for name in bases if name in alike]
            fix = f"at most one of {', '.join(both)}: they share pictures: what one tests another trains on"
            require(len(both) < 2, "domains", self.domains, fix)

    def shares(self) -> list[float]:
        """Of the data sets, in their order."""
        return [1 / len(self.domains) if share is None else share for share in self.domains.values()]

    def datasets(self) -> tuple[str, ...]:
        """Names of the image sets."""
        return tuple(self.domains)

    def in_words(self) -> str:
        """What the stream is, for its card."""
        shares = zip(self.domains, self.shares(), strict=True)
        return f"{super().in_words()}, of {', '.join(f'{name} ({share:.0%})' for name, share in shares)}"


class MixedEpisodes(EpisodeStream):
    """Episodes over several image sets, which are its domains.

    Args:
        config: the stream's numbers.
        data: the pictures by the names in ``config.domains``, or their stand-ins.
        seed: the run's seed.

    Raises:
        SpecError: a split of a data set has fewer classes than ``ways``, or a class fewer pictures than ``shots +
            queries``; one data set stands in for two; pictures that cannot be brought to one form.
        DataError: as `frisket.envs.data.reading.in_memory` and `frisket.envs.episodes.class_splits.class_split`.
    """

    def __init__(self, config: MixedEpisodesConfig, data: Mapping[str, Pictures], seed: int) -> None:
        self.config, self.seed = config, seed
        self.steps, self.ways, self.shots, self.queries = config.steps, config.ways, config.shots, config.queries
        data = shared_out({name: data[name] for name in config.domains})
        # A stand-in serves under its own name, so that no result can claim data it did not see.
        self.domains = tuple(data[name].name for name in config.domains)
        served = ", ".join(f"{data[name].name} for {name}" for name in config.domains)
        distinct = len(set(self.domains)) == len(self.domains)
        require(distinct, "domains", config.domains, f"different data sets; there are {served}")
        reading = config.reading(config.size or max(_side(data[name]) for name in config.domains))
        sets = {name: in_memory(data[name], reading) for name in config.domains}
        widest = max(sets.values(), key=lambda images: images.channels)
        for name, images in sets.items():
            fits = images.channels in (1, widest.channels) and (
                images.channels == widest.channels or widest.channels == 3
            )
            fix = (
                f"of pictures of {widest.channels} channels, as {widest.name} has; grey ones become three, no others do"
            )
            require(fits, f"domains.{name}", images.channels, fix)
            fix = f"of pictures of the type {widest.images.dtype}, as {widest.name} has"
            require(images.images.dtype == widest.images.dtype, f"domains.{name}", str(images.images.dtype), fix)
        grey = widest.channels == 1 and all(stands_in(name, pictures) for name, pictures in data.items())
        by: Shared = "none" if grey else config.normalise
        coloured = by == "none" or widest.channels == 3
        require(coloured, "normalise", config.normalise, f"none: pictures have {widest.channels} colours")
        self.factor, self.shift = Scale(widest, by).numbers()
        self._drawings = [
            Drawing(config, images, seed, rotations=name in config.rotations, channels=widest.channels)
            for name, images in sets.items()
        ]
        self.shape = self._drawings[0].shape
        for drawing in self._drawings:
            require(drawing.shape == self.shape, "size", config.size, f"given: {drawing.shape} is not {self.shape}")
        self._turns = Turns(config.shares(), seed)

    def episode(self, split: Split, number: int) -> Batch:
        if split == "train":
            domain, own = self._turns.at(number)
        else:
            own, domain = divmod(number, len(self.domains))
        return self._drawings[domain].episode(split, own, number)

    def provenance(self) -> dict[str, Any]:
        return {name: drawing.provenance() for name, drawing in zip(self.domains, self._drawings, strict=True)}


def _side(pictures: Pictures) -> int:
    """Of pictures, where no other is asked for."""
    if isinstance(pictures, PictureFolder):
        return SIDE
    assert isinstance(pictures, ImageSet)
    return pictures.images.shape[2]


def pretraining_episodes(
    config: MixedEpisodesConfig, data: Mapping[str, Pictures], *, domain: str | None, queries: int, seed: int
) -> MixedEpisodes:
    """Episodes of the same mixture, others than the stream's own."""
    require(domain is None, "pretrain.domain", domain, "left out: the episodes are of all domains")
    return MixedEpisodes(dataclasses.replace(config, queries=queries), data, derive(seed, "pretrain"))


STREAMS = (
    StreamKind(
        name="mixed-episodes",
        config=MixedEpisodesConfig,
        build=MixedEpisodes,
        episodes=pretraining_episodes,
        summary="N-way k-shot episodes of several data sets, each of one",
        takes=Pictures,
        quick={"ways": 2, "shots": 2, "queries": 3, "steps": 40},
    ),
)
