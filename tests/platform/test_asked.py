"""Whatever is asked for that cannot be: one line that names it, nothing made, nothing left behind."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

import frisket
from frisket.errors import FileError, RunError, SpecError, UserError
from frisket.files import write_sealed
from frisket.places import in_a_line, require_place, told
from frisket.platform.cli.main import main
from frisket.platform.cli.streams import say_what_can_be_said
from frisket.platform.specs.build import build_stream, load_data
from frisket.platform.specs.experiment import from_dict
from frisket.platform.specs.kinds import known

SPEC: dict[str, Any] = {
    "stream": {"kind": "osaka", "p": 0.9, "steps": 3},
    "network": {"kind": "conv4", "channels": 4},
    "learner": {"kind": "online-adam"},
    "seeds": 1,
}
LONG = "x" * 300
NO_TABLES: tuple[Any, ...] = (3, 1.5, True, Path("a"), int)


def deep(levels: int) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for _ in range(levels):
        made = {"a": made}
    return made


@pytest.fixture(autouse=True)
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        *(({"workers": value}, "workers") for value in (0, -1, "2", 1.5, True, 2)),  # two are not local
        *(({"runs_dir": value}, "runs_dir") for value in ("", "a\0b", 3, "/dev/null")),
        *(({"runs_dir": value}, "file") for value in ("/proc/none", LONG, "a/" * 3000)),
        *(({"run_id": value}, "run_id") for value in (3, LONG, "a\0b", "", "é", ".x")),
        *(({"data_dir": value}, "data_dir") for value in (3, "", "a\0b")),
        ({"data": "both"}, "data"),
        ({"register": 1}, "register"),
        ({"spec": None, "resume": "a\0b"}, "resume"),
        *(({"spec": value}, "SPEC") for value in (3, "a\0b.yaml", "/proc/none.yaml", "a" * 5000)),
        ({"spec": f"{LONG}.yaml"}, "file"),
        *(({"overrides": value}, "overrides") for value in (None, 3, "stream.steps=3")),
        *(({"overrides": value}, "override") for value in ([1], [None])),
        ({"spec": {**SPEC, "variants": deep(2000)}}, "SPEC"),
        ({"spec": {**SPEC, "seeds": 10**6000}}, "seeds"),
        ({"spec": {**SPEC, "stream": {"kind": "osaka", "steps": 2**63 - 1}}}, "stream.steps"),
        ({"spec": {**SPEC, "stream": {"kind": "osaka", "p": float("nan")}}}, "stream.p"),
        ({"spec": {**SPEC, "learner": {"kind": "online-adam", "outer_lr": float("inf")}}}, "learner.outer_lr"),
        ({"spec": {**SPEC, "network": {"kind": "conv4", "channels": 10**9}}}, "network"),
        ({"spec": {**SPEC, "network": {"kind": "mlp", "hidden": [10**12]}}}, "network"),
        ({"spec": "gems/embedded-mixture-bmp", "overrides": ["learner.hidden=1000000000000"]}, "memory"),
        *(({"spec": {**SPEC, "uses": [name]}}, "uses") for name in ("os", "builtins", "a\0.py", ".")),
    ],
)
def test_what_cannot_be_is_refused_by_name(asked: dict[str, Any], field: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as found:
        frisket.run(**({"spec": SPEC, "local": True, "data": "embedded"} | asked))
    assert found.value.field == field
    assert "\n" not in str(found.value)
    assert not list(tmp_path.iterdir())


def whole_numbers() -> Iterator[tuple[str, str]]:
    """Every field of a stream that takes one."""
    for kind, row in known().sections["stream"].items():
        for name, form in get_type_hints(row.config).items():
            if form is int or int in get_args(form):
                yield kind, name


@pytest.mark.parametrize(("kind", "name"), list(whole_numbers()))
def test_a_stream_beyond_all_measure_is_refused_or_made_at_once(kind: str, name: str) -> None:
    said = {"name": "large", "stream": {"kind": kind, name: 10**11}, "learner": {"kind": "online-adam"}}
    with contextlib.suppress(UserError):  # MemoryError and a wait without end are what is not to be
        experiment = from_dict(said)
        build_stream(experiment, load_data(experiment, "embedded", None), seed=0)


@pytest.mark.parametrize(
    "asked", [{"workers": 0}, {"workers": 2}, {"runs_dir": ""}, {"out": "a\0b"}, {"reuse": 1}, {"data": "both"}]
)
def test_a_table_asks_for_no_less(asked: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(RunError) as found:
        frisket.reproduce("sparse/table6", local=True, **asked)
    assert found.value.field == next(iter(asked))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("file", [".", "none/x.json", f"{LONG}.json", "/proc/x.json"])
def test_a_file_for_results_is_tried_before_the_run(
    file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "demo", "--local", "--data", "embedded", "--json", file]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_results_that_cannot_be_written_are_said_in_a_line_and_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = ["stream.steps=3", "network.channels=4", "variants={}", "learner.kind=online-adam"]
    assert main(["run", "demo", *short, "--seeds", "1", "--local", "--data", "embedded", "--json", "/dev/full"]) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert "no space is left there" in error.splitlines()[-1]
    assert len(list((tmp_path / "frisket_runs").glob("*/summary.json"))) == 1


def test_a_run_whose_folder_goes_says_which_file(tmp_path: Path) -> None:
    (tmp_path / "place").write_text("", encoding="utf-8")
    with pytest.raises(FileError, match="place"), told():
        (tmp_path / "place" / "x").write_text("", encoding="utf-8")


def test_connections_are_not_taken_for_files() -> None:
    with pytest.raises(ConnectionRefusedError), told():
        raise ConnectionRefusedError(111, "refused")


def test_an_error_without_a_name_names_the_place() -> None:
    assert in_a_line(OSError(28, "No space left on device"), Path("/a/b")).value == "/a/b"
    assert require_place("runs_dir", None) is None


def test_signs_that_an_encoding_lacks_are_written_in_others(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = io.BytesIO()
    narrow = io.TextIOWrapper(seen, encoding="ascii")
    monkeypatch.setattr(sys, "stdout", narrow)
    say_what_can_be_said()
    print("0.5 ± 0.1 … é", flush=True)
    assert seen.getvalue().decode() == "0.5 +- 0.1 ... ?\n"


@pytest.mark.process
def test_a_reader_that_has_had_enough_is_no_error(tmp_path: Path) -> None:
    command = f"{sys.executable} -m frisket list specs | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=tmp_path, env=os.environ)
    assert (done.stderr, len(done.stdout.splitlines())) == ("", 1)


def test_unknown_values_of_a_specification_are_not_shown_whole() -> None:
    with pytest.raises(SpecError) as found:
        frisket.run({**SPEC, "seeds": 10**6000}, local=True)
    assert len(str(found.value)) < 200


@pytest.mark.parametrize(
    ("ask", "error"),
    [
        *((lambda value=value: frisket.reproduce(value), SpecError) for value in NO_TABLES),
        (lambda: frisket.load_model(LONG * 20), FileError),
        (lambda: frisket.compare(LONG * 20, "last"), RunError),
        (lambda: frisket.run(SPEC, data=[1, 2]), RunError),  # pyright: ignore[reportArgumentType]
    ],
)
def test_what_python_may_be_asked_is_refused_by_an_error_of_its_own(ask: Any, error: type[UserError]) -> None:
    with pytest.raises(error):
        ask()


def test_a_temporary_is_told_of_by_the_name_it_was_to_have(tmp_path: Path) -> None:
    (tmp_path / "summary.json").mkdir()
    with pytest.raises(FileError) as refused, told():
        write_sealed(tmp_path / "summary.json", {})
    assert refused.value.value == str(tmp_path / "summary.json")
