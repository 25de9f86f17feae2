"""Labelled pictures: what all sets of them offer (`Pictures`), those in memory (`ImageSet`), and where a set came from
(`Provenance`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from frisket.envs.data.divisions import Places


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a data set came from, so that a result can say which data made it.

    Attributes:
        name: the data set.
        kind: ``"real"`` (a published data set), ``"embedded"`` (made from files shipped with a dependency) or ``"own"``
            (the user's).
        source: what it was read or made from, in words.
        licence: the licence the source states.
        citation: how to cite it.
        sha256: name of a file (or of an array, or ``NAME content``) to its hash.
        notes: everything else a reader needs: split, resize filter, library versions.
        form: which kind of files a published data set was read from; empty for an embedded one.
    """

    name: str
    kind: Literal["real", "embedded", "own"]
    source: str
    licence: str
    citation: str
    sha256: Mapping[str, str]
    notes: tuple[str, ...] = ()
    form: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The same as plain JSON types."""
        return {
            "name": self.name,
            "kind": self.kind,
            "source": self.source,
            "licence": self.licence,
            "citation": self.citation,
            "sha256": dict(self.sha256),
            "notes": list(self.notes),
            "form": self.form,
        }


class Pictures(ABC):
    """Labelled pictures, wherever they lie.

    Attributes:
        name: the data set, which is not always the one asked for: see `frisket.envs.data.resolve`.
        labels: ``[n]`` int64, index into ``classes``.
        classes: name of each class.
        provenance: where it came from.
        division: which classes are of which split, where the data say so; None where they do not.
        unit: the value that is 1 to a network: 255 for pixels of one byte.
    """

    name: str
    labels: np.ndarray
    classes: tuple[str, ...]
    provenance: Provenance
    division: Places | None

    @property
    def unit(self) -> float:
        return 255

    @property
    @abstractmethod
    def channels(self) -> int:
        """C of every picture."""

    @abstractmethod
    def picture(self, index: int) -> np.ndarray:
        """One picture, ``[C, H, W]`` uint8; H and W may differ from one to the next."""

    def class_indices(self) -> list[np.ndarray]:
        """Per class, the indices of its pictures, in file order."""
        order = np.argsort(self.labels, kind="stable")
        ends = np.cumsum(np.bincount(self.labels, minlength=len(self.classes)))
        return np.split(order, ends[:-1])


@dataclass(frozen=True, slots=True)
class ImageSet(Pictures):
    """Labelled pictures of one size, or features, in memory.

    Attributes:
        name: the data set, which is not always the one asked for: see `frisket.envs.data.resolve`.
        images: ``[n, C, H, W]`` uint8, in file order; of one's own also float32, which networks see as they are.
            D features are ``[n, D, 1, 1]``.
        labels: ``[n]`` int64, index into ``classes``.
        classes: name of each class.
        provenance: where it came from.
        domains: ``[n]`` int64, index into ``domain_names``; None for data without.
        domain_names: name of each domain.
        division: which classes are of which split, where the data say so; None where they do not.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    provenance: Provenance
    domains: np.ndarray | None = None
    domain_names: tuple[str, ...] = ()
    division: Places | None = None

    @property
    def unit(self) -> float:
        return 255 if self.images.dtype == np.uint8 else 1

    @property
    def channels(self) -> int:
        return self.images.shape[1]

    def picture(self, index: int) -> np.ndarray:
        return self.images[index]
