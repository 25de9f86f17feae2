"""How long a search of 1,000 points takes until its first trial works: ``python -m benchmarks.first_trial``.

A real ``frisket tune`` on a private Ray, from the start of its process. It is stopped once the first result is there.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from frisket.platform.specs.text import dump

SPEC = {
    "stream": {"kind": "rotations", "tasks": 3, "samples": 60, "test_samples": 50},
    "network": {"kind": "mlp", "hidden": [16]},
    "learner": {"kind": "la-maml"},
    "seeds": 1,
    "tune": {
        "axes": {
            "learner.alpha_init": [round(0.01 * i, 2) for i in range(1, 41)],
            "learner.alpha_lr": [round(0.02 * i, 2) for i in range(1, 26)],
        }
    },
}
STAGES = {
    "run folder made": "runs/x/run.json",
    "Tune begins": "runs/x/ray/tune/*",
    "first trial works": "runs/x/replicas/*/journal.jsonl",
    "first result": "runs/x/replicas/*/result.json",
}
PATIENCE, PAUSE = 300.0, 0.1  # in seconds; looking into 1,000 folders more often would take a core from the search


def measure(folder: Path) -> dict[str, float]:
    """Seconds from the start of the process to each of `STAGES`."""
    (folder / "search.yaml").write_text(dump(SPEC), encoding="utf-8")
    command = [sys.executable, "-m", "frisket", "tune", "search.yaml", "--data", "embedded", "--no-register"]
    variables = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db", "OMP_NUM_THREADS": "1"}
    begun, seen = time.monotonic(), dict[str, float]()
    search = subprocess.Popen(
        [*command, "--runs-dir", "runs", "--run-id", "x"], cwd=folder, env=variables, stderr=subprocess.DEVNULL
    )
    while len(seen) < len(STAGES) and search.poll() is None and time.monotonic() - begun < PATIENCE:
        stage = next(stage for stage in STAGES if stage not in seen)
        if any(folder.glob(STAGES[stage])):
            seen[stage] = time.monotonic() - begun
        time.sleep(PAUSE)
    search.send_signal(signal.SIGINT)
    search.wait()
    return seen


if __name__ == "__main__":
    for _ in range(3):
        with tempfile.TemporaryDirectory() as place:
            print(", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in measure(Path(place)).items()), flush=True)
