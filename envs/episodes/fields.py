"""What a stream of episodes is told, whatever its pictures are of: `EpisodeFields`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from frisket.envs.data.own_pictures import LARGEST_SIDE, NotRgb, Unreadable
from frisket.envs.data.reading import Reading
from frisket.errors import require

SmallClasses = Literal["error", "skip"]
"""What is done about a class with fewer pictures than an episode shows of one."""


@dataclass(frozen=True, kw_only=True)
class EpisodeFields:
    """Attributes:
    classes: how its classes are divided into meta-training, meta-validation and meta-test ones: ``standard`` as its
        folders, the lists beside it or its papers do, else in file order; ``order`` 64, 16 and 20 % in file order; or
        the name of another published split (`frisket.envs.episodes.class_splits`).
    size: side of the pictures in pixels; None for what they have, 84 for those in folders.
    unreadable: of pictures in folders, whether one that cannot be read is an error, or passed over with a warning.
    not_rgb: of pictures in folders, whether one of other than three colours is made one of three (``convert``), an
        error, or passed over.
    small_classes: whether a class of fewer than ``shots`` + ``queries`` pictures is an error, or passed over with a
        warning.
    ways: N, classes in an episode.
    shots: k, support pictures of each class.
    queries: query pictures of each class.
    steps: length of the stream in episodes; an outer step takes as many as the learner's meta-batch.
    """

    classes: str = "standard"
    size: int | None = None
    unreadable: Unreadable = "error"
    not_rgb: NotRgb = "convert"
    small_classes: SmallClasses = "error"
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
        for name, allowed in (("unreadable", Unreadable), ("not_rgb", NotRgb), ("small_classes", SmallClasses)):
            self.require_known(name, get_args(allowed))

    def require_known(self, name: str, known: tuple[str, ...]) -> None:
        """Raise `SpecError` unless the field ``name`` is one of ``known``."""
        require(getattr(self, name) in known, name, getattr(self, name), f"one of {', '.join(known)}")

    def reading(self, size: int | None) -> Reading:
        """How pictures are read, at the side ``size``."""
        return Reading(size, self.unreadable, self.not_rgb)

    def in_words(self) -> str:
        """What the stream is, for its card."""
        return f"{self.ways}-way {self.shots}-shot episodes with {self.queries} queries a class; {self.steps:,} of them"
