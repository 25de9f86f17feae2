"""Runs an experiment on Ray Train: packs dealt out over N workers, or the tasks of meta-batches (`parallel: tasks`).

Workers share nothing but the run folder, which must lie on storage all of them see (`supervision` says how driver and
workers talk through it). A worker that dies (kill -9, a lost node) makes Ray start the group again, with as many
workers as there is room for, and every pack goes on from its checkpoint.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from frisket.platform.cluster.session import worker_environment
from frisket.platform.executors import Shares, Stop
from frisket.platform.executors.stream_source import stream_service
from frisket.platform.executors.supervision import MAX_DEATHS, StopFile, attempt, supervise
from frisket.platform.run.folder import RunFolder
from frisket.platform.specs.experiment import Experiment, share

_log = logging.getLogger(__name__)


def execute(folder: RunFolder, *, workers: int | None, data_dir: str | None, stop: Stop) -> None:
    """As `frisket.platform.executors.execute` says."""
    supervise(folder, lambda: _fit(folder, workers, data_dir), stop)


def shares(experiment: Experiment, wanted: int | None, jobs: int, cluster: Mapping[str, float]) -> Shares:
    """How ``jobs`` are spread over what a ``cluster`` has: by default a worker per GPU, or per `threads` CPUs.

    Where there is no GPU yet and the specification names one (``device: cuda``), every worker asks for its own, one
    worker by default: a cluster that grows on demand has none until somebody asks.
    """
    named, gpus = experiment.device.startswith("cuda"), int(cluster.get("GPU", 0))
    if experiment.device == "cpu" or not (gpus or named):
        by_cpus = max(1, int(cluster.get("CPU", 1)) // experiment.threads)
        return Shares(min(jobs, wanted or by_cpus), {"CPU": experiment.threads})
    workers = min(jobs, wanted or gpus or 1)
    if not gpus:
        _log.warning("this cluster has no GPU yet, and device=%s asks for one: waiting for it", experiment.device)
    # A hair less than its part, or Ray's own division finds room for one worker less than there are parts.
    part = 1.0 if gpus >= workers or not gpus else gpus / workers - 1e-4
    return Shares(workers, {"CPU": experiment.threads, "GPU": part})


def _fit(folder: RunFolder, workers: int | None, data_dir: str | None) -> None:
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig

    from frisket.platform.executors.pack_trainer import PackTrainer

    apart = folder.experiment.parallel == "replicas"
    share_of = shares(folder.experiment, workers, folder.experiment.jobs, ray.cluster_resources())
    with stream_service(folder, share_of) as service:
        trainer = PackTrainer(
            _work if apart else _work_together,
            run_id=folder.run_id,
            apart=apart,
            train_loop_config={"run": str(folder.path), "data_dir": data_dir, "service": service},
            scaling_config=ScalingConfig(
                # After the loss of a node the run goes on with the workers that there is room for, and with all of them
                # once the node is back. A fixed number would wait for it, for ever if need be; but those that share
                # tasks must be as many as before, for the same bits.
                num_workers=share_of.workers if share_of.workers == 1 or not apart else (1, share_of.workers),
                use_gpu="GPU" in share_of.resources,
                resources_per_worker=share_of.resources,
            ),
            run_config=RunConfig(
                name="train",
                storage_path=str(folder.path / "ray"),
                failure_config=FailureConfig(max_failures=MAX_DEATHS),
                worker_runtime_env={"env_vars": worker_environment()},
            ),
        )
        trainer.fit()


def _work_together(config: dict[str, Any]) -> None:
    """One of the Ray Train workers that share the tasks of every meta-batch: all packs, one after the other."""
    import torch
    from ray.train.torch import get_device

    from frisket.platform.run.together import Together

    folder = RunFolder.open(Path(config["run"]))
    stop, together = StopFile(folder), Together(torch.device(get_device()))
    for pack in folder.packs:
        if stop.now() or not attempt(folder, pack, config["data_dir"], stop, config["service"], together):
            return


def _work(config: dict[str, Any]) -> None:
    """One Ray Train worker: its share of the packs, one after the other."""
    from ray import train

    context = train.get_context()
    folder = RunFolder.open(Path(config["run"]))
    stop = StopFile(folder)
    for pack in share(folder.packs, context.get_world_rank(), context.get_world_size()):
        if not attempt(folder, pack, config["data_dir"], stop, config["service"]):
            return
