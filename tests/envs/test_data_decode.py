"""Formats: what is read right, and that every kind of damage is told as such."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
from tiny_data import drawings, gz, idx

from frisket.envs.data.decode import (
    Damaged,
    content_digest,
    gunzip,
    idx_arrays,
    omniglot_arrays,
    omniglot_pictures,
    parse_idx,
)


@pytest.mark.parametrize("shape", [(5,), (2, 3), (4, 2, 3), (0, 28, 28)])
def test_idx_round_trip(shape: tuple[int, ...]) -> None:
    values = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    assert np.array_equal(parse_idx(idx(values)), values)
    assert parse_idx(idx(values)).shape == shape


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "starts with nothing"),
        (b"\x00\x00\x08", "starts with 00 00 08"),
        (b"\x00\x00\x0d\x01\x00\x00\x00\x00", "00 00 0d 01"),  # floats
        (b"\x00\x00\x08\x00", "00 00 08 00"),  # no dimension
        (b"<html>not found</html>", "3c 68 74 6d"),
        (b"\x00\x00\x08\x03\x00\x00", "header of 16 bytes expected, the file has 6"),
        (idx(np.zeros((2, 3)))[:-1], "needs 6 bytes, the file has 5"),
        (idx(np.zeros((2, 3))) + b"\x00", "needs 6 bytes, the file has 7"),
    ],
)
def test_bad_idx_is_told(data: bytes, says: str) -> None:
    with pytest.raises(Damaged, match=says):
        parse_idx(data)


def test_bad_gzip_is_told() -> None:
    whole = gz(b"some content" * 100)
    flipped = whole[:20] + bytes([whole[20] ^ 255]) + whole[21:]
    wrong_checksum = whole[:-8] + b"\x00" * 8
    for data in (b"", b"plain", whole[:-1], whole[:15], flipped, wrong_checksum):
        with pytest.raises(Damaged, match="not a whole gzip file"):
            gunzip(data, 2000)


def test_images_and_labels_must_fit() -> None:
    with pytest.raises(Damaged, match="do not fit"):
        idx_arrays(gz(idx(np.zeros((3, 28, 28)))), gz(idx(np.zeros(2))))


def test_idx_digest_ignores_compression_and_sees_content() -> None:
    data = idx(np.arange(1000) % 7)
    assert gz(data, 1) != gz(data, 9)
    assert content_digest("idx", gz(data, 1)) == content_digest("idx", gz(data, 9))
    assert content_digest("idx", gz(data + b"\x00")) != content_digest("idx", gz(data))


NAMES = [f"images_background/{a}/character0{c}/{d:04d}_01.png" for a in ("B", "A") for c in (2, 1) for d in (1, 2)]


def test_omniglot_order_and_colours() -> None:
    evaluation = ["images_evaluation/A2/character01/0001_01.png"]
    arrays = omniglot_arrays([drawings(NAMES), drawings(evaluation)], "nearest")
    want = ["A/character01", "A/character02", "B/character01", "B/character02", "A2/character01"]
    assert list(arrays["classes"]) == want
    assert arrays["labels"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4]
    assert arrays["labels"].dtype == np.int64
    assert arrays["images"].shape == (9, 1, 28, 28)
    assert set(np.unique(arrays["images"])) == {0, 255}  # nearest makes no greys
    assert arrays["images"].mean() > 200  # paper is white


def test_omniglot_filters_differ() -> None:
    bicubic = omniglot_arrays([drawings(NAMES)], "bicubic")["images"]
    assert len(np.unique(bicubic)) > 2
    assert not np.array_equal(bicubic, omniglot_arrays([drawings(NAMES)], "nearest")["images"])


def test_omniglot_digest_ignores_the_zip_and_sees_pixels_and_names() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(drawings(NAMES))) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        new.writestr("__MACOSX/images_background/A/character01/._0001_01.png", b"resource fork")
        for name in reversed(old.namelist()):
            new.writestr(name, old.read(name))
    digest = content_digest("omniglot", drawings(NAMES))
    assert content_digest("omniglot", out.getvalue()) == digest
    assert content_digest("omniglot", drawings(NAMES, seed=1)) != digest
    assert content_digest("omniglot", drawings(NAMES[:-1])) != digest


def test_bad_zip_is_told() -> None:
    whole = drawings(NAMES)
    broken_picture = io.BytesIO()
    with zipfile.ZipFile(broken_picture, "w") as archive:
        archive.writestr(NAMES[0], b"\x89PNG\r\n\x1a\n and then nonsense")
    at = whole.index(b"IDAT") + 8
    flipped = whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :]
    for data in (b"", b"plain", whole[: len(whole) // 2], broken_picture.getvalue(), flipped):
        with pytest.raises(Damaged, match="not a whole zip of PNG files"):
            list(omniglot_pictures(data))
