"""docs/methods: every method has a page with all parts, prose by hand, tables made; what it reports is declared."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from frisket.algos.contract.toys import line_batch
from frisket.algos.kinds import LEARNERS, NETWORKS
from frisket.algos.learner import Episodic
from frisket.algos.networks.conv4 import Conv4, Conv4Config
from frisket.algos.networks.layer_norm_mlp import LayerNormMLP, LayerNormMLPConfig
from frisket.platform.specs.text import spec_names
from frisket.types import Batch, Task, TaskEnd

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "methods"
PAGES = sorted(FOLDER.glob("*.md"))
TASK = Task("noise", (0, 1), 0)
SMALL = Conv4(Conv4Config(channels=4), in_channels=1, size=16, ways=2)
PARTS = {
    "The method": "", "Paper or released code": "", "Arguments": "arguments", "Capabilities": "capabilities",
    "What is logged": "logged", "Published numbers and ours": "numbers",
}  # fmt: skip
"""Heading to the table that is made below it."""
MADE = re.compile(r"<!-- made by python -m docs\.tables: (\S+)[^>]* -->\n.*?<!-- end -->", re.DOTALL)

every_page = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)


def page(kind: str) -> str:
    return (FOLDER / f"{LEARNERS[kind].page}.md").read_text(encoding="utf-8")


def by_hand(path: Path) -> Iterator[str]:
    """The lines of tables that no program made."""
    yield from re.findall(r"^\|.*$", MADE.sub("", path.read_text(encoding="utf-8")), flags=re.MULTILINE)


@pytest.mark.parametrize("kind", list(LEARNERS))
def test_page_has_its_parts(kind: str) -> None:
    sections = re.split(r"^## ", page(kind), flags=re.MULTILINE)[1:]
    found = {heading: MADE.findall(body) for heading, _, body in (section.partition("\n") for section in sections)}
    assert [part for part in PARTS if part not in found] == []
    assert [part for part, table in PARTS.items() if table and table not in found[part]] == []


@every_page
def test_no_table_of_numbers_commands_or_arguments_is_typed_by_hand(path: Path) -> None:
    told = re.compile(r"±|\d \+- \d|`frisket (run|tune) |\| (published|ours|command|argument)(:[^|]*)? \|")
    assert [line for line in by_hand(path) if told.search(line)] == []


def noise(position: int, end: TaskEnd | None = None) -> Batch:
    generator = torch.Generator().manual_seed(position)
    return Batch(torch.rand(4, 1, 16, 16, generator=generator), torch.tensor([0, 0, 1, 1]), position, TASK, end=end)


def reported(kind: str, fields: Mapping[str, Any]) -> set[str]:
    """Names of what the method reports over a task of three batches, its end among them."""
    row = LEARNERS[kind]
    channels, size = NETWORKS[row.tried_on].tried_at
    acts = size == 1
    network = LayerNormMLP(LayerNormMLPConfig(hidden=(8,)), inputs=channels, ways=2) if acts else SMALL
    learner = row.build(row.config(**fields), network)
    if isinstance(learner, Episodic):
        learner = learner.over([TASK.domain])
    end = TaskEnd(steps=3, batch=noise, validation=lambda: (noise(9).x, noise(9).y))
    state, names = learner.init(0), set[str]()
    for position in range(3):
        shown = noise(position, end if position == 2 else None)
        state, metrics = learner.observe(state, line_batch(position, (channels, 1, 1)) if acts else shown)
        names |= set(metrics)
    return names


def with_all_metrics(kind: str) -> dict[str, Any]:
    """Settings under which the method reports what it only reports when asked."""
    fields = {field.name for field in dataclasses.fields(LEARNERS[kind].config)}
    taylor = {"search": "taylor", "score": "log_likelihood"} if {"search", "score"} <= fields else {}
    return {**LEARNERS[kind].quick, **taylor, **({"alignment": True} if "alignment" in fields else {})}


@pytest.mark.parametrize("kind", list(LEARNERS))
def test_what_is_reported_is_declared_and_the_other_way_round(kind: str) -> None:
    assert reported(kind, with_all_metrics(kind)) == set(LEARNERS[kind].logged)
    fields = {field.name for field in dataclasses.fields(LEARNERS[kind].config)}
    assert reported(kind, {"retrain_steps": 1} if "retrain_steps" in fields else {}) <= set(LEARNERS[kind].logged)


def test_every_specification_is_on_a_page() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in PAGES)
    named = set(re.findall(r"^\| `frisket (?:run|tune) ([\w/-]+)` \|", text, flags=re.MULTILINE))
    assert set(spec_names()) - named == set()


@every_page
def test_links_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8"))
    assert [t for t in targets if not t.startswith("http") and not (path.parent / t).exists()] == []
