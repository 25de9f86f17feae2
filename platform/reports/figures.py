"""Pictures of a finished run, drawn from its journals: accuracy over the stream, variants compared, sparsity, masks.

T positions of the stream, R replicas (seeds) of one variant. Means are over seeds; bands and bars are the population
standard deviation.
"""

from __future__ import annotations

import fcntl
import math
import os
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from frisket.algos.masks.mask_set import MaskSet
from frisket.algos.masks.picture import mask_grid
from frisket.platform.reports.capacity import read_capacity, write_capacity
from frisket.platform.reports.capacity_figure import draw_capacity
from frisket.platform.reports.likelihood import draw_likelihoods, draw_samples, read_likelihoods, sample_images
from frisket.platform.reports.mask_page import write_mask_report
from frisket.platform.reports.matrix import draw_matrices, read_matrix
from frisket.platform.reports.pruning import draw_curve, draw_survivors, read_curve, read_survivors
from frisket.platform.reports.search import draw_search
from frisket.platform.run.folder import ReplicaFolder, RunFolder
from frisket.platform.run.journal import read_journal
from frisket.platform.run.points import points_of, product, search_of
from frisket.platform.run.summary import summarise

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours: told apart by colour-blind readers too.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
DRAWN_POINTS = 1000  # more than a panel has pixels
WINDOWS = 20  # a stream is drawn with a moving mean over a twentieth of it
OVERALL = "all domains"
CAPACITY = "capacity.png"


class Picture(NamedTuple):
    """A picture of what some runs have measured.

    Attributes:
        read: what it shows of a finished replica; None where the replica has nothing of the kind.
        draw: of ``(by variant what its replicas gave, specification's name, caption)``.
    """

    read: Callable[[ReplicaFolder], Any]
    draw: Callable[[Mapping[str, Sequence[Any]], str, str], Figure]


PICTURES = {
    "matrix.png": Picture(read_matrix, draw_matrices),
    "pruning.png": Picture(read_curve, draw_curve),
    "weights.png": Picture(read_survivors, draw_survivors),
}


@dataclass(frozen=True)
class Trace:
    """What one replica answered. Attributes: accuracy ``[T]``; domain ``[T]``, names."""

    accuracy: np.ndarray
    domain: np.ndarray


def draw_figures(folder: RunFolder) -> list[Path]:
    """The pictures of the finished run ``folder``, in ``folder/figures``; drawn once, then found there.

    Those of a search are of its best point, and one of the score over its axes.
    """
    target = folder.path / "figures"
    with (folder.path / ".figures.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # the run and its uploader's thread both want them, and one drawing is enough
        if not target.is_dir():
            with tempfile.TemporaryDirectory(prefix=".figures-", dir=folder.path) as temporary:
                drawn = Path(temporary) / "figures"
                drawn.mkdir()
                _draw(product(folder), drawn)
                if folder.experiment.tune is not None:
                    _draw_search(folder, drawn)
                os.replace(drawn, target)
    return sorted(target.iterdir())


def window_of(steps: int) -> int:
    """Batches the moving mean of a stream of ``steps`` covers."""
    return max(steps // WINDOWS, 5)


def running(trace: Trace, domain: str, window: int | None) -> np.ndarray:
    """Mean accuracy on ``domain`` (or `OVERALL`), kept until the domain is met again.

    Args:
        trace: one replica's answers.
        domain: which batches count.
        window: over the domain's last so many batches; None: over all so far.

    Returns:
        ``[T]``; NaN before the domain is first met.
    """
    here = np.ones(len(trace.accuracy), bool) if domain == OVERALL else trace.domain == domain
    total = np.concatenate([[0.0], np.cumsum(trace.accuracy[here])])  # [visits + 1]
    visits = np.cumsum(here)  # [T]
    first = np.zeros_like(visits) if window is None else np.maximum(visits - window, 0)
    with np.errstate(invalid="ignore"):
        return (total[visits] - total[first]) / (visits - first)


def read_trace(journal: Path) -> Trace:
    """The accuracy and domain of every position in ``journal``; of none where the protocol measures no accuracy."""
    steps = [line["step"] for line, _ in read_journal(journal) if "accuracy" in line.get("step", {})]
    return Trace(np.array([s["accuracy"] for s in steps], float), np.array([s.get("domain", "") for s in steps]))


def read_sparsity(journal: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """``(positions [P], {tensor or "overall": [P]})`` of a journal's points; without masks there is no series."""
    points = [(line["t"], line["points"]) for line, _ in read_journal(journal) if "points" in line]
    series: dict[str, list[float]] = {}
    for _, values in points:
        for name, value in values.items():
            if name == "sparsity" or name.startswith("sparsity/"):
                series.setdefault(name.partition("/")[2] or "overall", []).append(value)
    return np.array([t for t, _ in points]), {k: np.array(v) for k, v in series.items()}


def caption(folder: RunFolder) -> str:
    """Which data, how many steps and seeds made a run's pictures."""
    names = (p.get("name", domain) for domain, p in folder.manifest["data"].items())
    sets = ", ".join(dict.fromkeys(names))  # a training and a test split are one data set
    seeds = folder.experiment.seeds
    point = [f"best point: {folder.manifest['point']['label']}"] if "point" in folder.manifest else []
    made = f"{folder.manifest['data_mode']} data: {sets}"
    return "  |  ".join([made, f"{seeds} seed{'s' * (seeds > 1)}", *point, folder.run_id])


def _draw_search(folder: RunFolder, target: Path) -> None:
    pictures = draw_search(
        points_of(folder), search_of(folder.experiment), folder.experiment.metric, folder.manifest["spec"],
        caption(folder),
    )  # fmt: skip
    for name, figure in pictures.items():
        figure.savefig(target / name)


def _draw(folder: RunFolder, target: Path) -> None:
    groups = by_variant(folder)
    traces = {label: [read_trace(f.journal) for f in files] for label, files in groups.items()}
    colours = {label: PALETTE[i % len(PALETTE)] for i, label in enumerate(groups)}
    judged = any(len(trace.accuracy) for group in traces.values() for trace in group)
    if judged:
        _accuracy(folder, traces, colours).savefig(target / "accuracy.png")
    for name, picture in PICTURES.items():
        read = {label: [one for f in files if (one := picture.read(f)) is not None] for label, files in groups.items()}
        found = {label: seeds for label, seeds in read.items() if seeds}
        if found:
            picture.draw(found, folder.manifest["spec"], caption(folder)).savefig(target / name)
    plain = dict(zip(groups, folder.experiment.plans.values(), strict=True))
    reports = {k: [read_capacity(plain[k], f) for f in files] for k, files in groups.items()}
    taken = {label: found for label, every in reports.items() if (found := [one for one in every if one is not None])}
    if taken:
        draw_capacity(taken, folder.manifest["spec"], caption(folder)).savefig(target / CAPACITY)
        write_capacity(target / "capacity.json", taken)
    likelihoods = {label: [m for f in files if (m := read_likelihoods(f.journal))] for label, files in groups.items()}
    if any(likelihoods.values()):
        published = _published(folder, "log_likelihood")
        draw_likelihoods(likelihoods, folder.manifest["spec"], caption(folder), published).savefig(
            target / "likelihood.png"
        )
        images = {label: sample_images(plain[label], files[0]) for label, files in groups.items()}
        draw_samples(images, folder.manifest["spec"], caption(folder)).savefig(target / "samples.png")
    if judged and len(groups) > 1:
        domains = {str(name) for group in traces.values() for trace in group for name in trace.domain}
        _variants(folder, colours, domains).savefig(target / "variants.png")
    masked = {k: files for k, files in groups.items() if all(f.masks.exists() for f in files)}
    if masked:
        _sparsity(folder, masked).savefig(target / "sparsity.png")
    for label, files in masked.items():
        masks = [MaskSet.load(f.masks) for f in files]
        _masks(folder, label, masks).savefig(target / f"{mask_stem(folder, label)}.png")
        write_mask_report(target / f"{mask_stem(folder, label)}.html", f"{folder.run_id}: {label}", masks)


def by_variant(folder: RunFolder) -> dict[str, list[ReplicaFolder]]:
    """The replicas of every variant; a plain experiment's only variant goes by its method's name."""
    groups: dict[str, list[ReplicaFolder]] = {}
    for replica in folder.experiment.replicas():
        label = replica.variant or folder.experiment.learner.kind
        groups.setdefault(label, []).append(folder.replica(replica))
    return groups


def mask_stem(folder: RunFolder, label: str) -> str:
    """Name, without suffix, of a variant's mask picture and report."""
    return f"masks-{label}" if folder.experiment.variants else "masks"


def _accuracy(folder: RunFolder, traces: Mapping[str, Sequence[Trace]], colours: Mapping[str, str]) -> Figure:
    met = {name for group in traces.values() for trace in group for name in trace.domain if name}
    panels = [OVERALL, *sorted(met)]
    steps = max(len(t.accuracy) for group in traces.values() for t in group)
    window = window_of(steps)
    figure, axes = _figure(len(panels), "accuracy before a batch's labels are seen", folder)
    for panel, ax in zip(panels, axes, strict=True):
        for label, group in traces.items():
            colour = colours[label]
            _line(ax, [running(t, panel, window) for t in group], color=colour, lw=0.8, alpha=0.45)
            low_high = _line(ax, [running(t, panel, None) for t in group], color=colour, lw=2, label=label)
            if len(group) > 1:
                ax.fill_between(*low_high, color=colour, alpha=0.15, lw=0)
        published = _published(folder, "accuracy" if panel == OVERALL else f"accuracy/{panel}")
        if published is not None:
            ax.axhline(published, color="#555555", ls=":", lw=1.2, label="published, full scale")
        ax.set(title=panel, xlabel="stream position", ylim=(0, 1.02), xlim=(0, steps - 1))
        ax.grid(alpha=0.25)
    figure.supylabel(f"accuracy: mean so far (bold), last {window} batches (thin)", fontsize=9)
    _legend(figure, axes[0])
    return figure


def _variants(folder: RunFolder, colours: Mapping[str, str], domains: Collection[str]) -> Figure:
    rows = summarise(folder)["variants"]
    headline = folder.experiment.protocol.row.headline
    wanted = {headline, *(f"{headline}/{domain}" for domain in domains)}  # the points of a curve are not among them
    names = list(dict.fromkeys(m for r in rows.values() for m in r if m in wanted))
    figure, (ax,) = _figure(1, "accuracy over the whole stream", folder, width=2.0 + 1.6 * len(names))
    width = 0.8 / len(rows)
    for i, (label, row) in enumerate(rows.items()):
        shown = [(k, row[m]) for k, m in enumerate(names) if m in row]
        at = [k + (i - (len(rows) - 1) / 2) * width for k, _ in shown]
        means, spread = [v["mean"] for _, v in shown], [v["std"] for _, v in shown]
        ax.bar(
            at, means, 0.92 * width, yerr=spread, color=colours[label], label=label, error_kw={"lw": 1, "capsize": 2}
        )
        for x, mean, std in zip(at, means, spread, strict=True):
            ax.text(x, mean + std + 0.02, f"{mean:.2f}", ha="center", fontsize=7)
    ax.set_xticks(range(len(names)), [OVERALL if n == "accuracy" else n.partition("/")[2] or n for n in names])
    ax.set(ylim=(0, 1.08), ylabel="accuracy")
    ax.grid(alpha=0.25, axis="y")
    ax.set_axisbelow(True)
    _legend(figure, ax)
    return figure


def _sparsity(folder: RunFolder, groups: Mapping[str, Sequence[ReplicaFolder]]) -> Figure:
    from matplotlib import colormaps

    figure, axes = _figure(len(groups), "share of weights closed to learning", folder, width=4.8)
    for ax, (label, files) in zip(axes, groups.items(), strict=True):
        read = [read_sparsity(f.journal) for f in files]
        positions, names = read[0][0], [n for n in read[0][1] if n != "overall"]
        layers = list(dict.fromkeys(n.rpartition(".")[0] for n in names))
        for name in names:
            layer, _, part = name.rpartition(".")
            colour = colormaps["viridis"](0.9 * layers.index(layer) / max(len(layers) - 1, 1))
            style = "--" if part == "bias" else "-"
            mean = np.mean([series[name] for _, series in read], axis=0)
            ax.plot(positions, mean, style, color=colour, lw=1.2, label=name)
        overall = np.mean([series["overall"] for _, series in read], axis=0)
        ax.plot(positions, overall, color="black", lw=2.2, label="overall")
        ax.set(title=label, xlabel="stream position", ylim=(-0.02, 1.02))
        ax.grid(alpha=0.25)
    figure.supylabel("sparsity (1 = nothing may change)", fontsize=9)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=7, frameon=False)
    return figure


def _masks(folder: RunFolder, label: str, masks: Sequence[MaskSet]) -> Figure:
    names = [n for n in masks[0] if masks[0][n].dim() > 1]
    figure, axes = _figure(
        len(names), f"where {label} may learn at the end", folder, width=2.8, height=2.6, sharey=False
    )
    image = None
    for name, ax in zip(names, axes, strict=True):
        share = np.mean([mask_grid(m[name]) for m in masks], axis=0)
        closed = np.mean([m.sparsity(name) for m in masks])
        # Cells are shown as they are where there is room for them, averaged where there is not.
        smoothing = "nearest" if max(share.shape) <= 100 else "antialiased"
        image = ax.imshow(share, cmap="cividis", vmin=0, vmax=1, aspect="auto", interpolation=smoothing)
        shape = "x".join(map(str, masks[0][name].shape))
        ax.set_title(f"{name}\n{shape}, {closed:.0%} closed", fontsize=8)
        ax.set(xticks=[], yticks=[])
    figure.supxlabel("inputs x taps", fontsize=9)
    figure.supylabel("outputs x taps", fontsize=9)
    if image is not None:
        figure.colorbar(image, ax=list(axes), label="open (share of seeds)", shrink=0.9)
    return figure


def _figure(
    panels: int, title: str, folder: RunFolder, *, width: float = 3.9, height: float = 3.0, sharey: bool = True
) -> tuple[Figure, list[Axes]]:
    """A titled figure of ``panels`` axes, at most three side by side so that it fits a page; sizes in inches."""
    from matplotlib.figure import Figure

    columns = panels if panels <= 3 else 2 if panels == 4 else 3
    rows = math.ceil(panels / columns)
    figure = Figure(figsize=(max(width * columns, 6.4), height * rows + 0.9), dpi=100, layout="constrained")
    figure.suptitle(f"{folder.manifest['spec']}: {title}\n", fontsize=11)
    below_title = 1 - 0.36 / figure.get_figheight()
    figure.text(0.5, below_title, caption(folder), ha="center", va="center", fontsize=7.5, color="#555555")
    axes = list(figure.subplots(rows, columns, squeeze=False, sharey=sharey).flat)
    for unused in axes[panels:]:
        unused.set_axis_off()
    return figure, axes[:panels]


def _line(ax: Axes, rows: Sequence[np.ndarray], **style: object) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw the mean of ``rows`` (R x [T]); returns ``(positions, mean - std, mean + std)`` as drawn."""
    stack = np.ma.masked_invalid(np.stack(rows))
    at = np.unique(np.linspace(0, stack.shape[1] - 1, min(stack.shape[1], DRAWN_POINTS)).astype(int))
    mean, std = stack.mean(0)[at], stack.std(0)[at]
    ax.plot(at, mean, **style)  # pyright: ignore[reportArgumentType]
    return at, mean - std, mean + std


def _legend(figure: Figure, ax: Axes) -> None:
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize=8, frameon=False)


def _published(folder: RunFolder, metric: str) -> float | None:
    """The published mean of ``metric``; None where there is none, or other data made this run."""
    published = folder.experiment.published
    if published is None or folder.manifest["data_mode"] != "real" or metric not in published.metrics:
        return None
    return published.metrics[metric]["mean"]
