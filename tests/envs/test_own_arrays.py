"""A user's own arrays and map-style datasets: what is taken for what, and every mistake by its field."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from own_files import FEATURES, made_features
from PIL import Image
from tiny_data import bare_machine
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from frisket.envs.data import ImageSet, OwnArrays, OwnData, OwnDataset, resolve
from frisket.errors import DataError

Y = np.arange(12) % 3


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return bare_machine(monkeypatch, tmp_path)


def read(own: OwnData, folder: Path | None = None) -> tuple[ImageSet, ImageSet]:
    data = resolve(["own", "own:test"], "real", folder, own={"own": own})
    return data["own"], data["own:test"]


def parts(folder: Path, fields: dict[str, Any] | None = None, /, **arrays: np.ndarray) -> tuple[ImageSet, ImageSet]:
    """What is read from a file with those arrays; ``y`` is `Y` unless given."""
    np.savez(folder / "own.npz", **({"y": Y} | arrays))  # pyright: ignore[reportArgumentType]
    return read(OwnArrays(arrays=".", **(fields or {})), folder)


def numbers(*shape: int, dtype: str = "uint8") -> np.ndarray:
    return (np.arange(np.prod(shape)) % 251).reshape(shape).astype(dtype)


def test_features_are_inputs_of_one_pixel(tmp_path: Path) -> None:
    made_features(tmp_path / "backbone.npz", per_class=10)
    train, test = read(OwnArrays(arrays="backbone.npz"), tmp_path)
    assert (train.images.shape, train.images.dtype, train.unit) == ((48, FEATURES, 1, 1), np.float32, 1)
    assert (len(test.labels), train.classes) == (12, ("0", "1", "2", "3", "4", "5"))
    file = np.load(tmp_path / "backbone.npz")
    rows = {row.tobytes(): label for row, label in zip(file["x"], file["y"], strict=True)}
    for part in (train, test):
        seen = [rows.pop(image.reshape(-1).tobytes()) for image in part.images]
        assert seen == part.labels.tolist()
    assert not rows  # all samples are in one of the two
    assert train.provenance.source == "backbone.npz: 60 samples in 6 classes"
    assert set(train.provenance.sha256) == {"x content", "y content"}


@pytest.mark.parametrize(
    ("x", "fields", "shape"),
    [
        (numbers(12, 5), {}, (5, 1, 1)),
        (numbers(12, 4, 4), {}, (1, 4, 4)),
        (numbers(12, 3, 4, 4), {}, (3, 4, 4)),
        (numbers(12, 4, 4, 3), {"channels_last": True}, (3, 4, 4)),
        (numbers(12, 5, dtype="float16"), {}, (5, 1, 1)),
        (numbers(12, 5, dtype="float64"), {}, (5, 1, 1)),
    ],
)
def test_every_form_of_x_keeps_its_values(
    x: np.ndarray, fields: dict[str, Any], shape: tuple[int, int, int], tmp_path: Path
) -> None:
    train, test = parts(tmp_path, {"test_share": 0.5, **fields}, x=x)
    assert train.images.shape[1:] == test.images.shape[1:] == shape
    assert train.images.dtype == (np.uint8 if x.dtype == np.uint8 else np.float32)
    flat = (x.transpose(0, 3, 1, 2) if fields else x).reshape(len(x), -1)
    both = {tuple(image.reshape(-1).tolist()) for part in (train, test) for image in part.images}
    assert both == {tuple(row) for row in flat.tolist()}


def test_text_and_tasks_name_classes_and_domains(tmp_path: Path) -> None:
    y, task = np.array(["cat", "ant"] * 6), np.array([7, 7, 10, 10] * 3)
    train, test = parts(tmp_path, x=numbers(12, 2), y=y, task=task)
    assert (train.classes, train.domain_names) == (("ant", "cat"), ("7", "10"))
    for part in (train, test):
        assert part.domains is not None
        for image, label, domain in zip(part.images, part.labels, part.domains, strict=True):
            row = int(image[0, 0, 0]) // 2  # `numbers` counts two by two
            assert (train.classes[label], part.domain_names[domain]) == (y[row], str(task[row]))


def test_test_arrays_are_the_part_to_be_judged_on_under_the_same_numbers(tmp_path: Path) -> None:
    given = {"x": numbers(12, 2), "task": Y + 4, "x_test": numbers(3, 2), "y_test": np.array([2, 1, 2])}
    train, test = parts(tmp_path, **given, task_test=np.array([6, 6, 5]))
    assert (len(train.labels), test.labels.tolist(), test.name) == (12, [2, 1, 2], "own:test")
    assert test.domains is not None
    assert test.domains.tolist() == [2, 2, 1]
    assert test.classes == train.classes


def test_folder_of_npy_files(tmp_path: Path) -> None:
    folder = tmp_path / "arrays"
    folder.mkdir()
    np.save(folder / "x.npy", numbers(12, 2))
    with pytest.raises(DataError, match=r"arrays of own = \['x'\]: must have y"):
        read(OwnArrays(arrays="arrays"), tmp_path)
    np.save(folder / "y.npy", Y)
    for path in ("arrays", "arrays/x.npy", str(folder)):
        assert read(OwnArrays(arrays=path), tmp_path)[0].classes == ("0", "1", "2")


def test_content_is_known_again_in_another_container(tmp_path: Path) -> None:
    plain = parts(tmp_path, x=numbers(12, 2))[0].provenance
    np.savez_compressed(tmp_path / "own.npz", x=numbers(12, 2), y=Y)
    assert read(OwnArrays(arrays="."), tmp_path)[0].provenance == plain
    other = parts(tmp_path, x=numbers(12, 2) + np.uint8(1))[0].provenance
    assert other.sha256["x content"] != plain.sha256["x content"]
    assert other.sha256["y content"] == plain.sha256["y content"]


HOLED = numbers(12, 2, dtype="float64")
HOLED[7, 1] = np.nan
LARGE = np.where(HOLED == 3, 1e300, 0)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"x": numbers(12, 2, dtype="int64")}, r"dtype of x of own = 'int64': must be uint8"),
        ({"x": numbers(12)}, r"shape of x of own = \(12,\): must be \[N, D\]"),
        ({"x": numbers(12, 0)}, r"shape of x of own = \(12, 0\)"),
        ({"x": numbers(0, 2), "y": Y[:0]}, r"x of own = \(0, 2\): must have at least one sample"),
        ({"x": numbers(12, 4, 4, 3)}, r"looks like channels last: set data\.own\.channels_last=true"),
        ({"x": numbers(12, 4, 5)}, r"must have square pictures.*x\.reshape\(len\(x\), -1\)"),
        ({"x": HOLED}, r"x\[7\] of own = nan: must be finite"),
        ({"x": LARGE}, r"x\[1\] of own = .*: must be finite, in float32 too"),
        ({"x": numbers(11, 2)}, r"y of own = \(12,\): must have shape \(11,\)"),
        ({"x": numbers(12, 2), "y": Y[:, None]}, r"y of own = \(12, 1\): must have shape \(12,\)"),
        ({"x": numbers(12, 2), "y": Y * 0.5}, r"dtype of y of own = 'float64': must be whole numbers or text"),
        ({"x": numbers(12, 2), "y": Y * 0}, r"y of own = '0': is the only class"),
        ({"x": numbers(12, 2), "y": np.arange(12) // 11}, r"class '1' of own = 1: needs at least 2"),
        ({"x": numbers(12, 2), "task": Y[:3]}, r"task of own = \(3,\): must have shape \(12,\)"),
        ({"x": numbers(12, 2), "y_test": Y}, r"must have x_test"),
        ({"x": numbers(12, 2), "x_test": numbers(12, 2), "y_test": Y, "task": Y}, r"both task and task_test"),
        ({"x": numbers(12, 2), "x_test": numbers(12, 3), "y_test": Y}, r"x_test of own = .*must be like x, uint8"),
        ({"x": numbers(12, 2), "x_test": numbers(12, 2), "y_test": Y + 1}, r"y_test of own = '3': is not in y"),
        ({"x": numbers(12, 2), "y_tset": Y}, r"has an array 'y_tset', which would be left out; did you mean 'y_test'"),
        ({"z": numbers(12, 2)}, r"arrays of own = \['y'\]: must have x"),
    ],
)  # fmt: skip
def test_wrong_arrays_name_field_value_and_fix(arrays: dict[str, np.ndarray], says: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=says):
        parts(tmp_path, **arrays)


def test_pickles_are_never_read(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
            return (tmp_path / "ran").write_text, ("run",)

    for name, arrays in (("y", {"x": numbers(12, 2), "y": np.array([Trap()] * 12)}), ("x", {"x": np.array([Trap()])})):
        with pytest.raises(DataError, match=rf"{name} in data\.own\.arrays.*only a pickle could bring back"):
            parts(tmp_path, **arrays)
    assert not (tmp_path / "ran").exists()


def test_files_that_are_none_name_the_fix(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"must hold x\.npy and y\.npy, or one \.npz file; it has neither"):
        read(OwnArrays(arrays="."), tmp_path)
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(DataError, match=r"a\.npz.*cannot be read .*; save it again with numpy"):
        read(OwnArrays(arrays="."), tmp_path)
    for junk in (b"junk" * 20, b""):
        (tmp_path / "a.npz").write_bytes(junk)
        with pytest.raises(DataError, match=r"a\.npz.*is no \.npz file, or a damaged one"):
            read(OwnArrays(arrays="."), tmp_path)
    with (tmp_path / "a.npz").open("wb") as file:
        np.save(file, numbers(12, 2))
    with pytest.raises(DataError, match=r"a\.npz.*holds one array without a name"):
        read(OwnArrays(arrays="a.npz"), tmp_path)
    made_features(tmp_path / "b.npz")
    with pytest.raises(DataError, match=r"it has 2 \.npz files \(a\.npz, b\.npz\): name the file"):
        read(OwnArrays(arrays="."), tmp_path)
    (tmp_path / "table.csv").write_text("1,2", encoding="utf-8")
    with pytest.raises(DataError, match=r"must be a \.npz file with arrays x and y, or a folder"):
        read(OwnArrays(arrays="table.csv"), tmp_path)
    with pytest.raises(DataError, match=r"channels_last = True: must be left out: x has 2 axes"):
        read(OwnArrays(arrays="b.npz", channels_last=True), tmp_path)


class Named(Dataset[tuple[Any, ...]]):
    """Samples given as a list, and names of the classes."""

    def __init__(self, samples: list[tuple[Any, ...]], classes: list[str] | None = None) -> None:
        self.samples = samples
        if classes:
            self.classes = classes

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return self.samples[index]


def test_torch_dataset_equals_its_arrays(tmp_path: Path) -> None:
    x = numbers(12, 3, 4, 4, dtype="float32")
    pair = TensorDataset(torch.from_numpy(x), torch.from_numpy(Y))
    from_arrays = parts(tmp_path, x=x)
    for source in (pair, lambda: pair):
        made = read(OwnDataset(source=source))
        for one, other in zip(made, from_arrays, strict=True):
            assert np.array_equal(one.images, other.images)
            assert np.array_equal(one.labels, other.labels)
            assert one.provenance.sha256["x content"] == other.provenance.sha256["x content"]
        assert made[0].provenance.source == "torch.utils.data.dataset.TensorDataset: 12 samples in 3 classes"


def test_torch_dataset_of_pictures_with_named_classes_tasks_and_a_test_part() -> None:
    def sample(label: int) -> tuple[Any, ...]:
        return Image.fromarray(np.full((5, 5, 3), 10 * label, np.uint8)), label, f"domain {label // 2}"

    train = Named([sample(i % 4) for i in range(8)], ["rose", "ant", "cat", "dog"])
    test = Named([sample(2)], ["rose", "ant", "cat", "dog"])
    learned, judged = read(OwnDataset(source=(train, test)))
    assert learned.classes == ("ant", "cat", "dog", "rose")
    assert learned.images.shape == (8, 3, 5, 5)
    assert [learned.classes[label] for label in learned.labels] == ["rose", "ant", "cat", "dog"] * 2
    assert (judged.labels.tolist(), int(judged.images.max())) == ([1], 20)
    assert learned.domain_names == ("domain 0", "domain 1")


class Noisy(Named):
    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return torch.rand(2), index % 2


class Endless(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        return iter(int, 1)


def broken() -> Named:
    class Broken(Named):
        def __getitem__(self, index: int) -> tuple[Any, ...]:
            raise KeyError("no such file")

    return Broken([(0, 0)] * 3)


ZERO = torch.zeros(2)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (Endless(), r"data set own = 'Endless': must be a map-style dataset"),
        (lambda: None, r"data set own = 'NoneType': must be a map-style dataset"),
        (Named([]), r"must have at least one sample"),
        (Noisy([(0, 0)] * 4), r"must give the same x every time"),
        (broken(), r"sample 0 of own = 'Broken': cannot be read: its dataset raised KeyError"),
        (Named([(ZERO, 0), (torch.zeros(3), 1)]), r"sample 1 of own = 'float32 \(3,\)': must be like sample 0"),
        (Named([(ZERO, 0), (ZERO, 1, 2)]), r"sample 1 of own = .*with 1 values beside it"),
        (Named([(ZERO, 0), ZERO]), r"sample 1 of own = 'Tensor': must be \(x, y\) or \(x, y, task\)"),  # pyright: ignore[reportArgumentType]
        (Named([(ZERO, 0.5)]), r"sample 0 of own = 0\.5: must have a whole number or text"),
        (Named([(ZERO, 0), (ZERO, 2)], ["a", "b"]), r"y of own = 2: must be 0 to 1: the dataset has 2 classes"),
    ],
)  # fmt: skip
def test_wrong_datasets_name_the_sample_and_the_fix(source: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        read(OwnDataset(source=source))
