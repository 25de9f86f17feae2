"""One picture file of the user's as pixels a network takes: any size, any mode, any of `FORMATS`, whatever its name.

A picture is turned upright as its camera noted, its middle square is resized to ``size`` x ``size`` pixels by Pillow's
bilinear filter, which averages where it makes smaller. Transparent parts are laid on white, of 16 bits a pixel the
upper 8 are taken, of an animation the first frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from frisket.envs.data.pictures import opened, upper_eight_bits
from frisket.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

Colour = Literal["rgb", "grey"]
CHANNELS: dict[Colour, int] = {"rgb": 3, "grey": 1}
Unreadable = Literal["error", "skip"]
"""What becomes of a picture that cannot be read: it ends the run, or is passed over with a warning."""

NotRgb = Literal["convert", "error", "skip"]
"""What becomes of a picture of other than three colours (grey, of four inks, of a palette, with transparent parts): it
is made one of three, ends the run, or is passed over with a warning."""

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""How a file's name ends that is taken for a picture, in any case of letters."""

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Pillow's names of what these suffixes stand for. Others it would know by their content, and one it would hand to
another program."""

_READERS = 4
LARGEST_SIDE = 4_096
"""Pixels, of what a network is shown."""


class NotThreeColours(DataError):
    """A picture is of other than three colours."""


class Readable(NamedTuple):
    """Attributes: images: ``[m, C, size, size]`` uint8, of the pictures that were read; faults: number of a picture
    that was passed over to why."""

    images: np.ndarray
    faults: dict[int, str]


def read_picture(path: Path, size: int, colour: Colour, *, only_rgb: bool = False) -> np.ndarray:
    """The picture in ``path``, ``[C, size, size]`` uint8.

    Raises:
        NotThreeColours: with ``only_rgb``, for a picture of another mode.
        DataError: no picture, one that is cut short, or one too large to be decoded (`frisket.envs.data.pictures`).
    """
    from PIL import Image, ImageOps

    try:
        with opened(path, FORMATS) as picture:
            mode = picture.mode
            upright = ImageOps.exif_transpose(picture)
            plain = eight_bits(upright).convert("RGB" if colour == "rgb" else "L")
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers raise a dozen types for a damaged file, some their own
        reason = " ".join(str(error).split()) or type(error).__name__
        fix = f"cannot be read as a picture ({reason}); put a good copy there, or take it away"
        raise DataError("picture", str(path), fix) from None
    if only_rgb and mode != "RGB":
        raise NotThreeColours(
            "picture", str(path), f"is of the mode {mode}, not of three colours; convert or remove it"
        )
    side = min(plain.size)
    left, upper = (plain.width - side) / 2, (plain.height - side) / 2
    middle = (left, upper, left + side, upper + side)
    pixels = np.asarray(plain.resize((size, size), Image.Resampling.BILINEAR, middle))
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def read_pictures(paths: Sequence[str | Path], size: int, colour: Colour = "rgb") -> np.ndarray:
    """The pictures in ``paths``, ``[n, C, size, size]`` uint8; no more than a few are in memory at their own size.

    Raises:
        DataError: one of them cannot be read.
    """
    return readable_pictures(paths, size, colour).images


def readable_pictures(
    paths: Sequence[str | Path],
    size: int,
    colour: Colour,
    unreadable: Unreadable = "error",
    not_rgb: NotRgb = "convert",
) -> Readable:
    """The pictures in ``paths`` but for those that the two fields let be passed over.

    Raises:
        DataError: one of the others cannot be read, or is of other than three colours.
    """
    images = np.empty((len(paths), CHANNELS[colour], size, size), np.uint8)
    faults: dict[int, str] = {}

    def place(index: int) -> None:
        try:
            images[index] = read_picture(Path(paths[index]), size, colour, only_rgb=not_rgb != "convert")
        except DataError as error:
            if (not_rgb if isinstance(error, NotThreeColours) else unreadable) == "error":
                raise
            faults[index] = error.fix.partition(";")[0]

    with ThreadPoolExecutor(_READERS) as readers:  # Pillow decodes without the interpreter's lock
        for _ in readers.map(place, range(len(paths))):  # a reader's error is raised here
            pass
    return Readable(np.delete(images, sorted(faults), axis=0) if faults else images, faults)


def eight_bits(picture: Image) -> Image:
    """``picture`` with one opaque byte a channel."""
    from PIL import Image

    picture = upper_eight_bits(picture)
    if picture.mode == "F":
        raise ValueError("its pixels are fractions; save it with 8 or 16 bits a pixel")
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        shown = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown)
    return picture
