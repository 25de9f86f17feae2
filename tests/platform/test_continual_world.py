"""Continual World's specifications and tables: every method on every sequence, the published settings, and that numbers
of another Meta-World are shown without a verdict."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from judged import compared

from frisket.envs.robots.sequences import SEQUENCES
from frisket.platform.run.engine import run_replica
from frisket.platform.run.summary import summarise
from frisket.platform.specs.experiment import Experiment, load_spec
from frisket.platform.specs.text import spec_names
from frisket.platform.tables.table import load_table, plan
from frisket.platform.verbs import reproduce
from frisket.platform.verbs.run import prepare

METHODS = (
    "agem", "epn", "ewc", "fine-tuning", "l2", "mas", "multi", "packnet", "perfect-memory", "powerprop-epn", "single",
    "vcl",
)  # fmt: skip
LENGTHS = {"cw3e": 3, "cw6": 6, "cw10": 10, "cw20": 20}
CELLS = [(s, m) for s, m in itertools.product(LENGTHS, METHODS) if (s, m) != ("cw20", "multi")]


def test_every_method_is_on_every_sequence() -> None:
    """All tasks of cw20 at once are those of cw10."""
    wanted = {f"continual_world/{sequence}-{method}" for sequence, method in CELLS}
    wanted |= {f"continual_world/pointgoal-{method}" for method in METHODS}
    assert wanted <= set(spec_names())


@pytest.mark.parametrize(("sequence", "method"), CELLS)
def test_settings_are_the_published_ones(sequence: str, method: str) -> None:
    """continual_world spec, sections 3 to 8."""
    spec = load_spec(f"continual_world/{sequence}-{method}")
    stream, learner, protocol = spec.stream.config, spec.learner.config, spec.protocol.config
    tasks = LENGTHS[sequence]
    together = method == "multi"
    assert stream.names == SEQUENCES[sequence]
    assert (len(stream.names), stream.together, stream.environments) == (tasks, together, 1)
    assert stream.steps == (2_000_000 if together else 1_000_000)
    assert spec.network.config.hidden == (256,) * 4
    assert spec.network.config.powerprop_alpha == (1.5 if method == "powerprop-epn" else 1)
    assert (learner.discount, learner.averaging, learner.log_eta) == (0.99, 0.995, 1.0)
    assert (learner.start_steps, learner.update_after, learner.update_every, learner.updates) == (10_000, 1000, 50, 50)
    assert learner.lr == (1e-4 if together else 1e-3)
    assert learner.batch == (512 if method == "perfect-memory" else 128)
    assert learner.clip == (2e-5 if method in ("packnet", "epn", "powerprop-epn") else None)
    assert learner.memory_slots == (tasks if method == "perfect-memory" else 1) * 1_000_000
    assert getattr(learner, "tasks", tasks) == tasks
    assert getattr(learner, "retrain_steps", 100_000) == 100_000
    assert getattr(learner, "strength", None) == {"l2": 1e5, "ewc": 1e4, "mas": 1e4, "vcl": 1.0}.get(method)
    assert (protocol.points, protocol.episodes, protocol.tail) == (50, 10, 5)
    alone = None if method in ("single", "multi") else f"continual_world/{sequence}-single"
    assert protocol.reference == alone
    assert not protocol.references


def test_a_gem_keeps_what_the_released_code_does() -> None:
    learner = load_spec("continual_world/cw20-agem").learner.config
    assert (learner.task_memory, learner.reference_batch) == (10_000, 128)


@pytest.mark.parametrize("name", ["continual_world/table4", "continual_world/cw20"])
def test_the_reference_comes_first_and_is_of_the_same_tasks_and_points(name: str) -> None:
    for scale in ("smoke", "short", "paper"):
        cells = plan(load_table(name), scale=scale)
        first, *others = [load_spec(cell.spec, cell.overrides) for cell in cells]
        assert first.learner.kind == "sac-single"
        assert {one.protocol.config.reference for one in others} <= {first.name, None}
        for one in others:
            if one.protocol.config.reference:
                assert asked(one) == asked(first)


def asked(experiment: Experiment) -> Any:
    protocol = experiment.protocol.config
    return experiment.stream.work(exact=True), protocol.points, protocol.episodes, protocol.tail


def test_numbers_of_another_meta_world_have_no_verdict_and_claims_do(tmp_path: Path) -> None:
    means = {"EWC": {"success": 0.6}, "PackNet": {"success": 0.5}, "MAS": {"success": 0.3}}
    _, lines = compared(tmp_path, "continual_world/cw20", means)
    found = {(line.row, line.claim): line.judgement.text for line in lines if line.metric == "success"}
    assert found["EWC", ""] == "no verdict: printed of v1 of Meta-World; ours are v3"
    assert found["PackNet", "above EWC (text)"] == "miss"
    assert found["EWC", "above MAS (text)"] == "match"


@pytest.mark.slow
def test_a_few_rows_of_a_table_at_smoke_scale(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"rows": ["Single tasks", "A-GEM", "VCL", "Perfect memory", "EPN"], "scale": "smoke"}
    reproduction = reproduce.start("continual_world/table4", runs_dir=tmp_path, **asked)
    summary = reproduce.execute(reproduction, local=True)
    rows = {result["row"]: result["metrics"] for result in summary["results"]}
    assert set(rows) == set(asked["rows"])
    assert ["forward_transfer" in metrics for metrics in rows.values()] == [False, True, True, True, True]
    assert rows["EPN"]["steps/search"] > 0 == rows["VCL"]["steps/search"]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "last", "all_"), [("agem", 0.9, 0.3), ("multi", 0.9, 0.9), ("vcl", 0.5, 0.6)])
def test_examples_learn(tmp_path: Path, method: str, last: float, all_: float) -> None:
    folder = prepare(f"continual_world/pointgoal-{method}", seeds=1, runs_dir=tmp_path, register=False)
    run_replica(folder, folder.experiment.replicas()[0])
    found = summarise(folder)["summary"]
    assert found["success/2 point-goal"]["mean"] > last
    assert found["success"]["mean"] > all_
    assert ("forgetting" in found) == (method != "multi")
