"""A tiny ImageNet: folders of JPEG files whose classes differ in colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from frisket.rng import numpy_generator

CLASSES = ("n01440764", "n02102040")


def picture(split: str, index: int, label: int) -> np.ndarray:
    """``[H, W, 3]`` uint8 of 28 to 47 pixels a side: noise, with more red (0) or more blue (1)."""
    generator = numpy_generator(0, split, label, index)
    height, width = generator.integers(28, 48, size=2)
    pixels = generator.integers(0, 80, size=(height, width, 3)).astype(np.uint8)
    pixels[..., 2 * label] += 150
    return pixels


def made_folders(parent: Path, per_class: int = 8, test_per_class: int = 4) -> Path:
    """A data folder with ``imagenet/train`` and ``imagenet/val``; gives the data folder."""
    for split, count in (("train", per_class), ("val", test_per_class)):
        for label, name in enumerate(CLASSES):
            folder = parent / "imagenet" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                one = Image.fromarray(picture(split, i, label))
                one.save(folder / f"{name}_{i}.JPEG", "JPEG", quality=95, subsampling=0)
    return parent
