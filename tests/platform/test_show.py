"""`frisket show`: every value of a specification, who says it, and the same experiment again from YAML."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import frisket
from frisket.errors import SpecError
from frisket.platform.cli.columns import aligned
from frisket.platform.cli.main import main
from frisket.platform.specs.experiment import from_dict, load_spec
from frisket.platform.specs.text import dump, lines, parse
from frisket.platform.verbs.show import complete

VARIANTS = """\
# a comment
stream: {kind: osaka, p: 0.9}
network: {kind: conv4}
learner: {kind: cmaml,
  inner_steps: 2}
variants:
  short: {}
  fixed: {learner: {kind: cmaml-fixed, alpha_0: 0.2}}
  long: {learner: {inner_steps: 9}, stream: {steps: 40}}
"""
GRID = """\
stream: {kind: permutations}
network: {kind: mlp}
learner: {kind: la-maml, glances: 2}
protocol: {kind: retained-accuracy}
seeds: 3
tune:
  axes:
    learner.alpha_init: [0.1, 0.3]
    learner.alpha_lr: [0.1, 0.2]
"""


@pytest.fixture
def spec(tmp_path: Path) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(VARIANTS, encoding="utf-8")
    return str(path)


@pytest.fixture
def grid(tmp_path: Path) -> str:
    path = tmp_path / "grid.yaml"
    path.write_text(GRID, encoding="utf-8")
    return str(path)


def origins(shown: dict[str, Any]) -> dict[str, tuple[Any, str, Any]]:
    return {row["field"]: (row["value"], row["from"], row["where"]) for row in shown["values"]}


def test_every_value_says_where_it_comes_from(spec: str) -> None:
    shown = frisket.show(spec, ["stream.ways=4", "seeds=2"])
    said = origins(shown)
    assert said["name"] == ("mine", "file", None)
    assert said["stream.kind"] == ("osaka", "file", 2)
    assert said["stream.p"] == (0.9, "file", 2)
    assert said["stream.ways"] == (4, "override", "stream.ways=4")
    assert said["stream.shots"] == (5, "default", "OsakaConfig")
    assert said["network.powerprop_alpha"] == (1.0, "default", "NetworkConfig")
    assert said["learner.inner_steps"] == (2, "file", 5)
    assert said["learner.outer_lr"] == (0.001, "default", "PapConfig")
    assert said["protocol.kind"] == ("online-accuracy", "default", "Experiment")
    assert said["seeds"] == (2, "override", "seeds=2")
    assert (shown["variant"], shown["replicas"], shown["search"]) == ("short", 6, None)
    assert [entry["name"] for entry in shown["data"]] == ["omniglot", "mnist", "fashion_mnist"]


def test_values_are_those_of_the_experiment(spec: str) -> None:
    plain = load_spec(spec).variant("long").as_dict()
    for field, (value, _, _) in origins(frisket.show(spec, variant="long")).items():
        section, _, name = field.partition(".")
        if section in plain:
            assert value == (plain[section][name] if name else plain[section])


def test_a_variant_says_what_it_changes(spec: str) -> None:
    shown = frisket.show(spec)
    assert shown["variants"] == {
        "short": {},
        "fixed": {"learner.kind": "cmaml-fixed", "learner.inner_steps": 16, "learner.alpha_0": 0.2},
        "long": {"stream.steps": 40, "learner.inner_steps": 9},
    }
    said = origins(frisket.show(spec, variant="long"))
    assert said["learner.inner_steps"] == (9, "variant", "long")
    assert said["learner.kind"] == ("cmaml", "file", 4)
    said = origins(frisket.show(spec, variant="fixed"))
    assert said["learner.inner_steps"] == (16, "default", "PapConfig")  # another kind starts afresh


def test_an_override_is_named_whatever_it_reaches(spec: str) -> None:
    change = "variants.long.learner.inner_steps=5"
    assert origins(frisket.show(spec, [change], variant="long"))["learner.inner_steps"] == (5, "override", change)
    assert origins(frisket.show(spec, [change]))["learner.inner_steps"] == (2, "file", 5)
    whole = "learner={kind: online-adam}"
    assert origins(frisket.show(spec, [whole, "variants={}"]))["learner.kind"] == ("online-adam", "override", whole)
    part = "stream.domains.digits=0.5"
    changes = ["stream.domains={digits: 1.0, mnist: 0.5}", part]
    assert origins(frisket.show(spec, changes))["stream.domains"][1:] == ("override", part)
    dropped = ["learner.inner_steps=7", "learner.kind=cmaml-fixed"]
    assert origins(frisket.show(spec, dropped))["learner.inner_steps"] == (16, "default", "PapConfig")


def test_a_search_shows_its_base_point_and_axes(grid: str) -> None:
    change = "tune.axes.learner.alpha_lr=[0.5]"
    shown = frisket.show(grid, [change])
    said = origins(shown)
    assert shown["variant"] is None
    assert (shown["search"]["points"], shown["search"]["metric"], shown["replicas"]) == (2, "ra", 6)
    assert [row["field"] for row in shown["values"] if row["searched"]] == ["learner.alpha_init", "learner.alpha_lr"]
    assert said["learner.alpha_init"] == (0.15, "default", "LearnedRateConfig")
    assert said["tune.axes.learner.alpha_init"] == ([0.1, 0.3], "file", 8)
    assert said["tune.axes.learner.alpha_lr"] == ([0.5], "override", change)
    point = origins(frisket.show(grid, [change], variant="alpha_init=0.3,alpha_lr=0.5"))
    assert point["learner.alpha_init"] == (0.3, "variant", "alpha_init=0.3,alpha_lr=0.5")
    assert point["learner.alpha_lr"] == (0.5, "override", change)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("demo", []),
        ("demo", ["stream.p=1", "learner.outer_lr=1e-7", "variants.online-adam.stream.steps=3"]),
        ("osaka/p90-cmaml-pre", []),
        ("replay/permutations-grid", ["tune.axes.learner.glances=[1, 2]"]),
        ("pruning/permuted-mnist-epn", ["stream.source=service"]),
        ("replay/tinyimagenet-multiple-iid", []),
    ],
)
def test_the_complete_specification_is_the_same_experiment(name: str, changes: list[str]) -> None:
    experiment = load_spec(name, changes)
    assert from_dict(parse(complete(name, changes), name)) == experiment
    for label in list(experiment.variants)[:2]:
        assert from_dict(parse(complete(name, changes, variant=label), name)) == experiment.variant(label)


def test_fields_that_move_no_number_are_marked() -> None:
    moves = {row["field"]: row["moves"] for row in frisket.show("replay/permutations-grid")["values"]}
    assert {field for field, what in moves.items() if what == "nothing"} == {
        "stream.source", "log_every", "checkpoint_seconds"
    }  # fmt: skip
    assert {field for field, what in moves.items() if what == "rounding"} == {
        "learner.compile", "pack", "threads", "device", "parallel"
    }  # fmt: skip


def test_nested_axes_have_their_lines_too(tmp_path: Path) -> None:
    path = tmp_path / "nested.yaml"
    path.write_text(
        GRID.replace("    learner.alpha_init:", "    learner:\n      alpha_init:").replace(
            "    learner.alpha_lr:", "      alpha_lr:"
        ),
        encoding="utf-8",
    )
    said = origins(frisket.show(str(path)))
    assert said["tune.axes.learner.alpha_init"] == ([0.1, 0.3], "file", 9)
    assert said["tune.axes.learner.alpha_lr"] == ([0.1, 0.2], "file", 10)


def test_a_dict_is_a_specification_too() -> None:
    shown = frisket.show({"learner": {"kind": "cmaml", "inner_steps": 3}}, ["seeds=2"])
    said = origins(shown)
    assert (shown["spec"], shown["file"]) == ("experiment", None)
    assert said["learner.inner_steps"] == (3, "file", None)
    assert said["seeds"] == (2, "override", "seeds=2")
    assert said["uses"] == ([], "default", "Experiment")


def test_a_label_that_is_none_is_refused(spec: str) -> None:
    with pytest.raises(SpecError, match=r"'lon'.*did you mean 'long'"):
        frisket.show(spec, variant="lon")


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@settings(max_examples=20, deadline=None)
@given(st.dictionaries(st.text(), _JSON))
def test_what_is_written_is_read_again(value: dict[str, Any]) -> None:
    assert parse(dump(value), "") == value


def test_a_text_that_looks_like_a_number_stays_a_text() -> None:
    assert parse(dump({"a": "1e-3", "b": 1e-3, "c": "0.5"}), "") == {"a": "1e-3", "b": 0.001, "c": "0.5"}


def test_lines_are_counted_from_one() -> None:
    assert lines("a: 1\nb:\n  c: 2\n") == {("a",): 1, ("b",): 2, ("b", "c"): 3}
    assert lines("") == {}


@pytest.mark.parametrize("width", [None, 120, 60, 30, 5])
def test_names_and_words_are_whole_at_any_width(width: int | None) -> None:
    rows = [("learner.inner_steps", "16", "default of PapConfig; searched"), ("x", "{a: 1} " * 20, "frisket/" * 9)]
    shown = list(aligned(rows, width))
    text = " ".join(shown)
    assert all(word in text for row in rows for cell in row for word in cell.split())
    if width is None:
        assert len(shown) == len(rows)
    if width == 120:
        assert max(map(len, shown)) <= width


def test_the_command_prints_whole_rows_into_a_pipe(
    spec: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    target = tmp_path / "shown.json"
    assert main(["show", spec, "stream.ways=4", "--json", str(target)]) == 0
    rows = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert rows["learner.switch_threshold"] == ["1.5", "default", "of", "PapConfig"]
    assert rows["stream.ways"] == ["4", "override", "stream.ways=4"]
    assert json.loads(target.read_text()) == frisket.show(spec, ["stream.ways=4"])


def test_the_command_shows_the_published_number(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "osaka/p90-sparse-cmaml"]) == 0
    out = capsys.readouterr().out
    assert "SPARSE21, Tables 6 and S8, n = 5" in out
    assert "0.863 ± 0.004" in out


def test_yaml_of_the_command_can_be_shown_again(spec: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", spec, "seeds=1", "--yaml"]) == 0
    again = tmp_path / "again.yaml"
    again.write_text(capsys.readouterr().out, encoding="utf-8")
    assert load_spec(str(again)) == load_spec(spec, ["seeds=1"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show"], "SPEC"),
        (["show", "dem"], "did you mean 'demo'"),
        (["show", "demo", "--variant", "nobody"], "variant = 'nobody'"),
        (["show", "demo", "learner.inner_step=4"], "unknown key; did you mean 'inner_steps'"),
        (["show", "demo", "--json", "no/such/folder/x.json"], "--json"),
    ],
)
def test_mistakes(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert said in err
    assert out == ""
