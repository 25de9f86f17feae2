"""Tiny specifications of every family, and what tests of plans ask of a run."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from runs import SEQUENCE

from frisket.platform.planning.figures import Figures
from frisket.platform.planning.process import measure
from frisket.platform.run.engine import Walk
from frisket.platform.run.folder import RunFolder
from frisket.platform.specs.experiment import Experiment, from_dict
from frisket.platform.tracking.record import Record
from frisket.platform.tracking.uploader import Uploader

MLP = {"kind": "mlp", "hidden": [8]}
TASKS = {"kind": "permutations", "tasks": 3, "samples": 40, "batch": 10}
PROTECTED = {**SEQUENCE["stream"], "tasks": 3, "samples": 96, "validation": 100, "epochs": 1}
EPISODES = {"kind": "episodes", "dataset": "glyphs", "ways": 3, "shots": 1, "queries": 2, "steps": 32}
ROBOT = {
    "start_steps": 40, "update_after": 40, "update_every": 8, "updates": 1, "memory_slots": 300, "batch": 16
}  # fmt: skip

FAMILIES: dict[str, dict[str, Any]] = {
    "osaka": {"stream": {"p": 0.8, "steps": 23, "shots": 1}, "network": {"channels": 2},
              "learner": {"kind": "sparse-cmaml", "inner_steps": 1}},
    "replay": {"stream": TASKS, "network": MLP, "learner": {"kind": "er"}, "protocol": {"kind": "retained-accuracy"}},
    "needed": {"stream": {**TASKS, "tasks": 4}, "network": MLP, "learner": {"kind": "gem", "memories": 5},
               "protocol": {"kind": "retained-accuracy", "entries": "needed"}},
    "look-ahead": {"stream": TASKS, "network": MLP, "learner": {"kind": "la-maml", "glances": 1, "memory_slots": 20},
                   "protocol": {"kind": "retained-accuracy"}},
    "pruning": {"stream": PROTECTED, "network": {**MLP, "powerprop_alpha": 1.5},
                "learner": {"kind": "efficient-packnet", "lr": 0.005, "grid": [0.1, 0.2], "retrain_steps": 3},
                "protocol": {"kind": "protected-accuracy", "inference": [1, 4], "inference_batches": 2}},
    "one-shot": {"stream": {**TASKS, "tasks": 1}, "network": MLP, "learner": {"kind": "online-sgd"},
                 "protocol": {"kind": "pruning-curve", "kept": [0.5, 1.0]}},
    "generative": {"stream": {"kind": "character-tasks", "dataset": "mnist", "tasks": 3, "epochs": 1, "batch": 20},
                   "network": {"kind": "vae", "latent": 3, "encoder": [24], "head": [16], "shared": [20]},
                   "learner": {"kind": "ewc-fisher", "lr": 0.001, "fresh_optimiser": True},
                   "protocol": {"kind": "log-likelihood", "samples": 5, "batch": 20}},
    "few-shot": {"stream": EPISODES, "network": {"kind": "conv4", "channels": 2, "adapt_norm": True},
                 "learner": {"kind": "maml", "inner_steps": 1, "meta_batch": 2},
                 "protocol": {"kind": "few-shot-accuracy", "every": 8, "validation_episodes": 3, "test_episodes": 5}},
    "gems": {"stream": {"kind": "mixed-episodes", "domains": {"glyphs": None, "digits": None}, "ways": 2, "shots": 1,
                        "queries": 2, "steps": 16},
             "network": {"kind": "conv4", "channels": 2, "adapt_norm": True},
             "learner": {"kind": "bmp", "meta_batch": 2, "inner_steps": 1},
             "protocol": {"kind": "few-shot-accuracy", "every": 4, "validation_episodes": 4, "test_episodes": 3}},
    "robots": {"stream": {"kind": "robots", "steps": 240, "environments": 4, "trials": 6},
               "network": {"kind": "layer-norm-mlp", "hidden": [16]},
               "learner": {"kind": "sac-packnet", **ROBOT, "tasks": 3, "retrain_steps": 5},
               "protocol": {"kind": "success", "points": 2, "episodes": 6, "tail": 1}},
}  # fmt: skip
"""A tiny specification of every family of methods, streams and protocols."""


def experiment(family: str, **fields: Any) -> Experiment:
    """The specification of ``family``, one seed by default, with ``fields`` laid over it."""
    return from_dict({"name": f"tiny/{family}", "seeds": 1, "log_every": 5, **FAMILIES[family], **fields})


def new_run(parent: Path, one: Experiment, store: Path | None = None) -> RunFolder:
    """A run of ``one`` on embedded data, tracked in the database ``store``."""
    tracking = {"uri": f"sqlite:///{store}", "experiment": f"frisket/{one.name}"}
    return RunFolder.create(parent, one, data_mode="embedded", data={}, register=False, tracking=tracking)


def figures(parent: Path, one: Experiment, seconds: float = 60.0) -> Figures:
    """What a probe in this process finds out of ``one``; with 60 seconds it takes every position of three tasks."""
    folder = new_run(parent / f"plan-{time.monotonic_ns()}", one)
    return measure(folder, begun=time.time(), seconds=seconds, data_dir=None, overrides=(), processor=False)


def rows_of(folder: RunFolder) -> int:
    """Metrics that the store of the finished run has once all is sent."""
    status = Uploader(folder).push()
    assert status.complete, status.reason
    record = Record.of(folder)
    runs = [record.parent, *(child.run_id for child in record.children.values())]
    with sqlite3.connect(folder.manifest["tracking"]["uri"].removeprefix("sqlite:///")) as store:
        asked = f"select count(*) from metrics where run_uuid in ({','.join('?' * len(runs))})"
        return store.execute(asked, runs).fetchone()[0]


def asked_for(folder: RunFolder) -> Counter[int]:
    """Position to how many test sets, episodes and worlds a whole run of its first pack asks the stream for."""
    found: Counter[int] = Counter()

    class Counted(Walk):
        def positions(self) -> Iterator[int]:
            own, at = vars(self.stream), [0]

            def counting(inner: Callable[..., Any]) -> Callable[..., Any]:
                def ask(*which: Any) -> Any:
                    found[at[0]] += which[0] != "train"
                    return inner(*which)

                return ask

            def each(inner: Callable[..., Any]) -> Callable[..., Any]:
                def ask(*which: Any) -> Iterator[Any]:
                    for one in inner(*which):
                        found[at[0]] += 1
                        yield one

                return ask

            for name, counted in (("test_set", counting), ("episode", counting), ("tests", each)):
                if hasattr(self.stream, name):
                    own[name] = counted(getattr(self.stream, name))
            for at[0] in super().positions():
                yield at[0]

    with folder.pack(folder.packs[0]).lock():
        Counted(folder, folder.packs[0], None).run(lambda: False)
    return Counter({position: count for position, count in found.items() if count})
