"""Which classes are for meta-training, for meta-validation and for meta-test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from frisket.envs.data.divisions import (
    SPLITS,
    Places,
    by_shares,
    every_published_name,
    in_order,
    published,
    published_names,
)
from frisket.envs.data.imageset import Pictures
from frisket.errors import DataError, SpecError
from frisket.rng import numpy_generator
from frisket.types import Split

_STANDARD, _ORDER = "standard", "order"
_TEN = (4, 2, 4)

SHUFFLED: Mapping[str, tuple[int, int, int]] = {
    "omniglot": (1100, 100, 423), "mnist": _TEN, "fashion_mnist": _TEN, "notmnist": _TEN, "cifar10": _TEN
}  # fmt: skip
"""Data set to the numbers of its meta-training, meta-validation and meta-test classes, where papers draw them at
random, or have none: here once for all runs, a permutation keyed by the data set's name. Of Omniglot's 1,200 training
classes 100 validate. Of ten classes four test, which with their rotations are 16."""


def class_split(pictures: Pictures, name: str = _STANDARD) -> dict[Split, np.ndarray]:
    """The classes of ``pictures`` by split, each an array of class indices; no class in two.

    Args:
        pictures: the data set.
        name: which split. ``standard``: what the data themselves say (their folders, or the lists that came with
            them), else the published one, else as ``order``. ``order``: 64, 16 and 20 % of the classes in file order.
            Or the name of another published one, such as ``vinyals`` of Omniglot; embedded data, which stand in for
            those that have it, are then divided as ``order``.

    Raises:
        SpecError: there is no such split of this data set.
        DataError: it does not fit the classes there are: one is missing, or in two splits.
    """
    if name == _STANDARD and pictures.division is not None:
        return _checked(pictures, pictures.division)
    real = pictures.provenance.kind == "real"  # a user's data may be called anything
    known = published_names(pictures.name) if real else ()
    if name in known:
        division = published(pictures.name, name)
        assert division is not None
        return _checked(pictures, division.places(pictures.classes, pictures.name))
    count = len(pictures.classes)
    if real and name == _STANDARD and pictures.name in SHUFFLED:
        numbers = SHUFFLED[pictures.name]
        if count != sum(numbers):
            fix = f"holds {count:,} classes, and its standard split is of {sum(numbers):,}; say classes: {_ORDER}"
            raise DataError("classes", pictures.name, fix)
        order = numpy_generator(0, "class split", pictures.name).permutation(count)
        return _checked(pictures, in_order(count, (numbers[0], numbers[0] + numbers[1]), order))
    stand_in = pictures.provenance.kind == "embedded" and name in every_published_name()
    if name not in (_STANDARD, _ORDER) and not stand_in:
        allowed = ", ".join(dict.fromkeys((_STANDARD, _ORDER, *known)))
        raise SpecError("classes", name, f"must be one of {allowed}, which are the splits of {pictures.name}")
    return _checked(pictures, by_shares(count))


def require_disjoint(splits: Places, classes: Sequence[str], dataset: str) -> None:
    """Raise `DataError`, by name, for a class in two of ``splits`` or twice in one."""
    seen: dict[int, Split] = {}
    for split in SPLITS:
        for place in splits[split].tolist():
            if place in seen:
                fix = f"the class {classes[place]!r} is in {seen[place]} and in {split}; leave one"
                raise DataError("classes", dataset, fix)
            seen[place] = split


def _checked(pictures: Pictures, splits: Places) -> dict[Split, np.ndarray]:
    require_disjoint(splits, pictures.classes, pictures.name)
    return {split: splits[split] for split in SPLITS}
