"""Run folders whose results are made by hand, so that looking at them can be tried without running anything."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from frisket.platform.run.folder import RunFolder
from frisket.platform.run.summary import write_summary
from frisket.platform.specs.experiment import from_dict

PLAIN: dict[str, Any] = {
    "name": "tiny/plain",
    "stream": {"p": 0.8, "steps": 30, "shots": 1},
    "network": {"channels": 2},
    "learner": {"kind": "cmaml-fixed", "inner_steps": 1},
}

Values = Mapping[str, Mapping[int, float | None]]
"""Metric to seed to value; None: the seed has not run to its end."""


def made_run(
    parent: Path,
    run_id: str,
    values: Values,
    *,
    others: Mapping[str, Values] | None = None,
    mode: str = "embedded",
    digest: str = "aa",
    **fields: Any,
) -> RunFolder:
    """A run under ``parent`` of `PLAIN` with ``fields`` laid over it; summed up if every seed has run to its end.

    Args:
        values: of the headline variant, or of a plain experiment.
        others: label to values of the other variants.
        mode, digest: which data, and their hash.
    """
    seeds = len(next(iter(values.values())))
    experiment = from_dict(PLAIN | {"seeds": seeds} | fields)
    folder = RunFolder.create(
        parent, experiment, data_mode=mode, data={"digits": {"kind": mode, "sha256": {"digits content": digest}}},
        register=False, tracking={"uri": "sqlite:///nowhere.db", "experiment": "frisket/tiny"}, run_id=run_id,
    )  # fmt: skip
    for replica in experiment.replicas():
        mine = (others or {}).get(replica.variant or "", values)
        metrics = {name: by_seed[replica.seed] for name, by_seed in mine.items()}
        if None not in metrics.values():
            about = {"replica": replica.key, "variant": replica.variant, "seed": replica.seed, "seconds": 2.0}
            config = {"learner": {"inner_steps": 1}}
            result = about | {"config": config, "metrics": metrics, "sparsity": {"overall": 0.5, "conv1.weight": 0.25}}
            folder.replica(replica).finish(result, journal_bytes=0)
    if folder.done:
        write_summary(folder)
    return folder
