"""PackNet and EfficientPackNet led by the engine: from end to end, killed in the third task, mistakes refused first."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from frisket.algos.kinds import NETWORKS
from frisket.algos.learners.tasks.protecting import ProtectingLearner
from frisket.algos.masks.mask_set import MaskSet
from frisket.algos.masks.store import MaskStore
from frisket.algos.networks.powerprop import Powerprop
from frisket.algos.parts.tree import flatten
from frisket.algos.state_file import load_state
from frisket.envs.data import resolve
from frisket.envs.streams.pixel_tasks import PixelTaskStream
from frisket.errors import MaskError, SpecError
from frisket.platform.reports.capacity import read_capacity
from frisket.platform.reports.figure import Heading, save
from frisket.platform.reports.figures import draw_figures
from frisket.platform.reports.pruning import draw_curve, draw_survivors, read_curves, read_replica_survivors
from frisket.platform.run.engine import run_replica
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.journal import read_journal
from frisket.platform.specs.build import Inputs, build_learner, build_stream, datasets
from frisket.platform.specs.experiment import load_spec
from frisket.platform.specs.text import spec_names
from frisket.platform.verbs.run import prepare

EPN, PACKNET = "pruning/permuted-mnist-epn", "pruning/permuted-mnist-packnet"
SMALL = [
    "stream.tasks=3", "stream.samples=640", "stream.batch=32", "stream.epochs=2", "stream.validation=200",
    "network.hidden=[40, 40]", "learner.lr=0.005", "checkpoint_seconds=0.05",
]  # fmt: skip
OPTIONS = {
    EPN: ["learner.biases=per_task", "learner.weight_decay=0.001"],
    PACKNET: ["learner.tasks=3", "learner.retrain_steps=20"],
}
every_spec = pytest.mark.parametrize("spec", list(OPTIONS))


def run_folder(spec: str, parent: Path, *overrides: str) -> RunFolder:
    return prepare(
        spec, [*SMALL, *OPTIONS[spec], *overrides], seeds=1, data="embedded", runs_dir=parent, register=False
    )


def final(folder: RunFolder) -> dict[str, torch.Tensor]:
    return flatten(load_state(folder.replica("seed0").final)[0])


def steps_of(folder: RunFolder) -> list[dict[str, Any]]:
    return [line["step"] for line, _ in read_journal(folder.replica("seed0").journal) if "step" in line]


@every_spec
def test_nothing_is_forgotten_from_end_to_end(spec: str, tmp_path: Path) -> None:
    """The accuracy matrix keeps its columns below the diagonal, the stored masks are those of the journal."""
    folder = run_folder(spec, tmp_path)
    (replica,) = folder.experiment.replicas()
    run_replica(folder, replica)
    steps = steps_of(folder)
    rows = [step["row"] for step in steps if "row" in step]
    assert len(rows) == 3
    for task in range(3):
        assert len({row[task] for row in rows[task:]}) == 1
        assert rows[task][task] > 0.3  # chance is 0.1
    ends = [step for step in steps if "kept" in step]
    assert [steps.index(end) for end in ends] == [39, 79, 119]
    state, _ = load_state(folder.replica(replica).final)
    learner = build_learner(folder.experiment, Inputs.from_dict(folder.results()[0]["input"]))
    assert isinstance(learner, ProtectingLearner)
    capacity = learner.store(state).capacity()
    assert capacity.kept.tolist() == pytest.approx([end["kept"] for end in ends])
    assert capacity.free.tolist() == pytest.approx([end["capacity_free"] for end in ends])
    assert capacity.reused.tolist() == pytest.approx([end["reused"] for end in ends])
    masks = MaskSet.load(folder.replica(replica).masks)
    assert masks.sparsity() == pytest.approx(1 - capacity.free[-1])
    metrics = folder.results()[0]["metrics"]
    assert metrics["forgetting"] == 0
    assert metrics["accuracy"] == pytest.approx(sum(rows[-1]) / 3)
    assert metrics["capacity_free"] == pytest.approx(capacity.free[-1])
    taken = read_capacity(folder.experiment, folder.replica(replica))
    assert taken is not None
    assert taken.capacity.overlap.tolist() == capacity.overlap.tolist()
    drawn = {"accuracy.png", "matrix.png", "sparsity.png", "capacity.png", "capacity.json"}
    assert {p.name for p in draw_figures(folder)} >= drawn
    for size in (1, 10, 100):
        assert 0 <= metrics[f"identified/{size}"] <= 1
        assert metrics[f"accuracy_inferred/{size}"] <= metrics[f"accuracy_told/{size}"] + 0.1


@pytest.mark.process
@every_spec
def test_kill_9_in_the_middle_of_the_third_task(spec: str, tmp_path: Path) -> None:
    """Resumed, the final state has the bits of a run that was never killed: masks, weights and moments."""
    whole, killed = run_folder(spec, tmp_path / "a"), run_folder(spec, tmp_path / "b")
    (replica,) = whole.experiment.replicas()
    run_replica(whole, replica)
    script = (
        "import sys, time; from pathlib import Path; from frisket.platform.run import engine;"
        "from frisket.platform.run.folder import RunFolder; folder = RunFolder.open(Path(sys.argv[1]));"
        "slow = lambda: bool(time.sleep(0.02));"
        "[engine.run_replica(folder, r, stop=slow) for r in folder.experiment.replicas()]"
    )
    worker = subprocess.Popen([sys.executable, "-c", script, str(killed.path)], cwd=Path(__file__).parents[2])
    journal, deadline = killed.replica(replica).journal, time.monotonic() + 100
    third = '"t": 9' if '"t": 0' in whole.replica(replica).journal.read_text() else '"t":9'
    while worker.poll() is None and time.monotonic() < deadline:
        if journal.exists() and f"{third}0" in journal.read_text():
            break
        time.sleep(0.02)
    assert worker.poll() is None, "too late to prove anything"
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    checkpoint, _ = load_state(killed.pack((replica,)).checkpoint)
    assert len(checkpoint["learner"]["starts"]) == 2
    assert int(checkpoint["learner"]["running"]) == 80
    run_replica(killed, replica)
    a, b = final(whole), final(killed)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize(
    ("spec", "overrides", "error", "says"),
    [
        (EPN, ["stream.validation=0"], SpecError, "stream.validation"),
        (EPN, ["network.powerprop_alpha=0.5"], SpecError, "network.powerprop_alpha"),
        (EPN, ["learner.gamma=1.5"], SpecError, "learner.gamma"),
        (EPN, ["learner.grid=[0.0, 0.5]"], SpecError, "learner.grid"),
        (EPN, ["learner.refill=zero"], SpecError, "refill"),
        (EPN, ["stream={kind: osaka, shots: 1}", "protocol.kind=online-accuracy"], SpecError, "stream.kind"),
        (PACKNET, ["learner.prune=[1.0]"], SpecError, "learner.prune"),
    ],
)
def test_mistakes_are_seen_before_the_start(
    spec: str, overrides: list[str], error: type[Exception], says: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=says.replace(".", r"\.")):
        prepare(spec, [*SMALL, *overrides], seeds=1, data="embedded", runs_dir=tmp_path)


def test_more_tasks_than_capacity_stop_the_run_and_leave_the_masks_alone(tmp_path: Path) -> None:
    folder = run_folder(PACKNET, tmp_path, "learner.tasks=2")
    (replica,) = folder.experiment.replicas()
    with pytest.raises(MaskError, match="no weight is left for task 2"):
        run_replica(folder, replica)
    checkpoint, _ = load_state(folder.pack((replica,)).checkpoint)
    assert len(checkpoint["learner"]["starts"]) in (1, 2)


CURVE = [
    "stream.samples=600", "stream.epochs=40", "stream.validation=100", "network.hidden=[30, 20]",
    "protocol.kept=[0.05, 0.3, 1.0]",
]  # fmt: skip


def test_the_curve_of_one_shot_pruning(tmp_path: Path) -> None:
    """Every alpha has one; with all weights kept it is the network's own accuracy and the masks overlap wholly."""
    folder = prepare("pruning/mnist-one-shot", CURVE, seeds=1, data="embedded", runs_dir=tmp_path, register=False)
    assert [r.variant for r in folder.experiment.replicas()] == ["alpha-2", "alpha-1", "alpha-3", "alpha-4", "alpha-5"]
    for replica in folder.experiment.replicas()[:2]:
        run_replica(folder, replica)
        result = folder.replica(replica).result
        assert result is not None
        metrics = result["metrics"]
        assert metrics["accuracy"] == metrics["accuracy/kept-1.0000"] > 0.5
        assert metrics["accuracy/kept-0.0500"] < metrics["accuracy"]
        assert metrics["overlap/kept-1.0000"] == 1
        assert 0 < metrics["overlap/kept-0.0500"] < 1
        assert metrics["nll/kept-0.0500"] > metrics["nll/kept-1.0000"]
        found = read_replica_survivors(folder.replica(replica))
        assert found is not None
        assert metrics["sign_changes"] == found.flipped / found.kept
        assert found.kept == sum(found.start) == sum(found.end) == 2352 + 60 + 40  # int(0.1 size), the head's twice
        assert sum(found.by_start) == 784 * 30 + 30 * 20 + 20 * 10
        assert found.surviving_by_start[-1] > found.surviving_by_start[0]
        learner = build_learner(folder.experiment.variant(replica.variant), Inputs.from_dict(result["input"]))
        stream = build_stream(folder.experiment, resolve(datasets(folder.experiment), "embedded"), 0)
        assert isinstance(stream, PixelTaskStream)
        x, y = stream.test_set(0)
        logits = learner.predict(load_state(folder.replica(replica).final)[0], x)
        assert logits is not None
        assert metrics["accuracy"] == pytest.approx(float((logits.argmax(-1) == y).double().mean()))
    draw_curves(folder, tmp_path)
    for name in ("pruning.png", "weights.png"):
        with Image.open(tmp_path / name) as picture:
            colours = picture.convert("RGB").getcolors(1 << 24)
            assert colours is not None
            assert len(colours) > 50


def draw_curves(folder: RunFolder, target: Path) -> None:
    """The two pictures of the replicas that are done, as `draw_figures` makes them once all are."""
    done = {label: [f for f in files if f.result is not None] for label, files in folder.by_variant().items()}
    curves = {k: [one for f in files if (one := read_curves(f))] for k, files in done.items() if files}
    kept = {k: [one for f in files if (one := read_replica_survivors(f))] for k, files in done.items() if files}
    assert list(curves) == list(kept) == ["alpha-2", "alpha-1"]
    save(draw_curve(curves, Heading.of(folder)), target / "pruning.png")
    save(draw_survivors(kept, Heading.of(folder)), target / "weights.png")


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["protocol.kept=[0.0, 1.0]"], "protocol.kept"),
        (["protocol.kept=[0.5, 0.5]"], "increasing"),
        (["stream={kind: osaka, shots: 1}"], "needs a stream of tasks"),
    ],
)
def test_mistakes_in_a_curve(overrides: list[str], says: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=says.replace(".", r"\.")):
        prepare("pruning/mnist-one-shot", [*CURVE, *overrides], seeds=1, data="embedded", runs_dir=tmp_path)


@pytest.mark.parametrize("protocol", ["pruning-curve", "protected-accuracy"])
def test_a_method_a_protocol_cannot_judge_is_refused_at_its_first_position(protocol: str, tmp_path: Path) -> None:
    inference = ["protocol.inference=[10]"] if protocol == "protected-accuracy" else []
    overrides = [*CURVE[:-1], f"protocol={{kind: {protocol}}}", "learner={kind: online-adam}", *inference]
    folder = prepare("pruning/mnist-one-shot", overrides, seeds=1, data="embedded", runs_dir=tmp_path, register=False)
    with pytest.raises(SpecError, match=r"prunes plain networks|has no mask for each task"):
        run_replica(folder, folder.experiment.replicas()[0])


def test_sizes_are_those_of_the_categorised_scenarios() -> None:
    """1024-1000-1000-10: 2,034,000 weights that masks cover, 254,250 bytes a task."""
    spec = load_spec(EPN)
    network = NETWORKS["mlp"].build(spec.network.config, in_channels=1, size=32, ways=10)
    assert isinstance(network, Powerprop)
    params = network.init(torch.Generator())
    store = MaskStore({k: tuple(params[k].shape) for k in network.kernels})
    assert (store.size, store.row_bytes) == (2_034_000, 254_250)


def test_specifications_are_the_protocol_of_the_categorised_scenarios() -> None:
    names = [name for name in spec_names() if name.startswith("pruning/permuted-mnist")]
    assert set(OPTIONS) < set(names)
    for name in names:
        spec = load_spec(name)
        stream = spec.stream.config
        assert (stream.pad, stream.mean, stream.std, stream.identity_first) == (2, 0.1, 0.2752, True)
        epochs = 1 if name.endswith("one-pass") else 10
        assert (stream.batch, stream.epochs, stream.validation) == (128, epochs, 5000)
        assert stream.samples == 55_000 // 128 * 128
        assert spec.network.config.hidden == (1000, 1000)
    assert load_spec(EPN).learner.config.gamma == 0.9


def test_streams_validation_is_what_the_learner_is_given() -> None:
    experiment = load_spec(EPN, SMALL)
    stream = build_stream(experiment, resolve(datasets(experiment), "embedded"), 0)
    assert isinstance(stream, PixelTaskStream)
    end = stream.batch(39).end
    assert end is not None
    assert len(end.validation()[1]) == 200
