"""How near plans come to the runs they are of. Linux.

    python -m benchmarks.plan_accuracy                         all, some 25 minutes on a quiet machine
    python -m benchmarks.plan_accuracy replay fewshot          those whose name begins so
    python -m benchmarks.plan_accuracy --processor             processor time in place of time: on a busy machine

Specifications of all families, shortened so that each takes 10 to 60 seconds, on embedded data, in one thread, with
``--local``: each is planned, then run, each time in a process of its own. The table has time and peak memory, planned
and real, and says of each whether it lies within 20 and 15 % (`TIME`, `MEMORY`); misses are in it as everything else.
Exit code 1 where one missed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from frisket.platform.planning.estimate import plan_of
from frisket.platform.planning.here import SECONDS, measured_here
from frisket.platform.specs.experiment import load_spec

TIME, MEMORY = 0.20, 0.15
_PERMUTED = ("stream.validation=100", "stream.samples=640", "stream.tasks=6", "stream.epochs=10", "seeds=1")
_OSAKA = ("network.channels=16", "seeds=1")
_PRETRAIN = ("pretrain.epochs=3", "pretrain.meta_batches_per_epoch=20", "pretrain.validation_episodes=20")
SPECS: dict[str, tuple[str, ...]] = {
    "demo": ("stream.steps=40", "seeds=1"),
    "osaka/p90-sparse-cmaml": (*_OSAKA, "stream.steps=60", "learner.inner_steps=4"),
    "osaka/p98-bgd": (*_OSAKA, "stream.steps=150"),
    "osaka/p90-online-adam": (*_OSAKA, "stream.steps=400"),
    "osaka/p90-cmaml-pre": (*_OSAKA, *_PRETRAIN, "stream.steps=40", "learner.inner_steps=2", "pretrain.inner_steps=2"),
    "replay/rotations-er": ("stream.tasks=10", "stream.samples=1000", "seeds=1"),
    "replay/permutations-gem": ("stream.tasks=8", "stream.samples=500", "seeds=1"),
    "replay/permutations-cumulative": ("stream.tasks=4", "stream.samples=400", "seeds=1"),
    "replay/rotations-la-maml": ("stream.tasks=5", "stream.samples=300", "seeds=1"),
    "replay/permutations-mer": ("stream.tasks=4", "stream.samples=200", "seeds=1"),
    "replay/permutations-grid": ("stream.tasks=4", "seeds=1"),
    "pruning/permuted-mnist-epn": _PERMUTED,
    "pruning/permuted-mnist-packnet": (*_PERMUTED, "learner.retrain_steps=300"),
    "pruning/permuted-mnist-ewc": _PERMUTED,
    "pruning/imagenet-rigl": (
        "stream.batch=16",
        "stream.steps=24",
        "stream.size=32",
        "stream.resize=40",
        "network.depth=18",
        "seeds=1",
    ),
    "pruning/generative-mnist-powerprop-epn": (
        "stream.tasks=4",
        "stream.epochs=10",
        "stream.batch=20",
        "protocol.samples=200",
        "protocol.batch=20",
        "seeds=1",
    ),
    "fewshot/glyphs-5w1s-sparse-maml": ("stream.steps=400", "protocol.test_episodes=60"),
    "fewshot/omniglot-5w5s-anil": (
        "stream.steps=200",
        "network.channels=16",
        "protocol.every=25",
        "protocol.validation_episodes=30",
        "protocol.test_episodes=60",
        "seeds=1",
    ),
    "gems/embedded-mixture-bmp": ("stream.steps=300", "protocol.test_episodes=30"),
    "continual_world/pointgoal-epn": ("seeds=1",),
    "continual_world/pointgoal-multi": ("seeds=1",),
}
"""Specification to overrides."""


class Measured(NamedTuple):
    """Attributes: seconds, of time or of the processor; memory: bytes held at most."""

    seconds: float
    memory: float


def planned(spec: str, overrides: Sequence[str], *, processor: bool, seconds: float) -> tuple[Measured, float]:
    """What the plan says, and the seconds it took."""
    begun, experiment = time.perf_counter(), load_spec(spec, overrides)
    figures = measured_here(
        experiment, data="embedded", data_dir=None, overrides=overrides, seconds=seconds, processor=processor
    )  # fmt: skip
    plan = plan_of(experiment, figures, workers=1, local=True)
    return Measured(plan.seconds, plan.memory), time.perf_counter() - begun


def real(spec: str, overrides: Sequence[str], *, processor: bool) -> Measured:
    """What the run takes, in a process of its own."""
    verb = "run" if load_spec(spec, overrides).tune is None else "tune"
    with tempfile.TemporaryDirectory() as place:
        options = ["--data", "embedded", "--local", "--no-register", "--runs-dir", place]
        command = [sys.executable, "-m", "frisket", verb, spec, *overrides, *options]
        begun = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        said = process.stderr.read()
        _, status, used = os.wait4(process.pid, 0)
        took = time.perf_counter() - begun
        if status:
            raise RuntimeError(f"{spec}: {said[-500:]}")
        return Measured(used.ru_utime + used.ru_stime if processor else took, used.ru_maxrss * 1024)


def row(spec: str, overrides: Sequence[str], *, processor: bool, seconds: float) -> dict[str, Any]:
    """One specification, planned and run."""
    plan, took = planned(spec, overrides, processor=processor, seconds=seconds)
    found = real(spec, overrides, processor=processor)
    return {
        "spec": spec,
        "overrides": list(overrides),
        "plan_seconds": took,
        "seconds": [plan.seconds, found.seconds],
        "memory": [plan.memory, found.memory],
    }


def off(pair: Sequence[float]) -> float:
    """By which share of the real value the planned one is off."""
    expected, found = pair
    return expected / found - 1


def line(one: dict[str, Any]) -> str:
    """A row of the table."""
    seconds, memory = one["seconds"], [value / 2**20 for value in one["memory"]]
    misses = [
        word for word, pair, most in (("time", seconds, TIME), ("memory", memory, MEMORY)) if abs(off(pair)) > most
    ]
    cells = [
        f"`{one['spec']}`", f"{seconds[0]:.1f}", f"{seconds[1]:.1f}", f"{off(seconds):+.0%}",
        f"{memory[0]:.0f}", f"{memory[1]:.0f}", f"{off(memory):+.0%}", " and ".join(misses) or "-",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


HEAD = (
    "| specification | s planned | s real | off | MiB planned | MiB real | off | missed |\n"
    "|---|---|---|---|---|---|---|---|"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="beginnings of names; all by default")
    parser.add_argument("--processor", action="store_true", help="processor time in place of time")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for the positions that a plan walks along")
    parser.add_argument("--json", type=Path, help="a file for all figures")
    given = parser.parse_args(arguments)
    os.environ["OMP_NUM_THREADS"] = "1"
    rows = []
    print(HEAD, flush=True)
    for spec, overrides in SPECS.items():
        if given.names and not spec.startswith(tuple(given.names)):
            continue
        rows.append(row(spec, overrides, processor=given.processor, seconds=given.seconds))
        print(line(rows[-1]), flush=True)
        if given.json is not None:
            given.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    missed = [one for one in rows if abs(off(one["seconds"])) > TIME or abs(off(one["memory"])) > MEMORY]
    print(f"\n{len(rows) - len(missed)} of {len(rows)} within {TIME:.0%} of time and {MEMORY:.0%} of memory")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
