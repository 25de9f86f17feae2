"""Pictures of masks: sparsity along the stream, the masks at its end, and a page with a table and every tensor."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from frisket.algos.masks.mask_set import MaskSet
from frisket.algos.masks.picture import mask_colours, mask_grid
from frisket.files import scratch
from frisket.platform.reports.figure import (
    ASIDE,
    PALETTE,
    SHADES,
    Heading,
    Picture,
    colour_bar_below,
    legend_below,
    legend_columns,
    lined,
    panels,
    whole_numbers,
)
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.journal import read_journal
from frisket.platform.run.replicas import ReplicaFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLE = (
    "body{font:14px system-ui,sans-serif;margin:2rem;max-width:60rem;color:#222}"
    "table{border-collapse:collapse}td,th{padding:.25rem .8rem;border-bottom:1px solid #ddd;text-align:right}"
    "td:first-child,th:first-child{text-align:left}img{max-width:100%;margin:.6rem 0;image-rendering:pixelated}"
)


class Sparsity(NamedTuple):
    """Of one replica. Attributes: positions: [P], of the journal's points; closed: tensor or "overall" to the share of
    its weights that may not change, [P]."""

    positions: np.ndarray
    closed: dict[str, np.ndarray]


def read_sparsity(journal: Path) -> Sparsity:
    """The series in the points of ``journal``; there is none without masks."""
    lines = [line for line, _ in read_journal(journal)]
    points = [(line["t"], line["points"]) for line in lines if "sparsity" in line.get("points", {})]
    series: dict[str, list[float]] = {}
    for _, values in points:
        for name, value in values.items():
            if name == "sparsity" or name.startswith("sparsity/"):
                series.setdefault(name.partition("/")[2] or "overall", []).append(value)
    return Sparsity(np.array([t for t, _ in points]), {k: np.array(v) for k, v in series.items()})


def masked(folder: RunFolder) -> dict[str, list[ReplicaFolder]]:
    """The variants of a finished run whose method has masks."""
    return {k: files for k, files in folder.by_variant().items() if all(f.masks.exists() for f in files)}


def draw_sparsity(found: Mapping[str, Sequence[Sparsity]], heading: Heading) -> Figure:
    """One panel per variant: a line for every tensor, the mean over seeds, on the scale of what is there."""
    tensors = list(dict.fromkeys(n for seeds in found.values() for n in seeds[0].closed if n != "overall"))
    shades = layer_colours(list(dict.fromkeys(n.rpartition(".")[0] for n in tensors)))
    rows = math.ceil((len(tensors) + 1) / legend_columns([*tensors, "overall"], 6.4))
    height = 2.8 + 0.17 * rows  # inches, of which the legend takes its own
    figure, axes = panels(heading, "share of weights closed to learning", len(found), height=height)
    lowest, highest = 1.0, 0.0
    for ax, (label, seeds) in zip(axes, found.items(), strict=True):
        positions = seeds[0].positions
        for name in [n for n in seeds[0].closed if n != "overall"] + ["overall"]:
            mean = np.mean([one.closed[name] for one in seeds], axis=0)
            lowest, highest = min(lowest, float(mean.min())), max(highest, float(mean.max()))
            layer, _, part = name.rpartition(".")
            colour, width = ("black", 2.2) if name == "overall" else (shades[layer], 1.2)
            mark = "." if len(positions) == 1 else ""  # a single point makes no line
            style = "--" if part == "bias" else "-"
            ax.plot(positions, mean, style, color=colour, lw=width, marker=mark, label=name)
            if mark:
                ax.set_xlim(positions[0] - 1, positions[0] + 1)
        ax.set(title=label, xlabel="stream position")
        whole_numbers(ax.xaxis)
    room = max(0.08 * (highest - lowest), 0.005)
    for ax in axes:
        ax.set_ylim(max(lowest - room, -0.02), min(highest + room, 1.02))
    lined(*axes)
    figure.supylabel("sparsity (1 = nothing may change)", fontsize=9)
    legend_below(figure, axes[0])
    return figure


def layer_colours(layers: Sequence[str]) -> dict[str, Any]:
    """A colour for each of ``layers``: of `PALETTE`, without the overall line's black; graded where it has too few."""
    from matplotlib import colormaps

    few = [colour for colour in PALETTE if colour != "#000000"]
    graded = [colormaps[SHADES](0.9 * i / max(len(layers) - 1, 1)) for i in range(len(layers))]
    return dict(zip(layers, few if len(layers) <= len(few) else graded, strict=False))


def draw_masks(masks: Sequence[MaskSet], heading: Heading, label: str) -> Figure:
    """Where the variant ``label`` may learn at the end: every tensor's mask, in how many of the seeds it is closed."""
    from matplotlib.patches import Patch

    names = [n for n in masks[0] if masks[0][n].dim() > 1] or list(masks[0])
    title = f"where {label} may learn at the end"
    figure, axes = panels(heading, title, len(names), width=2.3, height=2.6, sharey=False)
    seeds = len(masks)
    shades = mask_colours(seeds)
    image = None
    for name, ax in zip(names, axes, strict=True):
        grid = mask_grid([m[name] for m in masks])
        closed = np.mean([m.sparsity(name) for m in masks])
        # Cells are shown as they are where there is room for them, averaged where there is not.
        smoothing = "nearest" if max(grid.shape) <= 200 else "antialiased"
        # Half a seed more at either end: every number of seeds has the middle of its colour.
        image = ax.imshow(seeds * grid, cmap=shades, vmin=-0.5, vmax=seeds + 0.5, interpolation=smoothing)
        shape = "x".join(map(str, masks[0][name].shape))
        ax.set_title(f"{name}\n{shape}, {closed:.0%} closed", fontsize=8)
        ax.set(xticks=[], yticks=[])
    axes[0].set_xlabel("inputs x taps", fontsize=8)
    axes[0].set_ylabel("outputs x taps", fontsize=8)
    if seeds == 1:
        kinds = [Patch(facecolor=shades(i), edgecolor=ASIDE, lw=0.5, label=("open", "closed")[i]) for i in (0, 1)]
        figure.legend(handles=kinds, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    elif image is not None:
        bar = colour_bar_below(figure, image, axes, f"in how many of {seeds} seeds a weight is closed")
        whole_numbers(bar.ax.xaxis)
    return figure


def mask_report(title: str, masks: Sequence[MaskSet]) -> str:
    """The page on ``masks``, one per seed, as HTML; the pictures are the first seed's."""
    first = masks[0]
    rows = [_row(name, first[name].shape, [m.sparsity(name) for m in masks]) for name in first]
    rows.append(_row("overall", (first.size,), [m.sparsity() for m in masks]))
    with scratch("masks") as folder:
        pictures = "".join(_picture(picture) for picture in first.draw(folder))
    seeds = "".join(f"<th>seed {i}</th>" for i in range(len(masks)))
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(title)}</title><style>{_STYLE}</style>"
        f"<h1>{html.escape(title)}</h1><p>Share of closed weights (those that may not change) per tensor, at "
        f"the end of the stream.</p><table><tr><th>tensor</th><th>shape</th>{seeds}</tr>{''.join(rows)}</table>"
        f"<h2>Masks of seed 0</h2><p>Outputs down, inputs across, a kernel's taps as a small block; dark is closed. A "
        f"long tensor is folded like the lines of a text.</p>"
        f"{pictures}</html>\n"
    )


def _row(name: str, shape: Sequence[int], sparsities: Sequence[float]) -> str:
    cells = "".join(f"<td>{s:.1%}</td>" for s in sparsities)
    return f"<tr><td>{html.escape(name)}</td><td>{' x '.join(map(str, shape))}</td>{cells}</tr>"


def _picture(path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="{html.escape(path.stem)}" src="data:image/png;base64,{data}"><br>'


SPARSITY = Picture(
    name="sparsity.png",
    shows="share of weights closed to learning",
    applies=lambda folder: bool(masked(folder)),
    read=lambda folder: {k: [read_sparsity(f.journal) for f in files] for k, files in masked(folder).items()},
    draw=draw_sparsity,
)


def mask_pictures(folder: RunFolder) -> list[Picture[Sequence[MaskSet]]]:
    """A picture of the masks of every variant of ``folder``, with its page beside it."""
    return [_picture_of(folder, label) for label in folder.by_variant()]


def _picture_of(folder: RunFolder, label: str) -> Picture[Sequence[MaskSet]]:
    stem, title = f"masks-{label}" if folder.experiment.variants else "masks", f"{folder.run_id}: {label}"
    return Picture(
        name=f"{stem}.png",
        shows=f"masks of {label}",
        applies=lambda folder: label in masked(folder),
        read=lambda folder: [MaskSet.load(f.masks) for f in masked(folder)[label]],
        draw=lambda masks, heading: draw_masks(masks, heading, label),
        beside=lambda masks: {f"{stem}.html": mask_report(title, masks)},
    )
