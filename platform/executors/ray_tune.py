"""Runs a search on Ray Tune: every pack is a trial, and Tune spreads the trials over the cluster.

The run folder is the source of truth, so nothing of Tune's is ever restored: a resumed search is a new Tune experiment
over the packs that have no result yet. Only a race (``search: asha``) makes trials of finished points too; they report
what their journals say at once, so that points still running are compared with all that ever ran.

A worker that dies (kill -9, a lost node) makes Tune start its trial again, which goes on from its checkpoint.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from frisket.platform.executors import Shares, Stop
from frisket.platform.executors.ray_train import shares
from frisket.platform.executors.stream_source import stream_service
from frisket.platform.executors.supervision import MAX_DEATHS, supervise
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.points import search_of
from frisket.platform.specs.build import build_stream, load_data


def execute(folder: RunFolder, *, workers: int | None, data_dir: str | None, stop: Stop) -> None:
    """As `frisket.platform.executors.execute` says."""
    rungs = rungs_of(folder, data_dir) if search_of(folder.experiment).early_stopping else []
    stopped = supervise(folder, lambda: _fit(folder, workers, data_dir, rungs), stop)
    shutil.rmtree(_tune_folder(folder), ignore_errors=True)
    if not stopped and rungs:
        mark_stopped(folder, rungs[-1])


def rungs_of(folder: RunFolder, data_dir: str | None) -> list[int]:
    """The steps at which the points of a race are compared, and last the length of the stream.

    The first is the share ``grace`` of the stream, each other ``reduction`` times the one before; all are positions at
    which points are journalled.
    """
    experiment = folder.experiment
    search = search_of(experiment)
    data = load_data(experiment, folder.manifest["data_mode"], data_dir)
    steps = build_stream(experiment, data, seed=0).steps
    rungs, step = [], max(1, round(search.grace * steps / experiment.log_every)) * experiment.log_every
    while step < steps:
        rungs.append(step)
        step *= search.reduction
    return [*rungs, steps]


def mark_stopped(folder: RunFolder, steps: int) -> None:
    """Give the points that a finished race has left behind a result which says where they were stopped."""
    from frisket.platform.executors.ray_trial import reached
    from frisket.platform.run.journal import read_journal

    for replica, files in zip(folder.experiment.replicas(), folder.replicas(), strict=True):
        if files.result is None:
            points = [line["points"] for line, _ in read_journal(files.journal) if "points" in line]
            files.finish(
                {
                    "replica": replica.key,
                    "variant": replica.variant,
                    "seed": replica.seed,
                    "stopped": {"step": reached(files), "of": steps},
                    "metrics": points[-1] if points else {},
                    "seconds": (files.committed or {"seconds": 0.0})["seconds"],
                },
                files.committed_bytes(),
            )


def _fit(folder: RunFolder, workers: int | None, data_dir: str | None, rungs: Sequence[int]) -> None:
    import ray

    packs = _left(folder, everything=bool(rungs))
    if packs:
        share = shares(folder.experiment, workers, len(packs), ray.cluster_resources())
        with stream_service(folder, share) as service:
            _tune(folder, packs, rungs, share, {"run": str(folder.path), "data_dir": data_dir, "service": service})


def _tune(folder: RunFolder, packs: Sequence[int], rungs: Sequence[int], share: Shares, config: dict[str, Any]) -> None:
    """Run ``packs`` as trials; ``config`` is what all of them are told."""
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler, FIFOScheduler

    from frisket.platform.executors.at_hand import workers_at_hand
    from frisket.platform.executors.ray_trial import SCORE, STEP, PackTrial, RungTrial, StopWaiting

    following = iter(packs)  # a list to search over (`grid_search`) Tune would copy deeply for every trial
    config["pack"] = tune.sample_from(lambda _: next(following))
    if rungs:
        trial, config["rungs"] = RungTrial, list(rungs[:-1])
        search = search_of(folder.experiment)
        scheduler = ASHAScheduler(
            time_attr=STEP,
            metric=SCORE,
            mode=search.mode,
            grace_period=rungs[0],
            max_t=rungs[-1],
            reduction_factor=search.reduction,
        )
    else:
        trial, scheduler = PackTrial, FIFOScheduler()
    tuner = tune.Tuner(
        tune.with_resources(trial, share.resources),
        param_space=config,
        tune_config=tune.TuneConfig(
            scheduler=scheduler, reuse_actors=True, max_concurrent_trials=share.workers, num_samples=len(packs)
        ),
        run_config=tune.RunConfig(
            name=_tune_folder(folder).name,
            storage_path=str(_tune_folder(folder).parent),
            failure_config=tune.FailureConfig(max_failures=MAX_DEATHS),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # the run folder has them
            stop=StopWaiting(folder),
            verbose=0,
        ),
    )
    with workers_at_hand():
        grid = tuner.fit()
    if grid.errors:
        raise grid.errors[0]


def _tune_folder(folder: RunFolder) -> Path:
    """Tune's own record of its trials: of use while they run, and after a failure."""
    return folder.path / "ray" / "tune"


def _left(folder: RunFolder, *, everything: bool) -> list[int]:
    """Which of the packs are to be run."""
    return [i for i, pack in enumerate(folder.packs) if everything or not folder.pack(pack).done]
