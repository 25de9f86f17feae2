"""docs/methods against the registry: the index is the methods' own declaration, and no page forgets an argument."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from frisket.algos.inner.pretrain import PretrainConfig
from frisket.algos.kinds import LEARNERS
from frisket.algos.networks.conv4 import Conv4, Conv4Config
from frisket.platform.specs.arguments import arguments
from frisket.platform.specs.experiment import load_spec
from frisket.platform.specs.files import spec_names
from frisket.types import Batch, Task

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "methods"
HEADINGS = ("The method", "Paper or released code", "Capabilities", "What is logged", "Published numbers and ours")


def page(kind: str) -> str:
    return (FOLDER / f"{LEARNERS[kind].page}.md").read_text(encoding="utf-8")


def index_row(kind: str) -> str:
    entry = LEARNERS[kind]
    network = Conv4(Conv4Config(channels=2), in_channels=1, size=16, ways=2)
    can = entry.build(entry.config(), network).capabilities
    marks = ["yes" if flag else "-" for flag in (can.needs_task, can.replay, can.meta_learns, can.masks)]
    return f"| [`{kind}`]({LEARNERS[kind].page}.md) | {entry.summary} | {' | '.join(marks)} | {can.samples} |"


@pytest.mark.parametrize("kind", list(LEARNERS))
def test_index_has_the_declared_row(kind: str) -> None:
    assert index_row(kind) in (FOLDER / "README.md").read_text(encoding="utf-8").splitlines()


def test_index_has_no_other_rows() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| \[`([\w-]+)`\]", text, flags=re.MULTILINE) == list(LEARNERS)


@pytest.mark.parametrize("kind", list(LEARNERS))
def test_page_names_every_argument(kind: str) -> None:
    text = page(kind)
    assert [a.name for a in arguments(LEARNERS[kind].config) if f"`{a.name}`" not in text] == []


def test_pretraining_page_names_every_argument() -> None:
    text = (FOLDER / "pretraining.md").read_text(encoding="utf-8")
    assert [a.name for a in arguments(PretrainConfig) if f"`{a.name}`" not in text] == []


@pytest.mark.parametrize("kind", list(LEARNERS))
def test_page_has_its_parts_and_defines_every_logged_metric(kind: str) -> None:
    text = page(kind)
    assert [h for h in HEADINGS if f"\n## {h}\n" not in text] == []
    network = Conv4(Conv4Config(channels=2), in_channels=1, size=16, ways=2)
    learner = LEARNERS[kind].build(LEARNERS[kind].config(), network)
    state, metrics = learner.init(0), {}
    for position in range(2):
        x, y = torch.rand(4, 1, 16, 16), torch.tensor([0, 0, 1, 1])
        state, metrics = learner.observe(state, Batch(x, y, position, Task("noise", (0, 1), 0)))
    assert metrics
    assert [name for name in metrics if f"\n| `{name}` | " not in text] == []


def test_every_specification_is_on_the_page_of_its_method() -> None:
    for name in spec_names():
        if name.startswith(("osaka/", "replay/", "pruning/")):
            experiment = load_spec(name)
            verb = "run" if experiment.tune is None else "tune"
            generates = experiment.protocol.kind == "log-likelihood"
            text = (
                (FOLDER / "generative.md").read_text(encoding="utf-8") if generates else page(experiment.learner.kind)
            )
            assert f"`frisket {verb} {name}`" in text


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.md")), ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8"))
    assert [t for t in targets if not t.startswith("http") and not (path.parent / t).exists()] == []
