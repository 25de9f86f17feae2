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

from frisket.errors import RunError, UserError
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
    """What a finished run tells, a row for each replica.

    Raises:
        RunError: it has not run to its end, or is of another method.
    """
    for replica in folder.experiment.replicas():
        files, plain = folder.replica(replica), folder.experiment.variant(replica.variant)
        stream, protocol, network = (part.config for part in (plain.stream, plain.protocol, plain.network))
        if plain.learner.kind != "sac" or network.powerprop_alpha != 1:
            raise RunError("run", folder.run_id, "is not of plain soft actor-critic")
        if files.result is None:
            raise RunError("run", folder.run_id, "has not run to its end")
        curve = [one["curve"][0] for one in read_steps(files.journal) if "curve" in one][: protocol.points]
        yield {
            "task": stream.names[0],
            "goals": stream.goals or "random",
            "network": plain.network.work(exact=True),
            "learner": {k: v for k, v in plain.learner.work(exact=True).items() if k != "memory_slots"},
            "episodes": protocol.episodes,
            "seed": replica.seed,
            "steps": stream.steps,
            "memory_slots": plain.learner.config.memory_slots,
            "curve": curve,
        }


def alike(row: Mapping[str, Any]) -> str:
    """The same for rows that are seeds of one setting: all but seed, length, and a memory that holds every step."""
    told = {k: row[k] for k in ("task", "goals", "network", "learner", "episodes")}
    return json.dumps({**told, "slots": min(row["memory_slots"] - row["steps"], 0)}, sort_keys=True)


def success(row: Mapping[str, Any], steps: int) -> float | None:
    """Of a row after ``steps``; None where it has not come so far."""
    point = steps * len(row["curve"]) // row["steps"]
    return statistics.fmean(row["curve"][point - POINTS : point]) if POINTS <= point <= len(row["curve"]) else None


def table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Lines of Markdown, one for each setting. Of a seed that ran more than once the longest run counts."""
    yield "| task | hidden layers | products | goals | " + " | ".join(f"{steps:,}" for steps in AT) + " |"
    yield "|---|---|---|---|" + "---:|" * len(AT)
    for setting in sorted({alike(row) for row in rows}):
        mine = sorted((row for row in rows if alike(row) == setting), key=lambda row: row["steps"])
        longest = {row["seed"]: row for row in mine}.values()
        network = mine[0]["network"]
        layers = f"{len(network['hidden'])} x {network['hidden'][0]}"
        told = mine[0]["task"], layers, network["precision"], mine[0]["goals"]
        cells = [_cell([success(row, steps) for row in longest], mine[0]["episodes"]) for steps in AT]
        yield f"| {' | '.join([*told, *cells])} |"


def _cell(found: Sequence[float | None], episodes: int) -> str:
    shares = [share for share in found if share is not None]
    if not shares:
        return "-"
    if len(shares) > 1:
        low, high = (float(end) for end in bootstrap(lambda rows: rows.mean(1), np.array(shares)))
    else:
        low, high = wilson(shares[0], POINTS * episodes)
    return f"{100 * statistics.fmean(shares):.0f} [{100 * low:.0f}, {100 * high:.0f}], n = {len(shares)}"


def wilson(share: float, episodes: int) -> tuple[float, float]:
    """The ends of Wilson's 90 % interval."""
    z = _NORMAL**2 / episodes
    middle, half = share + z / 2, _NORMAL * math.sqrt((share * (1 - share) + z / 4) / episodes)
    return (middle - half) / (1 + z), (middle + half) / (1 + z)


def main(arguments: Sequence[str]) -> int:
    """Exit code; prints the table."""
    rows: list[dict[str, Any]] = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else []
    try:
        new = [row for path in arguments for row in read(RunFolder.open(Path(path)))]
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    if new:
        of = {(alike(row), row["seed"], row["steps"]): row for row in [*rows, *new]}
        lines = ",\n".join(json.dumps(of[key]) for key in sorted(of))
        KEPT.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
        rows = list(of.values())
    print("\n".join(table(rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
