"""Working folders with signs in their names that mean something in a URI: database and files are in that folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from runs import tracked_copy
from servers import Server
from sqlalchemy.engine import make_url

import frisket
from frisket.errors import ModelError, TrackingError
from frisket.platform import doctor
from frisket.platform.cli.main import main
from frisket.platform.run.folder import RunFolder
from frisket.platform.tracking.settings import kept_uri, sqlite_file, sqlite_uri, tracking_uri
from frisket.platform.tracking.store import connect

NAMES = [
    "plain",
    "a%2Fb",
    "a%25b",
    "%41",
    "a%zz",
    "a?b",
    "a#b",
    "a b",
    "ü",
    "a;token=b",
    "a&b",
    "a@b",
    "a:b",
    "***",
    "a\nb",
]
WORST = "a%2Fb?c=d#e f;token=ü&g%25***"


@pytest.mark.parametrize("name", NAMES)
def test_the_default_store_is_in_the_working_folder(
    name: str, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = workplace / name
    place.mkdir()
    monkeypatch.chdir(place)
    uri = kept_uri()
    assert uri == tracking_uri()
    assert sqlite_file(uri) == place / "mlflow.db"
    assert make_url(uri).database == str(place / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert tracking_uri() == uri  # which a user may say, too


@pytest.mark.parametrize(
    ("said", "path"),
    [
        ("sqlite:///mlflow.db", "mlflow.db"),
        ("sqlite:///a%20b/m.db", "a b/m.db"),
        ("sqlite+pysqlite:////x/a%252Fb/m.db", "/x/a%2Fb/m.db"),
        ("sqlite:///m.db?mode=ro", "m.db"),
        ("sqlite:///file:m.db?uri=true", None),
        ("http://127.0.0.1:5000", None),
        ("postgresql://127.0.0.1/db", None),
    ],
)
def test_a_sqlite_uri_is_read_as_sqlalchemy_reads_it(said: str, path: str | None) -> None:
    assert sqlite_file(said) == (None if path is None else Path(path))
    if path is not None:
        assert make_url(said).database == path


def test_options_of_a_uri_stay(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///m.db?timeout=5")
    assert tracking_uri() == f"sqlite:///{workplace}/m.db?timeout=5"


def test_a_folder_that_no_uri_can_name_is_refused_before_anything_is_run(
    tiny_spec: str, workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = workplace / os.fsdecode(b"caf\xe9")
    place.mkdir()
    monkeypatch.chdir(place)
    assert main(["run", tiny_spec, "--local", "--data", "embedded"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "caf" in err
    assert "work in a folder whose name has no bytes that are not UTF-8" in err
    assert list(place.iterdir()) == []
    (row,) = doctor.mlflow()
    assert (row.status, "work in a folder" in row.fix) == ("fail", True)
    with pytest.raises(TrackingError, match="UTF-8"):
        sqlite_uri(place / "mlflow.db")


@pytest.fixture
def worst(finished: RunFolder, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run that is not sent, in the worst of folders; which is the working folder."""
    place = workplace / WORST
    place.mkdir()
    monkeypatch.chdir(place)
    return tracked_copy(finished, place / "frisket_runs", kept_uri(), "tiny/pair")


def test_runs_and_models_are_kept_and_found_in_the_worst_of_folders(
    worst: RunFolder, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sync"]) == 0
    assert "all of it is in MLflow" in capsys.readouterr().out
    assert [path.name for path in workplace.iterdir()] == [WORST]
    assert sorted(path.name for path in Path().iterdir()) == ["frisket_runs", "mlartifacts", "mlflow.db"]
    assert [(row.what, row.status) for row in doctor.mlflow()] == [("mlflow", "ok")]
    model = frisket.load_model("models:/tiny-pair/1")
    assert model.masks() == frisket.load_model(worst.path).masks()
    assert main(["masks", "show", "models:/tiny-pair/latest"]) == 0
    with pytest.raises(ModelError, match=r"there are versions 1$"):
        frisket.load_model("models:/tiny-pair/2")


@pytest.mark.slow
@pytest.mark.process
def test_its_page_serves_them(worst: RunFolder, finished: RunFolder, workplace: Path) -> None:
    assert main(["sync"]) == 0
    server = Server(Path.cwd())
    try:
        server.start()  # as `frisket ui` does
        served = frisket.load_model("models:/tiny-pair/1", tracking_uri=server.uri)
        other = tracked_copy(finished, Path("frisket_runs"), server.uri, "tiny/other")
        assert main(["sync", other.run_id]) == 0
        sent = frisket.load_model("models:/tiny-other/1", tracking_uri=server.uri)
    finally:
        server.kill()
    assert sent.masks() == served.masks() == frisket.load_model(worst.path).masks()
    assert [path.name for path in workplace.iterdir()] == [WORST]
    assert {e.name for e in connect(tracking_uri()).search_experiments()} == {
        "Default", "frisket/tiny/pair", "frisket/tiny/other"
    }  # fmt: skip
