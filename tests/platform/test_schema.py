"""The JSON Schema of specifications accepts what is shipped, and refuses what is misspelt or of a wrong type."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from jsonschema import Draft7Validator

from frisket.platform.cli.main import main
from frisket.platform.specs.experiment import load_spec
from frisket.platform.specs.kinds import known
from frisket.platform.specs.schema import schema
from frisket.platform.specs.text import overridden, parse, spec_names, text_of

KINDS = [(section, kind) for section, kinds in known().sections.items() for kind in kinds]


@pytest.fixture(scope="module")
def validator() -> Draft7Validator:
    Draft7Validator.check_schema(made := schema())
    return Draft7Validator(made)


@pytest.mark.parametrize("name", spec_names())
def test_every_shipped_spec_is_valid(name: str, validator: Draft7Validator) -> None:
    assert [error.message for error in validator.iter_errors(parse(text_of(name), name))] == []


@pytest.mark.parametrize("name", ["demo", "osaka/p90-cmaml-pre", "replay/permutations-grid"])
def test_a_complete_spec_is_valid(name: str, validator: Draft7Validator) -> None:
    assert validator.is_valid(load_spec(name).as_dict())


@pytest.mark.parametrize(("section", "kind"), KINDS)
def test_every_kind_takes_its_fields_and_no_other(section: str, kind: str, validator: Draft7Validator) -> None:
    spec: dict[str, Any] = {"learner": {"kind": "cmaml"}, section: {"kind": kind}}
    assert validator.is_valid(spec)
    spec[section]["inner_stepz"] = 3
    assert not validator.is_valid(spec)


@pytest.mark.parametrize(
    "mistake",
    [
        "streem.p=0.9",
        "stream.pp=0.9",
        "stream.p=high",
        "stream.source=elsewhere",
        "learner.inner_step=4",
        "learner.inner_steps=four",
        "learner.inner_steps=1.5",
        "learner.order=3",
        "learner.kind=sparse-cmam",
        "protocol.kind=accuracy",
        "seeds=many",
        "pretrain.epoch=3",
        "published.source=3",
        "variants.cmaml-fixed.learner.alpha0=1.0",
        "variants.cmaml-fixed.learner.kind=fixed",
        "variants.sparse-cmaml.learner.inner_stepz=4",
        "variants.cmaml-fixed.lerner={kind: er}",
        "variants={'a b': {}}",
        "tune={axes: {learner.inner_stepz: [1]}}",
        "tune={axes: {learner.inner_steps: []}}",
        "tune={axes: {learner.inner_steps: [1]}, search: all}",
        "tune={search: grid}",
        "data={mine: {folder: here, sise: 32}}",
        "data={mine: {size: 32}}",
    ],
)
def test_mistakes_are_refused(mistake: str, validator: Draft7Validator) -> None:
    raw = parse(text_of("demo"), "demo")
    assert not validator.is_valid(overridden(copy.deepcopy(raw), mistake))


@pytest.mark.parametrize(
    "change",
    [
        "learner.inner_steps=2",
        "learner.um_lambda=1000",
        "pretrain={epochs: 3}",
        "pretrain=null",
        "variants.sparse-cmaml.learner.inner_steps=3",
        "variants.sparse-cmaml.stream={steps: 3, source: service}",
        "tune={axes: {learner.inner_steps: [1, 2], learner: {outer_lr: {low: 0.1, high: 1, scale: log}}}}",
    ],
)
def test_what_may_be_said_is_accepted(change: str, validator: Draft7Validator) -> None:
    assert validator.is_valid(overridden(parse(text_of("demo"), "demo"), change))


def test_a_learner_must_be_named(validator: Draft7Validator) -> None:
    assert not validator.is_valid({"stream": {"kind": "osaka"}})
    assert not validator.is_valid({"learner": {"inner_steps": 3}})
    assert validator.is_valid({"learner": {"kind": "cmaml"}, "stream": {"p": 0.5}})


def test_modules_of_ones_own_bring_kinds_of_their_own(validator: Draft7Validator) -> None:
    own = {"learner": {"kind": "mine", "depth": 3}, "variants": {"a": {}, "b": {"learner": {"depth": 4}}}}
    assert not validator.is_valid(own)
    assert validator.is_valid({"uses": ["mine.py"], **own})
    assert not validator.is_valid({"uses": ["mine.py"], **own, "learner": {"kind": "cmaml", "depth": 3}})
    assert not validator.is_valid({"uses": "mine.py", **own})
    searched = own | {"tune": {"axes": {"learner.depth": [3, 4], "learner": {"width": {"low": 1, "high": 2}}}}}
    assert not validator.is_valid(searched)
    assert validator.is_valid({"uses": ["mine.py"], **searched})
    assert not validator.is_valid({"uses": ["mine.py"], **own, "tune": {"axes": {"learner.depth": 3}}})


def test_the_command_prints_meanings_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    made = json.loads(capsys.readouterr().out)
    field = made["definitions"]["learner.cmaml"]["properties"]["um_lambda"]
    assert field["type"] == "number"
    assert field["default"] == 1.0
    assert field["description"] == "lambda; 1000 gives weight 1 (UM off). Must be above 0."
