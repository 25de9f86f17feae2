"""A job on a Ray cluster that is started once, however often it is asked for.

Its name is made from what it is to compute, and the run it makes is kept under the same name. Asked for again while it
works, or when it is done, it is only followed; when it was stopped or has failed it is started anew, and the run goes
on from its checkpoints.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import shlex
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import frisket
from frisket.envs.data.containers import Damaged, reading, require_bounded
from frisket.errors import ClusterError, FrisketError
from frisket.files import scratch, sha256
from frisket.platform.cluster.environment import environment
from frisket.platform.cluster.head import auth_headers
from frisket.platform.run.folder import git_revision
from frisket.platform.specs.experiment import Experiment

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

STOP_SECONDS = 120
"""How long `ray job stop` waits for a driver to checkpoint before it kills it; Ray's own 3 s are too short for that."""

_ATTEMPTS = 1000
_POLL_SECONDS = 0.5
_WHEEL = 2**28  # bytes that a wheel may unpack to
_CHATTY = (
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
    "ray._private.runtime_env.packaging",
    "ray._private.runtime_env.working_dir",
)
"""Modules of Ray that log every file they leave out."""


def name_of_work(experiment: Experiment, **choices: object) -> str:
    """A name for running ``experiment`` with ``choices`` (which data, ...), always and everywhere the same; what moves
    no number is no part of it."""
    what = {"experiment": experiment.work(exact=True), "frisket": frisket.__version__, **choices}
    digest = sha256(json.dumps(what, sort_keys=True).encode())
    return f"{experiment.name.replace('/', '-')}-{digest[:10]}"


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is submitted.

    Attributes:
        name: of the job and of its run.
        arguments: of ``python -m frisket``.
        working_dir: folder that is sent and in which the command starts; None for none.
        wheel: a wheel of frisket whose packages are sent; None where the cluster has frisket, or ``working_dir`` holds
            it.
    """

    name: str
    arguments: tuple[str, ...]
    working_dir: Path | None = None
    wheel: Path | None = None

    @property
    def entrypoint(self) -> str:
        """The command line the head runs."""
        return shlex.join(["python", "-m", "frisket", *self.arguments])


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """Attributes: id: the job's id on the head; attempt: at the job, from 1; new: started now, else there already."""

    id: str
    attempt: int
    new: bool


class JobServer:
    """The job server of the head at ``address``, which must have been checked with `require_same_ray`."""

    def __init__(self, address: str, token: str | None) -> None:
        from ray.job_submission import JobSubmissionClient

        self.address = address
        for chatty in _CHATTY:
            logging.getLogger(chatty).setLevel(logging.ERROR)
        # Ray prefers what its variables name to its argument, and takes the token once per process unless it is given.
        with environment({"RAY_API_SERVER_ADDRESS": address}):
            self.client: JobSubmissionClient = JobSubmissionClient(address, headers=auth_headers(token))

    def submit(self, job: Job) -> Submitted:
        """Start ``job``, unless an attempt at it is on its way or has come to its end."""
        known = {found.submission_id: found for found in self.client.list_jobs() if found.submission_id}
        for attempt in range(1, _ATTEMPTS):
            name = job.name if attempt == 1 else f"{job.name}.{attempt}"
            if name not in known:
                return Submitted(id=name, attempt=attempt, new=self._start(name, job))
            if known[name].status.value not in ("STOPPED", "FAILED"):
                return Submitted(id=name, attempt=attempt, new=False)
        raise ClusterError("--name", job.name, f"has been tried {_ATTEMPTS} times; give another")

    def follow(self, job_id: str, write: Callable[[str], object]) -> int:
        """Hand the job's output to ``write`` from its beginning until the job ends.

        Returns:
            The exit code of its command; 1 if it was stopped.

        Raises:
            FrisketError: the head went away; the job may go on.
        """
        import aiohttp
        import requests

        try:
            asyncio.run(self._tail(job_id, write))
            while not (info := self.client.get_job_info(job_id)).status.is_terminal():
                time.sleep(_POLL_SECONDS)
        except (RuntimeError, ConnectionError, aiohttp.ClientError, requests.RequestException) as error:
            said = f"lost {self.address} while following {job_id} ({error}); the same command follows it again"
            raise FrisketError(said) from None
        if info.status.value == "SUCCEEDED":
            return 0
        return (info.driver_exit_code or 1) if info.status.value == "FAILED" else 1

    async def _tail(self, job_id: str, write: Callable[[str], object]) -> None:
        async for lines in self.client.tail_job_logs(job_id):
            write(lines)

    def _start(self, job_id: str, job: Job) -> bool:
        """Start an attempt; False if somebody else has started it in the meantime."""
        metadata = {"frisket.run": job.name}
        revision = git_revision()
        if revision is not None and job.working_dir is not None:
            metadata["frisket.git"] = revision  # what is sent is no checkout any more
        env: dict[str, Any] = {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS)}}
        with contextlib.ExitStack() as stack:
            if job.working_dir is not None:
                env["working_dir"] = str(job.working_dir)
            if job.wheel is not None:
                env["py_modules"] = [str(stack.enter_context(_unpacked(job.wheel)))]
            try:
                self.client.submit_job(
                    entrypoint=job.entrypoint, submission_id=job_id, runtime_env=env, metadata=metadata
                )
            except RuntimeError as error:
                if any(found.submission_id == job_id for found in self.client.list_jobs()):
                    return False
                raise FrisketError(f"the head at {self.address} did not take the job: {error}") from error
        return True


@contextlib.contextmanager
def _unpacked(wheel: Path) -> Iterator[Path]:
    """The package frisket out of ``wheel``.

    Given the wheel itself, Ray would have pip install it with all its dependencies, a second torch and Ray among them.
    """
    with scratch("wheel") as folder:
        try:
            with reading("wheel"), zipfile.ZipFile(wheel) as archive:
                require_bounded(archive, _WHEEL)
                archive.extractall(folder, [name for name in archive.namelist() if name.startswith("frisket/")])
        except Damaged as error:
            raise ClusterError("--wheel", str(wheel), f"cannot be read: {error}") from None
        package = folder / "frisket"
        if not (package / "__main__.py").is_file():
            raise ClusterError("--wheel", str(wheel), "is no wheel of frisket; `python -m build --wheel` makes one")
        yield package
