"""Pictures of answers along the stream: accuracy at every position, and the variants compared.

T positions of the stream, R replicas (seeds) of one variant. Means are over seeds; bands and bars are the population
standard deviation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from frisket.platform.protocols.recent import recorded
from frisket.platform.reports.figure import (
    ASIDE,
    Heading,
    Picture,
    by_variant,
    colours,
    journalled,
    legend_below,
    lined,
    panels,
    published,
)
from frisket.platform.run.aggregate import spread_of
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.journal import read_steps
from frisket.platform.run.summary import summarise

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DRAWN_POINTS = 1000  # more than a panel has pixels
WINDOWS = 20  # a stream is drawn with a moving mean over a twentieth of it
OVERALL = "all domains"


@dataclass(frozen=True)
class Trace:
    """What one replica answered. Attributes: accuracy ``[T]``; domain ``[T]``, names."""

    accuracy: np.ndarray
    domain: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Answered:
    """What a run answered.

    Attributes:
        traces: by variant, one for each replica.
        domains: names of those that were met, in their order.
        published: `OVERALL` or a domain to the accuracy that was printed for it.
    """

    traces: Mapping[str, Sequence[Trace]]
    domains: Sequence[str]
    published: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Compared:
    """The variants. Attributes: rows: by variant and metric, ``{"mean", "std", "n"}``; names: those shown."""

    rows: Mapping[str, Mapping[str, Mapping[str, float]]]
    names: Sequence[str]


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
    found = [one for step in read_steps(journal) if (one := recorded(step)) is not None]
    return Trace(np.array([accuracy for accuracy, _ in found], float), np.array([domain for _, domain in found]))


def read_answered(folder: RunFolder) -> Answered:
    """The traces of every replica."""
    traces = {label: [read_trace(f.journal) for f in files] for label, files in by_variant(folder).items()}
    domains = sorted({str(name) for group in traces.values() for trace in group for name in trace.domain if name})
    metrics = {OVERALL: "accuracy", **{domain: f"accuracy/{domain}" for domain in domains}}
    printed = {panel: mean for panel, name in metrics.items() if (mean := published(folder, name)) is not None}
    return Answered(traces=traces, domains=domains, published=printed)


def draw_accuracy(answered: Answered, heading: Heading) -> Figure:
    """One panel over all batches and one for each domain."""
    shown = [OVERALL, *answered.domains]
    steps = max(len(t.accuracy) for group in answered.traces.values() for t in group)
    window = window_of(steps)
    figure, axes = panels(heading, "accuracy before a batch's labels are seen", len(shown))
    for panel, ax in zip(shown, axes, strict=True):
        for (label, group), colour in zip(answered.traces.items(), colours(answered.traces).values(), strict=True):
            _line(ax, [running(t, panel, window) for t in group], color=colour, lw=0.8, alpha=0.45)
            low_high = _line(ax, [running(t, panel, None) for t in group], color=colour, lw=2, label=label)
            if len(group) > 1:
                ax.fill_between(*low_high, color=colour, alpha=0.15, lw=0)
        if panel in answered.published:
            ax.axhline(answered.published[panel], color=ASIDE, ls=":", lw=1.2, label="published, full scale")
        ax.set(title=panel, xlabel="stream position", ylim=(0, 1.02), xlim=(0, steps - 1))
    lined(*axes)
    figure.supylabel(f"accuracy: mean so far (bold), last {window} batches (thin)", fontsize=9)
    legend_below(figure, axes[0])
    return figure


def read_compared(folder: RunFolder) -> Compared:
    """The variants' accuracies, overall and by domain."""
    rows = summarise(folder)["variants"]
    headline = folder.experiment.protocol.row.headline
    # the points of a curve are not among them
    wanted = {headline, *(f"{headline}/{domain}" for domain in read_answered(folder).domains)}
    return Compared(rows=rows, names=list(dict.fromkeys(m for r in rows.values() for m in r if m in wanted)))


def draw_variants(compared: Compared, heading: Heading) -> Figure:
    """A bar for every variant, overall and by domain."""
    rows, names = compared.rows, compared.names
    figure, (ax,) = panels(heading, "accuracy over the whole stream", 1, width=2.0 + 1.6 * len(names))
    width = 0.8 / len(rows)
    for i, ((label, row), colour) in enumerate(zip(rows.items(), colours(rows).values(), strict=True)):
        shown = [(k, row[m]) for k, m in enumerate(names) if m in row]
        at = [k + (i - (len(rows) - 1) / 2) * width for k, _ in shown]
        means, spread = [v["mean"] for _, v in shown], [spread_of(v["std"], v["n"]) for _, v in shown]
        bars: dict[str, Any] = (
            {"yerr": spread, "error_kw": {"lw": 1, "capsize": 2}} if None not in spread else {}
        )  # of a run, all or none
        ax.bar(at, means, 0.92 * width, color=colour, label=label, **bars)
        for x, mean, std in zip(at, means, spread, strict=True):
            ax.text(x, mean + (std or 0) + 0.02, f"{mean:.2f}", ha="center", fontsize=7)
    ax.set_xticks(range(len(names)), [OVERALL if n == "accuracy" else n.partition("/")[2] or n for n in names])
    ax.set(ylim=(0, 1.08), ylabel="accuracy")
    lined(ax, axis="y")
    legend_below(figure, ax)
    return figure


def _line(ax: Axes, rows: Sequence[np.ndarray], **style: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw the mean of ``rows`` (R x [T]); returns ``(positions, mean - std, mean + std)`` as drawn."""
    stack = np.ma.masked_invalid(np.stack(rows))
    at = np.unique(np.linspace(0, stack.shape[1] - 1, min(stack.shape[1], DRAWN_POINTS)).astype(int))
    mean, std = stack.mean(0)[at], stack.std(0)[at]
    ax.plot(at, mean, **style)
    return at, mean - std, mean + std


ACCURACY = Picture(
    name="accuracy.png",
    shows="accuracy over the stream",
    applies=journalled(recorded),
    read=read_answered,
    draw=draw_accuracy,
)
VARIANTS = Picture(
    name="variants.png",
    shows="the variants' accuracy over the whole stream",
    applies=lambda folder: len(by_variant(folder)) > 1 and ACCURACY.applies(folder),
    read=read_compared,
    draw=draw_variants,
)
