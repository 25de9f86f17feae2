"""The pictures that runs have: the list of them, and their drawing. Each is a row, declared in its own file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from frisket.files import lock, making_folder
from frisket.platform.reports.accuracy import ACCURACY, VARIANTS
from frisket.platform.reports.capacity import CAPACITY
from frisket.platform.reports.decisions import DECISIONS
from frisket.platform.reports.depth import DEPTH
from frisket.platform.reports.few_shot import FEW_SHOT
from frisket.platform.reports.figure import Picture
from frisket.platform.reports.likelihood import LIKELIHOODS, SAMPLES
from frisket.platform.reports.masks import SPARSITY, mask_pictures
from frisket.platform.reports.matrix import MATRIX
from frisket.platform.reports.pruning import CURVES, SURVIVORS
from frisket.platform.reports.search import SEARCHES
from frisket.platform.reports.success import SUCCESS
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.points import product

PICTURES: Sequence[Picture[Any]] = (
    ACCURACY, FEW_SHOT, MATRIX, SUCCESS, CURVES, SURVIVORS, CAPACITY, LIKELIHOODS, SAMPLES, VARIANTS, SPARSITY,
    DEPTH, DECISIONS,
)  # fmt: skip
"""Of what a run has measured; those of its masks, one for every variant, come after them."""


def draw_figures(folder: RunFolder) -> list[Path]:
    """The pictures of the finished run ``folder``, in ``folder/figures``; drawn once, then found there.

    Those of a search are of its best point, and one of the score over its axes.
    """
    target = folder.path / "figures"
    with lock(folder.path / ".figures.lock"):  # the run and its uploader's thread both want them: one drawing is enough
        if not target.is_dir():
            with making_folder(target) as drawn:
                made = product(folder)
                of_product = [(made, picture) for picture in (*PICTURES, *mask_pictures(made))]
                for run, picture in [*of_product, *((folder, picture) for picture in SEARCHES)]:
                    if picture.applies(run):
                        picture.make(run, drawn)
    return sorted(target.iterdir())
