"""The specifications on CIFAR-100, TinyImageNet and split CIFAR-10 against the method sheet's tables (lamaml spec,
sections 6, 7.3, 7.4, 9.2 and 9.3)."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from frisket.algos.kinds import LEARNERS, NETWORKS
from frisket.algos.state_file import load_state
from frisket.errors import SpecError
from frisket.platform.run.engine import run_replica
from frisket.platform.run.journal import read_journal
from frisket.platform.specs.experiment import Experiment, load_spec
from frisket.platform.specs.text import spec_names
from frisket.platform.tables.table import load_table, plan
from frisket.platform.verbs.run import prepare

STREAMS = ("cifar100-single", "cifar100-multiple", "tinyimagenet-single", "tinyimagenet-multiple")
# Section 7.3, the released scripts where they differ from the paper. A method's fields, then a row of values for each
# stream; None where there is no such experiment.
SETTINGS: dict[str, tuple[tuple[str, ...], tuple[tuple[Any, ...] | None, ...]]] = {
    "iid": (("lr", "samples_per_step"), (None, (0.03, 32), None, (0.01, 32))),
    "er": (("lr", "glances", "replay_batch"), ((0.03, 10, 1), (0.03, 1, 1), (0.01, 2, 1), (0.01, 1, 1))),
    "icarl": (
        ("lr", "glances", "clip_norm", "memories", "task_steps"),
        ((0.03, 2, 5, 200, 225), (0.03, 1, 5, 200, 2250), (0.01, 2, 5, 400, 225), (0.01, 1, 2, 400, 2250)),
    ),
    "gem": (
        ("lr", "glances", "clip_norm", "memories", "margin"),
        ((0.03, 2, 5, 10, 0.5), (0.03, 1, 5, 10, 0.5), (0.03, 2, 5, 10, 0.5), (0.03, 1, 2, 10, 0.5)),
    ),
    "a-gem": (
        ("lr", "glances", "clip_norm", "reference"),
        ((0.03, 2, 2, "code"), (0.03, 1, 2, "code"), (0.01, 2, 2, "code"), (0.01, 1, 2, "code")),
    ),
    "mer": (
        ("lr", "within_rate", "across_rate", "passes", "replay_batch", "clip_norm"),
        ((0.1, 0.1, 1, 10, 25, 10), None, (0.1, 0.1, 1, 10, 25, 10), None),
    ),
    "metabgd": (
        ("mean_lr", "sigma_0", "alpha_init", "samples", "glances"),
        ((50, 0.02, 0.1, 2, 3), (50, 0.02, 0.1, 2, 1), (30, 0.015, 0.1, 2, 3), (30, 0.015, 0.1, 2, 1)),
    ),
    "cmaml": (
        ("alpha_init", "outer_lr", "glances"),
        ((0.075, 0.075, 2), (0.075, 0.075, 1), (0.03, 0.03, 2), (0.03, 0.03, 1)),
    ),
    "la-er": (
        ("alpha_init", "alpha_lr", "glances"),
        ((0.1, 0.1, 1), (0.1, 0.1, 1), (0.3, 0.1, 2), (0.03, 0.1, 1)),
    ),
    "sync-la-maml": (
        ("alpha_init", "outer_lr", "alpha_lr", "glances"),
        ((0.1, 0.1, 0.35, 5), (0.1, 0.1, 0.35, 1), (0.075, 0.075, 0.25, 2), (0.075, 0.075, 0.25, 1)),
    ),
    "la-maml": (
        ("alpha_init", "alpha_lr", "glances", "clip_norm"),
        ((0.1, 0.25, 10, 1), (0.1, 0.25, 1, 1), (0.1, 0.4, 2, 1), (0.1, 0.4, 1, 1)),
    ),
}
# Section 9.2, RA and BTI with their spreads, in percent, by stream in the order above.
TABLE_3: dict[str, tuple[tuple[float, ...] | None, ...]] = {
    "iid": (None, (85.60, 0.40), None, (77.1, 1.06)),
    "er": (
        (47.88, 0.73, -12.46, 0.83), (59.70, 0.75, -16.50, 1.05),
        (39.38, 0.38, -14.33, 0.89), (48.23, 1.51, -19.86, 0.70),
    ),
    "icarl": (
        (53.55, 1.69, -8.03, 1.16), (60.47, 1.09, -15.10, 1.04),
        (45.79, 1.49, -2.73, 0.45), (54.77, 0.32, -3.93, 0.55),
    ),
    "gem": (
        (48.27, 1.10, -13.7, 0.70), (62.80, 0.55, -17.00, 0.26),
        (40.56, 0.79, -13.53, 0.65), (50.57, 0.61, -20.50, 0.10),
    ),
    "a-gem": (
        (46.93, 0.31, -13.4, 1.44), (58.37, 0.13, -17.03, 0.72),
        (38.96, 0.47, -13.66, 1.73), (46.38, 1.34, -19.96, 0.61),
    ),
    "mer": ((51.38, 1.05, -12.83, 1.44), None, (44.87, 1.43, -12.53, 0.58), None),
    "metabgd": (
        (57.44, 0.95, -10.6, 0.45), (65.09, 0.77, -14.83, 0.40),
        (50.64, 1.98, -6.60, 1.73), None,
    ),
    "cmaml": (
        (55.57, 0.94, -9.49, 0.45), (65.44, 0.99, -13.96, 0.86),
        (48.77, 1.26, -7.6, 0.52), (61.93, 1.55, -11.53, 1.11),
    ),
    "la-er": (
        (56.12, 0.61, -7.63, 0.90), (67.17, 1.14, -12.63, 0.60),
        (44.75, 1.96, -10.93, 1.32), (54.76, 1.94, -15.43, 1.36),
    ),
    "sync-la-maml": (
        (58.99, 1.40, -8.76, 0.95), (67.06, 0.62, -13.66, 0.50),
        (52.84, 2.55, -7.3, 1.93), (65.40, 1.40, -11.93, 0.55),
    ),
    "la-maml": (
        (61.18, 1.44, -9.00, 0.2), (70.08, 0.66, -9.36, 0.47),
        (52.59, 1.35, -3.7, 1.22), (66.99, 1.65, -9.13, 0.90),
    ),
}  # fmt: skip
NAMES = [(s, m) for m, (_, rows) in SETTINGS.items() for s, row in zip(STREAMS, rows, strict=True) if row]
SECOND_ORDER = ("metabgd", "cmaml", "sync-la-maml", "la-maml")
# Section 7.4, memories of 200 and 1000, and section 9.3.
SPLIT: dict[str, tuple[tuple[str, ...], tuple[tuple[Any, ...], ...]]] = {
    "er": (("lr", "glances", "replay_batch", "memory_slots"), ((0.001, 2, 20, 200), (0.01, 4, 10, 1000))),
    "mer": (
        ("within_rate", "across_rate", "replay_batch", "memory_slots"), ((0.1, 0.05, 10, 200), (0.1, 0.08, 10, 1000))
    ),
    "gem": (("glances", "margin", "memories", "samples_per_step"), ((2, 0.5, 40, 20), (2, 0.5, 200, 5))),
    "la-maml": (("alpha_init", "alpha_lr", "glances", "memory_slots"), ((0.005, 0.1, 2, 200), (0.01, 0.01, 2, 1000))),
    "sparse-la-maml": (("alpha_0", "glances", "memory_slots"), ((0.005, 2, 200), (0.01, 2, 1000))),
}  # fmt: skip
TABLE_S7 = {
    "er": ((19.75, 1.23), (29.12, 2.41)),
    "mer": ((25.11, 1.77), (34.66, 1.38)),
    "gem": ((25.14, 0.67), (31.55, 0.81)),
    "la-maml": ((22.08, 1.83), (36.24, 0.91)),
    "sparse-la-maml": ((27.85, 0.69), (37.70, 0.80)),
}
SIZES = (200, 1000)


def test_every_experiment_of_the_tables_and_no_other_number_that_is_published() -> None:
    found = {n for n in spec_names() if n.startswith(("replay/cifar100-", "replay/tinyimagenet-", "replay/split-"))}
    expected = {f"replay/{s}-{m}" for s, m in NAMES} | {f"replay/split-cifar10-{n}-{m}" for n in SIZES for m in SPLIT}
    assert expected <= found
    assert [n for n in found - expected if load_spec(n).published is not None] == []


def test_joint_training_is_the_stream_of_split_cifar10_mixed() -> None:
    """As many batches of the same samples, learned by the same network; every batch has all five tasks."""
    joint, er = load_spec("replay/split-cifar10-iid"), load_spec("replay/split-cifar10-200-er")
    mixed = dataclasses.replace(er.stream.config, order="mixed", mixed_tasks=5)
    assert (joint.stream.config, joint.network, joint.published) == (mixed, er.network, None)
    assert mixed.mixed_batches * mixed.batch == 50_000
    assert joint.learner.config.clip_norm == er.learner.config.clip_norm


def has(spec: Experiment, fields: tuple[str, ...], row: tuple[Any, ...]) -> bool:
    return tuple(getattr(spec.learner.config, f) for f in fields) == row


@pytest.mark.parametrize(("stream", "method"), NAMES)
def test_is_the_released_setting(stream: str, method: str) -> None:
    spec = load_spec(f"replay/{stream}-{method}")
    data, passes = stream.split("-")
    cifar, multiple = data == "cifar100", passes == "multiple"
    config, learner = spec.stream.config, spec.learner.config
    assert (spec.stream.kind, config.dataset, config.own_classes) == ("split-classes", data, True)
    assert (config.tasks, config.classes_per_task, config.validation) == (20 if cifar else 40, 5, 0.1)
    assert config.augment == ("crop-flip-brightness" if cifar else "crop-flip")
    mixed = ("mixed", 32, 50)
    assert (config.order, config.batch, config.epochs) == (
        mixed if method == "iid" else ("tasks", 10, 10 if multiple else 1)
    )
    assert (spec.protocol.kind, spec.seeds) == ("retained-accuracy", 3)

    fields, rows = SETTINGS[method]
    row = rows[STREAMS.index(stream)]
    assert row is not None
    assert has(spec, fields, row)
    if hasattr(learner, "memory_slots"):
        assert learner.memory_slots == (200 if cifar else 400)
    if method in (*SECOND_ORDER, "la-er"):
        assert learner.inner_steps == (3 if method == "metabgd" else 5)
        assert learner.second_order == (method in SECOND_ORDER)
        assert learner.inner_clamp == learner.clip_norm == (1.0 if method == "la-maml" else 2.0)
        assert learner.meta_loss == ("last" if method == "la-er" else "mean")
        assert getattr(learner, "inner_rate", "raw") == "raw"
        assert (learner.replay_batch, learner.reservoir) == (10, "official")
    if hasattr(learner, "samples_per_step"):  # MER goes sample by sample
        assert learner.samples_per_step == (1 if method == "mer" else config.batch)
    assert spec.network.config.init == ("xavier_normal" if method == "metabgd" else "kaiming_normal")


@pytest.mark.parametrize(("data", "size", "ways", "weights"), [
    ("cifar100", 32, 100, 1_419_940), ("tinyimagenet", 64, 200, 2_873_640)
])  # fmt: skip
def test_network_has_the_papers_size(data: str, size: int, ways: int, weights: int) -> None:
    section = load_spec(f"replay/{data}-single-la-maml").network
    network = NETWORKS[section.kind].build(section.config, in_channels=3, size=size, ways=ways, own=5)
    shapes = network.init(torch.Generator())
    assert sum(v.numel() for v in shapes.values()) == weights


@pytest.mark.parametrize(("stream", "method"), NAMES)
def test_published_numbers(stream: str, method: str) -> None:
    published, row = load_spec(f"replay/{stream}-{method}").published, TABLE_3[method][STREAMS.index(stream)]
    if row is None:  # unstable
        assert (stream, method, published) == ("tinyimagenet-multiple", "metabgd", None)
        return
    assert published is not None
    assert (published.source, published.n) == ("LAMAML, Table 3", 3)
    given = [v[k] for v in (published.metrics[m] for m in ("ra", "bti") if m in published.metrics) for k in v]
    assert given == pytest.approx([v / 100 for v in row])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("method", list(SPLIT))
def test_split_cifar10(method: str, size: int) -> None:
    spec, at = load_spec(f"replay/split-cifar10-{size}-{method}"), SIZES.index(size)
    config = spec.stream.config
    assert (config.dataset, config.tasks, config.classes_per_task, config.own_classes) == ("cifar10", 5, 2, False)
    assert (config.epochs, config.validation, spec.seeds) == (1, 0, 5)
    assert config.batch == ((20, 5)[at] if method == "gem" else 10)
    fields, rows = SPLIT[method]
    assert has(spec, fields, rows[at])
    network = NETWORKS[spec.network.kind].build(spec.network.config, in_channels=3, size=32, ways=10)
    LEARNERS[spec.learner.kind].build(spec.learner.config, network)
    assert spec.published is not None
    assert (spec.published.source, spec.published.n) == ("SPARSE21, Table S7", 5)
    mean, std = TABLE_S7[method][at]
    assert spec.published.metrics["ra"] == pytest.approx({"mean": mean / 100, "std": std / 100})
    assert ("sparsity" in spec.published.metrics) == (method in ("la-maml", "sparse-la-maml"))


SMALL = ["stream.tasks=2", "stream.samples=20", "network.filters=4", "network.hidden=[8]"]


def test_runs_from_end_to_end_and_journals_alignment(tmp_path: Path) -> None:
    """Second order, two epochs, on embedded data: the memory holds the first epoch of either task, and no more."""
    overrides = [*SMALL, "stream.epochs=2", "learner.alignment=true"]
    folder = prepare(
        "replay/cifar100-multiple-la-maml", overrides, seeds=1, data="embedded", runs_dir=tmp_path, register=False
    )
    (replica,) = folder.experiment.replicas()
    run_replica(folder, replica)
    files = folder.replica(replica)
    assert set(folder.results()[0]["metrics"]) == {"ra", "bti", "la", "fwt", "sparsity"}
    saved, _ = load_state(files.final)
    assert int(saved["memory"]["age"]) == 40
    steps = [line["step"] for line, _ in read_journal(files.journal) if "step" in line]
    assert len(steps) == 8
    assert "alignment" not in steps[0]  # nothing to draw yet
    assert all(-1 <= step["alignment"] <= 1 for step in steps[1:])


@pytest.mark.parametrize("stream", ["cifar100-single", "tinyimagenet-multiple"])
def test_icarl_is_told_how_long_the_streams_tasks_are(stream: str, tmp_path: Path) -> None:
    """The smaller scales of Table 3 say it rightly; whoever changes the tasks and not `task_steps` is refused."""
    spec = f"replay/{stream}-icarl"
    (row,) = [row for row, cells in load_table("lamaml/table3").rows.items() if cells.get(stream) == spec]
    (planned,) = plan(load_table("lamaml/table3"), rows=[row], columns=[stream], scale="smoke")
    prepare(spec, planned.overrides, seeds=1, data="embedded", runs_dir=tmp_path)
    longer = [*planned.overrides, "stream.epochs=3"]
    with pytest.raises(SpecError, match=r"learner\.task_steps = 4: must be 12, the batches of one of the stream's"):
        prepare(spec, longer, seeds=1, data="embedded", runs_dir=tmp_path)
