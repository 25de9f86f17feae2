"""Runs an experiment on Ray Train: packs dealt out over N workers.

Workers share nothing but the run folder, which must lie on storage all of them see. A worker that dies (kill -9, a lost
node) makes Ray start the group again, and every pack goes on from its checkpoint. A replica that *fails* would fail
again, so its error is kept in the folder, everybody stops with a checkpoint, and the driver raises it here.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import traceback
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any

import torch

from frisket import errors
from frisket.errors import FrisketError, UserError
from frisket.platform.engine import Stopped, run_pack
from frisket.platform.executors import Stop, share, wait_until_free
from frisket.platform.executors.ray_session import ray_session, worker_environment
from frisket.platform.runfolder import ReplicaFolder, RunFolder, read_json, write_json
from frisket.platform.spec import Experiment

_MAX_DEATHS = 3
_LOOK_SECONDS = 0.5
_STOP_SECONDS = 60.0
"""How long workers may take to checkpoint before they are stopped without one."""


def execute(folder: RunFolder, *, workers: int | None, data_dir: str | None, stop: Stop) -> None:
    """Run every replica of ``folder`` that has no result yet.

    Args:
        folder: the run.
        workers: how many; None for one per pack, as far as CPUs (or GPUs) go.
        data_dir: first place to look for data.
        stop: True ends the run, after checkpoints.

    Raises:
        Stopped: ``stop`` said so.
        UserError: a replica met a mistake of the user's.
        FrisketError: a replica failed, or workers died again and again.
    """
    _clear(folder)
    with ray_session(cpus=worker_count(folder.experiment, workers) * folder.experiment.threads):
        _supervise(folder, workers, data_dir, stop)
    _stop_file(folder).unlink(missing_ok=True)
    _raise_kept(folder)
    if not folder.done:
        raise Stopped(f"run {folder.run_id} stopped")


def _supervise(folder: RunFolder, workers: int | None, data_dir: str | None, stop: Stop) -> None:
    """Wait for Ray Train, in a thread of its own: in the main thread it would take over Ctrl-C."""
    fit = Future[None]()

    def run() -> None:
        try:
            fit.set_result(_fit(folder, workers, data_dir))
        except BaseException as error:
            fit.set_exception(error)

    # A daemon, because a Ray that never answers must not keep the process from ending.
    threading.Thread(target=run, name="frisket-ray-train", daemon=True).start()
    try:
        _wait(fit, folder, stop)
    finally:
        _ask_to_stop(folder)  # whatever ended the wait, nobody works on


def worker_count(experiment: Experiment, wanted: int | None) -> int:
    """Workers for ``experiment``: at most one per pack, by default as many as this machine feeds."""
    if wanted is None:
        cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        gpus = 0 if experiment.device == "cpu" else torch.cuda.device_count()
        wanted = gpus or max(1, cpus // experiment.threads)
    return min(wanted, len(experiment.packs()))


def _fit(folder: RunFolder, workers: int | None, data_dir: str | None) -> None:
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    experiment, there = folder.experiment, ray.cluster_resources()
    gpus = 0 if experiment.device == "cpu" else int(there.get("GPU", 0))
    if workers is None:
        workers = gpus or max(1, int(there.get("CPU", 1)) // experiment.threads)
    workers = min(workers, len(experiment.packs()))
    resources: dict[str, float] = {"CPU": experiment.threads}
    if gpus:
        resources["GPU"] = min(1.0, gpus / workers)
    trainer = TorchTrainer(
        _work,
        train_loop_config={"run": str(folder.path), "data_dir": data_dir},
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=bool(gpus), resources_per_worker=resources),
        run_config=RunConfig(
            name="train",
            storage_path=str(folder.path / "ray"),
            failure_config=FailureConfig(max_failures=_MAX_DEATHS),
            worker_runtime_env={"env_vars": worker_environment()},
        ),
        torch_config=TorchConfig(backend="gloo"),  # replicas never talk to each other; gloo works with and without GPUs
    )
    trainer.fit()


def _work(config: dict[str, Any]) -> None:
    """One Ray Train worker: its share of the packs, one after the other."""
    from ray import train

    context = train.get_context()
    folder = RunFolder.open(Path(config["run"]))
    stop = _StopFile(folder)
    for pack in share(folder.packs, context.get_world_rank(), context.get_world_size()):
        files = folder.pack(pack)
        try:
            wait_until_free(files)
            run_pack(folder, pack, data_dir=config["data_dir"], stop=stop)
        except Stopped:
            return
        except Exception as error:  # a failure is not a death: Ray would try it again and again
            _keep(files.members[0], error)
            _ask_to_stop(folder)
            return


def _wait(fit: Future[None], folder: RunFolder, stop: Stop) -> None:
    deadline: float | None = None
    while not wait([fit], timeout=_LOOK_SECONDS / 2).done:
        if deadline is None and stop():
            _ask_to_stop(folder)
            deadline = time.monotonic() + _STOP_SECONDS
        if deadline is not None and time.monotonic() > deadline:
            raise Stopped(f"run {folder.run_id} stopped; its workers did not answer in {_STOP_SECONDS:.0f} s")
    error = fit.exception()
    if error is None:
        return
    if deadline is not None:  # what asked us to stop may have ended Ray as well: a signal to the whole process group
        raise Stopped(f"run {folder.run_id} stopped, and Ray with it") from error
    raise FrisketError(
        f"Ray gave the run up: {_last_line(error)}\n"
        "If its workers died again and again it is often too little memory: fewer --workers need less. "
        "Nothing is lost, the run can be resumed."
    ) from error


class _StopFile:
    """How the driver tells workers to stop: a file in the run folder, looked for now and then."""

    def __init__(self, folder: RunFolder) -> None:
        self._path = _stop_file(folder)
        self._next = 0.0
        self._seen = False

    def __call__(self) -> bool:
        now = time.monotonic()
        if not self._seen and now >= self._next:
            self._seen, self._next = self._path.exists(), now + _LOOK_SECONDS
        return self._seen


def _stop_file(folder: RunFolder) -> Path:
    return folder.path / "stop"


def _ask_to_stop(folder: RunFolder) -> None:
    _stop_file(folder).touch()


def _clear(folder: RunFolder) -> None:
    """Forget how an earlier attempt ended."""
    _stop_file(folder).unlink(missing_ok=True)
    for files in folder.replicas():
        _error_file(files).unlink(missing_ok=True)


def _error_file(files: ReplicaFolder) -> Path:
    return files.path / "error.json"


def _keep(files: ReplicaFolder, error: Exception) -> None:
    kept: dict[str, Any] = {"kind": type(error).__name__, "text": str(error), "trace": traceback.format_exc()}
    if isinstance(error, UserError):
        kept |= {"field": error.field, "value": _plain(error.value), "fix": error.fix}
    with contextlib.suppress(OSError):  # a full disk may well be the error
        write_json(_error_file(files), kept)


def _plain(value: object) -> object:
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def _raise_kept(folder: RunFolder) -> None:
    for files in folder.replicas():
        kept = read_json(_error_file(files))
        if kept is None:
            continue
        if "field" in kept:
            raise getattr(errors, kept["kind"], UserError)(kept["field"], kept["value"], kept["fix"])
        raise FrisketError(f"replica {files.key} failed: {kept['kind']}: {kept['text']}\n{kept['trace']}")


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
