"""A mask as a picture: outputs down, inputs across, a kernel's taps as a small block; ink = closed, everywhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from torch import Tensor

from frisket.files import replacing

if TYPE_CHECKING:
    from matplotlib.colors import ListedColormap

OPEN, CLOSED = (0xE9, 0xE2, 0xD0), (0x1F, 0x4E, 0x79)
"""The colours of an open and of a closed weight, in every picture of masks."""
BETWEEN = "white"
"""What is between the parts of a folded mask."""
SIDE = 640  # pixels the longer edge is enlarged to, so that a small mask can be seen,
CELL = 24  # but no cell to more than so many
_SLENDER = 4  # a matrix whose sides differ by a larger factor is folded
_TITLE = 0.45  # inches above the picture, for two lines
_LEAST = 2.6  # inches across, so that the title has room


def mask_grid(masks: Sequence[Tensor]) -> np.ndarray:
    """The share of ``masks``, of one shape, in which a weight is closed, laid out as a matrix: a kernel ``[O, I, h,
    w]`` becomes ``[O*h, I*w]``, a vector one row.

    A matrix with one side over four times the other is folded like the lines of a text, between two kernels: a tall one
    into columns, a wide one into rows, one cell apart. Cells that are no weight are NaN.
    """
    shape = masks[0].shape
    outputs = shape[0] if len(shape) > 1 else 1
    inputs = shape[1] if len(shape) == 4 else math.prod(shape) // max(outputs, 1)
    height, width = shape[2:] if len(shape) == 4 else (1, 1)
    closed = 1 - np.mean([m.reshape(outputs, inputs, height, width).numpy() for m in masks], axis=0)
    grid = closed.transpose(0, 2, 1, 3).reshape(outputs * height, inputs * width)
    if grid.shape[0] > _SLENDER * grid.shape[1]:
        return _folded(grid.T, height).T
    return _folded(grid, width) if grid.shape[1] > _SLENDER * grid.shape[0] else grid


def _folded(grid: np.ndarray, unit: int) -> np.ndarray:
    """The wide matrix ``grid`` in pieces of whole ``unit`` columns, one below the other: about as wide as high."""
    height, width = grid.shape
    if not height:
        return grid
    units = math.ceil(width / unit / max(round(math.sqrt(width / height)), 1))
    length = units * unit
    pieces = math.ceil(width / length)
    gap = int(height > 1)  # rows of a vector need none
    folded = np.full((pieces * (height + gap) - gap, length), np.nan)
    for i in range(pieces):
        piece = grid[:, i * length : (i + 1) * length]
        folded[i * (height + gap) : i * (height + gap) + height, : piece.shape[1]] = piece
    return folded


def mask_colours(masks: int) -> ListedColormap:
    """From `OPEN` to `CLOSED` in the ``masks + 1`` steps that the share of so many masks can take."""
    from matplotlib.colors import ListedColormap

    shares = np.linspace(0, 1, masks + 1)[:, None]
    steps = ((1 - shares) * np.array(OPEN) + shares * np.array(CLOSED)) / 255
    return cast("ListedColormap", ListedColormap(steps.tolist()).with_extremes(bad=BETWEEN))


def draw_mask(mask: Tensor, title: str, path: Path) -> Path:
    """Draw boolean ``mask`` into the PNG ``path``, titled with its name, shape and sparsity."""
    from matplotlib.figure import Figure

    grid = mask_grid([mask])
    height, width = grid.shape
    scale = min(SIDE / max(height, width, 1), CELL) / 100
    across, down = max(width * scale, _LEAST), max(height * scale, 0.24)
    figure = Figure(figsize=(across, down + _TITLE), dpi=100)
    axes = figure.add_axes((0, 0, 1, down / (down + _TITLE)))
    axes.imshow(grid, cmap=mask_colours(1), vmin=0, vmax=1, interpolation="nearest")
    axes.set_axis_off()
    closed = 1 - float(mask.float().mean()) if mask.numel() else 0.0
    shape = "x".join(map(str, mask.shape))
    figure.suptitle(f"{title}\n{shape}, {closed:.1%} closed", fontsize=9, y=0.99 if down > 2 else None)
    with replacing(path, durable=False) as part:
        figure.savefig(part)
    return path
