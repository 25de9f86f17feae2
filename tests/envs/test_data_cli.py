"""``frisket data`` on a machine with little on it; nothing is downloaded here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from class_files import in_split_folders
from tiny_data import bare_machine, put
from typer.testing import CliRunner

from frisket.envs.data import CLASS_FOLDERS, EMBEDDED, FOLDERS, SOURCES
from frisket.errors import DataError
from frisket.platform.cli.data import app


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A data folder with one damaged file."""
    bare_machine(monkeypatch, tmp_path)
    monkeypatch.setenv("COLUMNS", "250")
    return put(tmp_path / "data", "mnist", {"train-images-idx3-ubyte.gz": b"half a download"})


def test_list_names_every_data_set_and_its_state(folder: Path) -> None:
    result = CliRunner().invoke(app, ["list", "--data-dir", str(folder)])
    assert result.exit_code == 0
    lines = {line.split()[0]: line for line in result.stdout.splitlines()[1:]}
    assert set(lines) == {*SOURCES, *FOLDERS, *CLASS_FOLDERS, *EMBEDDED}
    assert "0 of 4 files" in lines["mnist"]
    assert "0 of 2 files" in lines["omniglot"]
    assert "here" in lines["glyphs"]
    assert "not here" in lines["imagenet"]
    assert "not here" in lines["cub"]
    in_split_folders(folder / "cub")
    in_split_folders(folder / "miniimagenet")
    result = CliRunner().invoke(app, ["list", "--data-dir", str(folder)])
    lines = {line.split()[0]: line for line in result.stdout.splitlines()[1:]}
    assert "not here" not in lines["cub"]
    assert "here, class folders" in lines["miniimagenet"]


def test_what_is_not_published_as_files_is_not_fetched(folder: Path) -> None:
    result = CliRunner().invoke(app, ["fetch", "miniimagenet", "--data-dir", str(folder)])
    assert isinstance(result.exception, DataError)
    assert "It is not downloaded" in str(result.exception)


def test_verify_shows_every_file_and_raises_for_the_first_bad_one(folder: Path) -> None:
    result = CliRunner().invoke(app, ["verify", "mnist", "--data-dir", str(folder)])
    assert isinstance(result.exception, DataError)
    assert "train-images-idx3-ubyte.gz" in str(result.exception)
    assert result.stdout.count("missing") == 3
    assert result.stdout.count("damaged") == 1


def test_unknown_name_is_a_data_error(folder: Path) -> None:
    result = CliRunner().invoke(app, ["fetch", "mnits"])
    assert isinstance(result.exception, DataError)
    assert "did you mean 'mnist'" in str(result.exception)


def test_importing_the_command_imports_nothing_heavy() -> None:
    script = (
        "import sys; import frisket.platform.cli.data;"
        "print([m for m in ('numpy', 'torch', 'PIL', 'sklearn', 'matplotlib', 'pooch', 'ray') if m in sys.modules])"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
