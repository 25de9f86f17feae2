"""Pictures of masks: sparsity along the stream, the masks at its end, and a page with a table and every tensor."""

from __future__ import annotations

import base64
import html
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from frisket.algos.masks.mask_set import MaskSet
from frisket.algos.masks.picture import mask_grid
from frisket.platform.reports.figure import SHADES, Heading, Picture, by_variant, lined, panels
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
    points = [(line["t"], line["points"]) for line, _ in read_journal(journal) if "points" in line]
    series: dict[str, list[float]] = {}
    for _, values in points:
        for name, value in values.items():
            if name == "sparsity" or name.startswith("sparsity/"):
                series.setdefault(name.partition("/")[2] or "overall", []).append(value)
    return Sparsity(np.array([t for t, _ in points]), {k: np.array(v) for k, v in series.items()})


def masked(folder: RunFolder) -> dict[str, list[ReplicaFolder]]:
    """The variants of a finished run whose method has masks."""
    return {k: files for k, files in by_variant(folder).items() if all(f.masks.exists() for f in files)}


def draw_sparsity(found: Mapping[str, Sequence[Sparsity]], heading: Heading) -> Figure:
    """One panel per variant: a line for every tensor, the mean over seeds."""
    from matplotlib import colormaps

    figure, axes = panels(heading, "share of weights closed to learning", len(found), width=4.8)
    for ax, (label, seeds) in zip(axes, found.items(), strict=True):
        positions, names = seeds[0].positions, [n for n in seeds[0].closed if n != "overall"]
        layers = list(dict.fromkeys(n.rpartition(".")[0] for n in names))
        for name in names:
            layer, _, part = name.rpartition(".")
            colour = colormaps["viridis"](0.9 * layers.index(layer) / max(len(layers) - 1, 1))
            style = "--" if part == "bias" else "-"
            mean = np.mean([one.closed[name] for one in seeds], axis=0)
            ax.plot(positions, mean, style, color=colour, lw=1.2, label=name)
        overall = np.mean([one.closed["overall"] for one in seeds], axis=0)
        ax.plot(positions, overall, color="black", lw=2.2, label="overall")
        ax.set(title=label, xlabel="stream position", ylim=(-0.02, 1.02))
    lined(*axes)
    figure.supylabel("sparsity (1 = nothing may change)", fontsize=9)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=7, frameon=False)
    return figure


def draw_masks(masks: Sequence[MaskSet], heading: Heading, label: str) -> Figure:
    """Where the variant ``label`` may learn at the end: every tensor's mask, the mean over seeds."""
    names = [n for n in masks[0] if masks[0][n].dim() > 1]
    title = f"where {label} may learn at the end"
    figure, axes = panels(heading, title, len(names), width=2.8, height=2.6, sharey=False)
    image = None
    for name, ax in zip(names, axes, strict=True):
        share = np.mean([mask_grid(m[name]) for m in masks], axis=0)
        closed = np.mean([m.sparsity(name) for m in masks])
        # Cells are shown as they are where there is room for them, averaged where there is not.
        smoothing = "nearest" if max(share.shape) <= 100 else "antialiased"
        image = ax.imshow(share, cmap=SHADES, vmin=0, vmax=1, aspect="auto", interpolation=smoothing)
        shape = "x".join(map(str, masks[0][name].shape))
        ax.set_title(f"{name}\n{shape}, {closed:.0%} closed", fontsize=8)
        ax.set(xticks=[], yticks=[])
    figure.supxlabel("inputs x taps", fontsize=9)
    figure.supylabel("outputs x taps", fontsize=9)
    if image is not None:
        figure.colorbar(image, ax=axes, label="open (share of seeds)", shrink=0.9)
    return figure


def mask_report(title: str, masks: Sequence[MaskSet]) -> str:
    """The page on ``masks``, one per seed, as HTML; the pictures are the first seed's."""
    first = masks[0]
    rows = [_row(name, first[name].shape, [m.sparsity(name) for m in masks]) for name in first]
    rows.append(_row("overall", (first.size,), [m.sparsity() for m in masks]))
    with tempfile.TemporaryDirectory() as folder:
        pictures = "".join(_picture(picture) for picture in first.draw(folder))
    seeds = "".join(f"<th>seed {i}</th>" for i in range(len(masks)))
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(title)}</title><style>{_STYLE}</style>"
        f"<h1>{html.escape(title)}</h1><p>Share of closed weights (those that may not change) per tensor, at "
        f"the end of the stream.</p><table><tr><th>tensor</th><th>shape</th>{seeds}</tr>{''.join(rows)}</table>"
        f"<h2>Masks of seed 0</h2><p>Outputs down, inputs across, a kernel's taps as a small block; dark is closed.</p>"
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
    return [_picture_of(folder, label) for label in by_variant(folder)]


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
