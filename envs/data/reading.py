"""Any pictures as an `ImageSet` of one size: what a stream of episodes draws from.

Pictures in folders are decoded once, resized to a square as a whole (their shape is not kept, as the few-shot papers
do) by Pillow's bilinear filter, which averages where it makes smaller, and kept in the cache folder
(`frisket.envs.data.mapped`); an image set of another size is resized the same way. What cannot be read, and what is
not of three colours, is named, passed over or refused as a field says.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from frisket.envs.data.containers import Damaged, reading
from frisket.envs.data.folders import PictureFolder
from frisket.envs.data.imageset import ImageSet, Pictures
from frisket.envs.data.mapped import Block, mapped
from frisket.envs.data.own_pictures import NotRgb, Unreadable, eight_bits
from frisket.envs.data.pictures import opened, picture_bytes
from frisket.errors import DataError, SpecError
from frisket.folders import cache_folder

_log = logging.getLogger("frisket.data")

SIDE = 84
"""Of pictures in folders, where no other is asked for: the few-shot papers'."""

_BLOCK = 256
_READERS = 4
_VERSION = 1
"""Part of the key of kept pixels: raise it when what is made of a picture changes."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Attributes:
    size: side of the pictures in pixels; None for what they have, `SIDE` for those in folders.
    unreadable: whether a picture that cannot be read is an error, or passed over with a warning.
    not_rgb: whether a picture of other than three colours is made one of three, an error, or passed over.
    """

    size: int | None = None
    unreadable: Unreadable = "error"
    not_rgb: NotRgb = "convert"


def in_memory(pictures: Pictures, how: Reading) -> ImageSet:
    """``pictures`` as an image set of uint8, of the side ``how.size``.

    Raises:
        DataError: a picture that cannot be read or is not of three colours, where that is an error.
        SpecError: another size of data that are no pictures of one byte a channel.
    """
    if isinstance(pictures, PictureFolder):
        return _decoded(pictures, how)
    if not isinstance(pictures, ImageSet):
        raise TypeError(f"pictures of the type {type(pictures).__name__}")
    if how.size is None or pictures.images.shape[2:] == (how.size, how.size):
        return pictures
    return _resized(pictures, how.size)


def _resized(images: ImageSet, size: int) -> ImageSet:
    from PIL import Image
    from PIL import __version__ as pillow

    if images.images.dtype != np.uint8 or images.images.shape[2] < 2:
        raise SpecError("size", size, f"must be left out: {images.name} holds no pictures of one byte a channel")
    channels = images.images.shape[1]
    square, bilinear = (size, size), Image.Resampling.BILINEAR

    def blocks() -> Iterator[Block]:
        for start in range(0, len(images.images), _BLOCK):
            part = images.images[start : start + _BLOCK]
            flat = part.reshape(-1, *part.shape[2:])
            small = np.stack([np.asarray(Image.fromarray(one).resize(square, bilinear)) for one in flat])
            yield Block(small.reshape(len(part), channels, size, size), {})

    flat = np.ascontiguousarray(images.images).reshape(-1)
    content = hashlib.sha256(flat).hexdigest()  # pyright: ignore[reportArgumentType]
    key = f"{images.name.replace(':', '-')}-{content[:32]}-{size}-pillow{pillow}-v{_VERSION}"
    kept = mapped(cache_folder(), key, (channels, size, size), blocks)
    notes = (*images.provenance.notes, f"resized to {size} x {size}, bilinear, by Pillow {pillow}")
    return dataclasses.replace(
        images, images=kept.images, provenance=dataclasses.replace(images.provenance, notes=notes)
    )


def _decoded(folder: PictureFolder, how: Reading) -> ImageSet:
    from PIL import __version__ as pillow

    size = how.size or SIDE
    key = f"{folder.name.replace(':', '-')}-{_stamp(folder)[:32]}-{size}-{how.unreadable}-{how.not_rgb}"
    kept = mapped(
        cache_folder(), f"{key}-pillow{pillow}-v{_VERSION}", (3, size, size), lambda: _blocks(folder, size, how)
    )
    skipped = {number: fault for number, fault in kept.faults.items() if _skips(how, fault)}
    notes = [f"resized as a whole to {size} x {size}, bilinear, by Pillow {pillow}"]
    others = len(kept.faults) - len(skipped)
    if others:
        notes.append(f"{others:,} pictures of other than three colours were made such")
    if skipped:
        number, fault = min(skipped.items())
        first = f"{folder.files[number]}, {fault}"
        notes.append(f"{len(skipped):,} pictures were passed over, the first of them {first}")
        _log.warning("data %s: %d pictures are passed over, the first of them %s", folder.name, len(skipped), first)
    labels = np.delete(folder.labels, sorted(skipped))
    provenance = dataclasses.replace(
        folder.provenance,
        sha256={**folder.provenance.sha256, f"pixels, {size} x {size}": kept.sha256},
        notes=(*folder.provenance.notes, *notes),
    )
    return ImageSet(folder.name, kept.images, labels, folder.classes, provenance, division=folder.division)


_UNREADABLE = "cannot be read"


def _skips(how: Reading, fault: str) -> bool:
    return (how.unreadable if fault.startswith(_UNREADABLE) else how.not_rgb) == "skip"


def _stamp(folder: PictureFolder) -> str:
    """A digest of the files as they lie there: names, sizes and times of change."""
    digest = hashlib.sha256()
    for name in folder.files:
        try:
            found = (folder.folder / name).stat()
        except OSError as error:
            fix = f"cannot be read ({error.strerror}); put a good copy there"
            raise DataError(f"a picture of {folder.name}", str(folder.folder / name), fix) from None
        digest.update(json.dumps([name, found.st_size, found.st_mtime_ns]).encode())
    return digest.hexdigest()


def _blocks(folder: PictureFolder, size: int, how: Reading) -> Iterator[Block]:
    with ThreadPoolExecutor(_READERS) as readers:  # Pillow decodes without the interpreter's lock
        for start in range(0, len(folder.files), _BLOCK):
            names = folder.files[start : start + _BLOCK]
            yield _block(folder, start, list(readers.map(lambda name: _picture(folder, name, size), names)), size, how)


def _block(
    folder: PictureFolder, start: int, found: Sequence[tuple[np.ndarray | None, str]], size: int, how: Reading
) -> Block:
    images, faults = list[np.ndarray](), dict[int, str]()
    for number, (pixels, fault) in enumerate(found, start):
        if fault:
            faults[number] = fault
            if (how.unreadable if pixels is None else how.not_rgb) == "error":
                field = "unreadable" if pixels is None else "not_rgb"
                fix = f"{fault}; put a good copy there, or say stream.{field}=skip"
                raise DataError(f"a picture of {folder.name}", str(folder.folder / folder.files[number]), fix)
        if pixels is not None and not (fault and _skips(how, fault)):
            images.append(pixels)
    return Block(np.stack(images) if images else np.empty((0, 3, size, size), np.uint8), faults)


def _picture(folder: PictureFolder, name: str, size: int) -> tuple[np.ndarray | None, str]:
    """``[3, size, size]`` uint8 of one picture, None where it cannot be read; and what is the matter with it."""
    from PIL import Image

    try:
        with reading(f"picture, {name}"), opened(picture_bytes(folder.folder / name), ("JPEG", "PNG")) as picture:
            mode = picture.mode
            plain = eight_bits(picture).convert("RGB")
    except (Damaged, OSError) as error:
        return None, f"{_UNREADABLE} ({error.strerror if isinstance(error, OSError) else error})"
    pixels = np.asarray(plain.resize((size, size), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    return pixels, "" if mode == "RGB" else f"is not of three colours, but of mode {mode}"
