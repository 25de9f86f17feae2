"""A folder of pictures, one folder a class, as a data set.

::

    DIR/CLASS/*.png                           the classes are the folders, sorted by name
    DIR/DOMAIN/CLASS/*.png                    the same classes in several domains: places, cameras, styles
    DIR/train/...  DIR/test/...               either of the two, with a test part of one's own

What does not end like a picture is passed over; of pictures, those that are hidden, in folders that machines make
(`frisket.envs.data.tree`) or beside the classes, and the result says so. All pictures are
held in memory at the size the network sees, one byte a channel. The hash of the content is the sha256 over, for every
picture sorted by path, ``PATH NUL LENGTH NUL`` and the file's bytes. Pixels once read are kept in the cache folder
under that hash.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from frisket.envs.data.containers import Damaged
from frisket.envs.data.imageset import ImageSet
from frisket.envs.data.own import TEST, OwnData, Samples, described, find, held_out, share_note
from frisket.envs.data.own_pictures import SUFFIXES, Colour, read_pictures
from frisket.envs.data.pictures import picture_bytes
from frisket.envs.data.store import cached_arrays
from frisket.envs.data.tree import is_ours, passed_over, require_readable
from frisket.errors import DataError, require
from frisket.folders import cache_folder

_log = logging.getLogger("frisket.data")

FORM = "a folder of the user's"
_READER = 2
"""Part of the key of cached pixels: raise it when `read_picture` changes what it returns."""
_LAYOUT = "DIR/CLASS/*.png or DIR/DOMAIN/CLASS/*.png, or either under DIR/train and DIR/test"

Found = tuple[str, str | None, str]
"""Path below the folder, domain and class of a picture."""


@dataclass(frozen=True, kw_only=True)
class OwnFolder(OwnData):
    """A folder of class folders.

    Attributes:
        folder: where it is; relative paths are looked for in the data folder, which ``.`` means itself.
        size: side of the pictures a network sees.
        colour: ``rgb``, or ``grey`` for one channel.
    """

    folder: str
    size: int = 32
    colour: Colour = "rgb"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.size >= 1, "size", self.size, "at least 1")

    def load(self, name: str, data_dir: str | Path | None = None) -> tuple[ImageSet, ImageSet]:
        """See `OwnData.load`; reads every file for the hash, and decodes those that the cache does not have."""
        from PIL import __version__ as pillow

        root = find(f"data.{name}.folder", self.folder, data_dir)
        if not root.is_dir():
            raise DataError(f"data.{name}.folder", str(root), f"must be a folder: {_LAYOUT}")
        train, test = _parts(name, root)
        found = [*train, *test]
        others = passed_over(root, [path for path, _, _ in found], SUFFIXES)
        for other in others:
            _log.warning("data %s, %s: %s", name, root, other)
        samples = _samples(name, train, test)
        if test:
            learn, judge = np.arange(len(train)), np.arange(len(train), len(found))
            note = f"test: {len(test):,} pictures in the folder test"
        else:
            learn, judge = held_out(name, samples, self.test_share)
            note = share_note(self.test_share, len(judge))
        order = np.concatenate([learn, judge])
        paths = [root / found[i][0] for i in order]
        digest = _digest(root, sorted(path for path, _, _ in found))
        kept = hashlib.sha256("\0".join(found[i][0] for i in order).encode()).hexdigest()
        key = f"own-{digest[:32]}-{kept[:16]}-{self.size}-{self.colour}-pillow{pillow}-v{_READER}"
        arrays = cached_arrays(cache_folder(), key, lambda: {"images": read_pictures(paths, self.size, self.colour)})
        counts = f"{len(found):,} pictures in {len(samples.classes):,} classes"
        if samples.domain_names:
            counts += f" and {len(samples.domain_names):,} domains"
        notes = [note, f"middle square, resized to {self.size} x {self.size}, {self.colour}, by Pillow {pillow}"]
        notes += others
        provenance = described(name, f"folder {root.name}: {counts}", {"pictures": digest}, notes, FORM)
        images = arrays["images"]
        return (
            samples.part(name, images[: len(learn)], learn, provenance),
            samples.part(f"{name}:{TEST}", images[len(learn) :], judge, provenance),
        )


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
