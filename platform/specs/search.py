"""A search over settings as data: the ``tune`` section of a specification, and the points it stands for.

An axis is a field of a section (``learner.alpha_init``) with the values it takes, or with the range it is drawn from:
``{low: 0.01, high: 1.0, scale: log}``. A *point* is one value on every axis. Points are made when the specification is
read, from nothing but the section itself (draws come from `frisket.rng`), so they are the same on every machine and
after every kill.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from frisket.errors import SpecError, nearest, require
from frisket.platform.protocols.protocol import ProtocolKind
from frisket.rng import numpy_generator

_LABEL_CHARS = 120  # a folder's name has room for 255, and MLflow's pages for fewer
MOST_REPLICAS = 100_000
"""A run folder has a folder for each, and every look at the run looks at all."""
_TRIES = 1000  # draws per wanted point before we say that there are not so many different ones


@dataclass(frozen=True, kw_only=True)
class Search:
    """Attributes:
    axes: field to its values (a list), or to ``{low, high, scale}`` where points are drawn; ``scale`` is ``linear``
        (the default) or ``log``, and fields of whole numbers get whole numbers, ``high`` included.
    search: ``grid``: every combination; ``random``: ``samples`` of them, drawn; ``asha``: either (with ``samples`` it
        draws), and points that do worse than others did at the same step are stopped early.
    samples: points to draw, all different.
    seed: what the draws come from.
    metric: what points are compared by; null for the protocol's headline.
    mode: whether more or less of it is better.
    grace: asha: share of the steps no point is stopped before.
    reduction: asha: one of so many points goes on at each of the steps grace, grace * reduction, ...
    """

    axes: dict[str, Any]
    search: Literal["grid", "random", "asha"] = "grid"
    samples: int | None = None
    seed: int = 0
    metric: str | None = None
    mode: Literal["max", "min"] = "max"
    grace: float = 0.1
    reduction: int = 3

    def __post_init__(self) -> None:
        require(bool(self.axes), "axes", self.axes, "a mapping of at least one field to its values")
        require(self.samples is None or self.samples >= 1, "samples", self.samples, "at least 1")
        if self.search == "grid":
            require(self.samples is None, "samples", self.samples, "left out: a grid is every combination")
        elif self.search == "random":
            require(self.samples is not None, "samples", None, "the number of points to draw")
        require(0 < self.grace <= 1, "grace", self.grace, "a share in (0, 1]")
        require(self.reduction >= 2, "reduction", self.reduction, "at least 2")
        for name, axis in self.axes.items():
            _check_axis(f"axes.{name}", axis, drawn=self.samples is not None)

    @property
    def early_stopping(self) -> bool:
        """Whether points may be stopped before their end."""
        return self.search == "asha"


class Range(NamedTuple):
    """Attributes: low, high: the ends; log: equal ratios, not differences, are equally likely; whole: numbers only."""

    low: float
    high: float
    log: bool
    whole: bool

    @classmethod
    def of(cls, axis: Mapping[str, Any], whole: bool) -> Range:
        """The range an axis's mapping says."""
        return cls(axis["low"], axis["high"], axis.get("scale") == "log", whole)

    def at(self, share: float) -> float | int:
        """The value at ``share`` in [0, 1) of the range, to four digits: what the label says is what is run."""
        low, high = self.low, self.high + (1 if self.whole else 0)
        value = low * (high / low) ** share if self.log else low + (high - low) * share
        return min(math.floor(value), int(self.high)) if self.whole else float(f"{value:.4g}")

    @property
    def size(self) -> float:
        """How many different values there are."""
        return self.high - self.low + 1 if self.whole else math.inf


def flat_axes(tune: Any) -> Any:
    """A ``tune`` section with its axes under dotted names; ``{learner: {lr: ...}}``, as a command line's override
    makes it, is laid over ``learner.lr``."""
    if not isinstance(tune, Mapping) or not isinstance(tune.get("axes"), Mapping):
        return tune
    flat: dict[str, Any] = {}
    for name, axis in tune["axes"].items():
        nested = isinstance(axis, Mapping) and not {"low", "high", "scale"} & axis.keys()
        flat |= {f"{name}.{k}": v for k, v in axis.items()} if nested else {str(name): axis}
    return {**tune, "axes": flat}


def points(search: Search, fields: Mapping[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    """Every point: its label to the partial specification ``{section: {field: value}}`` that makes it, in order (the
    last axis moves fastest).

    Args:
        search: the section.
        fields: every field there is to search over, by dotted name, with its type.

    Raises:
        SpecError: an axis that is no field, a value or a point given twice, more samples than there are points.
    """
    for name in search.axes:
        if name not in fields:
            raise SpecError(f"tune.axes.{name}", search.axes[name], f"no such field; {nearest(name, fields)}")
    count = math.prod(map(len, search.axes.values())) if search.samples is None else search.samples
    require(count <= MOST_REPLICAS, "tune", count, f"at most {MOST_REPLICAS:,} points; `samples` draws some of them")
    made = list(_grid(search)) if search.samples is None else _draws(search, fields)
    labels = _labels(search, made)
    return {label: _partial(search, values) for label, values in zip(labels, made, strict=True)}


def require_comparable(search: Search, protocol: ProtocolKind, *, seeds: int, pack: int, published: bool) -> None:
    """Raise `SpecError` unless the points of ``search`` can be compared as it says.

    Args:
        search: the section.
        protocol: says what is measured, and when.
        seeds: of every point.
        pack: most replicas in a program.
        published: the experiment answers to a published number.
    """
    metric, early = search.metric or protocol.headline, search.early_stopping
    known = [*protocol.journalled, "sparsity", *(() if early else protocol.final)]
    name, _, part = metric.partition("/")
    if metric not in known and not (part and name in ("accuracy", "sparsity") and name in known):
        why = "is not journalled while a point runs; " if early else ""
        raise SpecError("tune.metric", metric, f"{why}{nearest(metric, known)}")
    if early:
        asha = "with search: asha, which stops points early"
        require(
            not published, "published", "given", f"left out {asha}: every point of a paper's grid is to be reported"
        )
        require(seeds == 1, "seeds", seeds, f"1 {asha}; run the best point with more seeds")
        require(pack == 1, "pack", pack, f"1 {asha}: a program's replicas end together")
        moved = [name for name in search.axes if name.startswith("stream.")]
        require(not moved, "tune.axes", moved, f"of other sections {asha}: points race on one stream")


def _check_axis(field: str, axis: Any, *, drawn: bool) -> None:
    if isinstance(axis, Mapping):
        require(drawn, field, axis, "a list of values; a range needs `samples` and search: random or asha")
        wrong = set(axis) - {"low", "high", "scale"}
        numbers = all(isinstance(axis.get(k), (int, float)) and not isinstance(axis[k], bool) for k in ("low", "high"))
        require(not wrong and numbers, field, axis, "{low: number, high: number, scale: linear or log}")
        require(axis["low"] < axis["high"], field, axis, "a range whose low is below its high")
        require(axis.get("scale", "linear") in ("linear", "log"), field, axis, "of scale linear or log")
        require(axis.get("scale") != "log" or axis["low"] > 0, field, axis, "above 0 on a log scale")
        return
    require(isinstance(axis, (list, tuple)) and len(axis) > 0, field, axis, "a list of at least one value")
    for i, value in enumerate(axis):
        if any(_same(value, earlier) for earlier in axis[:i]):
            raise SpecError(field, axis, f"names {value!r} twice: every point must be another one")


def _same(a: Any, b: Any) -> bool:
    """Equal as values of a field: 1 is 1.0, but true is not 1."""
    return a == b and isinstance(a, bool) == isinstance(b, bool)


def _grid(search: Search) -> Iterator[tuple[Any, ...]]:
    return itertools.product(*search.axes.values())


def _draws(search: Search, fields: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    wanted = search.samples
    assert wanted is not None
    axes = {
        name: Range.of(axis, fields[name] is int) if isinstance(axis, Mapping) else tuple(axis)
        for name, axis in search.axes.items()
    }
    room = math.prod(axis.size if isinstance(axis, Range) else len(axis) for axis in axes.values())
    require(wanted <= room, "tune.samples", wanted, f"at most {room:.0f}: there are no more different points")
    found: dict[str, tuple[Any, ...]] = {}
    for i in range(_TRIES * wanted):
        values = tuple(_draw(axis, search.seed, name, i) for name, axis in axes.items())
        found.setdefault(json.dumps(values), values)
        if len(found) == wanted:
            return list(found.values())
    raise SpecError("tune.samples", wanted, f"must be at most {len(found)}: the ranges hold no more different points")


def _draw(axis: Range | Sequence[Any], seed: int, name: str, i: int) -> Any:
    share = float(numpy_generator(seed, "tune", name, i).random())
    return axis.at(share) if isinstance(axis, Range) else axis[int(share * len(axis))]


def _labels(search: Search, made: Sequence[tuple[Any, ...]]) -> list[str]:
    """A name for every point that can be a folder's; by number where the values make none."""
    short = [name.rpartition(".")[2] for name in search.axes]
    names = short if len(set(short)) == len(short) else list(search.axes)
    labels = [",".join(f"{n}={_text(v)}" for n, v in zip(names, values, strict=True)) for values in made]
    if len(set(labels)) < len(labels) or max(map(len, labels)) > _LABEL_CHARS:
        return [f"point{i:0{len(str(len(made) - 1))}}" for i in range(len(made))]
    return labels


def _text(value: Any) -> str:
    text = "x".join(map(_text, value)) if isinstance(value, (list, tuple)) else str(value)
    return re.sub(r"[^\w.+-]+", "-", text)


def _partial(search: Search, values: tuple[Any, ...]) -> dict[str, dict[str, Any]]:
    partial: dict[str, dict[str, Any]] = {}
    for name, value in zip(search.axes, values, strict=True):
        section, _, field = name.partition(".")
        partial.setdefault(section, {})[field] = value
    return partial
