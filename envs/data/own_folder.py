"""A folder of pictures, one folder a class, as a data set.

::

    DIR/CLASS/*.png                           the classes are the folders, sorted by name
    DIR/DOMAIN/CLASS/*.png                    the same classes in several domains: places, cameras, styles
    DIR/train/...  DIR/test/...               either of the two, with a test part of one's own
    DIR/{train,val,test}/CLASS/*.png          with ``classes: folders``: the folders divide the classes

What does not end like a picture is passed over; of pictures, those that are hidden, in folders that machines make
(`frisket.envs.data.tree`) or beside the classes, and the result says so. All pictures are
held in memory at the size the network sees, one byte a channel. The hash of the content is the sha256 over, for every
picture sorted by path, ``PATH NUL LENGTH NUL`` and the file's bytes. Pixels once read are kept in the cache folder
under that hash.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np

from frisket.envs.data.containers import Damaged
from frisket.envs.data.divisions import SPLITS, Places, by_shares, digest_of, read_division, split_folders
from frisket.envs.data.imageset import ImageSet
from frisket.envs.data.own import TEST, OwnData, Samples, described, find, held_out, share_note
from frisket.envs.data.own_pictures import LARGEST_SIDE, SUFFIXES, Colour, NotRgb, Unreadable, readable_pictures
from frisket.envs.data.pictures import picture_bytes
from frisket.envs.data.store import cached_arrays
from frisket.envs.data.tree import is_ours, passed_over, require_readable
from frisket.errors import DataError, require
from frisket.folders import cache_folder
from frisket.types import Split

_log = logging.getLogger("frisket.data")

FORM = "a folder of the user's"
_READER = 3
"""Part of the key of cached pixels: raise it when `read_picture` changes what it returns."""
_LAYOUT = "DIR/CLASS/*.png or DIR/DOMAIN/CLASS/*.png, or either under DIR/train and DIR/test"

Found = tuple[str, str | None, str]
"""Path below the folder, domain and class of a picture."""

_Parts = Mapping[Split, list[Found]]
"""The pictures of each split of the classes."""


@dataclass(frozen=True, kw_only=True)
class OwnFolder(OwnData):
    """A folder of class folders.

    Attributes:
        folder: where it is; relative paths are looked for in the data folder, which ``.`` means itself.
        size: side of the pictures a network sees.
        colour: ``rgb``, or ``grey`` for one channel.
        classes: how the classes are divided into meta-training, meta-validation and meta-test ones, for streams of
            episodes: a file of lists (`frisket.envs.data.divisions`) in the folder, in the data folder or by an
            absolute path; ``folders`` for train, val and test; ``order``, 64, 16 and 20 % of them sorted by name. All
            pictures are then one part. Empty where they are not divided.
        unreadable: whether a picture that cannot be read is an error, or passed over with a warning.
        not_rgb: whether a picture of other than three colours is converted, an error, or passed over.
    """

    folder: str
    size: int = 32
    colour: Colour = "rgb"
    classes: str = ""
    unreadable: Unreadable = "error"
    not_rgb: NotRgb = "convert"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(1 <= self.size <= LARGEST_SIDE, "size", self.size, f"1 to {LARGEST_SIDE:,}")
        for field, allowed in (("unreadable", get_args(Unreadable)), ("not_rgb", get_args(NotRgb))):
            require(getattr(self, field) in allowed, field, getattr(self, field), f"one of {', '.join(allowed)}")

    def load(self, name: str, data_dir: str | Path | None = None) -> tuple[ImageSet, ...]:
        """See `OwnData.load`; reads every file for the hash, and decodes those that the cache does not have."""
        from PIL import __version__ as pillow

        root = find(f"data.{name}.folder", self.folder, data_dir)
        if not root.is_dir():
            raise DataError(f"data.{name}.folder", str(root), f"must be a folder: {_LAYOUT}")
        parts = None if self.classes != "folders" else _split_parts(name, root)
        train, test = _parts(name, root) if not self.classes else (_every(name, root, parts), [])
        found = [*train, *test]
        others = passed_over(root, [path for path, _, _ in found], SUFFIXES)
        for other in others:
            _log.warning("data %s, %s: %s", name, root, other)
        samples = _samples(name, train, test)
        division = self._division(name, root, samples.classes, parts, data_dir)
        if division is not None:
            learn, judge = np.arange(len(found)), np.arange(0)
            counts = " + ".join(str(len(division[split])) for split in SPLITS)
            note = f"classes: {counts} for train, validation and test, by {Path(self.classes).name}"
        elif test:
            learn, judge = np.arange(len(train)), np.arange(len(train), len(found))
            note = f"test: {len(test):,} pictures in the folder test"
        else:
            learn, judge = held_out(name, samples, self.test_share)
            note = share_note(self.test_share, len(judge))
        order = np.concatenate([learn, judge])
        paths = [root / found[i][0] for i in order]
        digest = _digest(root, sorted(path for path, _, _ in found))
        kept = hashlib.sha256("\0".join(found[i][0] for i in order).encode()).hexdigest()
        policy = f"{self.unreadable}-{self.not_rgb}"
        key = f"own-{digest[:32]}-{kept[:16]}-{self.size}-{self.colour}-{policy}-pillow{pillow}-v{_READER}"
        arrays = cached_arrays(cache_folder(), key, lambda: self._pixels(paths))
        counts = f"{len(found):,} pictures in {len(samples.classes):,} classes"
        if samples.domain_names:
            counts += f" and {len(samples.domain_names):,} domains"
        notes = [note, f"middle square, resized to {self.size} x {self.size}, {self.colour}, by Pillow {pillow}"]
        notes += others
        skipped = arrays["skipped"]
        if len(skipped):
            first = f"{found[order[skipped[0]]][0]}, which {arrays['reasons'][0]}"
            notes.append(f"{len(skipped):,} pictures were passed over, the first of them {first}")
            _log.warning("data %s: %d pictures are passed over, the first of them %s", name, len(skipped), first)
        digests = {"pictures": digest}
        if division is not None:
            digests["classes"] = digest_of(division, samples.classes)
        provenance = described(name, f"folder {root.name}: {counts}", digests, notes, FORM)
        images, there = arrays["images"], np.delete(order, skipped)
        first_judged = int(np.isin(there, learn).sum())
        whole = samples.part(name, images[:first_judged], there[:first_judged], provenance)
        if division is not None:
            return (dataclasses.replace(whole, division=division),)
        return whole, samples.part(f"{name}:{TEST}", images[first_judged:], there[first_judged:], provenance)

    def _pixels(self, paths: Sequence[Path]) -> dict[str, np.ndarray]:
        """The pictures that can be had, and places in ``paths`` and faults of the others."""
        read = readable_pictures(paths, self.size, self.colour, self.unreadable, self.not_rgb)
        skipped = sorted(read.faults)
        reasons = np.array([read.faults[place] for place in skipped], np.str_)
        return {"images": read.images, "skipped": np.array(skipped, np.int64), "reasons": reasons}

    def _division(
        self, name: str, root: Path, classes: Sequence[str], parts: _Parts | None, data_dir: str | Path | None
    ) -> Places | None:
        """Which of ``classes`` are of which split; None where they are not divided."""
        if not self.classes:
            return None
        if parts is not None:
            place_of = {kind: place for place, kind in enumerate(classes)}
            named = {split: {kind for _, _, kind in found} for split, found in parts.items()}
            return {split: np.array(sorted(place_of[kind] for kind in named[split]), np.int64) for split in SPLITS}
        if self.classes == "order":
            return by_shares(len(classes))
        field, inside = f"data.{name}.classes", root / self.classes
        lists = inside if inside.is_file() else find(field, self.classes, data_dir)
        return read_division(field, lists).places(classes, name)


def _every(name: str, root: Path, parts: _Parts | None) -> list[Found]:
    """All pictures of a folder whose classes are divided, by class."""
    if parts is None:
        return _scan(name, root, root)
    return [picture for found in parts.values() for picture in found]


def _split_parts(name: str, root: Path) -> _Parts:
    """The pictures of each split's folder.

    Raises:
        DataError: one of the folders is not there, or a class is in two of them.
    """
    parts: dict[Split, list[Found]] = {}
    where: dict[str, Split] = {}
    for split, folder in split_folders(f"data.{name}.classes", root).items():
        parts[split] = _scan(name, root, folder)
        for kind in dict.fromkeys(kind for _, _, kind in parts[split]):
            if where.setdefault(kind, split) != split:
                fix = f"has the class {kind!r} in {where[kind]} and in {split}; leave one"
                raise DataError(f"data.{name}.folder", str(root), fix)
    return parts


def _parts(name: str, root: Path) -> tuple[list[Found], list[Found]]:
    """The pictures to learn from and those of the test part, if it is there."""
    divided = [part for part in ("train", TEST) if (root / part).is_dir() and not _pictures(root / part)]
    if divided == ["train", TEST]:
        train, test = (_scan(name, root, root / part) for part in divided)
        if not test:
            raise DataError(f"data.{name}.folder", str(root / TEST), f"has no pictures in class folders: {_LAYOUT}")
        return train, test
    if divided:
        missing = TEST if divided == ["train"] else "train"
        fix = f"holds a folder {divided[0]} and none called {missing}; add it, or name {divided[0]} itself"
        raise DataError(f"data.{name}.folder", str(root), fix)
    return _scan(name, root, root), []


def _scan(name: str, root: Path, folder: Path) -> list[Found]:
    """The pictures in ``folder``, by domain, class and file name; paths are below ``root``."""
    tops = {top: _pictures(top) for top in _folders(folder)}
    if any(tops.values()):
        deeper = next((top for top, own in tops.items() if not own and any(map(_pictures, _folders(top)))), None)
        if deeper is not None:
            fix = f"holds folders of pictures, while others hold pictures; bring all to one form: {_LAYOUT}"
            raise DataError(f"data.{name}.folder", str(deeper), fix)
        classes = [(None, top) for top in tops]
    else:
        classes = [(top.name, inner) for top in tops for inner in _folders(top)]
    found: list[Found] = [
        (picture.relative_to(root).as_posix(), domain, kind.name)
        for domain, kind in classes for picture in _pictures(kind)
    ]  # fmt: skip
    if not found:
        loose = f", {len(_pictures(folder)):,} pictures in no class folder" if _pictures(folder) else ""
        raise DataError(f"data.{name}.folder", str(folder), f"has no pictures in class folders{loose}; needs {_LAYOUT}")
    return found


def _samples(name: str, train: Sequence[Found], test: Sequence[Found]) -> Samples:
    classes = sorted({kind for _, _, kind in train})
    if len(classes) < 2:
        raise DataError(f"data.{name}.folder", classes[0], f"is the only class; there must be two or more: {_LAYOUT}")
    domains = sorted({domain for _, domain, _ in train if domain is not None})
    for path, domain, kind in test:
        for what, known in ((kind, classes), (domain, domains or [None])):
            if what not in known:
                fix = f"its folder {what!r} is not in train, so nothing is learned of it; add it there or take it away"
                raise DataError(f"test picture of {name}", path, fix)
    every = [*train, *test]
    label_of, number_of = ({what: i for i, what in enumerate(names)} for names in (classes, domains))
    labels = np.array([label_of[kind] for _, _, kind in every], np.int64)
    if not domains:
        return Samples(labels, tuple(classes))
    numbers = np.array([number_of[domain] for _, domain, _ in every if domain is not None], np.int64)
    return Samples(labels, tuple(classes), numbers, tuple(domains))


def _digest(root: Path, paths: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        try:
            content = picture_bytes(root / path)
        except (OSError, Damaged) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise DataError("picture", str(root / path), f"cannot be read ({reason}); mend or remove it") from None
        digest.update(f"{path}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _folders(folder: Path) -> list[Path]:
    return [path for path in _entries(folder) if path.is_dir()]


def _pictures(folder: Path) -> list[Path]:
    return [path for path in _entries(folder) if path.name.lower().endswith(SUFFIXES) and path.is_file()]


def _entries(folder: Path) -> list[Path]:
    """What may be part of the data, by name. Raises `DataError` for what is damaged of it."""
    entries = sorted((path for path in folder.iterdir() if is_ours(path.name)), key=lambda path: path.name)
    for path in entries:
        require_readable(path, SUFFIXES)
    return entries
