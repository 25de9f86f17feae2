"""The README's tables and commands are true."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from own_files import made_features, made_pictures

from frisket.platform.cli.main import app
from frisket.platform.specs.experiment import load_spec
from frisket.platform.specs.text import spec_names


@pytest.fixture(scope="module")
def readme(checkout: Path) -> str:
    return (checkout / "README.md").read_text(encoding="utf-8")


def test_table_names_every_specification_with_its_published_number(readme: str) -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| [^|]+ \| ([^|]+) \| ([^|]+) \|$", readme, re.M)
    named = {
        f"osaka/{p}-{method}": cell for method, *cells in rows for p, cell in zip(("p90", "p98"), cells, strict=True)
    }
    assert set(named) == {n for n in spec_names() if n.startswith("osaka/") and load_spec(n).tune is None}
    for name, cell in named.items():
        published = load_spec(name).published
        accuracy = published.metrics.get("accuracy") if published else None
        assert cell == (f"{accuracy['mean']:.3f} ± {accuracy['std']:.3f}" if accuracy else "-"), name


def test_links_lead_somewhere(readme: str, checkout: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", readme):
        assert (checkout / target).exists(), target


def test_named_commands_and_make_targets_exist(readme: str, checkout: Path) -> None:
    verbs = {c.name or c.callback.__name__ for c in app.registered_commands if c.callback}
    verbs |= {group.name for group in app.registered_groups}
    assert set(re.findall(r"(?:^|`)frisket ([a-z]+)\b", readme, re.M)) <= verbs
    makefile = (checkout / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"\bmake ([a-z-]+)", readme):
        assert re.search(rf"^{target}:", makefile, re.M), target


@pytest.mark.process
def test_own_data_from_a_folder_to_a_model_as_the_page_says(
    readme: str, frisket: Callable[..., subprocess.CompletedProcess[str]], workplace: Path, environment: dict[str, str]
) -> None:
    """Its two commands on Ray, and its Python on new pictures."""
    section = readme.partition("\n## Your own data\n")[2].partition("\n## ")[0]
    commands, code = re.findall(r"```(?:python)?\n(.*?)```", section, re.S)
    made_pictures(workplace / "flowers", per_class=30)
    made_features(workplace / "features" / "backbone.npz")
    lines = [line.partition("#")[0].split() for line in commands.strip().splitlines()]
    assert [line[:3] for line in lines] == [["frisket", "run", f"own/{what}"] for what in ("images", "features")]
    for line in lines:
        done = frisket(*line[1:])
        assert done.returncode == 0, done.stderr
        assert "models:/own-" in done.stdout
    for number, name in enumerate(("rose", "tulip"), 1):
        (picture,) = (made_pictures(workplace / "made", 1, (name,), first=900) / name).iterdir()
        (workplace / "new").mkdir(exist_ok=True)
        picture.rename(workplace / "new" / f"{number}.png")
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=workplace, env=environment, capture_output=True, text=True, timeout=240
    )
    assert said.returncode == 0, said.stderr
    assert said.stdout.strip() == re.findall(r"# (\[.*\])", code)[0]
