"""Every shipped specification runs on embedded data as it is, or says in one message which real data it needs."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import pytest

from frisket.envs.data import Pictures, resolve
from frisket.errors import DataError
from frisket.platform.cli.main import main
from frisket.platform.specs.build import datasets, rehearse
from frisket.platform.specs.experiment import Experiment, load_spec
from frisket.platform.specs.outline import outlines
from frisket.platform.specs.text import spec_names
from frisket.tune_configs.real_data import NEEDED, real_data


@functools.cache
def embedded(names: tuple[str, ...]) -> Mapping[str, Pictures]:
    return resolve(names, "embedded", kind=Pictures)


def rehearsed(experiment: Experiment) -> None:
    rehearse(experiment, embedded(datasets(experiment)))


def test_every_specification_runs_or_says_what_it_needs() -> None:
    refused = []
    for name in spec_names():
        if name.startswith("own/"):  # of the user's own data
            continue
        needed, experiment = real_data(name), load_spec(name)
        if needed is None:
            rehearsed(experiment)
            continue
        with pytest.raises(DataError, match=f"{name} needs the real data set {needed.name}") as caught:
            rehearsed(experiment)
        assert (caught.value.field, caught.value.value) == ("data", "embedded")
        assert " ".join(needed.small) in caught.value.fix
        assert any(needed.name == one.partition(":")[0] for one in datasets(experiment))
        rehearsed(load_spec(name, needed.small))
        refused.append(name)
    assert len(refused) == 30


def test_the_list_says_it_too(capsys: pytest.CaptureFixture[str]) -> None:
    said = {outline.name: outline.needs for outline in outlines() if outline.needs}
    assert said == {name: needed.name for name in spec_names() if (needed := real_data(name)) is not None}
    assert set(said.values()) == {needed.name for needed in NEEDED.values()}
    assert main(["list", "specs"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "pruning/mnist-one-shot" in line]
    assert len(lines) == 1
    assert lines[0].split()[-1] == "mnist"


@pytest.mark.parametrize("data", ["embedded"])
def test_it_is_said_before_anything_is_made(data: str, workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "pruning/mnist-one-shot", "--data", data, "--local"]) == 2
    err = capsys.readouterr().err
    assert "needs the real data set mnist; get it with `frisket data fetch mnist`" in err
    assert "Traceback" not in err
    assert not (workplace / "frisket_runs").exists()
