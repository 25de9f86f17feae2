"""The nightly backup's own script, with a pg_dump that writes a line."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import check
import pytest
from kustomize import render
from pods import Pod, pods


@pytest.fixture
def backup() -> Pod:
    (pod,) = (pod for pod in pods(render(check.find("cpu"))) if pod.name == "postgres-backup")
    return pod


def run(pod: Pod, folder: Path, pg_dump: str) -> int:
    """The exit code of the container's command, its backups in ``folder``."""
    tools = folder.parent / "tools"
    tools.mkdir(exist_ok=True)
    (tools / "pg_dump").write_text(f"#!/bin/sh\n{pg_dump}\n")
    (tools / "pg_dump").chmod(0o755)
    environment = os.environ | {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "BACKUPS": str(folder)}
    return subprocess.run([*pod.container["command"], *pod.container["args"]], env=environment).returncode


def test_newest_dumps_are_kept_and_readable_by_their_owner_alone(backup: Pod, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    old = [folder / f"mlflow-202501{day:02}T031700Z.dump" for day in range(1, 21)]
    for path in [*old, folder / "other.txt", folder / "mlflow-20250120T031700Z.dump.part"]:
        path.touch()
    assert run(backup, folder, 'for word; do case $word in --file=*) echo whole > "${word#--file=}";; esac; done') == 0
    dumps = sorted(folder.glob("*.dump"))
    assert dumps[:-1] == old[-13:]
    assert dumps[-1].read_text() == "whole\n"
    assert dumps[-1].stat().st_mode & 0o777 == 0o600
    assert sorted(set(folder.iterdir()) - set(dumps)) == [folder / "other.txt"]


def test_failed_dump_fails_the_job_and_leaves_the_others(backup: Pod, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    old = folder / "mlflow-20250101T031700Z.dump"
    old.touch()
    assert run(backup, folder, "exit 3") == 3
    assert [path for path in folder.iterdir() if path.suffix == ".dump"] == [old]


def test_the_password_is_in_the_environment_alone(backup: Pod) -> None:
    (secret,) = (one for one in backup.container["env"] if "valueFrom" in one)
    assert secret["name"] == "PGPASSWORD"  # which pg_dump reads itself
    assert "PASSWORD" not in " ".join(backup.container["args"])
