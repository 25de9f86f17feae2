"""The published data sets, where they are on this machine: nothing is downloaded here."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from frisket.envs.data import SOURCES, load, verify

_NAMED = os.environ.get("FRISKET_DATA")
FOLDER = Path(_NAMED) if _NAMED else Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    """The folder with the real data; the cache is an empty one."""
    for source in SOURCES.values():
        for file in source.files():
            if not (FOLDER / source.name / file.name).is_file():
                pytest.skip(f"real data absent: no {source.name}/{file.name} in {FOLDER} (set FRISKET_DATA)")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.delenv("FRISKET_DATA", raising=False)
        monkeypatch.setenv("FRISKET_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield FOLDER


def test_every_file_is_canonical(folder: Path) -> None:
    rows = verify(data_dir=folder)
    assert len(rows) == 10
    assert {row.status for row in rows} <= {"ok", "repacked"}
    # content digests and container hashes describe the same files: Fashion-MNIST's are the published ones
    assert {row.status for row in verify(["fashion_mnist"], folder)} == {"ok"}


def test_mnist(folder: Path) -> None:
    mnist = load("mnist", folder)
    assert mnist.images.shape == (60_000, 1, 28, 28)
    assert mnist.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert min(len(indices) for indices in mnist.class_indices()) == 5421
    assert mnist.images.astype(np.float64).mean() == pytest.approx(0.1307 * 255, abs=0.05)
    test = load("mnist", folder, split="test")
    assert test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert "split: test" in test.provenance.notes


def test_fashion_mnist(folder: Path) -> None:
    fashion = load("fashion_mnist", folder)
    assert [len(indices) for indices in fashion.class_indices()] == [6000] * 10
    assert fashion.classes[fashion.labels[0]] == "Ankle boot"
    assert len(load("fashion_mnist", folder, split="test").labels) == 10_000


def test_omniglot(folder: Path) -> None:
    omniglot = load("omniglot", folder)
    assert omniglot.images.shape == (32_460, 1, 28, 28)
    assert len(omniglot.classes) == 1623
    assert {len(indices) for indices in omniglot.class_indices()} == {20}
    assert omniglot.classes[0] == "Alphabet_of_the_Magi/character01"
    assert omniglot.classes[963].startswith("Tifinagh/")
    assert omniglot.classes[964] == "Angelic/character01"
    assert list(omniglot.classes[:964]) == sorted(omniglot.classes[:964], key=lambda name: name.split("/"))
    assert np.median(omniglot.images) == 255  # white paper
    nearest = load("omniglot", folder, resample="nearest")
    assert set(np.unique(nearest.images)) == {0, 255}
    assert any("nearest" in note for note in nearest.provenance.notes)


def test_a_second_load_is_quick(folder: Path) -> None:
    for name in SOURCES:
        load(name, folder)
        start = time.process_time()
        load(name, folder)
        assert time.process_time() - start < 0.5, name
