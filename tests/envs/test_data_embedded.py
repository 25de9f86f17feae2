"""Embedded data sets: counts, looks, and the same bits every time."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tiny_data import bare_machine

from frisket.envs.data import EMBEDDED, SOURCES, ImageSet, load
from frisket.envs.data.glyphs import DRAWINGS, _thin, make_glyphs

# name: classes, pictures of the smallest class
EXPECTED = {"digits": (10, 174), "glyphs": (300, 20), "patches": (10, 400)}


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, ImageSet]]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        bare_machine(monkeypatch, tmp_path_factory.mktemp("embedded"))
        yield {name: load(name) for name in EMBEDDED}


def test_every_published_set_has_a_stand_in() -> None:
    assert {source.stand_in for source in SOURCES.values()} <= set(EMBEDDED)
    together = [SOURCES[name].stand_in for name in ("mnist", "fashion_mnist", "omniglot")]  # the domains of one stream
    assert len(set(together)) == 3


@pytest.mark.parametrize("name", EXPECTED)
def test_shapes_and_counts(sets: dict[str, ImageSet], name: str) -> None:
    images = sets[name]
    classes, smallest = EXPECTED[name]
    assert images.images.shape == (len(images.labels), 1, 28, 28)
    assert images.images.dtype == np.uint8
    assert images.labels.dtype == np.int64
    assert len(images.classes) == len(set(images.classes)) == classes
    assert min(len(indices) for indices in images.class_indices()) == smallest
    assert images.provenance.kind == "embedded"


@pytest.mark.parametrize("name", EXPECTED)
def test_pictures_of_a_set_differ(sets: dict[str, ImageSet], name: str) -> None:
    pictures = sets[name].images.reshape(len(sets[name].labels), -1)
    assert len(np.unique(pictures, axis=0)) > 0.99 * len(pictures)


def test_glyphs_look_like_pen_on_paper(sets: dict[str, ImageSet]) -> None:
    glyphs = sets["glyphs"]
    ink = 255 - glyphs.images[:, 0].astype(np.float64)
    assert (glyphs.images == 255).mean() > 0.7  # mostly white paper
    assert (ink.max(axis=(1, 2)) > 100).all()  # every drawing has a visible stroke
    assert 0.03 < ink.mean() / 255 < 0.2
    scripts = {name.split("/")[0] for name in glyphs.classes}
    assert len(scripts) >= 10
    assert len(glyphs.labels) == len(glyphs.classes) * DRAWINGS


def test_thinning_a_bar_leaves_its_middle_line() -> None:
    """A 5 x 21 bar: Zhang and Suen's rule eats two rows from above and below and some of the ends."""
    bar = np.zeros((1, 15, 31), bool)
    bar[0, 5:10, 5:26] = True
    (line,) = _thin(bar)
    assert line.any(axis=1).nonzero()[0].tolist() == [7]
    assert 15 <= line.sum() <= 21
    assert (line & ~bar[0]).sum() == 0
    assert np.array_equal(_thin(line[None])[0], line)  # nothing is left to thin


@pytest.mark.parametrize("name", EXPECTED)
def test_from_the_cache_or_made_again_the_same_bits(sets: dict[str, ImageSet], name: str) -> None:
    again = load(name)  # the module's cache folder: kept arrays
    made = EMBEDDED[name].make()
    for images, labels in ((again.images, again.labels), (made["images"], made["labels"])):
        assert np.array_equal(images, sets[name].images)
        assert np.array_equal(labels, sets[name].labels)
    assert again.provenance == sets[name].provenance


def test_another_process_gives_the_same_bits(sets: dict[str, ImageSet], tmp_path: Path) -> None:
    script = (
        "import hashlib; from frisket.envs.data.glyphs import make_glyphs;"
        "print(hashlib.sha256(make_glyphs()['images'].tobytes()).hexdigest())"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == sets["glyphs"].provenance.sha256["images"]


def test_glyphs_are_made_quickly() -> None:
    start = time.process_time()
    make_glyphs()
    assert time.process_time() - start < 4


@pytest.mark.parametrize(("name", "at_least", "at_most"), [("digits", 0.9, 1), ("patches", 0.45, 0.9)])
def test_classes_can_be_told_apart(sets: dict[str, ImageSet], name: str, at_least: float, at_most: float) -> None:
    """The nearest of 100 pictures a class, in pixels: far above chance (0.1), and patches not a giveaway."""
    indices = sets[name].class_indices()
    known = np.concatenate([one[:100] for one in indices])
    asked = np.concatenate([one[-40:] for one in indices])
    x = sets[name].images.reshape(len(sets[name].labels), -1).astype(np.float64)
    distance = (x[known] ** 2).sum(1)[None] - 2 * x[asked] @ x[known].T
    guess = sets[name].labels[known][distance.argmin(1)]
    assert at_least < (guess == sets[name].labels[asked]).mean() <= at_most
