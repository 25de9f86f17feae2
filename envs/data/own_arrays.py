"""Arrays as a data set: features of a frozen backbone, or pictures, with their labels.

::

    FILE.npz            x, y, and where there are: task, x_test, y_test, task_test
    DIR/x.npy y.npy     the same names, each a file of its own; .../x.npy means its folder

``x`` is ``[N, D]`` (features), ``[N, H, W]`` (grey pictures) or ``[N, C, H, W]``; with ``channels_last``
``[N, H, W, C]``. It has one byte a value, which networks see divided by 255, or fractions, which they see as they are.
``y`` is ``[N]``, whole numbers or text, ``task`` likewise. The classes are the different values of ``y``, sorted; the
domains those of ``task``. Files that would need Python's pickle to be read are refused: a pickle runs code.

D features become inputs ``[D, 1, 1]``, so that every input of every stream has a shape (C, H, W); the network ``mlp``
takes them.

The hashes of the content are, for each array, the sha256 of ``DTYPE NUL SHAPE NUL`` and its bytes.
"""

from __future__ import annotations

import difflib
import hashlib
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from frisket.envs.data.containers import require_bounded
from frisket.envs.data.imageset import ImageSet
from frisket.envs.data.npy import array_in, array_names, array_of
from frisket.envs.data.own import TEST, OwnData, Samples, described, find, held_out, share_note
from frisket.errors import DataError
from frisket.heap import machine_memory

T = TypeVar("T")

FORM = "arrays of the user's"
_NAMES = ("x", "y", "task", "x_test", "y_test", "task_test")
_ARCHIVE, _ONE_ARRAY = b"PK", b"\x93NUMPY"
"""How a file of arrays begins, and one of a single array."""
_A_SLIP = 0.8
"""From how much likeness on (`difflib`) an unknown name is taken for a slip: ``y_tset`` is, ``ids`` is not."""
_AT_ONCE = 2**22
"""Values of an array that are looked through at a time."""


@dataclass(frozen=True, kw_only=True)
class OwnArrays(OwnData):
    """Arrays in files.

    Attributes:
        arrays: a ``.npz`` file, a folder of ``.npy`` files, or a folder with one ``.npz`` in it; relative paths are
            looked for in the data folder, which ``.`` means itself.
        channels_last: whether ``x`` of four axes is ``[N, H, W, C]``.
    """

    arrays: str
    channels_last: bool = False

    def load(self, name: str, data_dir: str | Path | None = None) -> tuple[ImageSet, ImageSet]:
        """See `OwnData.load`."""
        field = f"data.{name}.arrays"
        path = _file(field, find(field, self.arrays, data_dir))
        return as_sets(name, _read(field, path), path.name, self.test_share, channels_last=self.channels_last)


def as_sets(
    name: str, arrays: Mapping[str, np.ndarray], source: str, test_share: float, *, channels_last: bool = False
) -> tuple[ImageSet, ImageSet]:
    """The two parts of the data set ``name`` made of ``arrays``.

    Args:
        name: what the specification calls the data.
        arrays: ``x``, ``y`` and perhaps the others, as in a file.
        source: where they are from, in words.
        test_share: as `OwnData.test_share`.
        channels_last: as `OwnArrays.channels_last`.

    Raises:
        DataError: an array is missing, or has a wrong shape, type or value.
    """
    parts = ("", f"_{TEST}") if any(f"{what}_{TEST}" in arrays for what in ("x", "y", "task")) else ("",)
    for part in parts:
        _require_fitting(name, arrays, part)
    train, *tests = (_inputs(name, f"x{part}", arrays[f"x{part}"], channels_last) for part in parts)
    samples, *judged = (_samples(name, arrays, part) for part in parts)
    if len(samples.classes) < 2:
        raise DataError(f"y of {name}", next(iter(samples.classes)), "is the only class; there must be two or more")
    if tests:
        (test,), (one,) = tests, judged
        if (test.shape[1:], test.dtype) != (train.shape[1:], train.dtype):
            raise DataError(f"x_test of {name}", _form(arrays["x_test"]), f"must be like x, {_form(arrays['x'])}")
        samples_of_test = _renumbered(name, one, samples)
        learn, judge = np.arange(len(train)), np.arange(len(test))
        note = f"test: {len(test):,} samples, x_test"
    else:
        learn, judge = held_out(name, samples, test_share)
        train, test, samples_of_test = train[learn], train[judge], samples
        note = share_note(test_share, len(judge))
    counts = f"{len(learn) + len(judge):,} samples in {len(samples.classes):,} classes"
    shape = "x".join(str(side) for side in train.shape[1:])
    provenance = described(
        name, f"{source}: {counts}", {what: _digest(array) for what, array in arrays.items()},
        [note, f"inputs {shape}, {train.dtype}"], FORM,
    )  # fmt: skip
    return (
        samples.part(name, train, learn, provenance),
        samples_of_test.part(f"{name}:{TEST}", test, judge, provenance),
    )


def _file(field: str, path: Path) -> Path:
    """The ``.npz``, or the folder of ``.npy`` files, that ``path`` means."""
    if path.suffix == ".npz" and path.is_file():
        return path
    if path.name == "x.npy" and path.is_file():
        return path.parent
    if not path.is_dir():
        fix = "must be a .npz file with arrays x and y, or a folder with x.npy and y.npy"
        raise DataError(field, str(path), fix)
    if (path / "x.npy").is_file():
        return path
    found = sorted(p for p in path.glob("*.npz") if p.name[0] != ".")
    if len(found) != 1:
        names = f"{len(found)} .npz files ({', '.join(p.name for p in found[:5])})" if found else "neither"
        raise DataError(field, str(path), f"must hold x.npy and y.npy, or one .npz file; it has {names}: name the file")
    return found[0]


def _read(field: str, path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file or a folder, by name; names that mean nothing here are left alone, but for one that was
    meant for one that does.

    Raises:
        DataError: it cannot be read, or an array's name is a slip.
    """
    if path.is_dir():
        _require_meant(field, path, [file.stem for file in path.glob("*.npy")])
        files = {name: path / f"{name}.npy" for name in _NAMES if (path / f"{name}.npy").is_file()}
        return {name: _loaded(field, file, lambda f=file: _array(f)) for name, file in files.items()}
    with _loaded(field, path, lambda: path.open("rb")) as file:
        if file.peek().startswith(_ONE_ARRAY):
            raise DataError(field, str(path), "holds one array without a name; save x and y with numpy.savez")
        if not file.peek().startswith(_ARCHIVE):
            raise DataError(field, str(path), "is no .npz file, or a damaged one; save x and y with numpy.savez")
        with _loaded(field, path, lambda: zipfile.ZipFile(file)) as archive:
            _loaded(field, path, lambda: require_bounded(archive, machine_memory()))
            names = array_names(archive)
            _require_meant(field, path, names)
            return {
                name: _loaded(f"{name} in {field}", path, lambda n=name: array_in(archive, n))
                for name in _NAMES
                if name in names
            }


def _array(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        return array_of(file, path.stat().st_size)


def _require_meant(field: str, path: Path, names: Iterable[str]) -> None:
    for name in names:
        close = difflib.get_close_matches(name.lower(), _NAMES, n=1, cutoff=_A_SLIP)
        if name not in _NAMES and close:
            fix = f"has an array {name!r}, which would be left out; did you mean {close[0]!r}? If not, rename it"
            raise DataError(field, str(path), fix)


def _loaded(field: str, path: Path, load: Callable[[], T]) -> T:
    """What ``load`` gives. Raises `DataError` where it cannot be read."""
    try:
        return load()
    except MemoryError:
        fix = "declares more values than this machine's memory holds; save fewer, or in a smaller type"
        raise DataError(field, str(path), fix) from None
    except Exception as error:  # a damaged zip shows up as any of half a dozen types
        if "allow_pickle" in str(error) and "header" not in str(error).lower():
            fix = "holds Python objects, which only a pickle could bring back; save numbers, or text with dtype=str"
        else:
            fix = f"cannot be read ({' '.join(str(error).split())}); save it again with numpy"
        raise DataError(field, str(path), fix) from None


def _require_fitting(name: str, arrays: Mapping[str, np.ndarray], part: str) -> None:
    """Raise `DataError` unless the arrays of one part are there and of one length."""
    for what in (f"x{part}", f"y{part}"):
        if what not in arrays:
            raise DataError(f"arrays of {name}", sorted(arrays), f"must have {what}: inputs x and labels y")
    if part and ("task" in arrays) != ("task_test" in arrays):
        raise DataError(f"arrays of {name}", sorted(arrays), "must have both task and task_test, or neither")
    count = len(arrays[f"x{part}"]) if arrays[f"x{part}"].ndim else 0
    if not count:
        raise DataError(f"x{part} of {name}", arrays[f"x{part}"].shape, "must have at least one sample: shape [N, ...]")
    for what in (f"y{part}", f"task{part}"):
        if what in arrays and arrays[what].shape != (count,):
            fix = f"must have shape ({count},), one value for each sample of x{part}"
            raise DataError(f"{what} of {name}", arrays[what].shape, fix)


def _inputs(name: str, what: str, x: np.ndarray, channels_last: bool) -> np.ndarray:
    """``x`` as ``[N, C, H, W]``, uint8 or float32."""
    field = f"{what} of {name}"
    if x.dtype != np.uint8 and x.dtype.kind != "f":
        fix = "must be uint8 (0 .. 255, seen divided by 255) or floating point (seen as it is): x.astype(...)"
        raise DataError(f"dtype of {field}", str(x.dtype), fix)
    if x.ndim not in (2, 3, 4) or 0 in x.shape:
        fix = "must be [N, D], [N, H, W] or [N, C, H, W], or [N, H, W, C] with channels_last: true"
        raise DataError(f"shape of {field}", x.shape, fix)
    if channels_last and x.ndim != 4:
        raise DataError(f"data.{name}.channels_last", True, f"must be left out: {what} has {x.ndim} axes")
    shaped = {2: lambda: x[:, :, None, None], 3: lambda: x[:, None], 4: lambda: x}[x.ndim]()
    shaped = shaped.transpose(0, 3, 1, 2) if channels_last else shaped
    height, width = shaped.shape[2:]
    if height != width:
        square_last = x.ndim == 4 and not channels_last and x.shape[1] == x.shape[2]
        fix = (
            f"looks like channels last: set data.{name}.channels_last=true" if square_last
            else "must have square pictures; pad or cut them, or flatten them to features: x.reshape(len(x), -1)"
        )  # fmt: skip
        raise DataError(f"shape of {field}", x.shape, fix)
    if x.dtype == np.uint8:
        return np.ascontiguousarray(shaped)
    with np.errstate(over="ignore"):  # what is too large for 32 bits is said below
        single = np.ascontiguousarray(shaped, np.float32)
    rows = max(1, _AT_ONCE // single[0].size)
    for first in range(0, len(single), rows):
        finite = np.isfinite(single[first : first + rows]).reshape(len(single[first : first + rows]), -1).all(1)
        if not finite.all():
            sample = first + int(np.flatnonzero(~finite)[0])
            value = shaped[sample][~np.isfinite(single[sample])][0]
            fix = "must be finite, in float32 too; mend, scale or leave out that sample"
            raise DataError(f"{what}[{sample}] of {name}", float(value), fix)
    return single


def _samples(name: str, arrays: Mapping[str, np.ndarray], part: str) -> Samples:
    classes, labels = _values(f"y{part} of {name}", arrays[f"y{part}"])
    if f"task{part}" not in arrays:
        return Samples(labels, classes)
    domain_names, domains = _values(f"task{part} of {name}", arrays[f"task{part}"])
    return Samples(labels, classes, domains, domain_names)


def _values(field: str, values: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """The different ``values``, sorted, as text; and of each its place among them."""
    if values.dtype.kind not in "iubUS":
        fix = "must be whole numbers or text: y.astype(np.int64), or dtype=str"
        raise DataError(f"dtype of {field}", str(values.dtype), fix)
    known, places = np.unique(values, return_inverse=True)
    text = [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in known.tolist()]
    return tuple(text), places.astype(np.int64)


def _renumbered(name: str, test: Samples, known: Samples) -> Samples:
    """The samples of a test part with the numbers that the ``known`` classes and domains have."""
    labels = _places(f"y_test of {name}", "y", test.classes, known.classes)[test.labels]
    if test.domains is None:
        return Samples(labels, known.classes)
    places = _places(f"task_test of {name}", "task", test.domain_names, known.domain_names)
    return Samples(labels, known.classes, places[test.domains], known.domain_names)


def _places(field: str, of: str, found: tuple[str, ...], known: tuple[str, ...]) -> np.ndarray:
    """Of each name in ``found`` its place among the ``known``."""
    place = {what: i for i, what in enumerate(known)}
    for what in found:
        if what not in place:
            raise DataError(field, what, f"is not in {of}, so nothing is learned of it; add it there or leave it out")
    return np.array([place[what] for what in found], np.int64)


def _form(array: np.ndarray) -> str:
    return f"{array.dtype} {array.shape}"


def _digest(array: np.ndarray) -> str:
    digest = hashlib.sha256(f"{array.dtype.str}\0{array.shape}\0".encode())
    if len(array):
        rows = max(1, _AT_ONCE * len(array) // array.size)
        for first in range(0, len(array), rows):
            digest.update(np.ascontiguousarray(array[first : first + rows]).tobytes())
    return digest.hexdigest()
