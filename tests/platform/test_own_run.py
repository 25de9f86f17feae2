"""Own data from a folder to a model that names its answers, without Ray; and what is said where it does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from own_files import CLASSES, made_features, made_pictures
from PIL import Image

import frisket
from frisket.envs.data import OwnArrays, OwnFolder
from frisket.errors import DataError, ModelError, RunError, SpecError
from frisket.platform.reports.card import card
from frisket.platform.run.folder import RunFolder
from frisket.platform.specs.build import build_stream, load_data
from frisket.platform.specs.experiment import from_dict, load_spec
from frisket.platform.streaming.consumer import Service
from frisket.platform.streaming.streams import StreamRecipe, open_stream
from frisket.platform.streaming.transport import LocalTransport
from frisket.platform.verbs.run import prepare, reopen

QUICK = ["data.own.size=12", "network.filters=16", "network.hidden=[32]"]


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, workplace: Path) -> None:
    monkeypatch.delenv("FRISKET_DATA", raising=False)
    monkeypatch.setenv("FRISKET_CACHE", str(workplace / "cache"))


def test_folder_of_pictures_becomes_a_model_that_names_new_ones(workplace: Path) -> None:
    made_pictures(workplace / "flowers", per_class=30)
    result = frisket.run("own/images", QUICK, seeds=2, data_dir=workplace / "flowers", local=True)
    assert result.summary["summary"]["ra"]["mean"] > 0.9
    model = frisket.load_model(result.path)
    assert model.classes() == model.classes(seed=1) == CLASSES
    made_pictures(workplace / "new", per_class=3, first=500)
    paths = sorted((workplace / "new").rglob("*.png"))
    answers = [model.classes()[i] for i in model.predict(model.read(paths)).argmax(1)]
    assert np.mean([name == path.parent.name for name, path in zip(answers, paths, strict=True)]) > 0.9
    provenance = model.provenance["data"]["own"]
    assert (provenance["kind"], list(provenance["sha256"])) == ("own", ["pictures content"])
    text = card(RunFolder.open(result.path), "1", "2", "own-images", "3")
    assert "In the order of the outputs: daisy, poppy, rose, tulip." in text
    assert "names = [model.classes()[i] for i in probabilities.argmax(1)]" in text


def test_file_of_features_becomes_a_model(workplace: Path) -> None:
    file = made_features(workplace / "features" / "backbone.npz", ways=6)
    result = frisket.run("own/features", seeds=1, data_dir=workplace / "features", local=True)
    assert result.summary["summary"]["ra"]["mean"] > 0.9
    model = frisket.load_model(result.path)
    held = np.load(file)
    answers = model.predict(held["x"]).argmax(1)  # [N, 512], as in the file
    assert np.mean([model.classes()[i] for i in answers] == held["y"].astype(str)) > 0.9
    with pytest.raises(ModelError, match=r"takes inputs of shape \(512, 1, 1\), which are no pictures"):
        model.read([])
    with pytest.raises(ModelError, match=r"paths = 'one\.png': must be a list"):
        model.read("one.png")


@pytest.mark.parametrize("scenario", ["task", "domain"])
def test_other_scenarios_run(scenario: str, workplace: Path) -> None:
    for place in ("rain", "sun"):
        made_pictures(workplace / "flowers" / place, per_class=15)
    changes = [*QUICK, f"stream.scenario={scenario}"]
    result = frisket.run("own/images", changes, seeds=1, data_dir=workplace / "flowers", local=True)
    assert result.summary["summary"]["ra"]["mean"] > 0.9


def test_changed_data_are_refused_on_resume(workplace: Path) -> None:
    folder = made_pictures(workplace / "flowers", per_class=12)
    run = prepare("own/images", QUICK, data_dir=str(folder))
    copy = made_pictures(workplace / "elsewhere" / "flowers", per_class=12)
    assert reopen(run.run_id, data_dir=str(copy)).path == run.path  # the content is what counts
    with pytest.raises(DataError, match=r"data\.own\.folder = '\.': is looked for in a data folder"):
        reopen(run.run_id)
    Image.fromarray(np.zeros((5, 5, 3), np.uint8)).save(folder / "rose" / "000.png")
    with pytest.raises(RunError, match=r"the data of own, own:test are not those the run was started with"):
        reopen(run.run_id, data_dir=str(folder))


@pytest.mark.parametrize("name", ["own/images", "own/features"])
def test_without_data_a_stand_in_is_taken_only_if_asked_for(name: str) -> None:
    for mode in ("auto", "real"):
        with pytest.raises(DataError, match=r"is looked for in a data folder: name one with --data-dir DIR"):
            prepare(name, data=mode)
    folder = prepare(name, data="embedded")
    assert (list(folder.manifest["data"]), folder.manifest["data_mode"]) == (["digits"], "embedded")


def test_section_data_is_part_of_the_specification() -> None:
    spec = load_spec("own/images", ["data.more={arrays: more.npz, channels_last: true}", "data.own.colour=grey"])
    assert spec.data == {
        "own": OwnFolder(folder=".", colour="grey"),
        "more": OwnArrays(arrays="more.npz", channels_last=True),
    }
    assert from_dict(spec.as_dict()) == spec
    assert "data" not in load_spec("demo").as_dict()  # and other specifications are what they were


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("data=flowers", r"data = 'flowers': must map names to data sets"),
        ("data.own={size: 32}", r"data\.own = \{'size': 32\}: must have exactly one of folder, arrays"),
        ("data.own.arrays=x.npz", r"data\.own = .*: must have exactly one of folder, arrays"),
        ("data.own.colour=red", r"data\.own\.colour = 'red': must be 'rgb' or 'grey'"),
        ("data.own.sise=32", r"data\.own\.sise = 32: unknown key; did you mean 'size'"),
        ("data.own.size=0", r"data\.own\.size = 0: must be 1 to 4,096"),
        ("data.own.test_share=1", r"data\.own\.test_share = 1(\.0)?: must be above 0 and below 1"),
    ],
)
def test_wrong_section_names_field_value_and_fix(change: str, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        load_spec("own/images", [change])


def test_name_that_the_section_does_not_have_is_said(workplace: Path) -> None:
    folder = made_pictures(workplace / "flowers", per_class=3)
    with pytest.raises(DataError, match=r"data set = 'onw': is unknown; did you mean 'own'"):
        prepare("own/images", ["stream.dataset=onw"], data_dir=str(folder))


def test_service_makes_the_same_batches_of_own_data(workplace: Path) -> None:
    folder = str(made_pictures(workplace / "flowers", per_class=12))
    spec = load_spec("own/images", ["data.own.size=6"])
    fields: dict[str, Any] = {"stream": spec.stream.work(exact=True), "data": "real", "data_dir": folder}
    recipe = StreamRecipe(**fields, own=spec.data or {})
    served = open_stream(Service(LocalTransport(), "test"), recipe, 0)
    plain = build_stream(spec, load_data(spec, "real", folder), 0)
    assert (served.steps, served.names) == (plain.steps, CLASSES)
    for position in (0, plain.steps - 1):
        assert torch.equal(served.batch(position).x, plain.batch(position).x)
        assert torch.equal(served.batch(position).y, plain.batch(position).y)
    other = load_spec("own/images", ["data.own.size=7"])
    assert StreamRecipe(**fields, own=other.data or {}).key != recipe.key
