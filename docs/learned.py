"""How far soft actor-critic gets on robot tasks by themselves, from finished runs: docs/results/robots-meta-world.

    python -m docs.learned              # the table of by-task.json, in Markdown
    python -m docs.learned RUN ...      # puts what the folders of finished runs tell into by-task.json first

A task that is the first of its run was learned from nothing; later ones are left out. Success at so many steps is the
mean of the last five points up to there, ten episodes each where the specification says nothing else. The interval is
90 %: of 4000 resamples of the seeds, or, of one seed, Wilson's of its episodes, which says nothing of other seeds.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from frisket.platform.protocols.bootstrap import bootstrap
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.journal import read_steps

KEPT = Path(__file__).parent / "results" / "robots-meta-world" / "by-task.json"
AT = (25_000, 50_000, 100_000, 200_000, 300_000)
"""Steps of a task that the table has columns for."""
POINTS = 5
_NORMAL = 1.6449
"""The 0.95 quantile of the standard normal distribution."""


def read(folder: RunFolder) -> Iterator[dict[str, Any]]:
    """What a finished run tells, a row for each seed."""
    experiment = folder.experiment
    stream, protocol = experiment.stream.config, experiment.protocol.config
    if experiment.learner.kind != "sac" or experiment.network.config.powerprop_alpha != 1:
        raise SystemExit(f"{folder.path}: is not of plain soft actor-critic")
    for files, result in zip(folder.replicas(), folder.results(), strict=True):
        curve = [one["curve"][0] for one in read_steps(files.journal) if "curve" in one][: protocol.points]
        yield {
            "task": stream.names[0],
            "steps": stream.steps,
            "seed": result["seed"],
            "precision": experiment.network.config.precision,
            "width": list(experiment.network.config.hidden),
            "episodes": protocol.episodes,
            "goals": stream.goals or "random",
            "curve": curve,
        }


def success(row: Mapping[str, Any], steps: int) -> float | None:
    """Of a row after ``steps``; None where it has not come so far."""
    point = steps * len(row["curve"]) // row["steps"]
    return statistics.fmean(row["curve"][point - POINTS : point]) if POINTS <= point <= len(row["curve"]) else None


def table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Lines of Markdown."""
    yield "| task | seeds | " + " | ".join(f"{steps:,}" for steps in AT) + " |"
    yield "|---|---:|" + "---:|" * len(AT)
    for task in sorted({row["task"] for row in rows}):
        mine = [row for row in rows if row["task"] == task]
        cells = [_cell([(s, row) for row in mine if (s := success(row, steps)) is not None]) for steps in AT]
        yield f"| {task} | {len(mine)} | {' | '.join(cells)} |"


def _cell(found: Sequence[tuple[float, Mapping[str, Any]]]) -> str:
    if not found:
        return "-"
    shares = [share for share, _ in found]
    if len(shares) > 1:
        low, high = (float(end) for end in bootstrap(lambda rows: rows.mean(1), np.array(shares)))
    else:
        low, high = wilson(shares[0], POINTS * found[0][1]["episodes"])
    return f"{100 * statistics.fmean(shares):.0f} [{100 * low:.0f}, {100 * high:.0f}]"


def wilson(share: float, episodes: int) -> tuple[float, float]:
    """The ends of Wilson's 90 % interval."""
    z = _NORMAL**2 / episodes
    middle, half = share + z / 2, _NORMAL * math.sqrt((share * (1 - share) + z / 4) / episodes)
    return (middle - half) / (1 + z), (middle + half) / (1 + z)


def main(arguments: Sequence[str]) -> int:
    """Print the table."""
    rows: list[dict[str, Any]] = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else []
    new = [row for path in arguments for row in read(RunFolder.open(Path(path)))]
    if new:
        of = {(row["task"], row["steps"], row["seed"]): row for row in [*rows, *new]}
        rows = [of[key] for key in sorted(of)]
        lines = ",\n".join(json.dumps(row) for row in rows)
        KEPT.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    print("\n".join(table(rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
