"""What is handed to the axes of pictures: how many panels, in which order, which data, which colours, what room."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from PIL import Image

from frisket.algos.masks.mask_set import MaskSet
from frisket.algos.masks.picture import CLOSED, OPEN
from frisket.algos.masks.store import Capacity
from frisket.algos.masks.survivors import EDGES, PARTS, Survivors
from frisket.platform.protocols.pruning_curve import Curve
from frisket.platform.reports.accuracy import (
    MOST_BOUNDARIES,
    OVERALL,
    Answered,
    Compared,
    Trace,
    boundaries,
    draw_accuracy,
    draw_variants,
    over_seeds,
    read_answered,
    read_compared,
)
from frisket.platform.reports.capacity import CapacityReport, draw_capacity
from frisket.platform.reports.figure import PALETTE, WIDEST, Heading, panels
from frisket.platform.reports.masks import Sparsity, draw_masks, draw_sparsity
from frisket.platform.reports.matrix import draw_matrices
from frisket.platform.reports.pruning import draw_curve, draw_survivors
from frisket.platform.run.folder import RunFolder

RESULTS = Path(__file__).parents[2] / "docs/results"
HEADING = Heading("tiny/picture", "embedded data: digits  |  2 seeds")
STEPS = 20


def trace(domains: Sequence[str], switches: Sequence[int] = (), level: float = 0.5) -> Trace:
    switch = np.zeros(STEPS, bool)
    switch[list(switches)] = True
    domain = np.array([domains[i * len(domains) // STEPS] for i in range(STEPS)])
    return Trace(np.full(STEPS, level), domain, switch)


def answered(traces: dict[str, list[Trace]], domains: Sequence[str], **published: float) -> Answered:
    return Answered(traces=traces, domains=domains, published=published)


def drawn(figure: Any) -> list[Any]:
    """The panels; a scale is none."""
    return [ax for ax in figure.axes if ax.axison and ax.get_label() != "<colorbar>"]


def titles(figure: Figure) -> list[str]:
    return [ax.get_title() for ax in drawn(figure)]


def legend(figure: Figure) -> list[str]:
    (one,) = figure.legends
    return [text.get_text() for text in one.get_texts()]


# -- accuracy ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("domains", "expected"), [(["digits"], ["digits"]), (["b", "a"], [OVERALL, "b", "a"]), ([], [OVERALL])]
)
def test_a_stream_of_one_domain_has_one_panel(domains: list[str], expected: list[str]) -> None:
    figure: Any = draw_accuracy(answered({"one": [trace(domains or [""])]}, domains), HEADING)
    assert titles(figure) == expected


def test_accuracy_and_variants_show_the_same_in_the_same_order(finished: RunFolder) -> None:
    """That of the results' table."""
    found, compared = read_answered(finished), read_compared(finished)
    figure, bars = draw_accuracy(found, HEADING), draw_variants(compared, HEADING)
    (ax,) = bars.axes
    names = [label.get_text() for label in ax.get_xticklabels()]
    assert [title.partition(" (met by")[0] for title in titles(figure)] == names
    metrics = [name for name in next(iter(compared.rows.values())) if name.startswith("accuracy")]
    assert list(compared.names.values()) == metrics
    assert names == [OVERALL, *(name.partition("/")[2] for name in metrics[1:])]


def test_a_published_number_stands_in_the_only_panel() -> None:
    figure: Any = draw_accuracy(answered({"one": [trace(["digits"])]}, ["digits"], **{OVERALL: 0.9}), HEADING)
    assert [0.9, 0.9] in [list(line.get_ydata()) for line in figure.axes[0].lines]


@pytest.mark.parametrize(
    ("switches", "expected"),
    [
        ([(0, 5, 10), (0, 5, 10)], [5, 10]),  # a sequence of tasks
        ([(0, 5, 10), (0, 6, 10)], []),  # hidden tasks, of which every seed has its own
        ([(0,), (0,)], []),
    ],
)
def test_tasks_that_all_replicas_have_alike_are_marked(switches: list[tuple[int, ...]], expected: list[int]) -> None:
    found = answered({"one": [trace(["digits"], s) for s in switches]}, ["digits"])
    assert boundaries(found).tolist() == expected
    figure: Any = draw_accuracy(found, HEADING)
    upright = [line.get_xdata()[0] for line in figure.axes[0].lines if list(line.get_ydata()) == [0, 1]]
    assert upright == [at - 0.5 for at in expected]
    assert ("a new task" in legend(figure)) == bool(expected)


def test_so_many_tasks_that_they_would_hide_the_lines_are_not_marked() -> None:
    steps = MOST_BOUNDARIES + 2
    every = Trace(np.ones(steps), np.array(["a"] * steps), np.ones(steps, bool))
    assert boundaries(answered({"one": [every]}, ["a"])).tolist() == []


def test_a_mean_over_seeds_begins_where_the_last_of_them_has_a_value() -> None:
    nan = np.nan
    mean, std = over_seeds([np.array([0.2, 0.2, 0.4]), np.array([nan, 0.8, 0.6]), np.array([nan, nan, nan])])
    assert mean == pytest.approx(np.array([nan, 0.5, 0.5]), nan_ok=True)
    assert std == pytest.approx(np.array([nan, 0.3, 0.1]), nan_ok=True)


def test_a_line_does_not_jump_where_a_seed_meets_a_domain() -> None:
    seeds = [trace(["a", "b"], level=0.2), trace(["a", "a", "b", "b"], level=0.8), trace(["a"], level=0.5)]
    seeds[1] = Trace(seeds[1].accuracy, np.array(["a"] * 15 + ["b"] * 5), seeds[1].switch)
    figure: Any = draw_accuracy(answered({"one": seeds}, ["a", "b"]), HEADING)
    panel = figure.axes[2]
    assert panel.get_title() == "b (met by 2 of 3 seeds)"
    (line,) = [line for line in panel.lines if line.get_linewidth() == 2]
    values = np.asarray(line.get_ydata())
    assert np.isnan(values[:15]).all()
    assert values[15:] == pytest.approx(0.5)


def test_one_seed_has_no_error_bar() -> None:
    rows = {label: {"accuracy": {"mean": 0.5, "std": 0.0, "n": n}} for label, n in (("one", 1), ("two", 2))}
    axes: list[Any] = list(draw_variants(Compared(rows=rows, names={"digits": "accuracy"}), HEADING).axes)
    (ax,) = axes
    drawn = [bar.lines[2][0].get_segments()[0] for bar in ax.containers if hasattr(bar, "has_yerr")]
    assert [len(points) for points in drawn] == [0, 2]


@pytest.mark.parametrize(("variants", "domains", "numbers"), [(3, 4, 12), (5, 1, 5), (5, 10, 0)])
def test_numbers_stand_above_bars_that_have_room_for_them(variants: int, domains: int, numbers: int) -> None:
    names = {str(i): f"accuracy/{i}" for i in range(domains)}
    row = {name: {"mean": 0.5, "std": 0.1, "n": 2} for name in names.values()}
    figure: Any = draw_variants(Compared(rows={f"v{i}": row for i in range(variants)}, names=names), HEADING)
    assert figure.get_figwidth() <= WIDEST
    assert len(figure.axes[0].texts) == numbers


# -- masks -------------------------------------------------------------------------------------------------------------


def masks(seed: int) -> MaskSet:
    draw = torch.Generator().manual_seed(seed)
    shapes = {"conv1.weight": (16, 1, 3, 3), "conv1.bias": (16,), "classifier.weight": (10, 16)}
    return MaskSet({name: torch.rand(shape, generator=draw) < 0.5 for name, shape in shapes.items()})


def test_one_seed_has_two_colours_and_two_entries() -> None:
    figure: Any = draw_masks([masks(0)], HEADING, "sparse")
    assert legend(figure) == ["open", "closed"]
    assert not [ax for ax in figure.axes if ax.get_label() == "<colorbar>"]
    inks = [tuple(round(255 * part) for part in patch.get_facecolor()[:3]) for patch in figure.legends[0].get_patches()]
    assert inks == [OPEN, CLOSED]


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_cells_are_square_and_have_the_colour_of_how_many_seeds_are_closed(seeds: int) -> None:
    sets = [masks(seed) for seed in range(seeds)]
    figure: Any = draw_masks(sets, HEADING, "sparse")
    ax, image = figure.axes[1], figure.axes[1].images[0]
    assert ax.get_title().startswith("classifier.weight\n10x16")
    closed = sum((~one["classifier.weight"]).int() for one in sets)
    assert np.array_equal(image.get_array(), closed)
    assert ax.get_aspect() == 1
    shades = image.to_rgba(np.arange(seeds + 1), bytes=True)[:, :3]
    assert [tuple(map(int, shades[0])), tuple(map(int, shades[-1]))] == [OPEN, CLOSED]
    assert len({tuple(shade) for shade in shades}) == seeds + 1
    if seeds > 1:
        (bar,) = [ax for ax in figure.axes if ax.get_label() == "<colorbar>"]
        assert bar.get_xlabel() == f"in how many of {seeds} seeds a weight is closed"


def sparsity(positions: Sequence[int], **levels: float) -> Sparsity:
    at = np.array(positions)
    return Sparsity(at, {name.replace("_", "."): np.full(len(at), level) for name, level in levels.items()})


def test_sparsity_is_on_the_scale_of_what_is_there() -> None:
    one = sparsity([0, 5, 9], fc1_weight=0.50, fc1_bias=0.51, fc2_weight=0.52, overall=0.505)
    figure: Any = draw_sparsity({"sparse": [one]}, HEADING)
    low, high = figure.axes[0].get_ylim()
    assert 0.49 <= low < 0.50
    assert 0.52 < high <= 0.53
    found = {line.get_label(): to_hex(line.get_color()).upper() for line in figure.axes[0].lines}
    assert found["fc1.weight"] == found["fc1.bias"] == PALETTE[0]
    assert found["fc2.weight"] == PALETTE[1]
    assert found["overall"] == "#000000"


def test_a_single_point_of_sparsity_is_seen() -> None:
    figure: Any = draw_sparsity({"sparse": [sparsity([15], fc1_weight=0.0, overall=0.0)]}, HEADING)
    assert {line.get_marker() for line in figure.axes[0].lines} == {"."}
    low, high = figure.axes[0].get_ylim()
    assert low < 0 < high


def test_of_more_layers_than_colours_none_shares_one() -> None:
    many = sparsity([0, 1], **{f"layer{i}_weight": 0.5 for i in range(20)}, overall=0.5)
    figure: Any = draw_sparsity({"sparse": [many]}, HEADING)
    assert len({to_hex(line.get_color()) for line in figure.axes[0].lines}) == 21


# -- tasks -------------------------------------------------------------------------------------------------------------


def report(tasks: int) -> CapacityReport:
    share = np.linspace(0.1, 0.4, tasks)
    capacity = Capacity(
        kept=share, free=1 - share, reused=share, exclusive=np.zeros(tasks, np.int64), overlap=np.eye(tasks)
    )
    return CapacityReport(weights={"fc": 10}, kept={"fc": (10 * share).astype(np.int64)}, capacity=capacity)


def middle(figure: Figure, ax: Axes) -> float:
    figure.draw_without_rendering()
    return float(np.mean(ax.get_position().intervalx))


@pytest.mark.parametrize("variants", [1, 3])
def test_capacity_counts_tasks_alike_and_fills_its_page(variants: int) -> None:
    figure: Any = draw_capacity({f"v{i}": [report(5)] for i in range(variants)}, HEADING)
    panels = drawn(figure)
    assert len(panels) == 2 * variants
    for curves, matrix in zip(panels[::2], panels[1::2], strict=True):
        assert list(curves.lines[0].get_xdata()) == [0, 1, 2, 3, 4]
        assert matrix.get_xlim() == (-0.5, 4.5)
        assert middle(figure, curves) < 0.4
        assert middle(figure, matrix) > 0.6
    assert all(ax.get_legend() is None for ax in panels)
    assert legend(figure) == ["free", "the task's mask", "of it, used before"]


def test_the_only_matrix_stands_in_the_middle() -> None:
    figure: Any = draw_matrices({"gem": [np.eye(4)]}, HEADING)
    assert middle(figure, drawn(figure)[0]) == pytest.approx(0.5, abs=0.06)


# -- one-shot pruning --------------------------------------------------------------------------------------------------


def test_pictures_of_one_run_give_a_variant_one_colour() -> None:
    labels = ["alpha-2", "alpha-1"]  # the headline first, as everywhere
    at = np.array([0.1, 1.0])
    curves = {label: [Curve(kept=at, accuracy=at, overlap=at)] for label in labels}
    edges, parts = (1,) * (len(EDGES) - 1), (1,) * PARTS
    one = Survivors(start=edges, end=edges, by_start=parts, surviving_by_start=parts, flipped=1)
    figures = [
        draw_curve(curves, HEADING),
        draw_survivors({label: [one] for label in labels}, HEADING),
        draw_accuracy(answered({label: [trace(["digits"])] for label in labels}, ["digits"]), HEADING),
    ]
    for figure in figures:
        (one_legend,) = figure.legends
        found: dict[str, Any] = dict(zip(legend(figure), one_legend.legend_handles, strict=True))
        assert list(found)[:2] == labels
        colours = [(found[k].get_color if hasattr(found[k], "get_color") else found[k].get_edgecolor)() for k in labels]
        assert [to_hex(colour).upper() for colour in colours] == list(PALETTE[:2])
    signs = figures[1].axes[3]
    assert [to_hex(bar.get_facecolor()).upper() for bar in signs.patches] == list(PALETTE[:2])


@pytest.mark.parametrize("path", sorted(RESULTS.rglob("*.png")), ids=lambda path: path.stem)
def test_the_documentations_pictures_have_the_house_palette(path: Path) -> None:
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    for name in ("blue", "orange", "green", "red"):
        default = [round(255 * part) for part in to_rgb(f"tab:{name}")]
        assert not (pixels == default).all(-1).any(), name


# -- the frame ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", range(1, 8))
@pytest.mark.parametrize("width", [2.3, 3.5])
def test_no_picture_is_wider_than_a_registrys_page(count: int, width: float) -> None:
    figure, axes = panels(HEADING, "what it shows", count, width=width)
    assert len(axes) == count
    assert figure.get_figwidth() <= WIDEST
    assert WIDEST * figure.dpi <= 790


@pytest.mark.parametrize("spec", ["demo", "pruning/generative-notmnist-powerprop-laplace", "a/" + "long-" * 30])
def test_titles_and_captions_are_whole_and_apart(spec: str) -> None:
    caption = "  |  ".join(["embedded data: " + ", ".join(["patches"] * 8), "5 seeds", spec.replace("/", "-")])
    made: Any = panels(Heading(spec, caption), "share of weights closed to learning", 1)
    figure, (ax,) = made
    figure.draw_without_rendering()
    (below,) = figure.texts[1:] if figure.texts[0] is figure._suptitle else figure.texts[:1]
    above = figure._suptitle
    assert above is not None
    boxes = [text.get_window_extent() for text in (above, below)]
    for box in boxes:
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1
    assert boxes[1].y0 > ax.get_window_extent().y1
    assert "".join(below.get_text().split()) == "".join(caption.split())
    assert "".join(above.get_text().split()) == "".join(f"{spec}: share of weights closed to learning".split())
