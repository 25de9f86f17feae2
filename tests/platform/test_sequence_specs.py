"""EWC, online Laplace, SI, VCL and sequential training led by the engine: small, stopped on the way, refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from frisket.algos.parts.tree import flatten
from frisket.algos.state_file import load_state
from frisket.errors import SpecError, Stopped
from frisket.platform.run.engine import run_replica
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.journal import read_journal
from frisket.platform.specs.experiment import load_spec
from frisket.platform.verbs.run import prepare

SMALL = [
    "stream.tasks=3", "stream.samples=640", "stream.batch=32", "stream.epochs=2", "stream.validation=200",
    "network.hidden=[40, 40]", "learner.lr=0.005", "variants.alpha-2.learner.lr=0.01",
]  # fmt: skip
METHODS: dict[str, list[str]] = {
    "sequential": [],
    "ewc": ["learner.strength=1000.0"],
    "online-laplace": ["learner.strength=1000.0"],
    "si": ["learner.strength=1.0"],
    "vcl": ["learner.samples=2"],
}
every_method = pytest.mark.parametrize("method", list(METHODS))


def run_folder(method: str, parent: Path, *overrides: str) -> RunFolder:
    return prepare(
        f"pruning/permuted-mnist-{method}", [*SMALL, *METHODS[method], *overrides], seeds=1, data="embedded",
        runs_dir=parent, register=False,
    )  # fmt: skip


def final(folder: RunFolder, replica: Any) -> dict[str, torch.Tensor]:
    return flatten(load_state(folder.replica(replica).final)[0])


@every_method
def test_both_variants_from_end_to_end(method: str, tmp_path: Path) -> None:
    folder = run_folder(method, tmp_path)
    replicas = folder.experiment.replicas()
    assert [replica.variant for replica in replicas] == ["alpha-1", "alpha-2"]
    for replica in replicas:
        run_replica(folder, replica)
        steps = [line["step"] for line, _ in read_journal(folder.replica(replica).journal) if "step" in line]
        rows = [step["row"] for step in steps if "row" in step]
        assert len(rows) == 3
        assert all(row[task] > 0.3 for task, row in enumerate(rows))  # chance is 0.1
        result = folder.replica(replica).result
        assert result is not None
        metrics = result["metrics"]
        assert metrics["accuracy"] == pytest.approx(sum(rows[-1]) / 3)
        lost = [rows[task][task] - rows[-1][task] for task in range(2)]
        assert metrics["forgetting"] == pytest.approx(sum(lost) / 2)
        assert "capacity_free" not in metrics


@every_method
def test_stopped_in_every_task_and_resumed_has_the_same_bits(method: str, tmp_path: Path) -> None:
    whole, parts = run_folder(method, tmp_path / "a"), run_folder(method, tmp_path / "b")
    replica = whole.experiment.replicas()[1]
    run_replica(whole, replica)
    for steps in (17, 22, 55):  # further: inside the first task of 40 steps, at its end, inside the third
        asked = iter([False] * steps)
        with pytest.raises(Stopped):
            run_replica(parts, replica, stop=lambda asked=asked: next(asked, True))
    run_replica(parts, replica)
    a, b = final(whole, replica), final(parts, replica)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_specifications_differ_in_the_method_alone() -> None:
    specs = [load_spec(f"pruning/permuted-mnist-{method}") for method in (*METHODS, "epn-plain")]
    assert len({str(spec.stream.config) for spec in specs}) == 1
    assert len({str(spec.variant(None).network.config) for spec in specs}) == 1
    assert {spec.variant(None).learner.config.lr for spec in specs} == {0.0001}
    assert load_spec("pruning/permuted-mnist-vcl").learner.config.task_samples == specs[0].stream.config.samples


@pytest.mark.parametrize(
    ("method", "overrides", "says"),
    [
        ("ewc", ["learner.strength=-1"], "learner.strength"),
        ("online-laplace", ["learner.fisher_batches=0"], "learner.fisher_batches"),
        ("si", ["learner.damping=0.0"], "learner.damping"),
        ("vcl", ["learner.samples=0"], "learner.samples"),
        ("ewc", ["stream={kind: osaka, shots: 1}", "protocol.kind=online-accuracy"], "stream.kind"),
        ("si", ["learner.strenght=3"], "strength"),
    ],
)
def test_mistakes_are_seen_before_the_start(method: str, overrides: list[str], says: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=says.replace(".", r"\.")):
        run_folder(method, tmp_path, *overrides)
