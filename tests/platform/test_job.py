"""Jobs on a real head with a token: sent from a checkout, followed when submitted again, stopped and gone on with."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from heads import PATIENCE, RAY, Head
from mlflow import MlflowClient
from processes import alive, wait_for
from stored import assert_all_there_once
from watching import measured

import frisket
from frisket.platform.cluster.submission import JobServer
from frisket.platform.executors import local
from frisket.platform.run.folder import RunFolder
from frisket.platform.verbs import run as launch

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Iterator[Head]:
    """A head which finds frisket nowhere: jobs must bring it along."""
    without = {name: value for name, value in environment.items() if name != "PYTHONPATH"}
    head = Head(tmp_path_factory.mktemp("r") / "h", without)
    yield head
    family = head.family()
    head.kill()
    assert not any(alive(pid) for pid in family)


@pytest.fixture
def server(head: Head) -> JobServer:
    return JobServer(head.url, head.token)


def submit(head: Head, checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`frisket submit` in a process of its own, started in the checkout."""
    command = [sys.executable, "-m", "frisket", "submit", *arguments, "--data", "embedded", "--address", head.url]
    return subprocess.run(
        command, cwd=checkout, env=head.environment, capture_output=True, text=True, timeout=2 * PATIENCE
    )


def undisturbed(spec: str, parent: Path, *overrides: str) -> dict[str, object]:
    folder = launch.prepare(spec, overrides, data="embedded", register=False, runs_dir=parent)
    local.execute(folder, data_dir=None, stop=lambda: False)
    return measured(folder)


SPEC = """
stream: {kind: osaka, p: 0.9, domains: {digits: 1.0}, ways: 3, shots: 1, steps: STEPS}
network: {kind: conv4, channels: 2}
learner: {kind: sparse-cmaml, inner_steps: 1}
seeds: 2
log_every: 20
checkpoint_seconds: 0.2
"""


@pytest.fixture
def work(checkout: Path, tmp_path: Path) -> Path:
    """A folder to send: the checkout's packages, and specifications of the test's own."""
    folder = tmp_path / "work"
    folder.mkdir()
    for name in ("frisket", "platform", "envs", "algos", "tune_configs", "pyproject.toml", ".rayignore"):
        (folder / name).symlink_to(checkout / name)
    for name, steps in (("short", 40), ("long", 600)):
        (folder / f"{name}.yaml").write_text(SPEC.replace("STEPS", str(steps)))
    return folder


def test_job_from_a_checkout_is_run_once(head: Head, server: JobServer, work: Path, tmp_path: Path) -> None:
    first = submit(head, work, "short.yaml", "--working-dir", ".")
    assert first.returncode == 0, first.stdout + first.stderr
    (name,) = re.findall(r"^job (short-\w{10}) on \S+: started$", first.stderr, re.M)
    assert "\r" not in first.stdout
    assert re.search(r"^model     models:/short/1$", first.stdout, re.M)
    folder = RunFolder.open(head.folder / "runs" / name)
    assert measured(folder) == undisturbed(str(work / "short.yaml"), tmp_path)
    assert_all_there_once(folder)
    model = frisket.load_model("models:/short/1", tracking_uri=folder.manifest["tracking"]["uri"])
    assert len(model.masks(0)) > 0

    again = submit(head, work, "short.yaml", "--working-dir", ".")
    assert (again.returncode, again.stdout) == (0, first.stdout)
    assert "is not run twice" in again.stderr
    assert [job.submission_id for job in server.client.list_jobs() if job.submission_id] == [name]
    assert len(RunFolder.all(head.folder / "runs")) == 1


@pytest.mark.slow
def test_stopped_job_goes_on_when_it_is_submitted_again(
    head: Head, server: JobServer, work: Path, tmp_path: Path
) -> None:
    command = ("long.yaml", "--working-dir", ".", "--name", "long")
    started = submit(head, work, *command, "--no-wait")
    assert started.returncode == 0, started.stderr
    path = head.folder / "runs" / "long"
    wait_for(lambda: len([*path.glob("replicas/*/committed.json")]) == 2, seconds=PATIENCE)
    server.client.stop_job("long")
    wait_for(lambda: server.client.get_job_status("long").is_terminal(), seconds=PATIENCE)
    folder = RunFolder.open(path)
    assert not folder.done, "stopped too late to prove anything"
    said = server.client.get_job_logs("long")
    assert "go on with: frisket run --resume long" in said
    assert "Traceback" not in said
    tracking = folder.manifest["tracking"]
    client = MlflowClient(tracking["uri"])
    experiment = client.get_experiment_by_name(tracking["experiment"])
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.status for run in runs} <= {"KILLED", "FINISHED"}
    assert "KILLED" in {run.info.status for run in runs}

    again = submit(head, work, *command)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "job long.2 on" in again.stderr
    assert measured(folder) == undisturbed(str(work / "long.yaml"), tmp_path)
    assert_all_there_once(folder)


@pytest.mark.slow
def test_plain_ray_job_submit_from_the_checkout(head: Head, checkout: Path) -> None:
    frisket_run = ["python", "-m", "frisket", "run", "demo", "stream.steps=10", "learner.inner_steps=1", "--seeds", "1"]
    done = subprocess.run(
        [RAY, "job", "submit", "--working-dir", ".", "--", *frisket_run, "--data", "embedded", "--no-register"],
        cwd=checkout, env=head.environment | {"RAY_API_SERVER_ADDRESS": head.url}, capture_output=True, text=True,
        timeout=2 * PATIENCE,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "sparse-cmaml" in done.stdout
    assert "\r" not in done.stdout


@pytest.mark.slow
def test_job_from_a_wheel(head: Head, server: JobServer, checkout: Path, wheel: Path) -> None:
    sent = submit(
        head, checkout, "demo", "stream.steps=10", "learner.inner_steps=1", "--seeds", "1", "--wheel", str(wheel)
    )
    assert sent.returncode == 0, sent.stdout + sent.stderr
    (name,) = re.findall(r"^job (demo-\w{10}) on", sent.stderr, re.M)
    sent_with = server.client.get_job_info(name).runtime_env
    assert sent_with is not None
    assert "working_dir" not in sent_with
    assert [module.partition(":")[0] for module in sent_with["py_modules"]] == ["gcs"]
    assert RunFolder.open(head.folder / "runs" / name).manifest["git"] is None  # it was no checkout


@pytest.mark.slow
def test_method_of_ones_own_as_a_job(head: Head, checkout: Path, wheel: Path, tmp_path: Path) -> None:
    """The example's folder is sent, frisket beside it; nothing of the checkout."""
    folder = tmp_path / "own_method"
    shutil.copytree(checkout / "examples" / "own_method", folder)
    spec = str(folder / "derpp.yaml")
    sent = submit(head, checkout, spec, "--working-dir", str(folder), "--wheel", str(wheel))
    assert sent.returncode == 0, sent.stdout + sent.stderr
    (name,) = re.findall(r"^job (derpp-\w{10}) on", sent.stderr, re.M)
    run = RunFolder.open(head.folder / "runs" / name)
    assert measured(run) == undisturbed(spec, tmp_path)
    assert_all_there_once(run)
    model = frisket.load_model(
        "models:/derpp/1", tracking_uri=run.manifest["tracking"]["uri"], uses=[folder / "derpp.py"]
    )
    assert model.learner_of(None).capabilities.replay
