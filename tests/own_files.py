"""Data as a user has them: a folder of small pictures in class folders, a file of features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from frisket.rng import numpy_generator

CLASSES = ("daisy", "poppy", "rose", "tulip")
FEATURES = 512


def flower(label: int, index: int) -> np.ndarray:
    """``[H, W, 3]`` uint8 of 20 to 39 pixels a side: noise, each class in a colour of its own."""
    generator = numpy_generator(0, "flower", label, index)
    height, width = generator.integers(20, 40, size=2)
    pixels = generator.integers(0, 60, size=(height, width, 3)).astype(np.uint8)
    pixels[..., label % 3] += 120
    pixels[..., (label + 1) % 3] += 120 * (label == 3)
    return pixels


def made_pictures(folder: Path, per_class: int = 24, classes: Sequence[str] = CLASSES, first: int = 0) -> Path:
    """``folder`` with ``per_class`` PNG files in each class's folder, numbered from ``first``."""
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(first, first + per_class):
            Image.fromarray(flower(CLASSES.index(name), i)).save(folder / name / f"{i:03d}.png")
    return folder


def made_features(file: Path, per_class: int = 30, ways: int = 6) -> Path:
    """``file``, a .npz of features like a backbone's: none negative, classes about their own means."""
    generator = numpy_generator(0, "features")
    labels = np.tile(np.arange(ways), per_class)
    means = generator.normal(size=(ways, FEATURES))
    x = np.maximum(means[labels] + 0.5 * generator.normal(size=(len(labels), FEATURES)), 0)
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(file, x=x.astype(np.float32), y=labels)
    return file
