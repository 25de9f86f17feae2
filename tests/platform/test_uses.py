"""Modules of a user's own: named in a specification or handed over in Python; their text, not their place, counts."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

import pytest
import yaml

import frisket
from frisket.algos.learner import Method
from frisket.algos.learners.replay.er import ER, ERConfig
from frisket.errors import ModelError, RunError, SpecError
from frisket.platform.run.folder import RunFolder
from frisket.platform.specs.experiment import Experiment, from_dict, load_spec
from frisket.platform.specs.kinds import known
from frisket.platform.specs.uses import taken

METHOD = dedent(
    '''
    """ER whose steps are longer."""
    from dataclasses import dataclass

    from frisket.algos.learner import Method
    from frisket.algos.learners.replay.er import ER, ERConfig


    @dataclass(frozen=True, kw_only=True)
    class LongERConfig(ERConfig):
        """Attributes: factor: of the rate."""

        factor: float = 2.0


    class LongER(ER):
        """ER with another rate."""


    METHODS = (Method(name="long-er", config=LongERConfig, build=LongER, summary="ER with long steps"),)
    '''
)
SPEC: dict[str, Any] = {
    "stream": {"kind": "rotations", "tasks": 2, "samples": 20},
    "network": {"kind": "mlp", "hidden": [8]},
    "learner": {"kind": "long-er", "memory_slots": 20},
    "protocol": {"kind": "retained-accuracy"},
    "seeds": 1,
}


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A folder with ``long_er.py`` and ``mine.yaml``, which uses it."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "long_er.py").write_text(METHOD, encoding="utf-8")
    (folder / "mine.yaml").write_text(yaml.safe_dump({"uses": ["long_er.py"], **SPEC}), encoding="utf-8")
    return folder


def ran(spec: Any, tmp_path: Path, **asked: Any) -> Any:
    """A finished local run on embedded data."""
    return frisket.run(spec, data="embedded", local=True, runs_dir=tmp_path / "runs", **asked)


def test_a_file_beside_the_specification_brings_a_method(mine: Path) -> None:
    experiment = load_spec(str(mine / "mine.yaml"))
    assert experiment.learner.row.summary == "ER with long steps"
    (use,) = experiment.uses
    assert use.as_dict() == {"name": "long_er.py", "sha256": use.sha256}
    assert len(use.sha256 or "") == 64
    assert "long-er" not in known().learners  # nothing was added for good
    with pytest.raises(SpecError, match=r"learner.kind = 'long-er': .*known"):
        load_spec("replay/rotations-er", ["learner={kind: long-er}"])


def test_overrides_and_arguments_bring_a_method_to_any_specification(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(mine)
    changed = ["uses=[long_er.py]", "learner={kind: long-er, factor: 3.0}"]
    assert load_spec("replay/rotations-er", changed).learner.config.factor == 3.0
    assert load_spec("replay/rotations-er", changed[1:], uses=[mine / "long_er.py"]).learner.kind == "long-er"
    assert load_spec({**SPEC, "uses": ["long_er.py"]}).name == "experiment"


def test_what_it_is_made_of_counts_as_work(mine: Path) -> None:
    before = load_spec(str(mine / "mine.yaml"))
    (mine / "long_er.py").write_text(METHOD.replace("2.0", "2.5"), encoding="utf-8")
    after = load_spec(str(mine / "mine.yaml"))
    assert (before.learner.config.factor, after.learner.config.factor) == (2.0, 2.5)  # both texts in one process
    assert before.work() != after.work()
    assert before.learner.row.config is not after.learner.row.config


def test_an_experiment_survives_pickling(mine: Path) -> None:
    experiment = load_spec(str(mine / "mine.yaml"))
    again: Experiment = pickle.loads(pickle.dumps(experiment))
    assert again == experiment
    assert again.learner.row is not None
    assert again.learner.kind == "long-er"


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("METHODS = (", "line 1: SyntaxError"),
        ("import nowhere_to_be_found", "line 1: ModuleNotFoundError.*a file stands alone"),
        ("x = 1\nraise ValueError('no')", "line 2: ValueError: no"),
        ("x = 1", "declares nothing"),
        ("METHODS = ('er',)", r"METHODS = .*must be a tuple of Method"),
        (METHOD.replace('"long-er"', '"er"'), "METHODS.name = 'er': is taken"),
    ],
)
def test_a_module_that_is_wrong_is_named_with_its_line(mine: Path, text: str, seen: str) -> None:
    (mine / "long_er.py").write_text(text, encoding="utf-8")
    with pytest.raises(SpecError, match=seen):
        load_spec(str(mine / "mine.yaml"))


@pytest.mark.parametrize(
    ("said", "seen"),
    [
        ("long_er.py", "must be a list of files"),
        ([3], "must be a list of files"),
        (["elsewhere.py"], "no such file"),
        (["no_such_package_here"], "no such module on the path"),
        (["folder_alone"], "is a folder without __init__.py"),
        (["long_er.py", "long_er.py"], "named twice"),
    ],
)
def test_a_wrong_uses_section_is_refused(mine: Path, said: Any, seen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (mine / "folder_alone").mkdir()
    monkeypatch.syspath_prepend(mine)
    (mine / "mine.yaml").write_text(yaml.safe_dump({**SPEC, "uses": said}), encoding="utf-8")
    with pytest.raises(SpecError, match=seen):
        load_spec(str(mine / "mine.yaml"))


def test_a_run_keeps_the_text_and_goes_by_it(mine: Path, tmp_path: Path) -> None:
    done = ran(str(mine / "mine.yaml"), tmp_path)
    kept = done.path / "uses" / "long_er.py"
    assert kept.read_text(encoding="utf-8") == METHOD
    (mine / "long_er.py").write_text("raise SystemExit('the file beside the specification is not asked')", "utf-8")
    assert RunFolder.open(done.path).experiment.learner.kind == "long-er"
    assert frisket.run(resume=done.path, local=True).summary["summary"] == done.summary["summary"]
    kept.write_text(METHOD + "\n", encoding="utf-8")
    with pytest.raises(SpecError, match=r"long_er.py'?: has changed: sha256 \w+, noted is \w+"):
        _ = RunFolder.open(done.path).experiment


def test_a_run_of_that_name_with_another_text_is_refused(mine: Path, tmp_path: Path) -> None:
    ran(str(mine / "mine.yaml"), tmp_path, run_id="mine")
    (mine / "long_er.py").write_text(METHOD + "# changed\n", encoding="utf-8")
    with pytest.raises(RunError, match="of another specification"):
        ran(str(mine / "mine.yaml"), tmp_path, run_id="mine")


def test_the_card_says_which_module_to_pass(mine: Path, tmp_path: Path) -> None:
    from frisket.platform.reports.card import card

    text = card(RunFolder.open(ran(str(mine / "mine.yaml"), tmp_path).path), "1", "run", "mine", "1")
    assert "frisket.load_model(\"models:/mine/1\", uses=['long_er.py'])" in text
    assert "pyfunc" not in text


def test_a_model_imports_nothing_by_itself(mine: Path, tmp_path: Path) -> None:
    from frisket.platform.model.model import FrisketModel, write_model

    done = ran(str(mine / "mine.yaml"), tmp_path)
    with pytest.raises(ModelError, match=r"pass it: --uses long_er.py, in Python uses=\['long_er.py'\]"):
        frisket.load_model(done.path)
    assert frisket.load_model(done.path, uses=[mine / "long_er.py"]).learner is not None
    write_model(RunFolder.open(done.path), tmp_path / "model")
    with pytest.raises(ModelError, match="not imported unasked"):
        FrisketModel.load(tmp_path / "model")
    assert (tmp_path / "model/uses/long_er.py").read_text(encoding="utf-8") == METHOD
    model = FrisketModel.load(tmp_path / "model", uses=taken([mine / "long_er.py"]))
    assert type(model.learner).__name__ == "LongER"
    (mine / "long_er.py").write_text(METHOD + "# changed\n", encoding="utf-8")
    with pytest.warns(UserWarning, match="not the text this model was made with"):
        FrisketModel.load(tmp_path / "model", uses=taken([mine / "long_er.py"]))


def test_a_model_that_asks_for_an_import_is_refused(mine: Path, tmp_path: Path) -> None:
    """A foreign model's specification names a module where frisket only notes one: nothing of it is executed."""
    from frisket.files import read_json, read_sealed, write_json
    from frisket.platform.model.index import write_index
    from frisket.platform.model.model import FrisketModel, write_model

    done = ran(str(mine / "mine.yaml"), tmp_path)
    write_model(RunFolder.open(done.path), tmp_path / "model")
    evil = tmp_path / "evil.py"
    evil.write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\n{METHOD}", encoding="utf-8")
    spec, index = read_json(tmp_path / "model/spec.json"), read_sealed(tmp_path / "model/model.json")
    write_json(tmp_path / "model/spec.json", {**spec, "uses": [str(evil)]})
    write_index(tmp_path / "model", index["replicas"])
    with pytest.raises(ModelError, match="uses"):
        FrisketModel.load(tmp_path / "model")
    assert not (tmp_path / "executed").exists()


@dataclass(frozen=True, kw_only=True)
class OwnConfig(ERConfig):
    """Attributes: none of its own."""


class OwnER(ER):
    """ER of the tests'."""

    def __init__(self, config: OwnConfig, network: Any) -> None:
        super().__init__(config, network)


def test_a_class_given_directly_runs_in_this_process_alone(tmp_path: Path) -> None:
    spec = {**SPEC, "learner": {"kind": "own-er", "memory_slots": 20}}
    done = ran(spec, tmp_path, uses=[OwnER])
    assert done.summary["summary"]["ra"]["n"] == 1
    with pytest.raises(SpecError, match="reaches no other process"):
        frisket.run(spec, data="embedded", runs_dir=tmp_path / "runs", uses=[OwnER])
    with pytest.raises(SpecError, match=r"handed to frisket.run as a class"):
        _ = RunFolder.open(done.path).experiment
    row = Method(name="own", config=OwnConfig, build=OwnER, summary="a row")
    assert load_spec({**spec, "learner": {"kind": "own"}}, uses=[row]).learner.row is row


def test_a_class_whose_module_declares_it_is_taken_as_that_module(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(mine)
    monkeypatch.delitem(sys.modules, "long_er", raising=False)
    import long_er  # pyright: ignore[reportMissingImports]

    for given in (long_er, long_er.LongER, long_er.METHODS[0]):
        (use,) = taken([given])
        assert (use.name, use.text) == ("long_er.py", METHOD)
    monkeypatch.delitem(sys.modules, "long_er")


BIRDS = dedent(
    '''
    """Ten squares, in two classes, as a map-style dataset."""
    import numpy as np

    from frisket.envs.data import DatasetKind, OwnDataset


    class Squares:
        classes = ("dark", "light")

        def __len__(self):
            return 40

        def __getitem__(self, index):
            return np.full((1, 8, 8), 200 * (index % 2) + index // 8, np.uint8), index % 2


    DATASETS = (DatasetKind(name="squares", data=OwnDataset(source=Squares)),)
    '''
)


def test_a_module_brings_a_map_style_dataset(tmp_path: Path) -> None:
    (tmp_path / "squares.py").write_text(BIRDS, encoding="utf-8")
    spec = {
        **SPEC,
        "stream": {"kind": "incremental", "dataset": "squares", "scenario": "class", "classes_per_task": 1, "batch": 4},
        "learner": {"kind": "er", "lr": 0.1, "memory_slots": 20},
    }
    done = frisket.run(spec, data="real", local=True, runs_dir=tmp_path / "runs", uses=[tmp_path / "squares.py"])
    manifest = RunFolder.open(done.path).manifest
    assert set(manifest["data"]) == {"squares", "squares:test"}
    assert all(one["sha256"] for one in manifest["data"].values())
    model = frisket.load_model(done.path, uses=[tmp_path / "squares.py"])
    assert list(model.classes()) == ["dark", "light"]


@pytest.mark.parametrize("given", [3, object(), int, ModuleType("empty")])
def test_what_is_no_module_is_refused(given: Any) -> None:
    with pytest.raises(SpecError, match="uses"):
        taken([given])


def test_a_package_is_noted_with_its_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "path" / "house_of_mine"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("from house_of_mine.inner.method import METHODS\n", encoding="utf-8")
    (package / "inner/__init__.py").touch()
    (package / "inner/method.py").write_text(METHOD, encoding="utf-8")
    monkeypatch.syspath_prepend(package.parent)
    spec = {"name": "mine", **SPEC, "uses": ["house_of_mine"]}
    experiment = from_dict(spec)
    assert experiment.learner.kind == "long-er"
    (use,) = experiment.uses
    (package / "inner/method.py").write_text(METHOD + "\n", encoding="utf-8")
    with pytest.raises(SpecError, match="has changed"):
        from_dict({**spec, "uses": [use.as_dict()]}, folder=tmp_path)
    for name in [name for name in sys.modules if name.startswith("house_of_mine")]:
        monkeypatch.delitem(sys.modules, name)


def test_installed_packages_bring_kinds_by_entry_points(tmp_path: Path) -> None:
    """A distribution on the path says ``[frisket.methods]``; one that cannot be imported is a warning, no more."""
    site = tmp_path / "site"
    for name, text in (("good", METHOD), ("broken", "import nowhere_at_all\n")):
        info = site / f"{name}_dist-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-dist\nVersion: 1.0\n", encoding="utf-8")
        (info / "entry_points.txt").write_text(f"[frisket.methods]\n{name} = {name}_module\n", encoding="utf-8")
        (site / f"{name}_module.py").write_text(text, encoding="utf-8")
    code = (
        "import warnings\n"
        "with warnings.catch_warnings(record=True) as said:\n"
        "    warnings.simplefilter('always')\n"
        "    from frisket.platform.specs.kinds import known\n"
        "    print('long-er' in known().learners, [str(w.message) for w in said if 'broken' in str(w.message)])\n"
    )
    root = Path(frisket.__file__).resolve().parent.parent
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=root,
        env={"PYTHONPATH": f"{site}:{root}", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith('True ["frisket.methods: broken_module of broken-dist cannot be imported')


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        (
            "        raise KeyError('boom')",
            r"long-er failed in its run: KeyError: 'boom' \(long_er.py, line \d+\).*frisket check",
        ),
        ("        import sys; sys.exit(0)", r"long-er failed in its run: SystemExit: 0 \(long_er.py, line \d+\)"),
        ("        return None", "long-er failed in its run: "),
    ],
)
def test_a_method_that_fails_is_told_with_its_line(mine: Path, tmp_path: Path, line: str, seen: str) -> None:
    said = '"""ER with another rate."""'
    broken = METHOD.replace(said, f"{said}\n\n    def init(self, seed, warm_start=None):\n{line}")
    (mine / "long_er.py").write_text(broken, encoding="utf-8")
    with pytest.raises(SpecError, match=seen):
        ran(str(mine / "mine.yaml"), tmp_path)


@pytest.mark.parametrize(
    ("before", "after", "seen"),
    [
        ("build=LongER", "build=3", r"long_er.py.METHODS.build = 3: must be called"),
        ("config=LongERConfig", "config=dict", r"long_er.py.METHODS.config = .*must be a dataclass"),
        ('name="long-er"', 'name="Long ER!"', r"METHODS.name = 'Long ER!': must be a name of lower-case"),
    ],
)
def test_a_row_that_is_not_whole_is_refused(mine: Path, before: str, after: str, seen: str) -> None:
    (mine / "long_er.py").write_text(METHOD.replace(before, after), encoding="utf-8")
    with pytest.raises(SpecError, match=seen):
        load_spec(str(mine / "mine.yaml"))


def test_a_class_can_be_handed_over_again(tmp_path: Path) -> None:
    spec = {**SPEC, "learner": {"kind": "own-er", "memory_slots": 20}}
    done = ran({**spec, "uses": [OwnER]}, tmp_path)  # in the dict, or beside it
    again = frisket.run(resume=done.path, local=True, uses=[OwnER])
    assert again.summary["summary"] == done.summary["summary"]
    assert isinstance(frisket.load_model(done.path, uses=[OwnER]).learner, OwnER)
    with pytest.raises(ModelError, match="or the class itself"):
        frisket.load_model(done.path)
