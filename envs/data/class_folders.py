"""Data sets of pictures whose classes are divided into meta-training, meta-validation and meta-test ones, as a user
has them in folders. frisket downloads none of them.

::

    DATA_DIR/NAME/{train,val,test}/CLASS/*.jpg           the folders divide the classes
    DATA_DIR/NAME/images/*.jpg  {train,val,test}.csv     columns filename and label, as miniImageNet is published
    DATA_DIR/NAME/CLASS/*.jpg   or NAME/images/CLASS     divided by splits.yaml (or .json) there, else as published

Files end in .jpeg, .jpg or .png, in any case. What a result says of such data is what was found, and a hash of names
and sizes; the pixels that a network sees have a hash too, from when they were read (`frisket.envs.data.reading`).
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from frisket.envs.data.containers import Damaged, reading, require_regular
from frisket.envs.data.divisions import (
    SPLITS,
    Places,
    Split,
    digest_of,
    is_split,
    published,
    read_division,
    split_folders,
    split_tables,
)
from frisket.envs.data.folders import SUFFIXES, PictureFolder, scan
from frisket.envs.data.imageset import Provenance
from frisket.envs.data.store import Store
from frisket.errors import DataError

FORM = "class folders, by names and sizes"
_LISTS = ("splits.yaml", "splits.yml", "splits.json")
_MOST = 2**26  # bytes of a csv file


@dataclass(frozen=True, slots=True)
class ClassFolders:
    """One such data set.

    Attributes:
        name: what it is called in a spec, and its folder in a data folder.
        title: its name in words.
        sizes: classes of each split as published; none where there is no list of them here.
        licence: what the authors state.
        citation: how to cite it.
        stand_in: the embedded data set used in its place when it is not there.
        notes: what a reader of results should know.
    """

    name: str
    title: str
    sizes: tuple[int, int, int]
    licence: str
    citation: str
    stand_in: str = "glyphs"
    notes: tuple[str, ...] = ()


_IMAGENET = "ImageNet's terms: non-commercial research and education"

CLASS_FOLDERS: Mapping[str, ClassFolders] = MappingProxyType(
    {
        source.name: source
        for source in (
            ClassFolders(
                "miniimagenet",
                "miniImageNet",
                (64, 16, 20),
                _IMAGENET,
                "O. Vinyals et al. Matching networks for one shot learning. NeurIPS 2016; S. Ravi, H. Larochelle. "
                "Optimization as a model for few-shot learning. ICLR 2017.",
            ),
            ClassFolders(
                "tieredimagenet",
                "TieredImageNet",
                (351, 97, 160),
                _IMAGENET,
                "M. Ren et al. Meta-learning for semi-supervised few-shot classification. ICLR 2018.",
            ),
            ClassFolders(
                "cub",
                "CUB-200-2011 birds",
                (100, 50, 50),
                "non-commercial research and education; the pictures are their photographers'",
                "C. Wah, S. Branson, P. Welinder, P. Perona, S. Belongie. The Caltech-UCSD Birds-200-2011 dataset. "
                "2011.",
            ),
            ClassFolders(
                "cars",
                "Stanford Cars",
                (98, 49, 49),
                "non-commercial research",
                "J. Krause, M. Stark, J. Deng, L. Fei-Fei. 3D object representations for fine-grained categorization. "
                "3dRR 2013.",
            ),
            ClassFolders(
                "flowers102",
                "Oxford Flowers-102",
                (71, 15, 16),
                "none stated by the authors",
                "M.-E. Nilsback, A. Zisserman. Automated flower classification over a large number of classes. 2008.",
            ),
            ClassFolders(
                "aircraft",
                "FGVC-Aircraft, variants",
                (70, 15, 15),
                "non-commercial research; the pictures are their photographers'",
                "S. Maji, E. Rahtu, J. Kannala, M. Blaschko, A. Vedaldi. Fine-grained visual classification of "
                "aircraft. 2013.",
            ),
            ClassFolders(
                "fungi",
                "FGVCx Fungi 2018",
                (994, 200, 200),
                "non-commercial research and education, not to be passed on; the terms of the Danish Svampe Atlas",
                "FGVCx Fungi classification challenge 2018, pictures of the Danish Svampe Atlas.",
            ),
        )
    }
)
"""Every data set that is read from folders of divided classes, by name."""


def load_class_folders(
    name: str, data_dir: str | Path | None = None, *, sources: Mapping[str, ClassFolders] = CLASS_FOLDERS
) -> PictureFolder:
    """The data set ``name`` from the first data folder that has one in one of the forms above.

    Raises:
        DataError: it is not there; a class in two splits, a list that does not fit, a file that is missing.
    """
    source = sources[name]
    root = _place(source, data_dir)
    if root is None:
        first = Store.open(data_dir).roots[0] / name
        raise DataError(f"data set {name}", str(first), f"is not there. {_mending(source)}")
    found = _read(source, root)
    if not found.files:
        raise DataError(f"data set {name}", str(root), f"has no pictures in class folders. {_mending(source)}")
    counts = tuple(len(found.division[split]) for split in SPLITS)
    said = f"{len(found.files):,} pictures in {len(found.classes):,} classes, {' + '.join(map(str, counts))}"
    notes = [f"classes: {found.how}", *source.notes]
    if counts != source.sizes:
        notes.append(f"not the published division, which has {' + '.join(map(str, source.sizes))} classes")
    provenance = Provenance(
        name=name,
        kind="real",
        source=f"{source.title}: {said}",
        licence=source.licence,
        citation=source.citation,
        sha256={"names and sizes": found.digest, "classes": digest_of(found.division, found.classes)},
        notes=tuple(notes),
        form=FORM,
    )
    return PictureFolder(name, found.folder, found.files, found.labels, found.classes, provenance, found.division)


def has_class_folders(name: str, data_dir: str | Path | None = None) -> bool:
    """Whether some data folder has the data set ``name`` in one of these forms."""
    return name in CLASS_FOLDERS and _place(CLASS_FOLDERS[name], data_dir) is not None


@dataclass(frozen=True, slots=True)
class _Found:
    """What lies in a folder. Attributes: as `PictureFolder`; digest: of names and sizes; how: what divided it."""

    folder: Path
    files: tuple[str, ...]
    labels: np.ndarray
    classes: tuple[str, ...]
    division: Places
    digest: str
    how: str


def _place(source: ClassFolders, data_dir: str | Path | None) -> Path | None:
    places = [root / source.name for root in Store.open(data_dir).roots]
    return next((place for place in places if place.is_dir() and any(p.is_dir() for p in place.iterdir())), None)


def _read(source: ClassFolders, root: Path) -> _Found:
    field = f"data set {source.name}"
    if is_split(root, ""):
        return _from_folders(source, root, split_folders(field, root))
    if is_split(root, ".csv"):
        return _from_tables(source, root, split_tables(field, root))
    return _from_lists(source, root)


def _from_folders(source: ClassFolders, root: Path, folders: Mapping[Split, Path]) -> _Found:
    classes, files, labels, digests = list[str](), list[str](), list[np.ndarray](), list[str]()
    where: dict[str, Split] = {}
    division: dict[Split, np.ndarray] = {}
    for split, folder in folders.items():
        own, names, numbers, digest = scan(folder)
        for kind in own:
            if where.setdefault(kind, split) != split:
                raise _in_two(source, root, kind, where[kind], split)
        division[split] = np.arange(len(classes), len(classes) + len(own))
        labels.append(numbers + len(classes))
        classes += own
        files += [f"{folder.name}/{name}" for name in names]
        digests.append(digest)
    digest = hashlib.sha256("".join(digests).encode()).hexdigest()
    return _Found(root, tuple(files), np.concatenate(labels), tuple(classes), division, digest, "by their folders")


def _from_tables(source: ClassFolders, root: Path, tables: Mapping[Split, Path]) -> _Found:
    classes, files, labels, where = list[str](), list[str](), list[int](), dict[str, Split]()
    division: dict[Split, np.ndarray] = {}
    for split, table in tables.items():
        first, rows = len(classes), _rows(source, table)
        for kind in sorted({kind for _, kind in rows}):
            if where.setdefault(kind, split) != split:
                raise _in_two(source, root, kind, where[kind], split)
            classes.append(kind)
        label_of = {kind: label for label, kind in enumerate(classes)}
        for name, kind in sorted(rows, key=lambda row: (row[1], row[0])):
            files.append(f"images/{name}")
            labels.append(label_of[kind])
        division[split] = np.arange(first, len(classes))
    digest = hashlib.sha256()
    for name in files:
        try:
            digest.update(f"{name}\0{(root / name).stat().st_size}\0".encode())
        except OSError as error:
            fix = f"is named in a table and cannot be read ({error.strerror}); put it there, or take its row away"
            raise DataError(f"a picture of {source.name}", str(root / name), fix) from None
    how = ", ".join(table.name for table in tables.values())
    return _Found(root, tuple(files), np.array(labels, np.int64), tuple(classes), division, digest.hexdigest(), how)


def _rows(source: ClassFolders, table: Path) -> list[tuple[str, str]]:
    """File name and class of every picture of a table."""
    try:
        require_regular(table, _MOST)
        with reading(f"csv file, {table.name}"):
            read = list(csv.DictReader(io.StringIO(table.read_text(encoding="utf-8"))))
            rows = [(str(row["filename"] or ""), str(row["label"] or "")) for row in read]
    except (Damaged, OSError) as error:
        fix = f"cannot be read ({error}); it needs the columns filename and label"
        raise DataError(f"data set {source.name}", str(table), fix) from None
    for name, kind in rows:
        if not name or not kind or Path(name).name != name or not name.lower().endswith(SUFFIXES):
            fix = f"has a row that is no name of a picture and its class: {name!r}, {kind!r}"
            raise DataError(f"data set {source.name}", str(table), fix)
    if not rows:
        raise DataError(f"data set {source.name}", str(table), "has no rows; it needs the columns filename and label")
    return rows


def _from_lists(source: ClassFolders, root: Path) -> _Found:
    lists = next((root / name for name in _LISTS if (root / name).is_file()), None)
    folder = root / "images" if (root / "images").is_dir() else root
    classes, files, labels, digest = scan(folder)
    if not files:
        return _Found(folder, (), labels, (), dict.fromkeys(SPLITS, labels), digest, "")
    division = read_division(f"classes of {source.name}", lists) if lists else published(source.name)
    if division is None:
        raise DataError(f"data set {source.name}", str(root), f"is not divided. {_mending(source)}")
    try:
        places = division.places(classes, source.name)
    except DataError as error:
        if lists:
            raise
        fix = f"does not fit the published division: {error.fix}. {_mending(source)}"
        raise DataError(f"data set {source.name}", str(folder), fix) from None
    left = len(classes) - sum(map(len, places.values()))
    how = f"by {lists.name}" if lists else f"as published: {division.source}"
    return _Found(folder, files, labels, classes, places, digest, how + (f"; {left} in no list" if left else ""))


def _in_two(source: ClassFolders, root: Path, kind: str, one: Split, other: Split) -> DataError:
    fix = f"has the class {kind!r} in {one} and in {other}; leave one"
    return DataError(f"data set {source.name}", str(root), fix)


def _mending(source: ClassFolders) -> str:
    name = source.name
    own = "" if published(name) else " with the lists train, validation and test in splits.yaml"
    return (
        f"frisket does not download {source.title}: set FRISKET_DATA (or --data-dir) to a folder that holds "
        f"{name}/train, {name}/val and {name}/test, each with CLASS/*.jpg, or {name}/CLASS/*.jpg{own}; or use "
        "--data embedded to try things out"
    )
