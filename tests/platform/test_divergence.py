"""A loss that is no finite number, answers that are NaN: said once per replica, in the journal, on the way and at the
end; nothing stops, whatever the method."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor

from frisket.algos import kinds
from frisket.algos.learner import Capabilities, Learner, Method
from frisket.algos.masks.mask_set import MaskSet
from frisket.algos.program import compiler
from frisket.errors import Stopped
from frisket.platform.cli.main import main
from frisket.platform.cli.progress import ProgressLine
from frisket.platform.run.divergence import Lost, divergences, losses, lost, sentence
from frisket.platform.run.engine import run_pack
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.journal import read_journal
from frisket.platform.run.progress import take
from frisket.platform.run.summary import summarise
from frisket.platform.verbs.run import prepare
from frisket.types import Batch, Metrics, State, Task

SPEC = "replay/rotations-online"
SMALL = ["stream.tasks=2", "stream.samples=60", "stream.test_samples=50"]
WILD = "learner.lr=1e+18"


def run_folder(parent: Path, *overrides: str, seeds: int = 2) -> RunFolder:
    return prepare(SPEC, [*SMALL, *overrides], seeds=seeds, data="embedded", runs_dir=parent, register=False)


def run_all(folder: RunFolder) -> None:
    for pack in folder.packs:
        run_pack(folder, pack)


def warnings_of(folder: RunFolder, key: str) -> list[dict[str, Any]]:
    return [line for line, _ in read_journal(folder.replica(key).journal) if "warning" in line]


@pytest.fixture(scope="module")
def wild(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run whose two seeds have diverged."""
    folder = run_folder(tmp_path_factory.mktemp("wild"), WILD)
    run_all(folder)
    return folder


def test_said_once_in_the_journal_where_the_loss_is_lost(wild: RunFolder) -> None:
    for seed in (0, 1):
        key = f"seed{seed}"
        (said,) = warnings_of(wild, key)
        assert said["warning"].startswith(f"{key}: the loss at step {said['t']} is no finite number.")
        losses = {
            line["t"]: line["step"].get("loss_before", math.nan)
            for line, _ in read_journal(wild.replica(key).journal)
            if "step" in line
        }
        assert len(losses) == 12  # the run went on to its end
        assert min(t for t, loss in losses.items() if not math.isfinite(loss)) == said["t"] > 0
        result = wild.replica(key).result
        assert result is not None
        assert result["diverged"] == said["t"]


def test_summary_says_which(wild: RunFolder) -> None:
    found = divergences(wild)
    assert set(found) == {"seed0", "seed1"}
    assert json.loads(json.dumps(summarise(wild)))["diverged"] == found


def test_progress_line_says_it_once_and_takes_it_for_no_score(wild: RunFolder) -> None:
    out = io.StringIO()
    with ProgressLine(wild, 1, Console(file=out, width=300)):
        time.sleep(0.7)  # it looks every half second, and once more at the end
    text = out.getvalue()
    for seed in (0, 1):
        assert text.count(f"warning: seed{seed}: the loss at step") == 1
    assert "smaller learning rate" in text
    assert set(take(wild, 1).scores) == {"ra"}


def test_a_healthy_run_says_nothing(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, seeds=1)
    run_all(folder)
    assert warnings_of(folder, "seed0") == []
    assert divergences(folder) == {}
    assert "diverged" not in summarise(folder)
    result = folder.replica("seed0").result
    assert result is not None
    assert "diverged" not in result


def test_stopped_after_it_and_resumed_it_is_not_said_again(wild: RunFolder, tmp_path: Path) -> None:
    folder = run_folder(tmp_path, WILD, seeds=1)
    (pack,) = folder.packs
    stops = 0
    while not folder.done:
        asked = iter([False])
        try:
            run_pack(folder, pack, stop=lambda asked=asked: next(asked, True))
        except Stopped:
            stops += 1
    assert stops >= 4
    assert warnings_of(folder, "seed0") == warnings_of(wild, "seed0")
    assert divergences(folder) == {"seed0": divergences(wild)["seed0"]}


def test_command_line_warns_and_ends_well(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", SPEC, *SMALL, WILD, "--seeds", "1", "--data", "embedded", "--local", "--json", "out.json"]) == 0
    out, err = capsys.readouterr()
    assert err.count("warning: seed0: the loss at step") == 1
    step = json.loads((workplace / "out.json").read_text())["diverged"]["seed0"]
    assert f"diverged  seed0 (step {step}): " in out


SOUND: State = {"theta": {"w": torch.tensor([1.0, -1e30])}, "step": torch.tensor(3)}
GONE: State = {"theta": {"w": torch.tensor([1.0, math.nan])}, "step": torch.tensor(3)}


@pytest.mark.parametrize(
    ("record", "numbers", "state", "found"),
    [
        ({"loss_before": 0.3}, True, GONE, None),
        ({"loss_before": math.nan}, True, GONE, ("loss", "diverged")),
        ({"loss_before": math.inf}, True, SOUND, ("loss", "finite")),
        ({"outer_loss": math.nan, "loss_before": 1e9}, True, SOUND, None),  # nothing to measure there
        ({"accuracy": 0.1}, True, SOUND, None),
        ({"accuracy": 0.1}, False, GONE, ("answers", "diverged")),
        ({"loss_before": 0.3}, False, SOUND, ("answers", "finite")),
        ({"loss_before": math.nan}, False, GONE, ("loss", "diverged")),
    ],
)
def test_what_counts_as_lost_and_what_is_said_of_it(
    record: dict[str, float], numbers: bool, state: State, found: tuple[str, str] | None
) -> None:
    one = lost(7, record, numbers, lambda: state)
    assert (one and (one.what, one.weights)) == found
    if one is None:
        return
    assert Lost.read({"seed": 1, **one.said()}) == one
    text = sentence("seed1", one)
    assert ("weights have diverged" in text) == (one.weights == "diverged")
    assert {"loss": "the loss at step 7 is no finite number", "answers": "answers at step 7 are NaN"}[one.what] in text


class Mute(Learner):
    """Reports a fine loss, and answers NaN from its second batch on; its weights stay as they are."""

    capabilities = Capabilities()

    def init(self, seed: int, warm_start: State | None = None) -> State:
        return {"seed": torch.tensor(seed), "step": torch.tensor(0), "theta": {"w": torch.ones(2)}}

    def predict(self, state: State, x: Tensor, task: Task | None = None) -> Tensor:
        return torch.full((len(x), 10), math.nan if int(state["step"]) else 0.0)

    def observe(self, state: State, batch: Batch) -> tuple[State, Metrics]:
        return {**state, "step": state["step"] + 1}, {"loss_before": 1.0}

    def masks(self, state: State) -> MaskSet:
        return MaskSet({})


@dataclass(frozen=True, kw_only=True)
class MuteConfig:
    """Nothing to set."""


MUTE = Method(name="mute", config=MuteConfig, build=lambda config, network: Mute(), summary="answers NaN", logged={})


def test_answers_that_are_nan_are_said_though_the_loss_is_fine(tmp_path: Path) -> None:
    spec = {
        "name": "mute",
        "stream": {"kind": "osaka", "steps": 4},
        "network": {"kind": "mlp", "hidden": [4]},
        "learner": {"kind": "mute"},
        "seeds": 1,
    }
    folder = prepare(spec, data="embedded", runs_dir=tmp_path, register=False, uses=[MUTE])
    run_all(folder)
    ((key, one),) = losses(folder).items()
    assert (key, one.step, one.what, one.weights) == ("seed0", 1, "answers", "finite")
    (said,) = warnings_of(folder, "seed0")
    assert said["t"] == 1
    assert "diverged" not in said["warning"]


HUGE = 1e30
RATES = ("alpha_init", "alpha_0", "step_size", "within_rate", "across_rate", "gamma_m", "rate_low", "rate_high")
"""Rates whose names do not end in ``lr``."""
OF_DOMAINS = {"multi-maml"}
"""Methods of episodes alone, whose domains they are told."""
ACTING = {kind for kind in kinds.LEARNERS if kind.split("-")[0] == "sac"}
"""Methods of robot tasks alone."""
BOUNDED = {"static-anil"} | ({"sparse-cmaml"} if compiler() is None else set())
"""Methods of which nothing is lost: the first learns nothing online. What overflows in the other's batch norm is no
number in `frisket.algos.networks.normed_pool`, and hidden by torch's routine, which is there without a compiler."""


def wild_spec(kind: str) -> dict[str, Any]:
    """The method with huge rates, on a stream it can have."""
    row = kinds.LEARNERS[kind]
    fields = {f.name: f.default for f in dataclasses.fields(row.config)}
    rates = {k: HUGE for k, v in fields.items() if (k.endswith("lr") and v is not None) or k in RATES}
    network = kinds.NETWORKS[row.tried_on]
    tasks = row.tried_on == "mlp"
    stream = {"kind": "rotations", "tasks": 5, "samples": 30, "test_samples": 10, "validation": 10, "batch": 10}
    learner = {**row.quick, **rates, **({"task_steps": 3, "memories": 10} if kind == "icarl" else {})}
    protocol: dict[str, Any] = {"kind": "retained-accuracy" if tasks else "online-accuracy"}
    if kind in ACTING:
        stream = {"kind": "robots", "steps": 240, "environments": 4, "trials": 4}
        protocol = {"kind": "success", "points": 1, "episodes": 4, "tail": 1}
    if kind in OF_DOMAINS:
        stream = {"kind": "episodes", "dataset": "glyphs", "ways": 2, "shots": 2, "queries": 3, "steps": 8}
        protocol = {"kind": "few-shot-accuracy", "every": 2, "validation_episodes": 1, "test_episodes": 1}
    return {
        "name": f"wild/{kind}",
        "stream": stream if tasks or kind in OF_DOMAINS | ACTING else {"kind": "osaka", "steps": 8},
        "network": {"kind": row.tried_on, **network.quick},
        "learner": {"kind": kind, **learner},
        "protocol": protocol,
        "seeds": 1,
    }


@pytest.mark.parametrize("kind", list(kinds.LEARNERS))
def test_every_method_goes_on_to_its_end_and_it_is_noted(kind: str, tmp_path: Path) -> None:
    folder = prepare(wild_spec(kind), data="embedded", runs_dir=tmp_path, register=False)
    run_all(folder)
    assert folder.done
    assert set(losses(folder)) == (set() if kind in BOUNDED else {"seed0"})
    assert len(warnings_of(folder, "seed0")) == len(losses(folder))
