"""Data of one's own, by a name that a specification gives them: what all forms of them share.

A specification names its data sets in a section ``data`` (or a module in its ``DATASETS``), and every stream that takes
a data set's name takes these names too::

    data: {flowers: {folder: flowers, size: 64}}              # a folder of class folders  (`own_folder`)
    data: {backbone: {arrays: features.npz}}                  # arrays x and y             (`own_arrays`)

Paths are absolute or relative to a data folder, `--data-dir` or FRISKET_DATA. ``NAME`` is the part to learn from,
``NAME:test`` the part to be judged on: what the data say it is, or else a share of every class.

Unlike published data, these have a hash of their content in every result, and no stand-in is taken for them unless
embedded data are asked for.
"""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from frisket.envs.data.imageset import ImageSet, Provenance
from frisket.errors import DataError, require
from frisket.rng import numpy_generator

TEST = "test"


@dataclass(frozen=True, kw_only=True)
class OwnData(ABC):
    """One data set of the user's.

    Attributes:
        test_share: share of every class that is judged on, where the data have no test part of their own; drawn at
            random, the same for all runs.
        stand_in: the embedded data set that takes their place where embedded data are asked for.
    """

    stand_in: ClassVar[str] = "digits"

    test_share: float = 0.2

    def __post_init__(self) -> None:
        require(0 < self.test_share < 1, "test_share", self.test_share, "above 0 and below 1")

    @abstractmethod
    def load(self, name: str, data_dir: str | Path | None = None) -> tuple[ImageSet, ...]:
        """The part to learn from, called ``name``, and the part to be judged on, ``NAME:test``; of data whose classes
        are divided instead, all of it, called ``name``.

        Args:
            name: what the specification calls the data.
            data_dir: folder that relative paths are looked for in, before FRISKET_DATA.

        Raises:
            DataError: they are not there, or something in them is wrong; names what, and the fix.
        """


@dataclass(frozen=True, slots=True)
class Samples:
    """Where every sample belongs. Attributes: labels, domains: ``[n]`` int64, domains None for data without; classes,
    domain_names: what the numbers stand for."""

    labels: np.ndarray
    classes: tuple[str, ...]
    domains: np.ndarray | None = None
    domain_names: tuple[str, ...] = ()

    def part(self, name: str, images: np.ndarray, chosen: np.ndarray, provenance: Provenance) -> ImageSet:
        """The data set ``name`` of the samples ``chosen``, whose pictures are ``images``."""
        domains = None if self.domains is None else self.domains[chosen]
        return ImageSet(name, images, self.labels[chosen], self.classes, provenance, domains, self.domain_names)


def require_name(name: str, taken: Container[str]) -> None:
    """Raise `DataError` unless ``name`` can be a data set's: a word, and none of the names ``taken`` by others."""
    if re.fullmatch(r"[A-Za-z][\w-]*", name) is None:
        raise DataError("data", name, "must be a name of letters, digits, '_' and '-' that starts with a letter")
    if name in taken:
        raise DataError("data", name, "is the name of a data set that frisket knows; choose another")


def find(field: str, path: str, data_dir: str | Path | None) -> Path:
    """The file or folder that ``path`` means: absolute, or in ``data_dir``, or in FRISKET_DATA.

    Raises:
        DataError: there is none; ``field`` says which setting named it.
    """
    named = Path(path).expanduser()
    if named.is_absolute():
        if not named.exists():
            raise DataError(field, path, "is not there; give the path of a folder or file of this machine")
        return named.resolve()
    places = [place for place in (data_dir, os.environ.get("FRISKET_DATA")) if place]
    if not places:
        raise DataError(field, path, "is looked for in a data folder: name one with --data-dir DIR (or FRISKET_DATA)")
    roots = [Path(place).expanduser().absolute() for place in places]
    there = next((root / named for root in roots if (root / named).exists()), None)
    if there is None:
        looked = ", ".join(map(str, roots))
        raise DataError(field, path, f"is not in {looked}; name its folder with --data-dir, or give an absolute path")
    return there.resolve()


def held_out(name: str, samples: Samples, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Indices to learn from and indices to be judged on, sorted: of every class (and domain) the rounded ``share``, at
    least one, where there are two samples or more.

    Raises:
        DataError: a class would have nothing to learn from, or nothing to be judged on.
    """
    groups = samples.labels if samples.domains is None else samples.domains * len(samples.classes) + samples.labels
    test = np.zeros(len(groups), bool)
    for group in np.unique(groups):
        own = np.flatnonzero(groups == group)
        wanted = min(len(own) - 1, max(1, round(share * len(own))))
        domain, label = divmod(int(group), len(samples.classes))
        key = (samples.classes[label], *samples.domain_names[domain : domain + 1])
        test[numpy_generator(0, "held out", *key).permutation(own)[:wanted]] = True
    for label, known in enumerate(samples.classes):
        if not test[samples.labels == label].any():
            count = int((samples.labels == label).sum())
            fix = "needs at least 2: one to learn from, one to be judged on; add to it or leave the class out"
            raise DataError(f"samples of class {known!r} of {name}", count, fix)
    return np.flatnonzero(~test), np.flatnonzero(test)


def described(name: str, source: str, digests: dict[str, str], notes: Sequence[str], form: str) -> Provenance:
    """The provenance of data of one's own; ``digests`` are of their content."""
    hashes = {f"{what} content": digest for what, digest in digests.items()}
    return Provenance(name, "own", source, "not stated: the user's own", "", hashes, tuple(notes), form)


def share_note(share: float, test: int) -> str:
    """What a result says of a test part that was divided off."""
    return f"test: {test:,} samples, the share {share:g} of every class, drawn at random once and for all"
