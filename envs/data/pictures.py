"""Opening picture files of anybody's: their headers are looked at before a pixel is decoded."""

from __future__ import annotations

import contextlib
import io
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from frisket.envs.data.containers import Damaged, require_regular

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_PIXELS = 2**26
"""Of a picture that is decoded, 8,192 x 8,192; ImageNet's largest is 9,331 x 6,530."""

MOST_BYTES = 2**29
"""Of a picture's file."""

_FILTERS = threading.Lock()  # Python's filters of warnings are one for all threads


@contextlib.contextmanager
def opened(source: Path | bytes, formats: tuple[str, ...], most: int = MOST_PIXELS) -> Iterator[Image]:
    """Pillow's picture of a file, or of its content, not yet decoded.

    Args:
        source: the file, or what is in it.
        formats: Pillow's names of the formats it may have.
        most: pixels that it may have.

    Raises:
        Damaged: it is no regular file, or too large a one, or its header names more than ``most`` pixels.
        Exception: whatever Pillow raises for a damaged file.
    """
    from PIL import Image, UnidentifiedImageError

    # From memory: a length in it that is not true then takes none, as it would of a file.
    content = io.BytesIO(picture_bytes(source) if isinstance(source, Path) else source)
    with _FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own bound is lower, and an error
        try:
            picture = Image.open(content, formats=formats)
        except Image.DecompressionBombError:  # Pillow's bound, which is far above ours
            raise Damaged(f"its header names more than the {most:,} pixels that are read") from None
        except UnidentifiedImageError:  # which would name a buffer's address in memory
            raise UnidentifiedImageError(f"its content is no {' or '.join(formats)}") from None
    with picture:
        if picture.width * picture.height > most:
            named = f"{picture.width:,} x {picture.height:,} pixels"
            raise Damaged(f"its header names {named}, more than the {most:,} that are read")
        yield picture


def upper_eight_bits(picture: Image) -> Image:
    """``picture`` with, of 16 bits a pixel, the upper 8; Pillow's own conversion would cut them off at 255.

    Raises:
        ValueError: there are more than 16.
    """
    from PIL import Image

    if not picture.mode.startswith("I"):
        return picture
    values = np.asarray(picture)
    if values.size and not 0 <= values.min() <= values.max() < 2**16:
        raise ValueError("more than 16 bits a pixel")
    return Image.fromarray((values >> 8).astype(np.uint8))


def picture_bytes(path: Path) -> bytes:
    """The content of a picture's file. Raises `Damaged` for what is no regular file, or too large a one; OSError."""
    require_regular(path, MOST_BYTES)
    return path.read_bytes()
