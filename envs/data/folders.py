"""Data sets that are folders of picture files: too large for memory and for a hash of their content, read one by one.

::

    DATA_DIR/imagenet/train/CLASS/*.JPEG      1,281,167 pictures in 1,000 classes
    DATA_DIR/imagenet/val/CLASS/*.JPEG        50,000

A class is a folder, its label the folder's place among the sorted names; files end in .JPEG, .jpg or .png, in any case.
frisket downloads none of them: ImageNet is given to those who register for it. What a result says of such data is what
was found, and a hash of the files' names and sizes by which a resumed run knows them again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from frisket.envs.data.containers import Damaged
from frisket.envs.data.divisions import Places
from frisket.envs.data.imageset import Pictures, Provenance
from frisket.envs.data.photos import decoded
from frisket.envs.data.pictures import picture_bytes
from frisket.envs.data.store import Store
from frisket.envs.data.tree import is_ours, require_readable
from frisket.errors import DataError, nearest

FORM = "folders of pictures, by names and sizes"
SUFFIXES = (".jpeg", ".jpg", ".png")


@dataclass(frozen=True, slots=True)
class FolderSource:
    """One data set in folders.

    Attributes:
        name: what it is called in a spec, and its folder in a data folder.
        title: its name in words.
        splits: split to its folder; the first is the default.
        sizes: split to ``(pictures, classes)`` as published.
        licence: what the authors state.
        citation: how to cite it.
        stand_in: the embedded data set used in its place when it is not there.
        notes: what a reader of results should know.
    """

    name: str
    title: str
    splits: Mapping[str, str]
    sizes: Mapping[str, tuple[int, int]]
    licence: str
    citation: str
    stand_in: str
    notes: tuple[str, ...] = ()


IMAGENET = FolderSource(
    name="imagenet",
    title="ImageNet (ILSVRC 2012)",
    splits={"train": "train", "test": "val"},
    sizes={"train": (1_281_167, 1000), "test": (50_000, 1000)},
    licence="ImageNet's terms: non-commercial research and education",
    citation="O. Russakovsky et al. ImageNet large scale visual recognition challenge. IJCV 115, 2015.",
    stand_in="patches",
    notes=("test is the official validation set: the labels of the official test set are not published",),
)

FOLDERS: Mapping[str, FolderSource] = MappingProxyType({IMAGENET.name: IMAGENET})
"""Every data set that is read from folders, by name."""


@dataclass(frozen=True, slots=True)
class PictureFolder(Pictures):
    """Labelled picture files.

    Attributes:
        name: the data set, with its split where that was asked for.
        folder: where the classes' folders lie.
        files: ``CLASS/FILE`` of every picture, by class and name.
        labels: ``[n]`` int64, index into ``classes``.
        classes: name of each class, sorted.
        provenance: what was found.
        division: which classes are of which split, where the folders or lists beside them say so.
    """

    name: str
    folder: Path
    files: tuple[str, ...]
    labels: np.ndarray
    classes: tuple[str, ...]
    provenance: Provenance
    division: Places | None = None

    @property
    def channels(self) -> int:
        return 3

    def picture(self, index: int) -> np.ndarray:
        """One picture, ``[3, H, W]`` uint8.

        Raises:
            DataError: the file is gone or damaged.
        """
        path = self.folder / self.files[index]
        try:
            return decoded(self.files[index], picture_bytes(path), ("JPEG", "PNG"))
        except (Damaged, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            fix = f"cannot be read ({reason}); put a good copy there"
            raise DataError(f"a picture of {self.name}", str(path), fix) from None


def load_folder(
    name: str, data_dir: str | Path | None = None, *, sources: Mapping[str, FolderSource] = FOLDERS
) -> PictureFolder:
    """The data set ``NAME`` or ``NAME:SPLIT``, from the first data folder that has one.

    Args:
        name: a key of `FOLDERS`, with a split or without.
        data_dir: folder looked at before FRISKET_DATA and the cache.

    Raises:
        DataError: an unknown name or split, no such folder, or one without pictures.
    """
    base, colon, split = name.partition(":")
    if base not in sources:
        raise DataError("data set", base, f"is not one that is read from folders; {nearest(base, sources)}")
    source = sources[base]
    split = split if colon else next(iter(source.splits))
    if split not in source.splits:
        raise DataError(f"split of {base}", split, f"must be one of {', '.join(source.splits)}")
    places = [root / base / source.splits[split] for root in Store.open(data_dir).roots]
    folder = next((place for place in places if place.is_dir()), None)
    if folder is None:
        raise DataError(f"data set {base}, split {split}", str(places[0]), f"is not there. {_mending(source)}")
    classes, files, labels, digest = scan(folder)
    if not files:
        fix = f"has no pictures in folders of their classes. {_mending(source)}"
        raise DataError(f"data set {base}, split {split}", str(folder), fix)
    found = f"{len(files):,} pictures in {len(classes):,} classes"
    notes = [f"split: {split}", found, *source.notes]
    if (len(files), len(classes)) != source.sizes[split]:
        notes.append("not the published set, which has {:,} pictures in {:,} classes".format(*source.sizes[split]))
    provenance = Provenance(
        name=base,
        kind="real",
        source=f"{source.title}, {source.splits[split]}: {found}",
        licence=source.licence,
        citation=source.citation,
        sha256={f"{source.splits[split]}, names and sizes": digest},
        notes=tuple(notes),
        form=FORM,
    )
    return PictureFolder(name, folder, files, labels, classes, provenance)


def is_here(source: FolderSource, data_dir: str | Path | None = None) -> bool:
    """Whether some data folder has a folder of every split."""
    roots = Store.open(data_dir).roots
    return all(any((root / source.name / folder).is_dir() for root in roots) for folder in source.splits.values())


def scan(folder: Path) -> tuple[tuple[str, ...], tuple[str, ...], np.ndarray, str]:
    """``(classes, files, labels, digest)`` of what lies in ``folder``; a class without a picture is none."""
    digest, classes, files, labels = hashlib.sha256(), list[str](), list[str](), list[int]()
    for kind in sorted(entry.name for entry in os.scandir(folder) if is_ours(entry.name) and _is_folder(entry)):
        entries = [e for e in os.scandir(folder / kind) if e.name.lower().endswith(SUFFIXES) and is_ours(e.name)]
        for entry in sorted(entries, key=lambda e: e.name):
            if entry.is_symlink() or not entry.name.isascii():  # a million others need no second look
                require_readable(Path(entry.path), SUFFIXES)
            files.append(f"{kind}/{entry.name}")
            digest.update(f"{files[-1]}\0{entry.stat().st_size}\0".encode())
        if entries:
            labels += [len(classes)] * len(entries)
            classes.append(kind)
    return tuple(classes), tuple(files), np.array(labels, np.int64), digest.hexdigest()


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Raises `DataError` for a name or a link that is damaged."""
    require_readable(Path(entry.path), SUFFIXES)
    return entry.is_dir()


def _mending(source: FolderSource) -> str:
    layout = " and ".join(f"{source.name}/{folder}/CLASS/*.JPEG" for folder in source.splits.values())
    return (
        f"frisket does not download {source.title}: set FRISKET_DATA (or --data-dir) to a folder that holds {layout}, "
        "or use --data embedded to try things out"
    )
