"""One embedded data set in the place of several published ones: each of them has a part of its classes to itself.

A part is called ``STAND_IN-for-NAME``, so that no result can claim data it did not see, and says for which it stands.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping

import numpy as np

from frisket.envs.data.imageset import ImageSet, Pictures

_FOR = "-for-"


def stands_in(asked: str, pictures: Pictures) -> bool:
    """Whether ``pictures`` are served in the place of the data set ``asked`` for."""
    return pictures.provenance.kind == "embedded" and pictures.name != asked


def shared_out(data: Mapping[str, Pictures]) -> dict[str, Pictures]:
    """``data``, by the names they were asked for by, with a stand-in that serves several of them divided among these:
    equal parts in the order of its classes, so that parts differ as its first and last classes do."""
    uses = Counter(pictures.name for asked, pictures in data.items() if stands_in(asked, pictures))
    served, had = dict(data), Counter[str]()
    for asked, pictures in data.items():
        count = uses[pictures.name]
        if count > 1 and pictures.name not in data and isinstance(pictures, ImageSet):
            served[asked] = _part(pictures, asked, had[pictures.name], count)
            had[pictures.name] += 1
    return served


def _part(images: ImageSet, asked: str, number: int, count: int) -> ImageSet:
    classes = np.array_split(np.arange(len(images.classes)), count)[number]
    first, end = int(classes[0]), int(classes[-1]) + 1
    kept = (images.labels >= first) & (images.labels < end)
    name = f"{images.name}{_FOR}{asked}"
    notes = (*images.provenance.notes, f"{end - first} of its classes, from number {first} on, in the place of {asked}")
    return dataclasses.replace(
        images, name=name, images=images.images[kept], labels=images.labels[kept] - first,
        classes=images.classes[first:end], provenance=dataclasses.replace(images.provenance, name=name, notes=notes),
    )  # fmt: skip


def asked_for(domain: str) -> str:
    """The data set that ``domain`` stands for: itself, unless it is a part of a stand-in."""
    return domain.rpartition(_FOR)[2]
