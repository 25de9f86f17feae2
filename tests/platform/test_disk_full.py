"""A disk that fills up while a run is going on: a line, the last checkpoint, and the same end once there is room."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from watching import measured

from frisket.platform.cli.main import main
from frisket.platform.run.folder import RunFolder

SHORT = ["stream.steps=60", "checkpoint_seconds=0.001", "log_every=5", "seeds=1", "--local", "--data", "embedded"]


def mount(place: Path, options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], check=True, capture_output=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder that is a disk of 2 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    try:
        mount(place, "size=2m")
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no disk can be mounted here: {error}")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def fill(place: Path, room: int) -> None:
    """Leave ``room`` bytes, in whole pages."""
    with (place / "filler").open("wb") as file:
        file.write(bytes(2 * 2**20 - room))


@pytest.fixture(scope="module")
def undisturbed(tiny_spec: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run measures that has room."""
    place = tmp_path_factory.mktemp("room")
    assert main(["run", tiny_spec, *SHORT, "--runs-dir", str(place), "--run-id", "whole"]) == 0
    return measured(RunFolder.open(place / "whole"))


@pytest.mark.parametrize("room", [2, 20, 52], ids=lambda pages: f"{pages} pages")
def test_a_run_goes_on_to_the_same_end_once_there_is_room(
    room: int, small_disk: Path, tiny_spec: str, workplace: Path, undisturbed: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    fill(small_disk, room * 4096)
    command = ["run", tiny_spec, *SHORT, "--runs-dir", str(small_disk), "--run-id", "full"]
    assert main(command) == 2
    err = capsys.readouterr().err
    assert "Traceback" not in err
    last = err.splitlines()[-1]
    assert last.startswith(f"frisket: file = '{small_disk}/full/")
    assert last.endswith("no space is left there; make room. What was on disk before is whole")
    assert not list(small_disk.rglob(".part-*"))

    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    begun = (small_disk / "full" / "run.json").exists()
    again = ["run", "--resume", "full", "--local", "--runs-dir", str(small_disk)] if begun else command
    assert main(again) == 0
    assert measured(RunFolder.open(small_disk / "full")) == undisturbed


def test_results_and_masks_for_which_there_is_no_room(
    small_disk: Path, tiny_spec: str, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", tiny_spec, *SHORT, "stream.steps=6", "--run-id", "whole"]) == 0
    capsys.readouterr()
    finished = ["run", "--resume", "whole", "--local", "--json"]
    for command in (
        [*finished, str(small_disk / "new.json")],
        ["runs", "--json", str(small_disk / "runs.json")],
        ["masks", "export", "frisket_runs/whole", str(small_disk / "masks")],
        ["masks", "export", "frisket_runs/whole", str(small_disk / "masks"), "--no-pictures"],
    ):
        with contextlib.suppress(OSError), (small_disk / "filler").open("ab", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        assert main(command) == 2
        err = capsys.readouterr().err
        assert "Traceback" not in err
        assert "no space is left there; make room" in err.splitlines()[-1]
        assert str(small_disk) in err.splitlines()[-1] or "--json" in command
        assert not list(small_disk.rglob("*.png"))


def test_a_disk_that_may_only_be_read_is_refused_before_anything_is_run(
    small_disk: Path, tiny_spec: str, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", tiny_spec, *SHORT, "stream.steps=6", "--run-id", "whole"]) == 0
    capsys.readouterr()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for command in (
        ["run", tiny_spec, *SHORT, "--runs-dir", str(small_disk / "runs")],
        ["run", tiny_spec, *SHORT, "--json", str(small_disk / "out.json")],
        ["masks", "export", "frisket_runs/whole", str(small_disk / "masks")],
    ):
        assert main(command) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert str(small_disk) in err
        assert "may not be written or read; choose another place" in err
    assert [path.name for path in Path("frisket_runs").iterdir()] == ["whole"]
