"""The command line: mistakes, exit codes, the JSON contract, what a local run imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from frisket.platform.cli.main import main
from frisket.platform.run.folder import RunFolder
from frisket.platform.specs.text import spec_names

pytestmark = pytest.mark.usefixtures("workplace")


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ("learner.inner_step=4", ["learner.inner_step", "4", "unknown key", "'inner_steps'"]),
        ("streem.p=0.9", ["streem", "unknown key", "'stream'"]),
        ("learner.inner_steps=0", ["learner.inner_steps", "0", "at least 1"]),
        ("learner.inner_steps=four", ["learner.inner_steps", "'four'", "whole number"]),
        ("learner.inner_steps=1.5", ["learner.inner_steps", "1.5", "whole number"]),
        ("stream.p=1.5", ["stream.p", "1.5", "[0, 1]"]),
        ("stream.p=-0.1", ["stream.p", "-0.1", "[0, 1]"]),
        ("stream.domains={digits: 0.5, glyphs: 0.2}", ["stream.domains", "0.5", "sum to 1, not 0.7"]),
        ("stream.domains={digits: 1.5}", ["stream.domains.digits", "1.5", "[0, 1]"]),
        ("stream.domains={digit: 1.0}", ["'digit'", "unknown", "'digits'"]),
        ("stream.ways=40", ["stream.ways", "40", "at most 10"]),
        ("learner.kind=sparse-cmam", ["learner.kind", "'sparse-cmam'", "'sparse-cmaml'"]),
        ("stream.steps", ["stream.steps", "key.path=value"]),
        ("device=gpu", ["device", "'gpu'", "auto, cpu, cuda"]),
    ],
)
def test_specification_mistake(
    mistake: str, said: list[str], tiny_spec: str, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", tiny_spec, mistake, "--data", "embedded", "--local"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    for part in said:
        assert part in err
    assert not (workplace / "frisket_runs").exists()


def test_unknown_specification_suggests_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    name = spec_names()[-1]
    assert main(["run", name + "x"]) == 2
    err = capsys.readouterr().err
    assert f"did you mean {name!r}?" in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run"], "SPEC"),
        (["run", "nowhere.yaml"], "no such file"),
        (["show", "/"], "is a folder"),
        (["show", "/dev/null"], "is a file"),
        (["run", "TINY", "--seeds", "0"], "--seeds"),
        (["run", "TINY", "--workers", "many"], "--workers"),
        (["run", "TINY", "--data", "fake"], "--data"),
        (["run", "TINY", "--colour"], "--colour"),
        (["run", "TINY", "--json", "no/such/folder/x.json"], "--json"),
        (["run", "TINY", "--data-dir", "nowhere"], "nowhere"),
        (["run", "--resume", "last"], "there are no runs"),
        (["list", "methods"], "methods"),
        (["fly"], "fly"),
        (["run", "x" * 5000], "xxx..."),
        (["run", "TINY", f"stream.steps={'9' * 5000}"], "is too large a number"),
        (["run", "TINY", f"stream.{'x' * 300}=1"], "xxx...xxx"),
        (["run", "TINY", "--run-id", "x" * 300], "xxx...xxx"),
        (["show", "x" * 5000 + ".yaml"], "xxx...xxx"),
        (["masks", "show", "x" * 5000], "xxx...xxx"),
    ],
)
def test_usage_mistake(arguments: list[str], said: str, tiny_spec: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([tiny_spec if word == "TINY" else word for word in arguments]) == 2
    out, err = capsys.readouterr()
    assert said in err
    assert "Traceback" not in err
    assert len(err) < 2000
    assert out == ""


def test_mistake_in_a_process_of_its_own_has_no_traceback(checkout: Path, tiny_spec: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "frisket", "run", tiny_spec, "stream.p=2"], cwd=checkout, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "frisket: stream.p = 2.0: must be a probability in [0, 1]\n"


def test_whoever_reads_may_go(workplace: Path, environment: dict[str, str]) -> None:
    """Quietly: into a pipe that nobody reads any more, of output and of errors. All at once, for they are slow."""
    ours, theirs = os.pipe()
    os.close(ours)
    with open(theirs, "wb") as gone:
        said = {}
        for arguments in ("list specs", "--help", "list nothing"):
            err = gone if arguments == "list nothing" else subprocess.PIPE
            command = [sys.executable, "-m", "frisket", *arguments.split()]
            said[arguments] = subprocess.Popen(command, cwd=workplace, env=environment, stdout=gone, stderr=err)
        for arguments, process in said.items():
            _, complaint = process.communicate(timeout=240)
            assert (arguments, process.returncode, complaint or b"") == (arguments, 141, b"")


def test_json_contract_and_table(tiny_spec: str, workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = workplace / "out.json"
    arguments = ["run", tiny_spec, "stream.steps=12", "--data", "embedded", "--local", "--json", str(target)]
    assert main(arguments) == 0
    made = json.loads(target.read_text())
    assert list(made) == ["spec", "frisket", "git", "data", "results", "summary", "mlflow", "norm"]
    assert made["spec"] == "tiny"
    assert made["data"]["mode"] == "embedded"
    assert made["data"]["sets"]["digits"]["kind"] == "embedded"
    assert [result["seed"] for result in made["results"]] == [0, 1]
    assert {"seed", "config", "metrics", "sparsity", "seconds"} == set(made["results"][0])
    scores = [result["metrics"]["accuracy"] for result in made["results"]]
    assert made["summary"]["accuracy"] == pytest.approx(
        {"mean": sum(scores) / 2, "std": abs(scores[0] - scores[1]) / 2, "n": 2}
    )
    assert set(made["mlflow"]) == {"tracking_uri", "experiment", "run_id", "model", "version"}
    out = capsys.readouterr().out
    assert f"{made['summary']['accuracy']['mean']:.3f} ± {made['summary']['accuracy']['std']:.3f}" in out
    folder = RunFolder.find("last", workplace / "frisket_runs")
    assert str(folder.path) in out
    assert f"frisket sync {folder.run_id}" in out
    assert any((folder.path / "figures").glob("*.png"))


def test_published_number_is_marked_and_its_scale_said(
    tiny_spec: str, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = workplace / "answer.yaml"
    published = "published: {source: 'SPARSE21, Table 6', n: 5, metrics: {accuracy: ACCURACY}}\n"
    published = published.replace("ACCURACY", "{mean: 0.942, std: 0.004}")
    spec.write_text(Path(tiny_spec).read_text().replace("steps: 200", "steps: 6") + published)
    assert main(["run", str(spec), "--data", "embedded", "--local"]) == 0
    out = capsys.readouterr().out
    assert "published (SPARSE21, Table 6)" in out
    assert "0.942 ± 0.004" in out
    assert "not the published setting: embedded data" in out
    assert "seeds 2 (published: 5)" in out


def test_finished_run_can_be_resumed_but_not_changed(
    tiny_spec: str, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", tiny_spec, "stream.steps=6", "--data", "embedded", "--local"]) == 0
    before = capsys.readouterr().out
    assert main(["run", "--resume", "last", "--local"]) == 0
    assert capsys.readouterr().out == before
    assert main(["run", "--resume", "last", "--seeds", "3"]) == 2
    assert main(["run", tiny_spec, "stream.steps=9", "--resume", "last"]) == 2
    assert main(["run", "demo", "--resume", "last"]) == 2
    assert main(["run", "--resume", "last", "--data", "real"]) == 2


def test_local_run_imports_neither_ray_nor_mlflow(tiny_spec: str, workplace: Path, environment: dict[str, str]) -> None:
    code = (
        "import sys\n"
        "from frisket.platform.cli.main import main\n"
        f"assert main(['run', {tiny_spec!r}, 'stream.steps=6', '--data', 'embedded', '--local']) == 0\n"
        "print('FOUND', sorted({'ray', 'mlflow'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=workplace, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip().endswith("FOUND []")


@pytest.mark.parametrize("what", ["specs", "streams", "learners", "tables", "data"])
def test_list(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", what]) == 0
    expected = {"specs": "demo", "streams": "osaka", "learners": "online-adam", "tables": "table", "data": "digits"}
    assert expected[what] in capsys.readouterr().out


def test_run_of_a_name_that_is_there_is_gone_on_with(
    tiny_spec: str, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = ["run", tiny_spec, "stream.steps=6", "--data", "embedded", "--local", "--run-id", "mine"]
    (workplace / "frisket_runs" / "mine" / "replicas" / "seed0").mkdir(parents=True)  # all that a first try has left
    assert main(begun) == 0
    before = capsys.readouterr().out
    result = workplace / "frisket_runs" / "mine" / "replicas" / "seed0" / "result.json"
    written = result.stat().st_mtime_ns
    assert main(begun) == 0
    assert capsys.readouterr().out == before
    assert result.stat().st_mtime_ns == written
    for change in ("stream.steps=7", "seeds=1"):
        assert main([*begun, change]) == 2
        assert "another specification" in capsys.readouterr().err
    assert main(["run", tiny_spec, "--run-id", "../mine"]) == 2
    assert main(["run", "--resume", "mine", "--run-id", "mine"]) == 2


def test_job_whose_run_would_be_thrown_away_says_so(
    tiny_spec: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")  # as Ray sets it for a job
    mistaken = ["run", tiny_spec, "stream.p=2"]
    assert main(mistaken) == 2
    assert "FRISKET_RUNS is not set" in capsys.readouterr().err
    monkeypatch.setenv("FRISKET_RUNS", "/shared/runs")
    assert main(mistaken) == 2
    assert "FRISKET_RUNS" not in capsys.readouterr().err
