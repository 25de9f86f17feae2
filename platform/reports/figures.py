"""The pictures that runs have: the list of them, and their drawing. Each is a row, declared in its own file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from frisket.files import lock, making_folder
from frisket.platform.reports.accuracy import ACCURACY, VARIANTS
from frisket.platform.reports.capacity import CAPACITY
from frisket.platform.reports.figure import Picture
from frisket.platform.reports.likelihood import LIKELIHOODS, SAMPLES
from frisket.platform.reports.masks import SPARSITY, mask_pictures
from frisket.platform.reports.matrix import MATRIX
from frisket.platform.reports.pruning import CURVES, SURVIVORS
from frisket.platform.reports.search import SEARCHES
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.points import product

PICTURES: Sequence[Picture[Any]] = (
    ACCURACY, MATRIX, CURVES, SURVIVORS, CAPACITY, LIKELIHOODS, SAMPLES, VARIANTS, SPARSITY,
)  # fmt: skip
"""Of what a run has measured; those of its masks, one for every variant, come after them."""


def pictures_of(folder: RunFolder) -> list[Picture[Any]]:
    """The pictures of the finished run ``folder``, or of the best point of a search."""
    return [picture for picture in (*PICTURES, *mask_pictures(folder)) if picture.applies(folder)]


def search_pictures(folder: RunFolder) -> list[Picture[Any]]:
    """The pictures of the finished search ``folder`` as a whole; of another run none."""
    return [picture for picture in SEARCHES if picture.applies(folder)]


def draw_figures(folder: RunFolder) -> list[Path]:
    """The pictures of the finished run ``folder``, in ``folder/figures``; drawn once, then found there.

    Those of a search are of its best point, and one of the score over its axes.
    """
    target = folder.path / "figures"
    with lock(folder.path / ".figures.lock"):  # the run and its uploader's thread both want them: one drawing is enough
        if not target.is_dir():
            with making_folder(target) as drawn:
                made = product(folder)
                for picture in pictures_of(made):
                    picture.make(made, drawn)
                for picture in search_pictures(folder):
                    picture.make(folder, drawn)
    return sorted(target.iterdir())
