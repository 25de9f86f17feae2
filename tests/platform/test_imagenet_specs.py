"""The ImageNet specifications: their recipe, and each of them from end to end on a tiny made folder of pictures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from picture_files import CLASSES, made_folders
from typer.testing import CliRunner

from frisket.algos.parts.tree import flatten
from frisket.algos.state_file import load_state
from frisket.envs.data import Pictures, resolve
from frisket.envs.task_stream import TaskStream
from frisket.errors import DataError, RunError, SpecError, Stopped
from frisket.platform.cli.main import app
from frisket.platform.reports.figures import draw_figures
from frisket.platform.run.engine import run_replica
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.journal import read_journal
from frisket.platform.specs.build import Inputs, build_learner, build_stream, datasets
from frisket.platform.specs.experiment import load_spec
from frisket.platform.specs.text import spec_names
from frisket.platform.verbs.run import prepare, reopen

IMAGENET = [name for name in spec_names() if name.startswith("pruning/imagenet-")]
SMALL = [
    "stream.batch=8", "stream.steps=6", "stream.size=16", "stream.resize=18", "stream.readers=2", "stream.test_batch=3",
    "network.depth=18", "network.width=2", "learner.lr=0.05", "learner.warmup=2", "learner.drops=[5]",
    "learner.micro_batches=2", "log_every=2", "protocol.every=4", "checkpoint_seconds=0.001",
]  # fmt: skip
SCHEDULES = {
    "iterative-magnitude": ["learner.every=2", "learner.first=0", "learner.last=4"],
    "rigl": ["learner.every=2", "learner.last=4"],
    "top-kast": ["learner.every=2"],
    "static-sparse": [],
}
EPN = "pruning/imagenet-iterative-magnitude-powerprop"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with sixteen training and eight test pictures of two classes."""
    return made_folders(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(autouse=True)
def named(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRISKET_DATA", str(pictures))


def run_folder(spec: str, parent: Path, *overrides: str) -> RunFolder:
    schedule = SCHEDULES[load_spec(spec).learner.kind]
    return prepare(spec, [*SMALL, *schedule, *overrides], seeds=1, data="real", runs_dir=parent, register=False)


def final(folder: RunFolder) -> dict[str, torch.Tensor]:
    return flatten(load_state(folder.replica("seed0").final)[0])


def test_recipe() -> None:
    """32,000 steps of 4096: warm-up of 5 epochs to 1.6, drops by 10 at 30, 70 and 90, momentum, smoothing, L2."""
    assert len(IMAGENET) == 7
    epoch = 1_281_167 / 4096
    for name in IMAGENET:
        spec = load_spec(name)
        stream, learner, network = spec.stream.config, spec.learner.config, spec.network.config
        assert (stream.batch, stream.steps, stream.size, spec.seeds) == (4096, 32_000, 224, 3)
        assert (network.depth, network.width, network.stem) == (50, 64, "large")
        assert (learner.optimiser, learner.momentum, learner.label_smoothing) == ("momentum", 0.9, 0.1)
        for epochs, rate in ((2.5, 0.8), (5, 1.6), (29.9, 1.6), (30.1, 0.16), (70.1, 0.016), (90.1, 0.0016)):
            assert learner.rate(round(epochs * epoch)) == pytest.approx(rate, rel=0.002)
        kasts = spec.learner.kind == "top-kast"
        assert (learner.penalty if kasts else learner.weight_decay) == 1e-4
        assert not (kasts and learner.weight_decay)
        assert (network.powerprop_alpha > 1) == name.endswith("-powerprop")
        assert learner.kept == (1.0 if name.endswith("-dense") else 0.2)


@pytest.mark.parametrize("spec", IMAGENET)
def test_runs_from_end_to_end(spec: str, tmp_path: Path) -> None:
    folder = run_folder(spec, tmp_path)
    (replica,) = folder.experiment.replicas()
    run_replica(folder, replica)
    (result,) = folder.results()
    steps = [line["step"] for line, _ in read_journal(folder.replica(replica).journal) if "step" in line]
    assert [t for t, step in enumerate(steps) if "test_accuracy" in step] == [3, 5]
    assert result["metrics"]["accuracy"] == steps[-1]["test_accuracy"]
    assert 0 < result["metrics"]["loss"] < 20
    assert result["input"] == {"shape": [3, 16, 16], "ways": 2, "own": None, "names": list(CLASSES)}
    sparsity = result["sparsity"]
    assert sparsity["stem.weight"] == 0
    assert sparsity["overall"] == pytest.approx(0.0 if spec.endswith("-dense") else 0.8, abs=0.03)
    assert {p.name for p in draw_figures(folder)} >= {"accuracy.png", "sparsity.png"}
    notes = folder.manifest["data"]["imagenet"]["notes"]
    assert "16 pictures in 2 classes" in notes


def test_accuracy_is_that_of_the_saved_network_on_every_test_picture(tmp_path: Path) -> None:
    folder = run_folder(EPN, tmp_path)
    (replica,) = folder.experiment.replicas()
    run_replica(folder, replica)
    (result,) = folder.results()
    learner = build_learner(folder.experiment, Inputs.from_dict(result["input"]))
    stream = build_stream(folder.experiment, resolve(datasets(folder.experiment), "real", kind=Pictures), 0)
    assert isinstance(stream, TaskStream)
    x, y = stream.test_set(0)
    logits = learner.predict(load_state(folder.replica(replica).final)[0], x)
    assert logits is not None
    assert result["metrics"]["accuracy"] == pytest.approx(float((logits.argmax(-1) == y).double().mean()))
    loss = float(torch.nn.functional.cross_entropy(logits, y))
    assert result["metrics"]["loss"] == pytest.approx(loss, rel=1e-4)


@pytest.mark.parametrize("spec", [EPN, "pruning/imagenet-rigl"])
def test_stopped_at_every_step_and_resumed_equals_never_stopped(spec: str, tmp_path: Path) -> None:
    whole, parts = run_folder(spec, tmp_path / "a"), run_folder(spec, tmp_path / "b", "stream.readers=1")
    (replica,) = whole.experiment.replicas()
    run_replica(whole, replica)
    for _ in range(5):
        with pytest.raises(Stopped):
            run_replica(parts, replica, stop=lambda: True)
    run_replica(parts, replica)
    a, b = final(whole), final(parts)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert whole.results()[0]["metrics"] == parts.results()[0]["metrics"]
    assert any(k.startswith("statistics/") for k in a)


def test_the_command_line_runs_it_and_tells_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["run", "pruning/imagenet-dense", *SMALL, "--seeds", "1", "--data", "real", "--local", "--no-register"]
    result = CliRunner().invoke(app, [*command, "--json", "out.json"], catch_exceptions=False)
    assert result.exit_code == 0
    found = json.loads((tmp_path / "out.json").read_text())
    assert set(found["summary"]) == {"accuracy", "loss", "sparsity"}
    assert found["data"]["sets"]["imagenet:test"]["form"] == "folders of pictures, by names and sizes"
    monkeypatch.setenv("FRISKET_DATA", str(tmp_path))
    with pytest.raises(DataError, match="imagenet/train/CLASS"):
        CliRunner().invoke(app, command, catch_exceptions=False)


def test_pictures_that_changed_stop_a_resumed_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = made_folders(tmp_path / "data")
    monkeypatch.setenv("FRISKET_DATA", str(data))
    folder = run_folder(EPN, tmp_path / "runs")
    (replica,) = folder.experiment.replicas()
    with pytest.raises(Stopped):
        run_replica(folder, replica, stop=lambda: True)
    assert reopen("last", runs_dir=tmp_path / "runs").run_id == folder.run_id
    next((data / "imagenet" / "train").rglob("*_3.JPEG")).unlink()
    with pytest.raises(RunError, match="the data of imagenet are not those"):
        reopen("last", runs_dir=tmp_path / "runs")


@pytest.mark.parametrize(
    ("spec", "overrides", "says"),
    [
        (EPN, ["stream.batch=17"], "stream.batch.*at most 16"),
        (EPN, ["network.depth=34"], "network.depth"),
        (EPN, ["learner.label_smoothing=1.0"], "learner.label_smoothing"),
        (EPN, ["stream={kind: rotations, dataset: digits, tasks: 2, samples: 10}"], "one task with test pictures"),
        (EPN, ["stream={kind: split-classes, dataset: imagenet, tasks: 1, classes_per_task: 2}"], "lies in folders"),
        ("pruning/imagenet-rigl", ["network.powerprop_alpha=2.0"], "powerprop_alpha"),
    ],
)
def test_mistakes_are_seen_before_the_start(spec: str, overrides: list[str], says: str, tmp_path: Path) -> None:
    small = [text for text in SMALL if not (text.startswith("stream.") and overrides[0].startswith("stream="))]
    with pytest.raises(SpecError, match=says):
        prepare(spec, [*small, *overrides], seeds=1, data="real", runs_dir=tmp_path, register=False)
