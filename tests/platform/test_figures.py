"""Figures: what is drawn, from hand-made traces; that all are drawn, from a real run."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from runs import MakeRun

from frisket.algos.masks.mask_set import MaskSet
from frisket.platform.reports.accuracy import OVERALL, Trace, read_trace, running, window_of
from frisket.platform.reports.card import note
from frisket.platform.reports.figures import PICTURES, draw_figures
from frisket.platform.reports.masks import mask_pictures, read_sparsity
from frisket.platform.run.folder import RunFolder

TRACE = Trace(np.array([0.0, 1.0, 0.5, 1.0, 0.0]), np.array(["a", "b", "a", "a", "b"]), np.zeros(5, bool))


@pytest.mark.parametrize(
    ("domain", "window", "expected"),
    [
        (OVERALL, None, [0, 1 / 2, 1 / 2, 2.5 / 4, 1 / 2]),
        (OVERALL, 2, [0, 0.5, 0.75, 0.75, 0.5]),
        ("a", None, [0, 0, 0.25, 0.5, 0.5]),
        ("a", 2, [0, 0, 0.25, 0.75, 0.75]),
        ("b", None, [np.nan, 1, 1, 1, 0.5]),
        ("b", 1, [np.nan, 1, 1, 1, 0]),
    ],
)
def test_running_means_by_hand(domain: str, window: int | None, expected: list[float]) -> None:
    assert running(TRACE, domain, window) == pytest.approx(np.array(expected), nan_ok=True)


def test_window_is_a_twentieth_of_the_stream() -> None:
    assert window_of(10_000) == 500
    assert window_of(20) == 5


def test_trace_ends_at_the_final_metric(finished: RunFolder) -> None:
    for files in finished.replicas():
        trace = read_trace(files.journal)
        result = files.result
        assert result is not None
        assert running(trace, OVERALL, None)[-1] == pytest.approx(result["metrics"]["accuracy"])
        for domain in set(trace.domain):
            assert running(trace, str(domain), None)[-1] == pytest.approx(result["metrics"][f"accuracy/{domain}"])


def test_sparsity_series_ends_at_the_masks(finished: RunFolder) -> None:
    files = finished.replica("sparse-seed0")
    positions, series = read_sparsity(files.journal)
    masks = MaskSet.load(files.masks)
    assert positions.tolist() == [4, 9, 14, 19, 24, 29]
    assert {k: v[-1] for k, v in series.items()} == {"overall": masks.sparsity(), **masks.sparsities()}
    assert read_sparsity(finished.replica("fixed-seed0").journal)[1] == {}


def test_every_picture_is_drawn_once(finished_run: MakeRun) -> None:
    folder = finished_run("sqlite:///none.db")
    drawn = draw_figures(folder)
    assert [p.name for p in drawn] == [
        "accuracy.png", "depth.png", "masks-sparse.html", "masks-sparse.png", "sparsity.png", "variants.png"
    ]  # fmt: skip
    for path in drawn:
        if path.suffix == ".png":
            with Image.open(path) as picture:
                assert min(picture.size) > 300
                colours = picture.convert("RGB").getcolors(1 << 24)
                assert colours is not None
                assert len(colours) > 20, path  # an empty canvas has one
    stamp = drawn[0].stat().st_mtime_ns
    assert draw_figures(folder) == drawn
    assert drawn[0].stat().st_mtime_ns == stamp
    assert not list(folder.path.glob(".part-*"))


def test_the_card_shows_the_pictures_that_are_drawn(finished_run: MakeRun) -> None:
    folder = finished_run("sqlite:///none.db")
    before = note(folder, "5", "abc")
    drawn = [path for path in draw_figures(folder) if path.suffix == ".png"]
    text = note(folder, "5", "abc")
    assert text == before  # it asks what the run is, not which files are there
    assert sorted(re.findall(r"figures%2F([^&]*)&", text)) == [path.name for path in drawn]
    for picture in filter(lambda one: one.applies(folder), (*PICTURES, *mask_pictures(folder))):
        assert f"![{picture.shows}]" in text


def test_what_was_left_of_a_drawing_that_was_killed_goes(finished_run: MakeRun) -> None:
    folder = finished_run("sqlite:///none.db")
    left = folder.path / ".part-0123456789abcdef-figures"
    left.mkdir()
    (left / "accuracy.png").touch()
    draw_figures(folder)
    assert not left.exists()


def test_report_shows_every_tensor_of_every_seed(finished_run: MakeRun) -> None:
    folder = finished_run("sqlite:///none.db")
    draw_figures(folder)
    page = (folder.path / "figures/masks-sparse.html").read_text()
    masks = MaskSet.load(folder.replica("sparse-seed1").masks)
    for name in masks:
        assert f"<td>{name}</td>" in page
        assert f"<td>{masks.sparsity(name):.1%}</td>" in page
    assert page.count("data:image/png;base64,") == len(masks)
    assert 'src="http' not in page
    assert "<th>seed 1</th>" in page


def test_nothing_of_matplotlib_is_left_behind(finished_run: MakeRun, tmp_path: Path) -> None:
    import matplotlib.pyplot as plt

    draw_figures(finished_run("sqlite:///none.db"))
    assert plt.get_fignums() == []
