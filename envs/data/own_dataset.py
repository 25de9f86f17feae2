"""Any map-style dataset of (x, y) pairs, such as a `torch.utils.data.Dataset`, as a data set of one's own.

Whatever has a length and gives ``(x, y)`` or ``(x, y, task)`` for an index will do. ``x`` is a tensor or an array, of
one shape for every index, like a sample of `frisket.envs.data.own_arrays` ([D], [H, W], [C, H, W]), or a picture of
Pillow's; ``y`` and ``task`` are whole numbers or text. Where the data set says its ``classes`` (torchvision's do), they
name the numbers.

Every sample is read once and kept in memory, in its own type. The same index must give the same ``x`` every time:
random transforms belong to the stream (``augment``), and data that change could not be known again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from frisket.envs.data.imageset import ImageSet
from frisket.envs.data.own import TEST, OwnData
from frisket.envs.data.own_arrays import as_sets
from frisket.errors import DataError


@runtime_checkable
class MapStyle(Protocol):
    """What a map-style dataset offers."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


@dataclass(frozen=True, kw_only=True)
class OwnDataset(OwnData):
    """A map-style dataset, or two.

    Attributes:
        source: the dataset; a pair of them, to learn from and to be judged on; or a function of no arguments that gives
            either, called when the data are needed.
        channels_last: whether ``x`` of three axes is ``[H, W, C]``.
    """

    source: MapStyle | tuple[MapStyle, MapStyle] | Callable[[], Any] = field(repr=False)
    channels_last: bool = False

    def load(self, name: str, data_dir: str | Path | None = None) -> tuple[ImageSet, ImageSet]:
        """See `OwnData.load`."""
        train, *tests = _datasets(name, self.source)
        arrays = _arrays(name, train)
        for test in tests:
            arrays |= {f"{what}_{TEST}": array for what, array in _arrays(f"{name}:{TEST}", test).items()}
        made = f"{type(train).__module__}.{type(train).__qualname__}"
        return as_sets(name, arrays, made, self.test_share, channels_last=self.channels_last)


@dataclass(frozen=True, kw_only=True)
class DatasetKind:
    """What a module declares of a data set: a row of its ``DATASETS``.

    Attributes:
        name: what specifications call it, wherever the name of a data set stands.
        data: where it comes from: an `OwnDataset`, a folder, arrays.
    """

    name: str
    data: OwnData


def _datasets(name: str, source: Any) -> tuple[MapStyle, ...]:
    """The dataset, or the two, behind ``source``."""
    ready = isinstance(source, MapStyle) and not isinstance(source, type)  # a class has its objects' methods too
    made = source() if callable(source) and not ready else source
    pair: tuple[Any, ...] = made if isinstance(made, tuple) else (made,)
    if len(pair) > 2 or not all(isinstance(one, MapStyle) for one in pair):
        fix = (
            "must be a map-style dataset (with __len__ and __getitem__), a pair (train, test), or a function of neither"
        )
        raise DataError(f"data set {name}", type(made).__name__, fix)
    return pair


def _arrays(name: str, dataset: MapStyle) -> dict[str, np.ndarray]:
    """``x``, ``y`` and perhaps ``task`` of all samples; ``x`` is as large as the samples are, and made once."""
    count = len(dataset)
    if not count:
        raise DataError(f"data set {name}", type(dataset).__name__, "must have at least one sample")
    first, again = _sample(name, dataset, 0), _sample(name, dataset, 0)
    if not np.array_equal(first[0], again[0]):
        fix = "must give the same x every time it is asked; leave random transforms to the stream's augment"
        raise DataError(f"data set {name}", "sample 0", fix)
    x = np.empty((count, *first[0].shape), first[0].dtype)
    others: list[list[Any]] = [[] for _ in first[1:]]
    for index in range(count):
        sample = first if index == 0 else _sample(name, dataset, index)
        if (sample[0].shape, sample[0].dtype, len(sample)) != (first[0].shape, first[0].dtype, len(first)):
            fix = f"must be like sample 0, {first[0].dtype} {first[0].shape} with {len(others)} values beside it"
            raise DataError(f"sample {index} of {name}", f"{sample[0].dtype} {sample[0].shape}", fix)
        x[index] = sample[0]
        for values, value in zip(others, sample[1:], strict=True):
            values.append(value)
    arrays = {"x": x} | {what: np.asarray(values) for what, values in zip(("y", "task"), others, strict=False)}
    classes = getattr(dataset, "classes", None)
    if classes is not None and arrays["y"].dtype.kind in "iu":
        arrays["y"] = np.array(list(_named(name, arrays["y"], [str(one) for one in classes])))
    return arrays


def _sample(name: str, dataset: MapStyle, index: int) -> tuple[Any, ...]:
    """``(x, y)`` or ``(x, y, task)`` of one sample: x an array, the others plain numbers or text."""
    try:
        sample = dataset[index]
    except Exception as error:  # it is the user's code that runs here
        fix = f"cannot be read: its dataset raised {type(error).__name__}: {error}"
        raise DataError(f"sample {index} of {name}", type(dataset).__name__, fix) from error
    if not isinstance(sample, (tuple, list)) or len(sample) not in (2, 3):
        fix = "must be (x, y) or (x, y, task)"
        raise DataError(f"sample {index} of {name}", type(sample).__name__, fix)
    x, *labels = sample
    return (_pixels(x), *(_plain(f"sample {index} of {name}", one) for one in labels))


def _pixels(x: Any) -> np.ndarray:
    """``x`` as an array; a picture of Pillow's as [H, W], or [3, H, W] for whatever has colours."""
    if hasattr(x, "convert") and hasattr(x, "getbands"):
        grey = x.getbands() in (("L",), ("1",))
        pixels = np.asarray(x.convert("L" if grey else "RGB"))
        return pixels if grey else pixels.transpose(2, 0, 1)
    if hasattr(x, "detach"):
        x = x.detach().cpu()
    return np.asarray(x)


def _plain(field: str, value: Any) -> Any:
    """``value`` as a plain whole number or text."""
    value = value.item() if hasattr(value, "item") and getattr(value, "ndim", 0) == 0 else value
    if not isinstance(value, (int, str)):
        raise DataError(field, value, "must have a whole number or text for y (and task)")
    return value


def _named(name: str, labels: np.ndarray, classes: list[str]) -> Iterator[str]:
    """The names of ``labels``."""
    for label in labels.tolist():
        if not 0 <= label < len(classes):
            fix = f"must be 0 to {len(classes) - 1}: the dataset has {len(classes)} classes"
            raise DataError(f"y of {name}", label, fix)
        yield classes[label]
