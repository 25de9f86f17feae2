"""Packs: grouped by what may differ, equal to their replicas run alone up to rounding, resumed bit for bit."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from frisket.algos.parts import transitions
from frisket.algos.parts.tree import flatten, picked
from frisket.algos.state_file import load_state
from frisket.errors import RunError, SpecError, Stopped
from frisket.platform.executors import local
from frisket.platform.run.engine import run_pack
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.journal import read_journal
from frisket.platform.run.replicas import PackFolder
from frisket.platform.specs.build import rehearse
from frisket.platform.specs.experiment import Experiment, from_dict
from frisket.platform.verbs import run as launch

ROUNDING = 1e-4
SPARSE = {
    "kind": "sparse-la-maml", "alpha_0": 0.02, "m_init": 0.001, "inner_steps": 5, "glances": 2, "memory_slots": 20
}  # fmt: skip


def experiment(pack: int, seeds: int = 2, **fields: Any) -> Experiment:
    return from_dict(
        {
            "name": "packs",
            "stream": {"kind": "permutations", "tasks": 2, "samples": 60, "test_samples": 50},
            "network": {"kind": "mlp", "hidden": [12]},
            "learner": SPARSE,
            "protocol": {"kind": "retained-accuracy"},
            "variants": {"low": {"learner": {"gamma_m": 4.0}}, "high": {"learner": {"gamma_m": 8.0, "alpha_0": 0.03}}},
            "seeds": seeds,
            "pack": pack,
            "log_every": 4,
            **fields,
        }
    )


def folder_of(where: Path, pack: int, **fields: Any) -> RunFolder:
    return RunFolder.create(
        where, experiment(pack, **fields), data_mode="embedded", data={}, register=False, tracking={}
    )  # fmt: skip


def run(folder: RunFolder) -> RunFolder:
    local.execute(folder, data_dir=None, stop=lambda: False)
    return folder


def final_of(folder: RunFolder, key: str) -> dict[str, torch.Tensor]:
    return flatten(load_state(folder.replica(key).final)[0])


def test_replicas_that_differ_in_numbers_share_packs_and_others_do_not() -> None:
    assert [len(pack) for pack in experiment(3).packs()] == [3, 1]
    assert [r.key for r in experiment(4).packs()[0]] == ["low-seed0", "low-seed1", "high-seed0", "high-seed1"]
    glances = {"few": {}, "many": {"learner": {"glances": 3}}}
    assert [[r.variant for r in p] for p in experiment(4, variants=glances).packs()] == [["few"] * 2, ["many"] * 2]
    longer = {"one": {}, "two": {"stream": {"tasks": 3}}}
    assert [len(p) for p in experiment(4, variants=longer).packs()] == [2, 2]
    mixed = {"sparse": {}, "alone": {"learner": {"kind": "independent"}}}
    assert [len(p) for p in experiment(4, variants=mixed).packs()] == [2, 1, 1]


@pytest.mark.parametrize(
    ("learner", "packed"),
    [
        ({"kind": "mer", "passes": 2, "replay_batch": 3, "memory_slots": 20}, {"within_rate": 0.1}),
        ({"kind": "er", "samples_per_step": 5, "memory_slots": 20}, {"lr": 0.05}),
        ({"kind": "online-sgd"}, {"lr": 0.05}),
    ],
    ids=lambda fields: fields.get("kind"),
)
def test_packs_of_replay_baselines(tmp_path: Path, learner: dict[str, Any], packed: dict[str, Any]) -> None:
    """Two rates and two seeds in one pack, as they come out one by one."""
    fields = {"learner": learner, "variants": {"plain": {}, "other": {"learner": packed}}}
    together, alone = run(folder_of(tmp_path / "a", 4, **fields)), run(folder_of(tmp_path / "b", 1, **fields))
    assert len(together.packs) == 1
    ends = []
    for replica in together.experiment.replicas():
        a, b = final_of(together, replica.key), final_of(alone, replica.key)
        assert a.keys() == b.keys()
        assert all(torch.allclose(a[name].double(), b[name].double(), atol=ROUNDING) for name in a)
        ends.append(a["theta/fc2.weight"])
    assert all(float((one - other).abs().max()) > 1e-3 for one, other in itertools.pairwise(ends))


OWN_TESTS: dict[str, dict[str, Any]] = {
    "classes": {
        "stream": {
            "kind": "split-classes", "dataset": "glyphs", "tasks": 3, "classes_per_task": 2, "class_order": "seeded"
        },
    },
    "robots": {
        "stream": {"kind": "robots", "sequence": "pointgoal", "steps": 640, "environments": 8, "trials": 8},
        "network": {"kind": "layer-norm-mlp", "hidden": [24, 24]},
        "learner": {
            "kind": "sac-epn", "lr": 0.01, "batch": 16, "discount": 0.9, "start_steps": 160, "update_after": 160,
            "update_every": 80, "updates": 2, "memory_slots": 640, "retrain_steps": 10,
        },
        "protocol": {"kind": "success", "points": 2, "episodes": 8, "tail": 1},
    },
}  # fmt: skip


@pytest.mark.parametrize("name", list(OWN_TESTS))
def test_where_seeds_have_tests_of_their_own_each_is_judged_on_them(tmp_path: Path, name: str) -> None:
    fields = {**OWN_TESTS[name], "variants": {}, "seeds": 3}
    packed, alone = run(folder_of(tmp_path / "a", 3, **fields)), run(folder_of(tmp_path / "b", 1, **fields))
    assert [len(pack) for pack in packed.packs] == [3]
    metrics = [[one["metrics"] for one in folder.results()] for folder in (packed, alone)]
    for mine, own in zip(*metrics, strict=True):
        assert mine == pytest.approx(own, abs=1e-3, nan_ok=True)
    assert metrics[0][0] != pytest.approx(metrics[0][1], abs=1e-3, nan_ok=True)


def test_memories_of_points_that_share_a_pack_are_asked_for_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    gammas = {str(gamma): {"learner": {"gamma": gamma}} for gamma in (0.3, 0.9, 1.0)}
    tried = experiment(3, **{**OWN_TESTS["robots"], "variants": gammas, "seeds": 1})
    assert dict(tried.largest) == {"0.3": 3}
    rehearse(tried, {})
    monkeypatch.setattr(transitions, "machine_memory", lambda: 60_000)
    with pytest.raises(SpecError, match=r"for the 3 replicas of a pack, .* or a smaller pack"):
        rehearse(tried, {})


def test_a_pack_is_its_replicas_up_to_rounding(tmp_path: Path) -> None:
    packed, alone = run(folder_of(tmp_path / "a", 4)), run(folder_of(tmp_path / "b", 1))
    for replica in packed.experiment.replicas():
        a, b = final_of(packed, replica.key), final_of(alone, replica.key)
        assert a.keys() == b.keys()
        for name in a:
            assert torch.allclose(a[name].double(), b[name].double(), atol=ROUNDING), name
    for a, b in zip(packed.results(), alone.results(), strict=True):
        assert {k: a[k] for k in ("replica", "seed", "config", "input")} == {
            k: b[k] for k in ("replica", "seed", "config", "input")
        }
        assert a["metrics"]["ra"] == pytest.approx(b["metrics"]["ra"], abs=0.05)
    seen = {r["metrics"]["sparsity"] for r in packed.results()}
    assert len(seen) > 1, "its replicas are not all the same one"
    assert not list((packed.path / "packs").glob("*.safetensors"))


@pytest.mark.parametrize(
    "fields", [{}, {**OWN_TESTS["robots"], "variants": {}, "seeds": 3}], ids=["look ahead", "robots"]
)
def test_stopped_pack_resumes_bit_for_bit(tmp_path: Path, fields: dict[str, Any]) -> None:
    whole, parts = run(folder_of(tmp_path / "a", 4, **fields)), folder_of(tmp_path / "b", 4, **fields)
    (pack,) = parts.packs
    stops = 0
    while True:
        asked = iter([False])
        try:
            run_pack(parts, pack, stop=lambda asked=asked: next(asked, True))
            break
        except Stopped:
            stops += 1
            for files in parts.replicas():
                assert files.committed_bytes() == files.journal.stat().st_size
    assert stops > 3
    for replica in whole.experiment.replicas():
        a, b = final_of(whole, replica.key), final_of(parts, replica.key)
        assert all(torch.equal(a[k], b[k]) for k in a)
        steps = [
            [line for line, _ in read_journal(folder.replica(replica).journal) if "step" in line]
            for folder in (whole, parts)
        ]
        assert steps[0] == steps[1]


def test_death_between_two_results_of_a_pack_is_mended(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, 4)
    (pack,) = folder.packs
    with pytest.raises(Stopped):
        run_pack(folder, pack, stop=lambda: True)
    kept = folder.pack(pack).checkpoint.read_bytes()
    run(folder)
    expected = [{k: v for k, v in r.items() if k not in ("seconds", "files", "journal_crc")} for r in folder.results()]
    folder.pack(pack).checkpoint.write_bytes(kept)
    for files in folder.replicas()[2:]:
        (files.path / "result.json").unlink()
    run(RunFolder.open(folder.path))
    assert [
        {k: v for k, v in r.items() if k not in ("seconds", "files", "journal_crc")} for r in folder.results()
    ] == expected


def test_a_checkpoint_of_before_a_method_had_packs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {"learner": {"kind": "gem"}, "variants": {}, "checkpoint_seconds": 1e-3}
    folder = folder_of(tmp_path, 2, **fields)
    calls = iter([False, False, True])
    with pytest.raises(Stopped):
        local.execute(folder, data_dir=None, stop=lambda: next(calls))
    loaded = PackFolder.load

    def alone(files: PackFolder) -> Any:
        state, metadata = loaded(files) or ({}, {})
        return {**state, "learner": picked(state["learner"], 0)}, metadata

    monkeypatch.setattr(PackFolder, "load", alone)
    with pytest.raises(RunError, match="had no packs; start it anew"):
        run(folder)


def test_a_method_without_packs_is_asked_for_none(tmp_path: Path) -> None:
    spec = tmp_path / "independent.json.yaml"
    raw = experiment(1, learner={"kind": "independent"}, variants={}).as_dict()
    spec.write_text(json.dumps({**{k: v for k, v in raw.items() if k != "name"}, "pack": 4}))
    with pytest.raises(SpecError, match="pack"):
        launch.prepare(str(spec), data="embedded", runs_dir=tmp_path)
