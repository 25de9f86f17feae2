"""Random changes to training pictures that keep their class (lamaml spec, section 6), a whole batch at once.

``crop-flip``: the picture is framed by 4 black pixels and cut to its size again at a random place, then mirrored with
probability 1/2. ``crop-flip-brightness``: its pixels are multiplied by a factor uniform in 1 +- 63/255 as well and kept
within 0..255 (they are not rounded to whole numbers, as an image library would do).
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from frisket.envs.data.imageset import ImageSet
from frisket.errors import require

Augmentation = Literal["none", "crop-flip", "crop-flip-brightness"]

PADDING = 4
BRIGHTNESS = 63 / 255


def require_pictures(kind: Augmentation, images: ImageSet) -> None:
    """Raise `SpecError` where ``images`` are none that ``kind`` could change."""
    flat = kind == "none" or images.images.dtype == np.uint8
    require(flat, "augment", kind, f"none: {images.name} are no pictures of one byte a channel")


def augment(pixels: np.ndarray, kind: Augmentation, generator: np.random.Generator) -> np.ndarray:
    """``pixels`` [N, C, H, W] uint8 changed as ``kind`` says, float32 in 0..255, every picture with its own draws."""
    if kind == "none":
        return pixels.astype(np.float32)
    changed = crop_flip(pixels, generator).astype(np.float32)
    return brighten(changed, generator) if kind == "crop-flip-brightness" else changed


def crop_flip(pixels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """``pixels`` [N, C, H, W] cut out of their framed selves, half of them mirrored left to right."""
    count, channels, height, width = pixels.shape
    top, left = generator.integers(0, 2 * PADDING, size=(2, count, 1), endpoint=True)
    mirrored = generator.random((count, 1)) < 0.5
    rows = top + np.arange(height)
    columns = left + np.where(mirrored, np.arange(width)[::-1], np.arange(width))
    framed = np.pad(pixels, ((0, 0), (0, 0), (PADDING, PADDING), (PADDING, PADDING)))
    picture, channel = np.arange(count)[:, None, None, None], np.arange(channels)[:, None, None]
    return framed[picture, channel, rows[:, None, :, None], columns[:, None, None, :]]


def brighten(pixels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """``pixels`` [N, C, H, W] float32 in 0..255 times one factor a picture."""
    factors = generator.uniform(1 - BRIGHTNESS, 1 + BRIGHTNESS, size=(len(pixels), 1, 1, 1)).astype(np.float32)
    return np.clip(pixels * factors, 0, 255)
