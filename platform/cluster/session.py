"""A Ray cluster for the length of a run: the one the environment names, or a private one on this machine.

Ray 2.60 turns token authentication on by itself and, finding no token, writes one into the user's home. So a private
cluster gets a throw-away token in a temporary folder that its owner alone may enter, unless the user has decided about
RAY_AUTH_MODE. Ray opens the folder it is given to everybody on the machine (mode 0777); it is given one inside that
folder, without the token. Its processes listen on 127.0.0.1 alone. Everything the session sets in the environment is
taken back at its end.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

import torch

from frisket.errors import ClusterError, FrisketError, UserError
from frisket.folders import importable
from frisket.platform.cluster import in_turn
from frisket.platform.cluster.environment import environment, unset
from frisket.platform.cluster.private_folder import RAYS, private_folder
from frisket.platform.specs.build import choose_device
from frisket.platform.specs.experiment import Experiment

_log = logging.getLogger(__name__)

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # our own priority; by default (15) workers starve beside whatever else is running
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # Ray's future default; unset, every start prints a warning about it
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # by default a dead worker, and the end, are noticed after 2 s
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # one more process; packs go on from their checkpoints, warned or not
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the run folder is the record; Tune's own files would be a second one
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a trial that was asked to stop has no score
    "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints a banner even when told to be silent
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "10",  # for slots; asked for again, with fewer workers if a node is lost
}
_METRICS = "RAY_enable_metrics_collection"
_ALONE = {
    _METRICS: "0",  # nobody reads the metrics of a cluster that ends with the run
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_idle_worker_killing_time_threshold_ms": "30000",  # those held ready would end before the driver is
    # What Ray does where a firewall would ask about it: this machine is 127.0.0.1, and nothing else is listened on.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}
"""What a private cluster can do without, beside what `LeanNode` and `SilentNode` leave out."""

_INHERITED = "FRISKET_WORKERS_INHERIT"
"""Set while a private cluster lives: its workers have in their environment what `worker_environment` would say."""

_CONNECT_SECONDS = 10.0
_OBJECT_STORE_BYTES = 100 * 2**20  # replicas keep their data to themselves; Ray would reserve 30 % of the memory


def on_a_cluster() -> bool:
    """Whether `ray_session` would use a cluster that is there already."""
    ray = sys.modules.get("ray")
    return bool(os.environ.get("RAY_ADDRESS")) or bool(ray and ray.is_initialized())


@contextlib.contextmanager
def ray_session(cpus: int, preload: Sequence[str] = ()) -> Iterator[None]:
    """Ray is usable inside the block.

    Uses the session this process already has, else the cluster of RAY_ADDRESS, else a private one with ``cpus`` CPU
    slots, which leaves no process and no file behind, and whose workers import the modules ``preload`` as they start.
    """
    with environment(unset(_QUIET)):
        import ray

        if ray.is_initialized():
            yield
        elif os.environ.get("RAY_ADDRESS"):
            _join_cluster(os.environ["RAY_ADDRESS"])
            try:
                yield
            finally:
                ray.shutdown()
        else:
            with contextlib.ExitStack() as stack:
                _enter(stack, lambda: _private_cluster(cpus, preload))
                yield


def _enter(stack: contextlib.ExitStack, cluster: Callable[[], contextlib.AbstractContextManager[None]]) -> None:
    """Start a private cluster, and another one where the first does not come up: a machine may be busy for a moment."""
    try:
        stack.enter_context(cluster())
    except FrisketError as error:
        if isinstance(error, UserError):
            raise
        _log.warning("%s; trying once more", error)
        stack.enter_context(cluster())


def require_device(wanted: str) -> None:
    """Refuse the device ``wanted`` before anything is started, as far as this machine can tell: it cannot where workers
    will be on a cluster's machines, and then it is they who look.

    Raises:
        UserError: workers will be here, and here is none.
    """
    ray = sys.modules.get("ray")
    if not os.environ.get("RAY_ADDRESS") and not (ray and ray.is_initialized()):
        choose_device(wanted)


def worker_count(experiment: Experiment, *, local: bool, workers: int | None) -> int:
    """How many will work on ``experiment`` at once, as far as this machine decides it: at most one per pack, by default
    as many as it feeds."""
    if local:
        return 1
    if workers is None:
        cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        gpus = 0 if experiment.device == "cpu" else torch.cuda.device_count()
        workers = gpus or max(1, cpus // experiment.threads)
    return min(workers, experiment.jobs)


def worker_environment() -> dict[str, str]:
    """What Ray must put into the environment of the workers it starts for us, beside what they have by themselves.

    A worker's working folder is not the user's, so relative folders are made absolute. Nothing where workers inherit
    it: Ray starts a fresh process for every worker that is to have variables of its own, in place of those it holds
    ready.
    """
    if os.environ.get(_INHERITED):
        return {}
    variables = {"OMP_NUM_THREADS": "1", **importable()}  # the specification's `threads` decides, when a replica starts
    for name in ("FRISKET_DATA", "FRISKET_CACHE"):
        if os.environ.get(name):
            variables[name] = str(Path(os.environ[name]).expanduser().absolute())
    return variables


def _join_cluster(address: str) -> None:
    """Connect to the cluster at ``address``.

    Raises:
        ClusterError: nobody answers there, or the token is not its own. Ray itself would try for two minutes, and then
            end the process.
    """
    import ray

    host, colon, port = address.rpartition(":")
    if colon and port.isdecimal() and "://" not in address:
        try:
            socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
        except OSError as error:
            raise ClusterError("RAY_ADDRESS", address, f"no Ray cluster answers there ({error})") from None
    said_by_job = _job_environment()  # Ray refuses to hear a variable twice, even if it is the same
    variables = {name: value for name, value in worker_environment().items() if name not in said_by_job}
    try:
        with _handlers_kept():
            ray.init(log_to_driver=False, logging_level=logging.ERROR, runtime_env={"env_vars": variables})
    except ConnectionError as error:
        mode, place = os.environ.get("RAY_AUTH_MODE"), os.environ.get("RAY_AUTH_TOKEN_PATH")
        fix = f"refuses us ({error}); RAY_AUTH_MODE ({mode}) and the token ({place}) must be those it was started with"
        raise ClusterError("RAY_ADDRESS", address, fix) from None
    except ValueError as error:
        fix = f"is no address of a Ray cluster ({error}): HOST:PORT, or auto for the one on this machine"
        raise ClusterError("RAY_ADDRESS", address, fix) from None


def _job_environment() -> dict[str, str]:
    """The variables that whoever submitted this process as a Ray job set for it."""
    job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
    return job.get("runtime_env", {}).get("env_vars", {})


@contextlib.contextmanager
def _private_cluster(cpus: int, preload: Sequence[str]) -> Iterator[None]:
    import ray

    from frisket.platform.cluster.lean import lean_head

    # With RAY_AUTH_MODE unset ray.init chooses "token" itself, for this process too, where setting it would come too
    # late once ray is imported.
    with private_folder() as folder:
        token = folder / "token"
        token.touch(mode=0o600)
        token.write_text(_token(), encoding="ascii")
        auth = {} if os.environ.get("RAY_AUTH_MODE") else {"RAY_AUTH_TOKEN_PATH": str(token)}
        metrics = os.environ.get(_METRICS, "0") != "0"
        alone = _ALONE | auth | _preloading(preload, folder)
        with environment(unset(alone), also=("RAY_AUTH_MODE",)):
            lean = lean_head(metrics=metrics)
            with environment(worker_environment()), _handlers_kept(), _on_loopback(), _start_explained(), lean:
                ray.init(
                    address="local",
                    num_cpus=cpus,
                    include_dashboard=False,
                    object_store_memory=_OBJECT_STORE_BYTES,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    _temp_dir=str(folder / RAYS),
                )
            try:
                with environment({_INHERITED: "1"}):
                    yield
            finally:
                ray.shutdown()


def _preloading(modules: Sequence[str], folder: Path) -> dict[str, str]:
    """The variables by which workers import ``modules`` as they start, in turns that are kept in ``folder``."""
    if not modules:
        return {}
    return {
        "RAY_preload_python_modules": in_turn.__name__,
        in_turn.MODULES: ",".join(modules),
        in_turn.FOLDER: str(folder),
    }


@contextlib.contextmanager
def _on_loopback() -> Iterator[None]:
    """Where Ray was imported before, it has read its variable (see `_ALONE`) too early: what it took from it goes."""
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] != "0"
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


@contextlib.contextmanager
def _start_explained() -> Iterator[None]:
    """Whatever keeps Ray's own processes from starting, said in a line: Ray raises plain exceptions."""
    try:
        yield
    except Exception as error:
        import ray

        ray.shutdown()  # of what did start
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise FrisketError(
            f"Ray did not start on this machine ({reason}). Is it short of memory or very busy? Try again, or run "
            f"without Ray: --local"
        ) from error


@cache
def _token() -> str:
    """One token per process: Ray's client reads it once and keeps it."""
    return secrets.token_hex(32)


@contextlib.contextmanager
def _handlers_kept() -> Iterator[None]:
    """Ray's start-up replaces the handler of SIGTERM; put ours back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
