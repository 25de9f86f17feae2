"""Data sets by name: `load` one, `resolve` those a stream asks for, `verify` their files."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar, overload

import numpy as np

from frisket.envs.data.check import FileReport, find_files, source_reports
from frisket.envs.data.class_folders import CLASS_FOLDERS, ClassFolders, has_class_folders, load_class_folders
from frisket.envs.data.containers import Damaged
from frisket.envs.data.decode import Resample, idx_arrays, omniglot_arrays
from frisket.envs.data.embedded import EMBEDDED, load_embedded
from frisket.envs.data.fetch import fetch_source, select
from frisket.envs.data.folders import FOLDERS, FolderSource, load_folder
from frisket.envs.data.imageset import ImageSet, Pictures, Provenance
from frisket.envs.data.mapped import mapped
from frisket.envs.data.own import TEST, OwnData, require_name
from frisket.envs.data.photos import MINI_SIDE, PHOTOS, class_tile_blocks, class_tile_names
from frisket.envs.data.sources import SOURCES, Source, SourceFile
from frisket.envs.data.store import Store, cached_arrays
from frisket.errors import DataError, nearest
from frisket.folders import cache_folder
from frisket.types import DataMode

_log = logging.getLogger("frisket.data")

P = TypeVar("P", bound=Pictures)

_NONE: Mapping[str, OwnData] = MappingProxyType({})

_DECODER = 1
"""Part of the key of cached arrays: raise it when `omniglot_arrays` or one of `PHOTOS` changes what it returns."""


def load(
    name: str,
    data_dir: str | Path | None = None,
    *,
    split: str | None = None,
    resample: Resample = "bicubic",
    sources: Mapping[str, Source] = SOURCES,
) -> ImageSet:
    """One data set from this machine; nothing is downloaded.

    Args:
        name: a published data set (a key of `SOURCES`) or an embedded one (``digits``, ``glyphs``, ``patches``).
        data_dir: folder looked at before FRISKET_DATA and the cache.
        split: ``"train"`` or ``"test"``; Omniglot and the embedded ones have none. The default is ``"train"``.
        resample: filter that takes Omniglot's drawings to 28 x 28.

    Raises:
        DataError: an unknown name or split, or a file that is missing or damaged; it says how to mend it.
    """
    if name in EMBEDDED:
        if split is not None:
            raise DataError(f"split of {name}", split, "leave it out: an embedded data set has no splits")
        return load_embedded(name, cache_folder())
    if name not in sources:
        raise DataError("data set", name, f"is unknown; {nearest(name, [*sources, *EMBEDDED])}")
    source = sources[name]
    chosen = next(iter(source.splits)) if split is None else split
    if chosen not in source.splits:
        raise DataError(f"split of {name}", chosen, f"must be one of {', '.join(source.splits)}")
    return _load_source(source, chosen, Store.open(data_dir), resample)


@overload
def resolve(
    names: Sequence[str],
    mode: DataMode,
    data_dir: str | Path | None = None,
    *,
    sources: Mapping[str, Source] = SOURCES,
    own: Mapping[str, OwnData] = _NONE,
) -> dict[str, ImageSet]: ...
@overload
def resolve(
    names: Sequence[str],
    mode: DataMode,
    data_dir: str | Path | None = None,
    *,
    kind: type[P],
    sources: Mapping[str, Source] = SOURCES,
    own: Mapping[str, OwnData] = _NONE,
) -> dict[str, P]: ...
def resolve(
    names: Sequence[str],
    mode: DataMode,
    data_dir: str | Path | None = None,
    *,
    kind: type[Pictures] = ImageSet,
    sources: Mapping[str, Source] = SOURCES,
    own: Mapping[str, OwnData] = _NONE,
) -> Mapping[str, Pictures]:
    """The data sets a stream asks for, real or embedded, never a mixture of real ones and stand-ins.

    Embedded data sets may be asked for by name in every mode. ``NAME:SPLIT`` asks for one split of a published data
    set; its stand-in has no splits and comes whole, so whoever asks for two splits has to divide it.

    Args:
        names: published or embedded data sets, ``mnist`` or ``mnist:test``.
        mode: ``"real"`` fetches what is missing, or fails; ``"embedded"`` uses the stand-in of every published one;
            ``"auto"`` is real if that works, else embedded with a warning that says why.
        kind: what they must be; `Pictures` allows those that are not held in memory, such as ImageNet's folders.
        own: data of the user's by the names that are given them here. They are read whole, and their ``NAME:test`` is
            always another part than ``NAME``. What is missing of them is an error in ``"auto"`` too.

    Returns:
        Requested name to data set; a stand-in carries its own name (``result["omniglot"].name == "glyphs"``), a split
        the one it was asked for by (``result["mnist:test"].name == "mnist:test"``).

    Raises:
        DataError: an unknown name or mode, a folder that is not there, or (``"real"``) data that cannot be had.
    """
    if mode not in ("auto", "real", "embedded"):
        raise DataError("data", mode, "must be one of auto, real, embedded")
    asked = {name: name.partition(":")[0] for name in names}
    stand_ins = {name: source.stand_in for name, source in _every(sources).items()}
    for name in own:
        require_name(name, {*stand_ins, *EMBEDDED})
    stand_ins |= {name: data.stand_in for name, data in own.items()}
    for name in asked.values():
        if name not in stand_ins and name not in EMBEDDED:
            raise DataError("data set", name, f"is unknown; {nearest(name, [*stand_ins, *EMBEDDED])}")
        if kind is ImageSet and (name in FOLDERS or (name in CLASS_FOLDERS and name not in sources)):
            raise DataError("data set", name, "lies in folders and is read picture by picture; ask for kind=Pictures")
    if mode != "embedded":
        Store.open(data_dir)  # a folder the user named and which is not there is a mistake in "auto" too
        mine = _load_own({name: base for name, base in asked.items() if base in own}, own, data_dir)
        try:
            return {name: mine[name] if name in mine else _load_or_fetch(name, data_dir, sources) for name in names}
        except DataError as error:
            if mode == "real":
                raise
            _log.warning(
                "real data cannot be had, using the embedded stand-ins instead (%s): %s",
                ", ".join(f"{stand_ins[base]} for {name}" for name, base in asked.items() if base in stand_ins),
                error,
            )
    return {name: load(stand_ins.get(base, base)) for name, base in asked.items()}


def verify(
    names: Sequence[str] = (), data_dir: str | Path | None = None, *, sources: Mapping[str, Source] = SOURCES
) -> list[FileReport]:
    """Check every file of the named published data sets (all if none is named); nothing is downloaded.

    Returns:
        A report on each file that would be used, on damaged copies that come before it, and on what is missing.

    Raises:
        DataError: an unknown name, or a folder that is not there.
    """
    store = Store.open(data_dir)
    chosen = select(names, sources)
    return [row for source in chosen for row in source_reports(source, store)]


def _every(sources: Mapping[str, Source]) -> dict[str, Source | FolderSource | ClassFolders]:
    """Everything that is published, by name, in whatever form it is read."""
    return {**FOLDERS, **CLASS_FOLDERS, **sources}


def _load_own(asked: Mapping[str, str], own: Mapping[str, OwnData], data_dir: str | Path | None) -> dict[str, ImageSet]:
    """The parts ``asked`` for, each part's name to its data set's; every data set is read once."""
    parts: dict[str, ImageSet] = {}
    for base in dict.fromkeys(asked.values()):
        parts |= {part.name: part for part in own[base].load(base, data_dir)}
    for name in asked:
        if name not in parts:
            base, _, part = name.partition(":")
            divided = parts[base].division is not None
            fix = (
                "leave it out: its classes are divided, not its pictures" if divided else f"must be {TEST}, or left out"
            )
            raise DataError(f"split of {base}", part, fix)
    return {name: parts[name] for name in asked}


def _load_or_fetch(name: str, data_dir: str | Path | None, sources: Mapping[str, Source]) -> Pictures:
    base, colon, part = name.partition(":")
    if base in EMBEDDED:
        return load(base)
    split = part if colon else None
    if base in FOLDERS:
        return load_folder(name, data_dir)
    if base in CLASS_FOLDERS and (base not in sources or has_class_folders(base, data_dir)):
        if colon:
            raise DataError(f"split of {base}", part, "leave it out: its classes are divided, not its pictures")
        return load_class_folders(base, data_dir)
    try:
        images = load(base, data_dir, split=split, sources=sources)
    except DataError:
        store = Store.open(data_dir)
        if base in CLASS_FOLDERS and all(row.status == "missing" for row in source_reports(sources[base], store)):
            return load_class_folders(base, data_dir)  # which says in what forms it can be had
        fetch_source(sources[base], store, store.cache)  # a data folder is only read here: it may be shared
        images = load(base, data_dir, split=split, sources=sources)
    return dataclasses.replace(images, name=name) if colon else images


def _load_source(source: Source, split: str, store: Store, resample: Resample) -> ImageSet:
    form, found = find_files(source, split, store)
    files = form.splits[split]
    blobs = [data for _, data in found]
    notes = [f"split: {split}", *form.notes]
    try:
        if form.layout == "idx":
            arrays, classes = idx_arrays(*blobs), form.classes
        else:
            from PIL import __version__ as pillow

            # Pillow's resize and its JPEG decoder may round differently in another version, so it is part of the key
            digest = "-".join((file.content or file.containers[0])[:16] for file in files)
            how = resample if form.layout == "omniglot" else form.layout
            key = f"{form.folder}-{split}-{how}-{digest}-pillow{pillow}-v{_DECODER}"
            if form.layout == "class-tiles":
                arrays = _class_tiles(store.cache, key, blobs)
                notes.append(f"WebP decoded by Pillow {pillow}")
            elif form.layout == "omniglot":
                arrays = cached_arrays(store.cache, key, lambda: omniglot_arrays(blobs, resample))
                notes.append(f"105x105 to 28x28: {resample}, Pillow {pillow}")
            else:
                arrays = cached_arrays(store.cache, key, lambda: PHOTOS[form.layout](blobs[0], split))
                if form.layout in ("tiles", "tiny-imagenet"):
                    notes.append(f"JPEG decoded by Pillow {pillow}")
            classes = tuple(str(c) for c in arrays["classes"])
    except Damaged as error:  # canonical content always decodes, so it is the description which is wrong
        path = str(found[0][0].path)
        raise DataError(f"data set {source.name}", path, f"does not fit its description: {error}") from None
    notes.extend(f"{row.file}: repacked, content canonical" for row, _ in found if row.status == "repacked")
    provenance = Provenance(
        name=source.name,
        kind="real",
        source=f"{source.title}, {', '.join(file.name for file in files)}",
        licence=source.licence,
        citation=source.citation,
        sha256=_hashes(files, [row for row, _ in found]),
        notes=tuple(notes),
        form=form.form,
    )
    return ImageSet(source.name, arrays["images"], arrays["labels"], classes, provenance)


def _class_tiles(cache: Path, key: str, archives: Sequence[bytes]) -> dict[str, np.ndarray]:
    """The pictures of miniImageNet's tiled archives, 1.3 GB, mapped into memory."""
    kept = mapped(cache, key, (3, MINI_SIDE, MINI_SIDE), lambda: class_tile_blocks(archives))
    classes = class_tile_names(archives)
    labels = np.repeat(np.arange(len(classes)), kept.lengths)
    return {"images": kept.images, "labels": labels, "classes": np.array(classes, np.str_)}


def _hashes(files: Sequence[SourceFile], rows: Sequence[FileReport]) -> dict[str, str]:
    containers = {row.file: row.found for row in rows}
    return containers | {f"{file.name} content": file.content for file in files if file.content}
