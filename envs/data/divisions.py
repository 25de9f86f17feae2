"""Which classes of a data set are for meta-training, for meta-validation and for meta-test: lists of classes in files.

The published lists are files in ``class_lists``, which say where they are from; a user's has the same form, YAML or
JSON::

    train: [ant, bee]            # a class's name, or a pattern: alphabet/*, car-[0-4]?
    validation: [cat]            # or val, or valid
    test: [dog]

No class is in two lists. Case and punctuation count for nothing, since folders cannot have every name ("F-16A/B"), and
a list of numbers means classes whose names begin with them (7: "7", "007", "007.rose").
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from types import MappingProxyType

import numpy as np

from frisket.envs.data.containers import Damaged, require_regular
from frisket.errors import DataError
from frisket.files import sha256
from frisket.types import Split

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
"""Meta-training, meta-validation and meta-test classes, no class in two of them."""

Places = Mapping[Split, np.ndarray]
"""The classes of every split, as indices into the names of a data set's classes."""

_LISTS = Path(__file__).parent / "class_lists"
_STANDARD = "standard"
_ALSO: Mapping[str, tuple[str, ...]] = MappingProxyType({"meta-dataset": ("aircraft", "flowers102", "fungi")})
"""Another name of a division to the data sets whose standard lists have it: those of one paper go by one name."""
_MOST = 2**24  # bytes of a file of lists; TieredImageNet's has 8,000
_SPELLINGS: Mapping[str, Split] = {"train": "train", "validation": "validation", "val": "validation",
                                   "valid": "validation", "test": "test"}  # fmt: skip
_SHARES = (0.64, 0.80)
"""Where meta-training and meta-validation classes end, where no paper says so: miniImageNet's proportion."""
_FORM = "it needs the lists train, validation and test, each of names of classes"


@dataclass(frozen=True, slots=True)
class Division:
    """Attributes:
    field, value: what named the lists, for messages: a field of a specification and the file.
    source: where published lists are from; empty for a user's.
    lists: the names, or patterns of names, of every split's classes.
    """

    field: str
    value: str
    source: str
    lists: Mapping[Split, tuple[str, ...]]

    def places(self, classes: Sequence[str], dataset: str) -> dict[Split, np.ndarray]:
        """The indices, sorted, into ``classes`` of every split's classes. Classes in no list are in none.

        Args:
            classes: names of all classes of the data.
            dataset: what the data are called.

        Raises:
            DataError: a name that no class has, a class in two splits; each by name.
        """
        known = _Known.of(classes)
        where: dict[int, Split] = {}
        for split, names in self.lists.items():
            for name in names:
                found = known.find(name)
                if not found:
                    raise self._error(f"names {name!r} in {split}, which is no class of {dataset}")
                for place in found:
                    other = where.setdefault(place, split)
                    if other != split:
                        raise self._error(f"has the class {classes[place]!r} in {other} and in {split}; leave one")
        return {split: np.array(sorted(p for p, s in where.items() if s == split), np.int64) for split in SPLITS}

    def _error(self, what: str) -> DataError:
        return DataError(self.field, self.value, what)


def read_division(field: str, path: Path) -> Division:
    """The lists in the file ``path``, which the setting ``field`` named.

    Raises:
        DataError: no such file, one that is no YAML or JSON, one of another form, a name in two lists or twice in one.
    """
    try:
        require_regular(path, _MOST)
        text = path.read_text(encoding="utf-8")
    except (OSError, Damaged, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(field, str(path), f"cannot be read ({reason}); {_FORM}") from None
    return _parsed(field, str(path), text)


@cache
def published(dataset: str, which: str = _STANDARD) -> Division | None:
    """The published lists of ``dataset`` called ``which``; None where there are none."""
    if which not in published_names(dataset):
        return None
    standard = which == _STANDARD or dataset in _ALSO.get(which, ())
    lists = read_division("classes", _LISTS / f"{dataset}{'' if standard else f'-{which}'}.yaml")
    return replace(lists, value=which)


@cache
def published_names(dataset: str) -> tuple[str, ...]:
    """What the published lists of ``dataset`` are called."""
    plain = (_STANDARD,) if (_LISTS / f"{dataset}.yaml").is_file() else ()
    also = tuple(name for name, datasets in _ALSO.items() if dataset in datasets)
    others = sorted(_LISTS.glob(f"{dataset}-*.yaml"))
    return plain + also + tuple(file.stem.removeprefix(f"{dataset}-") for file in others)


@cache
def every_published_name() -> frozenset[str]:
    """What the published lists of any data set are called, but for the standard ones."""
    files = (file.stem.partition("-") for file in _LISTS.glob("*-*.yaml"))
    return frozenset((*_ALSO, *(name for _, _, name in files)))


def in_order(count: int, ends: tuple[int, int], order: np.ndarray | None = None) -> dict[Split, np.ndarray]:
    """``count`` classes, in file order or in ``order``, of which those before ``ends[0]`` are meta-training classes,
    those before ``ends[1]`` meta-validation classes, and the rest is meta-test."""
    every = np.arange(count) if order is None else order
    return dict(zip(SPLITS, (np.sort(part) for part in np.split(every, ends)), strict=True))


def digest_of(places: Places, classes: Sequence[str]) -> str:
    """The sha256 of which classes are of which split, by name, so that a run is not resumed with another division."""
    named = {split: [classes[place] for place in places[split].tolist()] for split in SPLITS}
    return sha256(json.dumps(named, sort_keys=True).encode())


def by_shares(count: int) -> dict[Split, np.ndarray]:
    """``count`` classes of which no paper says where they belong: in file order, in miniImageNet's proportion."""
    first, second = (round(count * share) for share in _SHARES)
    return in_order(count, (first, second))


def split_folders(field: str, root: Path) -> dict[Split, Path]:
    """The folders of the three splits in ``root``: train, val (or validation, or valid) and test.

    Raises:
        DataError: one of them is not there, or there twice.
    """
    there: dict[Split, list[Path]] = {split: [p for p in paths if p.is_dir()] for split, paths in _named(root, "")}
    return _one_each(field, root, "folder", there)


def split_tables(field: str, root: Path) -> dict[Split, Path]:
    """The same of files train.csv, val.csv and test.csv."""
    there: dict[Split, list[Path]] = {split: [p for p in paths if p.is_file()] for split, paths in _named(root, ".csv")}
    return _one_each(field, root, "table", there)


def is_split(root: Path, suffix: str) -> bool:
    """Whether ``root`` has a folder (``suffix`` empty) or a file of some split."""
    return any((p.is_file() if suffix else p.is_dir()) for _, paths in _named(root, suffix) for p in paths)


def _named(root: Path, suffix: str) -> list[tuple[Split, list[Path]]]:
    return [(split, [root / f"{n}{suffix}" for n, s in _SPELLINGS.items() if s == split]) for split in SPLITS]


def _one_each(field: str, root: Path, what: str, found: Mapping[Split, list[Path]]) -> dict[Split, Path]:
    for split, paths in found.items():
        if len(paths) != 1:
            raise DataError(
                field, str(root), f"has {'more than one' if paths else 'no'} {what} for {split}; it needs one"
            )
    return {split: paths[0] for split, paths in found.items()}


@dataclass(frozen=True, slots=True)
class _Known:
    """The classes that there are: names, and the places of each by its letters and by the number it begins with."""

    names: Sequence[str]
    by_name: Mapping[str, int]
    by_letters: Mapping[str, list[int]]
    by_number: Mapping[int, list[int]]

    @classmethod
    def of(cls, names: Sequence[str]) -> _Known:
        letters, numbers = dict[str, list[int]](), dict[int, list[int]]()
        for place, name in enumerate(names):
            letters.setdefault(_letters(name), []).append(place)
            number = re.match(r"\d{1,9}(?![A-Za-z0-9])", name)
            if number:
                numbers.setdefault(int(number[0]), []).append(place)
        return cls(names, {name: place for place, name in enumerate(names)}, letters, numbers)

    def find(self, name: str) -> Sequence[int]:
        """Places of the classes that a list means by ``name``."""
        if name in self.by_name:
            return (self.by_name[name],)
        if name.isascii() and name.isdecimal() and len(name) < 10:
            return self.by_number.get(int(name), ())
        if any(c in name for c in "*?["):
            return [place for place, one in enumerate(self.names) if fnmatchcase(one, name)]
        alike = self.by_letters.get(_letters(name), ())
        return alike if len(alike) == 1 else ()


def _letters(name: str) -> str:
    """What is left without case and punctuation; of a name in other scripts only that."""
    return "".join(c for c in name.casefold() if c.isalnum()) or name


def _parsed(field: str, value: str, text: str) -> Division:
    """Lists from YAML, of which JSON is a part. Its nodes are read, not what YAML would make of them: ``no`` and
    ``007`` are names."""
    import yaml

    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reason = " ".join(str(getattr(error, "problem", None) or error or "nested too deep").split())
        raise DataError(field, value, f"is no YAML or JSON ({reason}); {_FORM}") from None
    if not isinstance(root, yaml.MappingNode):
        raise DataError(field, value, f"holds no lists by name; {_FORM}")
    source, lists = "", dict[Split, tuple[str, ...]]()
    for key, node in root.value:
        name = str(key.value)
        if name == "source" and isinstance(node, yaml.ScalarNode):
            source = " ".join(str(node.value).split())
            continue
        plain = isinstance(node, yaml.SequenceNode) and all(isinstance(n, yaml.ScalarNode) for n in node.value)
        if name not in _SPELLINGS or not plain:
            raise DataError(field, value, f"has {name!r}, which is no list of a split; {_FORM}")
        if _SPELLINGS[name] in lists:
            raise DataError(field, value, f"has two lists for {_SPELLINGS[name]}; {_FORM}")
        lists[_SPELLINGS[name]] = tuple(str(n.value) for n in node.value)
    seen: dict[str, Split] = {}
    for split in SPLITS:
        if not lists.get(split):
            raise DataError(field, value, f"has no classes in {split}; {_FORM}")
        for name in lists[split]:
            if name in seen:
                where = f"{seen[name]} and in {split}" if seen[name] != split else f"{split} twice"
                raise DataError(field, value, f"has the class {name!r} in {where}; leave one")
            seen[name] = split
    return Division(field, value, source, MappingProxyType({split: lists[split] for split in SPLITS}))
