"""Tiny data sets whose classes are divided, in the forms that people have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from frisket.rng import numpy_generator

DIVIDED: Mapping[str, Sequence[str]] = {
    "train": ("ant", "bee", "cat"), "val": ("dog", "eel"), "test": ("fox", "gnu")
}  # fmt: skip
EACH = 5


def picture(kind: str, number: int) -> np.ndarray:
    """``[H, W, 3]`` uint8 of 20 to 39 pixels a side and nearly one colour, which the class and the number tell."""
    generator = numpy_generator(0, "divided", kind, number)
    height, width = generator.integers(20, 40, size=2)
    return np.full((height, width, 3), generator.integers(0, 256, size=3), np.uint8)


def save(path: Path, pixels: np.ndarray) -> Path:
    """The pixels as a JPEG file of high quality; makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, "JPEG", quality=95)
    return path


def fill(folder: Path, classes: Sequence[str], each: int = EACH) -> Path:
    """``folder/CLASS/CLASS_N.jpg`` of every class."""
    for kind in classes:
        for number in range(each):
            save(folder / kind / f"{kind}_{number}.jpg", picture(kind, number))
    return folder


def in_split_folders(root: Path, divided: Mapping[str, Sequence[str]] = DIVIDED) -> Path:
    """``root/SPLIT/CLASS/*.jpg``."""
    for split, classes in divided.items():
        fill(root / split, classes)
    return root


def in_tables(root: Path, divided: Mapping[str, Sequence[str]] = DIVIDED) -> Path:
    """``root/images/*.jpg`` and ``root/SPLIT.csv``."""
    for split, classes in divided.items():
        rows = [(f"{kind}_{number}.jpg", kind) for kind in classes for number in range(EACH)]
        for name, kind in rows:
            save(root / "images" / name, picture(kind, int(name[len(kind) + 1 : -4])))
        (root / f"{split}.csv").write_text("filename,label\n" + "".join(f"{name},{kind}\n" for name, kind in rows))
    return root


def in_lists(root: Path, divided: Mapping[str, Sequence[str]] = DIVIDED, name: str = "splits.yaml") -> Path:
    """``root/CLASS/*.jpg`` and ``root/splits.yaml``."""
    for classes in divided.values():
        fill(root, classes)
    (root / name).write_text("".join(f'"{split}": [{", ".join(classes)}]\n' for split, classes in divided.items()))
    return root
