"""Which classes are for meta-training, for meta-validation and for meta-test."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from frisket.envs.data.imageset import Pictures
from frisket.envs.episode_stream import SPLITS, Split
from frisket.errors import require

_SHARES = (0.64, 0.80)
"""Where meta-training and meta-validation classes end, where no paper says so: miniImageNet's proportion."""

KNOWN: Mapping[str, tuple[int, int]] = {}
"""Data set to the numbers of its meta-training and meta-validation classes, in file order; the rest is meta-test."""


def class_split(pictures: Pictures, name: str) -> dict[Split, np.ndarray]:
    """The classes of ``pictures`` by split, each an array of class indices; no class in two.

    Args:
        pictures: the data set.
        name: which split: ``standard``.

    Raises:
        SpecError: there is no such split of this data set.
    """
    require(name == "standard", "classes", name, "standard")
    count = len(pictures.classes)
    first, second = (round(count * share) for share in _SHARES)
    parts = np.split(np.arange(count), [first, second])
    return dict(zip(SPLITS, parts, strict=True))
