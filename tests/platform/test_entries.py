"""`frisket list KIND NAME`: a kind with its arguments, what it declares, its page and its specifications."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from frisket.algos.kinds import LEARNERS
from frisket.errors import SpecError
from frisket.platform.cli.main import main
from frisket.platform.specs.experiment import load_spec
from frisket.platform.specs.kinds import known
from frisket.platform.specs.text import spec_names
from frisket.platform.verbs.entries import SectionName, entry


def test_a_learner_with_all_that_is_known_of_it() -> None:
    found = entry("learner", "sparse-cmaml")
    said = {argument["name"]: argument for argument in found["arguments"]}
    assert list(said)[:2] == ["inner_steps", "outer_lr"]
    assert said["restart"]["choices"] == ("next_step", "same_step")
    assert said["inner_steps"]["allowed"] == "at least 1"
    assert found["facts"]["masks"]["value"] is True
    assert found["facts"]["needs_task"]["value"] is False
    assert found["facts"]["packed"]["value"] == []
    assert entry("learner", "la-maml")["facts"]["packed"]["value"] == ["alpha_init", "alpha_lr"]
    assert Path(found["page"]).name == "cmaml.md"
    assert "detected" in found["logged"]
    assert {"demo", "osaka/p90-sparse-cmaml"} <= set(found["specs"])
    assert found["summary"] == LEARNERS["sparse-cmaml"].summary


@pytest.mark.parametrize("name", ["a-gem", "metacog", "rigl"])
def test_a_learner_has_a_page_and_logs_something(name: str) -> None:
    found = entry("learner", name)
    assert found["page"] is not None
    assert found["logged"]


@pytest.mark.parametrize("section", get_args(SectionName))
def test_specifications_are_found_by_what_they_use(section: SectionName) -> None:
    name = {"stream": "osaka", "network": "vae", "learner": "online-adam", "protocol": "pruning-curve"}[section]
    wanted = ("demo", "osaka/p90", "pruning/generative-mnist", "pruning/mnist")
    experiments = {spec: load_spec(spec) for spec in spec_names() if spec.startswith(wanted)}
    users = [
        spec
        for spec, one in experiments.items()
        if name in {getattr(one.variant(label), section).kind for label in one.variants or [None]}
    ]
    assert [spec for spec in entry(section, name)["specs"] if spec in experiments] == users


@pytest.mark.parametrize("section", get_args(SectionName))
def test_every_kind_can_be_looked_up(section: SectionName, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", f"{section}s"]) == 0
    listed = capsys.readouterr().out
    for name in list(known().sections[section])[-2:]:
        assert name in listed
        assert main(["list", f"{section}s", name]) == 0
        out = capsys.readouterr().out
        assert out.startswith(f"{name}  {known().sections[section][name].summary}\n")
        assert known().sections[section][name].config.__name__ in out


def test_a_name_that_is_none_suggests_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SpecError, match="did you mean 'sparse-la-maml'"):
        entry("learner", "sparse-lamaml")
    assert main(["list", "networks", "conv5"]) == 2
    assert "did you mean 'conv4'" in capsys.readouterr().err
    assert main(["list", "specs", "demo"]) == 2
    assert "leave it out" in capsys.readouterr().err
