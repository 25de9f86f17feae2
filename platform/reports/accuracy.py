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
    WIDEST,
    Heading,
    Picture,
    colours,
    error_bar,
    journalled,
    legend_below,
    lined,
    panels,
    published,
    whole_numbers,
)
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.journal import read_steps
from frisket.platform.run.summary import summarise

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DRAWN_POINTS = 1000  # more than a panel has pixels
MOST_BOUNDARIES = 50
WINDOWS = 20  # a stream is drawn with a moving mean over a twentieth of it
OVERALL = "all domains"
_NUMBER = 0.22  # inches across that a bar must have for a number above it


@dataclass(frozen=True)
class Trace:
    """What one replica answered. Attributes: accuracy ``[T]``; domain ``[T]``, names; switch ``[T]``, whether a task
    begins there."""

    accuracy: np.ndarray
    domain: np.ndarray
    switch: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Answered:
    """What a run answered.

    Attributes:
        traces: by variant, one for each replica.
        domains: names of those that were met, in the order of the results.
        published: `OVERALL` or a domain to the accuracy that was printed for it.
    """

    traces: Mapping[str, Sequence[Trace]]
    domains: Sequence[str]
    published: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Compared:
    """The variants. Attributes: rows: by variant and metric, ``{"mean", "std", "n"}``; names: title to metric of those
    shown."""

    rows: Mapping[str, Mapping[str, Mapping[str, float]]]
    names: Mapping[str, str]


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
    found = [(*one, step.get("switch", False)) for step in read_steps(journal) if (one := recorded(step)) is not None]
    accuracy, domain, switch = zip(*found, strict=True) if found else ((), (), ())
    return Trace(np.array(accuracy, float), np.array(domain, str), np.array(switch, bool))


def read_answered(folder: RunFolder) -> Answered:
    """The traces of every replica."""
    traces = {label: [read_trace(f.journal) for f in files] for label, files in folder.by_variant().items()}
    met = {str(name): None for group in traces.values() for trace in group for name in trace.domain if name}
    order = {metric: i for i, metric in enumerate(summarise(folder)["summary"])}
    domains = sorted(met, key=lambda domain: order.get(f"accuracy/{domain}", len(order)))
    metrics = {OVERALL: "accuracy", **{domain: f"accuracy/{domain}" for domain in domains}}
    printed = {panel: mean for panel, name in metrics.items() if (mean := published(folder, name)) is not None}
    return Answered(traces=traces, domains=domains, published=printed)


def parts_of(domains: Sequence[str]) -> dict[str, str]:
    """What is shown of a stream over ``domains``, title to domain or `OVERALL`: all together and each; a single one is
    all there is, under its own name."""
    if len(domains) == 1:
        return {domains[0]: OVERALL}
    return {OVERALL: OVERALL, **{domain: domain for domain in domains}}


def boundaries(answered: Answered) -> np.ndarray:
    """Positions after the first at which a task begins, where it does for all replicas alike, as in a sequence of
    tasks; none of a sequence so long that they would hide the lines."""
    first, *others = [trace.switch for group in answered.traces.values() for trace in group]
    alike = all(np.array_equal(first, other) for other in others)
    found = np.flatnonzero(first[1:]) + 1
    return found if alike and len(found) <= MOST_BOUNDARIES else found[:0]


def over_seeds(rows: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over those of ``rows`` (R x [T]) that have a value at the end, [T] each.

    NaN as long as not all of them have one: a mean over the few that have would jump when another joins.
    """
    there = [row for row in rows if not np.isnan(row[-1])]
    stack = np.stack(there or [np.full_like(rows[0], np.nan)])
    return stack.mean(0), stack.std(0)


def draw_accuracy(answered: Answered, heading: Heading) -> Figure:
    """One panel over all batches and one for each domain, where there are several."""
    shown = parts_of(answered.domains)
    steps = max(len(t.accuracy) for group in answered.traces.values() for t in group)
    window, begins = window_of(steps), boundaries(answered)
    figure, axes = panels(heading, "accuracy before a batch's labels are seen", len(shown))
    for (title, part), ax in zip(shown.items(), axes, strict=True):
        for (label, group), colour in zip(answered.traces.items(), colours(answered.traces).values(), strict=True):
            _line(ax, [running(t, part, window) for t in group], color=colour, lw=0.8, alpha=0.45)
            low_high = _line(ax, [running(t, part, None) for t in group], color=colour, lw=2, label=label)
            if len(group) > 1:
                ax.fill_between(*low_high, color=colour, alpha=0.15, lw=0)
        printed = [answered.published[name] for name in (part, title) if name in answered.published]
        if printed:
            ax.axhline(printed[0], color=ASIDE, ls=":", lw=1.2, label="published, full scale")
        for at in begins:
            ax.axvline(at - 0.5, color=ASIDE, ls="--", lw=0.7, label="a new task" if at == begins[0] else None)
        ax.set(
            title=_title(title, part, answered), xlabel="stream position", ylim=(0, 1.02), xlim=(0, max(steps - 1, 1))
        )
        whole_numbers(ax.xaxis)
    axes[0].plot([], [], color=ASIDE, lw=2, label="mean so far")
    axes[0].plot([], [], color=ASIDE, lw=0.8, alpha=0.6, label=f"last {window} batches")
    lined(*axes)
    figure.supylabel("accuracy", fontsize=9)
    legend_below(figure, axes[0])
    return figure


def _title(title: str, part: str, answered: Answered) -> str:
    """A panel's: which domain, and how many of the seeds have met it where not all have."""
    group = next(iter(answered.traces.values()))
    there = sum(part == OVERALL or bool((trace.domain == part).any()) for trace in group)
    return title if there == len(group) else f"{title} (met by {there} of {len(group)} seeds)"


def read_compared(folder: RunFolder) -> Compared:
    """The variants' accuracies, overall and by domain."""
    rows = summarise(folder)["variants"]
    headline = folder.experiment.protocol.row.headline
    # the points of a curve are not among them
    parts = parts_of(read_answered(folder).domains)
    names = {title: headline if part == OVERALL else f"{headline}/{part}" for title, part in parts.items()}
    known = {metric for row in rows.values() for metric in row}
    return Compared(rows=rows, names={title: name for title, name in names.items() if name in known})


def draw_variants(compared: Compared, heading: Heading) -> Figure:
    """A bar for every variant, overall and by domain; of several seeds with their standard deviation."""
    rows, names = compared.rows, list(compared.names.values())
    across = min(2.0 + 1.6 * len(names), WIDEST)
    room = across >= _NUMBER * len(names) * (len(rows) + 1)
    figure, (ax,) = panels(heading, "accuracy over the whole stream", 1, width=across)
    width = 0.8 / len(rows)
    for i, ((label, row), colour) in enumerate(zip(rows.items(), colours(rows).values(), strict=True)):
        shown = [(k, row[m]) for k, m in enumerate(names) if m in row]
        at = [k + (i - (len(rows) - 1) / 2) * width for k, _ in shown]
        means, spread = [v["mean"] for _, v in shown], [error_bar(v["std"], int(v["n"])) for _, v in shown]
        ax.bar(at, means, 0.92 * width, yerr=spread, color=colour, label=label, error_kw={"lw": 1, "capsize": 2})
        for x, mean, std in zip(at, means, np.nan_to_num(spread), strict=True) if room else ():
            ax.text(x, mean + std + 0.02, f"{mean:.2f}", ha="center", fontsize=7)
    ax.set_xticks(range(len(names)), list(compared.names))
    ax.set(ylim=(0, 1.08), ylabel="accuracy")
    lined(ax, axis="y")
    legend_below(figure, ax)
    return figure


def _line(ax: Axes, rows: Sequence[np.ndarray], **style: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw the mean of ``rows`` (R x [T]); returns ``(positions, mean - std, mean + std)`` as drawn."""
    mean, std = over_seeds(rows)
    at = np.unique(np.linspace(0, len(mean) - 1, min(len(mean), DRAWN_POINTS)).astype(int))
    ax.plot(at, mean[at], **style)
    return at, (mean - std)[at], (mean + std)[at]


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
    applies=lambda folder: len(folder.by_variant()) > 1 and ACCURACY.applies(folder),
    read=read_compared,
    draw=draw_variants,
)
