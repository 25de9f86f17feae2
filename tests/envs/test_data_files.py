"""Finding, checking and loading files; each way a file can be wrong; which data a stream gets."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny_data import TINY_FILES, TINY_IMAGES, TINY_LABELS, bare_machine, drawings, gz, idx, put, source

from frisket.envs.data import load, resolve, verify
from frisket.envs.data.store import cached_arrays
from frisket.errors import DataError

TINY = source("tiny", TINY_FILES)
SOURCES = {"tiny": TINY}


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return bare_machine(monkeypatch, tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return put(tmp_path / "data", "tiny", TINY_FILES)


def test_load(cache: Path, folder: Path) -> None:
    tiny = load("tiny", folder, sources=SOURCES)
    assert tiny.name == "tiny"
    assert tiny.classes == ("a", "b", "c")
    assert tiny.images.dtype == np.uint8
    assert tiny.labels.dtype == np.int64
    assert np.array_equal(tiny.images, TINY_IMAGES[:, None])
    assert np.array_equal(tiny.labels, TINY_LABELS)
    assert [indices.tolist() for indices in tiny.class_indices()] == [[1, 4], [0, 2, 5], [3]]
    provenance = tiny.provenance.as_dict()
    assert provenance["kind"] == "real"
    assert provenance["sha256"]["images.gz"] == hashlib.sha256(TINY_FILES["images.gz"]).hexdigest()
    assert provenance["sha256"]["images.gz content"] == hashlib.sha256(idx(TINY_IMAGES)).hexdigest()


def test_a_class_without_pictures_has_no_indices(cache: Path, tmp_path: Path) -> None:
    files = {"images.gz": gz(idx(TINY_IMAGES[:2])), "labels.gz": gz(idx(np.array([2, 0])))}
    images = load("few", put(tmp_path / "few", "few", files), sources={"few": source("few", files)})
    assert [indices.tolist() for indices in images.class_indices()] == [[1], [], [0]]


def test_lookup_order(cache: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(cache, "tiny", TINY_FILES)
    assert verify(sources=SOURCES)[0].path == cache / "tiny" / "images.gz"
    monkeypatch.setenv("FRISKET_DATA", str(folder))
    assert verify(sources=SOURCES)[0].path == folder / "tiny" / "images.gz"
    named = put(tmp_path / "named", "tiny", TINY_FILES)
    assert verify(data_dir=named, sources=SOURCES)[0].path == named / "tiny" / "images.gz"


def test_repacked_file_is_accepted_once_read(cache: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(folder, "tiny", {"images.gz": gz(idx(TINY_IMAGES), level=0)})
    tiny = load("tiny", folder, sources=SOURCES)
    assert np.array_equal(tiny.images[:, 0], TINY_IMAGES)
    assert "images.gz: repacked, content canonical" in tiny.provenance.notes
    assert [row.status for row in verify(data_dir=folder, sources=SOURCES)] == ["repacked", "ok"]

    def unexpected(*_: object) -> str:
        raise AssertionError("the content was read again")

    monkeypatch.setattr("frisket.envs.data.check.content_digest", unexpected)
    assert load("tiny", folder, sources=SOURCES).name == "tiny"


def _damage_by_truncating(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def _damage_by_flipping(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def _damage_by_other_content(path: Path) -> None:
    path.write_bytes(gz(idx(TINY_IMAGES + np.uint8(1))))


def _damage_by_error_page(path: Path) -> None:
    path.write_text("<html>503</html>")


def _damage_by_emptying(path: Path) -> None:
    path.write_bytes(b"")


def _damage_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    "damage",
    [
        _damage_by_truncating,
        _damage_by_flipping,
        _damage_by_other_content,
        _damage_by_error_page,
        _damage_by_emptying,
        _damage_by_folder,
    ],
)
def test_damaged_file_gives_one_error(cache: Path, folder: Path, damage: Callable[[Path], None]) -> None:
    path = folder / "tiny" / "images.gz"
    damage(path)
    found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "nothing readable"
    with pytest.raises(DataError) as caught:
        load("tiny", folder, sources=SOURCES)
    text = str(caught.value)
    assert caught.value.value == str(path)
    assert "is damaged" in text
    assert TINY.files()[0].containers[0] in text
    assert found in text
    assert "frisket data fetch tiny" in text
    assert "FRISKET_DATA" in text
    assert [row.status for row in verify(data_dir=folder, sources=SOURCES)] == ["damaged", "ok"]


def test_missing_file_gives_one_error(cache: Path, folder: Path) -> None:
    (folder / "tiny" / "labels.gz").unlink()
    with pytest.raises(DataError, match=r"labels\.gz.*is missing .*found no file.*frisket data fetch tiny") as caught:
        load("tiny", folder, sources=SOURCES)
    assert caught.value.value == str(folder / "tiny" / "labels.gz")
    assert [row.status for row in verify(data_dir=folder, sources=SOURCES)] == ["ok", "missing"]


def test_good_copy_in_the_cache_mends_a_damaged_one(
    cache: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _damage_by_truncating(folder / "tiny" / "images.gz")
    put(cache, "tiny", TINY_FILES)
    with caplog.at_level(logging.WARNING, "frisket.data"):
        assert np.array_equal(load("tiny", folder, sources=SOURCES).images[:, 0], TINY_IMAGES)
    assert len(caplog.records) == 1
    assert str(folder / "tiny" / "images.gz") in caplog.text


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: load("omniglott"), "did you mean 'omniglot'"),
        (lambda: load("mnist", split="validation"), "must be one of train, test"),
        (lambda: load("digits", split="test"), "no splits"),
        (lambda: load("mnist", "/no/such/folder"), "data_dir = '/no/such/folder': is not a folder"),
        (lambda: verify(["glyphs"]), "not one that is downloaded"),
        (lambda: resolve(["mnits"], "embedded"), "did you mean 'mnist'"),
        (lambda: resolve(["mnist"], "rael"), "must be one of auto, real, embedded"),  # pyright: ignore[reportArgumentType]
        (lambda: resolve(["mnist"], "auto", "/no/such/folder"), "is not a folder"),
    ],
)
def test_mistakes_are_named(cache: Path, call: Callable[[], object], says: str) -> None:
    with pytest.raises(DataError, match=says):
        call()


def test_named_folder_of_the_environment_must_be_there(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRISKET_DATA", "/no/such/folder")
    with pytest.raises(DataError, match="FRISKET_DATA = '/no/such/folder'"):
        load("mnist")
    assert load("digits").name == "digits"  # embedded data needs no folder


def test_omniglot_is_decoded_once(cache: Path, tmp_path: Path) -> None:
    files = {"a.zip": drawings(["s/A/character01/1.png", "s/B/character01/1.png"]), "b.zip": drawings(["t/C/c/1.png"])}
    omni = {"omni": source("omni", files, "omniglot")}
    folder = put(tmp_path / "data", "omni", files)
    first = load("omni", folder, sources=omni)
    assert first.classes == ("A/character01", "B/character01", "C/c")
    (kept,) = (cache / "arrays").iterdir()
    stamp = kept.stat().st_mtime_ns
    assert np.array_equal(load("omni", folder, sources=omni).images, first.images)
    assert kept.stat().st_mtime_ns == stamp

    kept.write_bytes(kept.read_bytes()[:-200])
    assert np.array_equal(load("omni", folder, sources=omni).images, first.images)
    assert kept.stat().st_mtime_ns != stamp  # the damaged one was made again

    load("omni", folder, resample="nearest", sources=omni)
    assert len(list((cache / "arrays").iterdir())) == 2


@pytest.mark.parametrize("junk", [b"", b"PK\x03\x04 not a zip", b"\x80\x04N.", b"\x93NUMPY\x01\x00"])
def test_damaged_cache_is_made_again(tmp_path: Path, junk: bytes) -> None:
    path = tmp_path / "arrays" / "key.npz"
    path.parent.mkdir()
    path.write_bytes(junk)
    want = {"x": np.arange(3)}
    assert cached_arrays(tmp_path, "key", lambda: want)["x"].tolist() == [0, 1, 2]
    assert cached_arrays(tmp_path, "key", dict)["x"].tolist() == [0, 1, 2]
    assert [p.name for p in path.parent.iterdir()] == ["key.npz"]


def test_cache_that_cannot_be_written_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FRISKET_CACHE", str(tmp_path / "file"))  # a file where a folder should be
    monkeypatch.delenv("FRISKET_DATA", raising=False)
    folder = put(tmp_path / "data", "tiny", TINY_FILES | {"images.gz": gz(idx(TINY_IMAGES), level=0)})
    assert load("tiny", folder, sources=SOURCES).name == "tiny"
    assert load("digits").name == "digits"


def test_resolve_embedded_uses_stand_ins_under_the_requested_name(cache: Path) -> None:
    data = resolve(["mnist", "digits"], "embedded")
    assert list(data) == ["mnist", "digits"]
    assert data["mnist"].name == data["digits"].name == "digits"
    assert data["mnist"].provenance.kind == "embedded"


def test_resolve_real_takes_what_is_there(cache: Path, folder: Path) -> None:
    for mode in ("real", "auto"):
        data = resolve(["tiny", "digits"], mode, folder, sources=SOURCES)
        assert {name: images.name for name, images in data.items()} == {"tiny": "tiny", "digits": "digits"}


def test_resolve_never_mixes(cache: Path, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    sources = {"tiny": TINY, "gone": source("gone", TINY_FILES)}  # no mirrors, so it cannot be fetched
    with pytest.raises(DataError, match="data set gone"):
        resolve(["tiny", "gone"], "real", folder, sources=sources)
    with caplog.at_level(logging.WARNING, "frisket.data"):
        data = resolve(["tiny", "gone"], "auto", folder, sources=sources)
    assert {images.name for images in data.values()} == {"digits"}
    (record,) = caplog.records
    for words in ("digits for tiny, digits for gone", "data set gone", "frisket data fetch gone", "FRISKET_DATA"):
        assert words in record.getMessage()
