"""Specifications: defaults, overrides, variants, and every mistake answered with field, value and what is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import frisket
from frisket.algos.learners.online.cmaml import SparseCMAMLConfig
from frisket.envs.streams.osaka import OsakaConfig
from frisket.errors import SpecError
from frisket.platform.specs.experiment import Experiment, from_dict, load_spec
from frisket.platform.specs.text import dump, parse, spec_names

SPARSE = "osaka/p98-sparse-cmaml"


def test_named_spec_has_the_papers_numbers_and_defaults() -> None:
    experiment = load_spec(SPARSE)
    assert experiment.stream.config == OsakaConfig(p=0.98)
    assert isinstance(experiment.learner.config, SparseCMAMLConfig)
    assert (experiment.learner.config.gamma_m, experiment.learner.config.alpha_0) == (0.01, 0.3)
    assert experiment.published is not None
    assert experiment.published.metrics["accuracy"]["mean"] == pytest.approx(0.942)


def test_overrides_reach_fields_sections_and_kinds() -> None:
    experiment = load_spec(
        SPARSE, ["stream.steps=300", "learner.inner_steps=4", "network.channels=8", "log_every=7"], seeds=1
    )
    assert experiment.stream.config.steps == 300
    assert experiment.learner.config.inner_steps == 4
    assert experiment.network.config.channels == 8
    assert (experiment.log_every, experiment.seeds) == (7, 1)
    other = load_spec(SPARSE, ["learner.kind=cmaml-fixed", "learner.alpha_0=1e-1"])
    assert other.learner.kind == "cmaml-fixed"
    assert other.learner.config.alpha_0 == 0.1  # 1e-1 is a number here, though YAML 1.1 has it a string


def test_mapping_override_replaces_and_dotted_override_adds() -> None:
    whole = load_spec("demo", ["stream.domains={digits: 1.0}"])
    assert whole.stream.config.domains == {"digits": 1.0}
    part = load_spec("demo", ["stream.domains.omniglot=0.25", "stream.domains.mnist=0.5"])
    assert part.stream.config.domains == {"omniglot": 0.25, "mnist": 0.5, "fashion_mnist": 0.25}


@pytest.mark.parametrize("name", spec_names())
def test_every_shipped_spec_is_valid_and_round_trips(name: str) -> None:
    experiment = load_spec(name)
    again = from_dict(experiment.as_dict())
    assert again == experiment
    assert experiment.name == name


def test_variants_are_laid_over_the_base() -> None:
    demo = load_spec("demo")
    assert [r.key for r in demo.replicas()][:2] == ["sparse-cmaml-seed0", "sparse-cmaml-seed1"]
    adam = demo.variant("online-adam")
    assert adam.learner.kind == "online-adam"
    assert adam.stream == demo.stream
    assert demo.variant(None) == demo.variant("sparse-cmaml")
    with pytest.raises(SpecError, match="did you mean 'online-adam'"):
        demo.variant("online-adm")


def test_plain_experiment_has_one_replica_per_seed() -> None:
    assert [r.key for r in load_spec(SPARSE, seeds=3).replicas()] == ["seed0", "seed1", "seed2"]


@pytest.mark.parametrize(
    ("override", "field", "says"),
    [
        ("learner.inner_step=4", "learner.inner_step", "did you mean 'inner_steps'"),
        ("learner.inner_steps=four", "learner.inner_steps", "whole number"),
        ("learner.inner_steps=1.5", "learner.inner_steps", "whole number"),
        ("learner.inner_steps=true", "learner.inner_steps", "whole number"),
        ("learner.inner_steps=0", "learner.inner_steps", "at least 1"),
        ("learner.restart=never", "learner.restart", "'next_step' or 'same_step'"),
        ("stream.p=1.5", "stream.p", "[0, 1]"),
        ("stream.domains={mnist: 0.5}", "stream.domains", "sum to 1, not 0.5"),
        ("learner.kind=sparse-cmal", "learner.kind", "did you mean 'sparse-cmaml'"),
        ("sede=3", "sede", "did you mean 'seeds'"),
        ("seeds=0", "seeds", "at least 1"),
        ("device=gpu", "device", "cuda"),
        ("stream=5", "stream", "mapping"),
        ("stream.source=servce", "stream.source", "did you mean 'service'"),
        ("stream.source=5", "stream.source", "auto, in-process, service"),
        ("variants={a: {lerner: {}}}", "variants.a.lerner", "did you mean 'learner'"),
        ("learner.inner_steps", "override", "key.path=value"),
        ("seeds.x=1", "override", "no fields"),
    ],
)
def test_mistakes_are_named(override: str, field: str, says: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_spec(SPARSE, [override])
    assert caught.value.field == field
    assert says in caught.value.fix
    assert str(caught.value).startswith(f"{field} = ")


@pytest.mark.parametrize("value", ["lerned", "true", "[a, 0.1]", "[null]"])
def test_what_may_have_several_forms_names_them_all(value: str) -> None:
    with pytest.raises(SpecError, match="must be 'learned', or a number, or a list") as caught:
        load_spec("gems/embedded-mixture-mmsup", [f"learner.sparsity={value}"])
    assert caught.value.field == "learner.sparsity"


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("learner.clip=abc", "a number, or null"),
        ("stream.horizon=1.5", "a whole number without point or exponent, or null"),
        ("learner.lr=null", "must be a number"),
    ],
)
def test_null_is_named_where_it_is_allowed(override: str, says: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_spec("continual_world/pointgoal-epn", [override])
    assert caught.value.fix.endswith(says)


@pytest.mark.parametrize("value", ["3", "true", "[a]"])
def test_variants_of_a_search_that_are_no_mapping_are_named(value: str) -> None:
    with pytest.raises(SpecError, match="must map labels") as caught:
        load_spec("replay/permutations-grid", [f"variants={value}"])
    assert caught.value.field == "variants"


def test_an_axis_that_is_unknown_is_told_fields_and_nothing_else() -> None:
    with pytest.raises(SpecError, match=r"learner\.margin") as caught:
        load_spec("replay/rotations-gem", ["tune.axes={a: [1]}"])
    assert "packed" not in caught.value.fix


def test_unknown_names_suggest_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="did you mean 'osaka/p98-sparse-cmaml'"):
        load_spec("osaka/p98-sparse-cmal")
    with pytest.raises(SpecError, match="no such file"):
        load_spec(str(tmp_path / "nothing.yaml"))


def test_a_number_of_seeds_that_is_given_twice_is_refused() -> None:
    for verb in (frisket.run, frisket.plan):
        with pytest.raises(SpecError, match="asked for twice") as caught:
            verb("demo", ["seeds=3"], seeds=2)
        assert (caught.value.field, caught.value.value) == ("seeds", "3")
    assert load_spec("demo", ["seeds=3"]).seeds == 3


def test_files_that_are_not_specs(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(SpecError, match="is a folder"):
        load_spec(str(tmp_path / "folder.yaml"))
    broken = tmp_path / "broken.yaml"
    broken.write_text("stream: {p: [")
    with pytest.raises(SpecError, match="not valid YAML"):
        load_spec(str(broken))
    broken.write_text("- 1\n")
    with pytest.raises(SpecError, match="mapping of sections"):
        load_spec(str(broken))
    broken.write_text("stream: {p: 0.5}\n")
    with pytest.raises(SpecError, match=r"learner\.kind.*is required"):
        load_spec(str(broken))


def test_experiment_is_named_after_its_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("learner: {kind: online-adam}\n")
    experiment = load_spec(str(path))
    assert isinstance(experiment, Experiment)
    assert experiment.name == "mine"


@pytest.mark.parametrize("spec", [3, None, ["demo"]])
def test_what_is_no_specification_at_all_is_said(spec: Any) -> None:
    with pytest.raises(SpecError, match=r"SPEC = .*: must be a name, the path of a YAML file as text, or a dict"):
        load_spec(spec)


BASE = """\
stream: {kind: osaka, p: 0.9, steps: 20}
network: {kind: conv4, channels: 8}
learner: {kind: sparse-cmaml, inner_steps: 2}
"""
BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9))
MANY = [0.001 * i for i in range(1, 400)]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("kind: osaka", "kind: [osaka]"), r"stream\.kind = \['osaka'\]: did you mean 'osaka'"),
        (("kind: osaka", "kind: {a: 1}"), r"stream\.kind = \{'a': 1\}: known: "),
        (("", "variants: {yes: {}, no: {}}\n"), "variants = True: .*quote yes, no and numbers"),
        (("", "variants: {2020-01-01: {}}\n"), "variants = datetime.date.2020, 1, 1.: must be labels"),
        (("", f"variants: {{{'a' * 300}: {{}}}}\n"), "variants = 'a+...a+': must be labels of 1 to 120"),
        (("", f"variants: {{{'é' * 120}: {{}}}}\n"), "variants = 'é+': must be labels of 1 to 120 bytes"),
        (("", "variants: {..: {}}\n"), "variants = '..': must be labels"),
        (("", "name: null\n"), "name = None: must be text of 1 to 200 bytes"),
        (("", "name: ../x\n"), "name = '../x': must be"),
        (("", "name: a//b\n"), "name = 'a//b': must be .*neither empty"),
        (("", "name: ' a'\n"), "name = ' a': must be .*with a space at an end"),
        (("", f"name: {'é' * 120}\n"), "name = 'é+': must be"),
        (("", "seeds: 2024-13-45\n"), r"has a value that is not what its form or tag says \(month must be in 1\.\.12"),
        (("p: 0.9", "p: !!float abc"), "has a value that is not what its form or tag says"),
        (("p: 0.9", "p: !!bool maybe"), "has a value that is not what its form or tag says"),
        (("", "threads: 1000000\n"), "threads = 1000000: must be 1 to 256"),
        (("", 'name: ""\n'), "name = '': must be"),
        (("", "name: \"it's\"\n"), 'name = "it\'s": must be'),
        (("", 'name: "a\\nb"\n'), "name = .*: must be"),
        (("", 'name: "a\\0b"\n'), "name = .*: must be"),
        (("", f"name: {'a' * 300}\n"), "name = 'a+...a+': must be"),
        (("", "seeds: 2020-01-01\n"), r"seeds = datetime\.date\(2020, 1, 1\): must be a plain YAML value"),
        (("", "seeds: 2\nseeds: 3\n"), "key 'seeds' is said twice, in lines 1 and 2"),
        (("p: 0.9", "p: 0.9, p: 0.98"), "key 'p' is said twice, in lines 1 and 1"),
        (("", "log_every: 1:30\n"), "log_every = '1:30'"),
        (("", "seeds: 1000000000\n"), "seeds = 1000000000: must be at most 100,000"),
        (("", f"seeds: {'9' * 23}\n"), "9{12}...9+ is too large a number"),
        (("", f"seeds: {'9' * 5000}\n"), "9{12}...9+ is too large a number"),
        (("", "name: " + "[" * 300_000), "nested too deeply"),
        (("", "name: " + "[" * 40 + "]" * 40 + "\n"), "nested too deeply"),
        (("", "name:\n" + "".join(" " * i + "a:\n" for i in range(1, 40))), "nested too deeply"),
        (("", "name:\n" + "".join(" " * i + "a:\n" + " " * i + "- \n" for i in range(1, 17))), "nested too deeply"),
        (("", "name:\n " + "- " * 40 + "a\n"), "nested too deeply"),
        (("", "name:\n " + "? " * 40 + "a\n"), "nested too deeply"),
        (("", BOMB), "values once its aliases are followed"),
        (("", f"tune: {{axes: {{learner.outer_lr: {MANY}, learner.alpha_0: {MANY}}}}}\n"),
         "tune = 159201: must be at most 100,000 points"),
    ],
)  # fmt: skip
def test_what_no_specification_may_say_is_refused(change: tuple[str, str], says: str, tmp_path: Path) -> None:
    there, said = change
    text = BASE.replace(there, said) if there else said + BASE
    (tmp_path / "s.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(SpecError, match=says):
        load_spec(str(tmp_path / "s.yaml"))


@pytest.mark.parametrize(
    ("text", "value"),
    [("010", 10), ("0x1F", 31), ("0o17", 15), ("1_000", 1000), ("-5", -5), ("1e-3", 0.001), ("1:30", "1:30")],
)  # fmt: skip
def test_numbers_are_those_of_yaml_1_2(text: str, value: object) -> None:
    assert parse(f"a: {text}", "") == {"a": value}
    assert parse(dump({"a": text}), "") == {"a": text}, "as text it is written so that it is read as text"


@pytest.mark.parametrize(
    "stem", ["a&b", "a~b", "e\u0301", "\u0928\u0940", "\N{ARTIST PALETTE}", "my spec (1)", ".a", "a=b,c@d"]
)
def test_a_file_s_name_is_the_experiment_s(stem: str, tmp_path: Path) -> None:
    (tmp_path / f"{stem}.yaml").write_text(BASE, encoding="utf-8")
    assert load_spec(str(tmp_path / f"{stem}.yaml")).name == stem


@pytest.mark.parametrize("said", ["stream.p=[", "stream.p=2024-13-01", "stream.p=!!int x", "stream.p=\udcff"])
def test_what_is_no_yaml_in_an_override_is_said_of_the_override(said: str) -> None:
    with pytest.raises(SpecError, match="override = "):
        load_spec("demo", [said])


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_specification_is_utf_8(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_bytes(f"# Größe\n{BASE}".encode(encoding))
    with pytest.raises(SpecError, match=r"is not UTF-8 text \(byte \d+\); save it as UTF-8"):
        load_spec(str(tmp_path / "s.yaml"))
