"""One seed has no spread, and nothing shows one: texts, tables, cards, bars, MLflow."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.collections import PolyCollection

from frisket.platform.cli.main import main
from frisket.platform.reports.card import card
from frisket.platform.reports.figure import Heading
from frisket.platform.reports.search import Searched, draw_line
from frisket.platform.run.aggregate import seeds_text, spread_text
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.points import Point
from frisket.platform.specs.search import Search
from frisket.platform.tables.verdict import Number, number_text
from frisket.platform.tracking.session import _means

SMALL = ["stream.tasks=2", "stream.samples=20", "stream.test_samples=10", "network.hidden=[8]"]


@pytest.mark.parametrize(
    ("std", "n", "said"),
    [(0.0, 1, "0.500"), (0.01, 2, "0.500 ± 0.010"), (0.0, 3, "0.500 ± 0.000"), (None, 3, "0.500"),
     (0.25, None, "0.500 ± 0.250")],
)  # fmt: skip
def test_text_of_a_mean(std: float | None, n: int | None, said: str) -> None:
    assert spread_text(0.5, std, n) == said
    assert number_text(Number(mean=0.5, std=std, n=n), "ratio") == said


@pytest.mark.parametrize(("count", "said"), [(1, "seed 0"), (2, "seeds 0 to 1"), (5, "seeds 0 to 4")])
def test_text_of_seeds(count: int, said: str) -> None:
    assert seeds_text(count) == said


@pytest.mark.parametrize("n", [1, 2])
def test_mlflow_gets_a_spread_where_there_is_one(n: int) -> None:
    spread = {} if n == 1 else {"ra_std": 0.1}
    assert _means({"ra": {"mean": 0.5, "std": 0.1, "n": n}}) == {"ra": 0.5, **spread}


@pytest.mark.parametrize("n", [1, 2])
def test_lines_have_a_band_where_there_is_one(n: int) -> None:
    points = [
        Point(label=str(a), values={"a": a}, score=0.5, std=0.1, n=n, metrics={}, seconds=1.0, stopped=None,
              finished=True, diverged={})
        for a in (1, 2)
    ]  # fmt: skip
    (ax,) = draw_line(Searched(points, Search(axes={"a": [1, 2]}), "ra"), Heading("s", "c")).axes
    assert any(isinstance(c, PolyCollection) for c in ax.collections) == (n > 1)
    assert ("±" in ax.get_ylabel()) == (n > 1)


def test_nothing_a_user_sees_of_one_seed_has_a_spread(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        arguments = ["replay/rotations-online", *SMALL, "--seeds", "1", "--data", "embedded", "--local"]
        assert main(["run", *arguments]) == 0
    names = [folder.run_id for folder in RunFolder.all(workplace / "frisket_runs")]
    assert main(["compare", *names]) == 0
    assert main(["runs"]) == 0
    assert main(["show", "replay/rotations-online", "seeds=1"]) == 0
    out = capsys.readouterr().out
    ours = [line for line in out.splitlines() if "published" not in line and "± std" not in line]
    assert not [line for line in ours if "± 0.000" in line]
    assert "1 seed\n" in out
    text = card(RunFolder.find("last", workplace / "frisket_runs"), "1", "abc", "name", "1")
    assert ", seed 0, on **embedded data**" in text
    assert "| 0.0000 | 1 |" not in text
    assert "One seed: no spread." in text
