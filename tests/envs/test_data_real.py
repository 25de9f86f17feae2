"""The published data sets, where they are on this machine: nothing is downloaded here."""

from __future__ import annotations

import os
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from frisket.envs.data import SOURCES, Pictures, load, resolve, verify
from frisket.envs.data.decode import content_digest
from frisket.envs.data.divisions import SPLITS
from frisket.envs.data.sources import TILED
from frisket.envs.episodes.class_splits import class_split
from frisket.envs.streams.episodes import Episodes, EpisodesConfig
from frisket.envs.streams.scaling import NORMALISATION

_NAMED = os.environ.get("FRISKET_DATA")
FOLDER = Path(_NAMED) if _NAMED else Path(__file__).resolve().parents[3] / "shared" / "data"


def here(name: str) -> bool:
    """Whether the files of some form of the data set lie in the folder."""
    return any(all((FOLDER / form.folder / f.name).is_file() for f in form.files()) for form in SOURCES[name].forms())


def need(*names: str) -> None:
    """Skip the test where one of the data sets is absent."""
    for name in names:
        if not here(name):
            files = ", ".join(file.name for file in SOURCES[name].files())
            place = SOURCES[name].folder
            pytest.skip(f"real data absent: no {place}/ with {files} in {FOLDER} (set FRISKET_DATA)")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    """The folder with the real data; the cache is an empty one."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.delenv("FRISKET_DATA", raising=False)
        monkeypatch.setenv("FRISKET_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield FOLDER


LARGE = ("tinyimagenet", "miniimagenet")
"""Sets of more than a GiB of pixels: reading them, and their digest, takes seconds."""


@pytest.mark.parametrize("name", SOURCES)
def test_every_file_is_what_it_should_be(folder: Path, name: str) -> None:
    need(name)
    rows = verify([name], folder)
    assert {row.status for row in rows} <= {"ok", "repacked"}
    form = next(form for form in SOURCES[name].forms() if form.form == rows[0].form)
    assert [row.file for row in rows] == [file.name for file in form.files()]
    if name == "fashion_mnist":  # its copies are the published containers, so digests and hashes describe the same
        assert {row.status for row in rows} == {"ok"}


@pytest.mark.parametrize("name", SOURCES)
def test_content_digests_describe_the_same_files_as_container_hashes(folder: Path, name: str) -> None:
    need(name)
    for form in SOURCES[name].forms():
        for file in form.files():
            path = folder / form.folder / file.name
            data = path.read_bytes() if file.content and path.is_file() else b""
            if sha256(data).hexdigest() in file.containers:  # another container was accepted for its digest anyway
                assert content_digest(form.layout, data) == file.content


def test_mnist(folder: Path) -> None:
    need("mnist")
    mnist = load("mnist", folder)
    assert mnist.images.shape == (60_000, 1, 28, 28)
    assert mnist.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert min(len(indices) for indices in mnist.class_indices()) == 5421
    assert mnist.images.astype(np.float64).mean() == pytest.approx(0.1307 * 255, abs=0.05)
    test = load("mnist", folder, split="test")
    assert test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert "split: test" in test.provenance.notes


def test_fashion_mnist(folder: Path) -> None:
    need("fashion_mnist")
    fashion = load("fashion_mnist", folder)
    assert [len(indices) for indices in fashion.class_indices()] == [6000] * 10
    assert fashion.classes[fashion.labels[0]] == "Ankle boot"
    assert len(load("fashion_mnist", folder, split="test").labels) == 10_000


def test_omniglot(folder: Path) -> None:
    need("omniglot")
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


@pytest.mark.parametrize(("name", "classes"), [("cifar10", 10), ("cifar100", 100)])
def test_cifar(folder: Path, name: str, classes: int) -> None:
    need(name)
    for split, count in (("train", 50_000 // classes), ("test", 10_000 // classes)):
        images = load(name, folder, split=split)
        assert images.images.shape == (classes * count, 3, 32, 32)
        assert {len(indices) for indices in images.class_indices()} == {count}
        assert len(set(images.classes)) == classes
        # the published means and deviations, which normalisation uses; JPEG and every fifth picture move them by less
        mean, deviation = NORMALISATION[name]
        if split == "train":
            pixels = images.images[::5] / np.float32(255)
            assert pixels.mean((0, 2, 3)) == pytest.approx(mean, abs=0.006)
            # CIFAR-10's deviations, as everybody uses them, are the mean of every picture's own
            spread = pixels.std((2, 3)).mean(0) if name == "cifar10" else pixels.std((0, 2, 3))
            assert spread == pytest.approx(deviation, abs=0.006)
    assert list(images.classes) == sorted(images.classes)  # alphabetical, like the published label numbers
    provenance = images.provenance
    if provenance.form == TILED:
        assert any("lossy" in note for note in provenance.notes)
        assert any("not the canonical split" in note for note in provenance.notes) == (name == "cifar100")


def test_tinyimagenet(folder: Path) -> None:
    need("tinyimagenet")
    train, test = (load("tinyimagenet", folder, split=split) for split in ("train", "test"))
    assert train.images.shape == (100_000, 3, 64, 64)
    assert test.images.shape == (10_000, 3, 64, 64)
    assert {len(indices) for indices in train.class_indices()} == {500}
    assert {len(indices) for indices in test.class_indices()} == {50}


@pytest.mark.parametrize("name", [name for name in SOURCES if name not in LARGE])
def test_a_second_load_is_quick(folder: Path, name: str) -> None:
    need(name)
    load(name, folder)
    start = time.process_time()
    load(name, folder)
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize(
    ("name", "fields", "shape", "counts"),
    [
        ("omniglot", {}, (1, 28, 28), (1100, 100, 423)),
        ("omniglot", {"classes": "vinyals"}, (1, 28, 28), (1028, 172, 423)),
        ("omniglot", {"rotations": True}, (1, 28, 28), (4400, 400, 1692)),
        ("cifar_fs", {}, (3, 32, 32), (64, 16, 20)),
        ("fc100", {}, (3, 32, 32), (60, 20, 20)),
        ("miniimagenet", {}, (3, 84, 84), (64, 16, 20)),
        ("miniimagenet", {"size": 42}, (3, 42, 42), (64, 16, 20)),
    ],
)
def test_episodes(
    folder: Path, name: str, fields: dict[str, Any], shape: tuple[int, ...], counts: tuple[int, ...]
) -> None:
    """One episode of each split; classes of the split that the published lists say."""
    need(name)
    images = resolve([name], "real", folder, kind=Pictures)[name]
    stream = Episodes(EpisodesConfig(dataset=name, shots=1, queries=2, **fields), {name: images}, 0)
    splits = class_split(images, fields.get("classes", "standard"))
    assert tuple(len(places) * (4 if fields.get("rotations") else 1) for places in splits.values()) == counts
    assert len(np.unique(np.concatenate(list(splits.values())))) == len(images.classes)
    fewest = 20 if name == "omniglot" else 600
    assert {len(indices) for indices in images.class_indices()} == {fewest}
    for split in SPLITS:
        batch = stream.episode(split, 7)
        assert batch.task is not None
        assert (batch.x.dtype, tuple(batch.x.shape)) == (torch.uint8, (15, *shape))
        assert {c % len(images.classes) for c in batch.task.classes} <= set(splits[split].tolist())
        assert batch.x.float().std() > 20
    assert stream.provenance()[name]["form"] == images.provenance.form
