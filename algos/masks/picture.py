"""A mask as a picture: outputs down, inputs across, a kernel's taps as a small block; ink = closed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

OPEN, CLOSED = (0xF4, 0xF1, 0xEA), (0x1F, 0x4E, 0x79)
SIDE = 640  # pixels the longer edge is enlarged to, so that a small mask can be seen


def mask_grid(mask: Tensor) -> np.ndarray:
    """``mask`` laid out as a matrix: a kernel ``[O, I, h, w]`` becomes ``[O*h, I*w]``, a vector one row."""
    if mask.dim() == 4:
        out, inputs, height, width = mask.shape
        return mask.permute(0, 2, 1, 3).reshape(out * height, inputs * width).numpy()
    return mask.reshape(mask.shape[0] if mask.dim() > 1 else 1, -1).numpy()


def draw_mask(mask: Tensor, title: str, path: Path) -> Path:
    """Draw boolean ``mask`` into the PNG ``path``, titled with its name, shape and sparsity."""
    from matplotlib.figure import Figure

    grid = mask_grid(mask)
    height, width = grid.shape
    scale = SIDE / max(height, width)
    figure = Figure(figsize=(max(width * scale, 240) / 100, max(height * scale, 24) / 100 + 0.4), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1 - 0.4 / figure.get_figheight()))
    axes.imshow(np.where(grid[..., None], OPEN, CLOSED).astype(np.uint8), interpolation="nearest", aspect="auto")
    axes.set_axis_off()
    closed = 1 - float(mask.float().mean()) if mask.numel() else 0.0
    shape = "x".join(map(str, mask.shape))
    figure.suptitle(f"{title}  {shape}  {closed:.1%} closed", fontsize=9, y=0.995)
    figure.savefig(path)
    return path
