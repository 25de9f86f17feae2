"""The evidence queue: worked through in order, killed and gone on with, its failures skipped, its pages and status."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import descendants, handles, wait_for
from watching import go_on, measured, stand_still

import frisket
from docs.evidence.__main__ import main
from docs.evidence.entry import FAILED
from docs.evidence.pages import keep, write_pages
from docs.evidence.queue import Entry, Standing, note, read_queue, run_name, skipped, standing
from docs.evidence.status import status
from docs.evidence.work import _reason, work
from frisket.errors import RunError, SpecError
from frisket.files import lock, write_json, write_sealed
from frisket.platform.run.folder import RunFolder
from frisket.platform.specs.experiment import load_spec, read_raw
from frisket.platform.tables.comparison import compare
from frisket.platform.verbs.runs import runs as listed

BRIEF, LONGER = ["stream.steps=20"], ["stream.steps=300"]
WORK = "import sys; from pathlib import Path; from docs.evidence.work import work; " + (
    "sys.exit(work(Path(sys.argv[1]), Path(sys.argv[2]), kept=Path(sys.argv[3])))"
)
"""The queue without its priority, which on a busy machine would make a test of seconds one of minutes."""


def queue(folder: Path, *entries: dict[str, Any]) -> Path:
    """A queue's file, on embedded data unless an entry says otherwise."""
    path = folder / "queue.yaml"
    path.write_text(json.dumps([{"data": "embedded", "seeds": 1, **entry} for entry in entries]), encoding="utf-8")
    return path


def stamps(run: RunFolder) -> dict[Path, int]:
    """When each file of the run's replicas was written."""
    return {file: file.stat().st_mtime_ns for file in run.path.glob("replicas/*/*")}


def run_of(entry: Entry, runs: Path) -> RunFolder:
    """The run that does an entry's work."""
    run = standing(entry, runs, kept=runs / "none").run
    assert run is not None
    return run


# -- what is measured against another entry --------------------------------------------------------------------------


@pytest.mark.process
def test_an_entry_that_is_measured_against_another_is_done_once_it_is(tmp_path: Path) -> None:
    robots = {"kind": "robots", "steps": 160, "environments": 4}
    small = {"batch": 8, "start_steps": 40, "update_after": 40, "update_every": 40, "updates": 1, "memory_slots": 200}
    judged = {"kind": "success", "points": 2, "episodes": 4, "tail": 1}
    for name, more in (("single", {}), ("sac", {"reference": "single"})):
        said = {
            "stream": robots, "network": {"kind": "layer-norm-mlp", "hidden": [8]},
            "learner": {"kind": "sac" if more else "sac-single", **small}, "protocol": {**judged, **more},
        }  # fmt: skip
        (tmp_path / f"{name}.yaml").write_text(json.dumps(said), encoding="utf-8")
    asked = queue(tmp_path, *({"spec": str(tmp_path / f"{name}.yaml")} for name in ("single", "sac")))
    runs, kept = tmp_path / "runs", tmp_path / "kept"
    assert work(asked, runs, kept=kept) == 0
    entries = read_queue(asked)
    found = [standing(entry, runs, kept=kept) for entry in entries]
    assert [one.state for one in found] == ["done", "done"]
    assert found[1].run is not None
    assert "forward_transfer" in found[1].run.results()[0]["metrics"]
    keep(entries, runs, kept=kept)
    assert [standing(entry, tmp_path / "elsewhere", kept=kept).state for entry in entries] == ["done", "done"]


# -- a whole queue -----------------------------------------------------------------------------------------------------


class Worked:
    """A queue of five that has been worked through: one seed, a setting that does not fit, no such specification, data
    that are not there, and two seeds of the first."""

    def __init__(self, folder: Path, spec: str) -> None:
        self.folder, self.runs, self.kept = folder, folder / "runs", folder / "kept"
        self.queue = queue(
            folder,
            {"spec": spec, "overrides": BRIEF},
            {"spec": spec, "overrides": ["learner.inner_steps=many"], "hours": 0.5},
            {"spec": "osaka/p90-nothing", "hours": 1.5},
            {"spec": "replay/split-cifar10-200-er", "data": "real"},
            {"spec": spec, "overrides": BRIEF, "seeds": 2, "hours": 4},
        )
        self.entries = read_queue(self.queue)

    def work(self) -> int:
        return work(self.queue, self.runs, kept=self.kept)


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory, tiny_spec: str) -> Iterator[Worked]:
    """Not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("evidence")
        patch.setenv("FRISKET_DATA", str(folder))
        patch.setenv("FRISKET_CACHE", str(folder))
        patch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing is fetched
        made = Worked(folder, tiny_spec)
        assert made.work() == 1, "three were skipped"
        yield made


@pytest.mark.process
def test_what_fails_is_skipped_with_its_reason_and_the_rest_is_run(worked: Worked) -> None:
    found = [standing(entry, worked.runs, kept=worked.kept) for entry in worked.entries]
    assert [one.state for one in found] == ["done", "skipped", "skipped", "skipped", "done"]
    assert found[1].reason.startswith("learner.inner_steps = 'many': ")
    assert "did you mean" in found[2].reason or "no such specification" in found[2].reason
    assert "cifar10" in found[3].reason
    assert "\n" not in "".join(one.reason for one in found)
    assert all(run.manifest["register"] is False for run in RunFolder.all(worked.runs))


@pytest.mark.process
def test_a_seed_that_another_entry_has_finished_is_not_run_again(worked: Worked) -> None:
    one, two = (run_of(worked.entries[i], worked.runs) for i in (0, 4))
    assert two.path != one.path
    mine, theirs = (run.replica("seed0").result for run in (two, one))
    assert mine is not None
    assert theirs is not None
    assert mine == {**theirs, "of": [two.run_id, "seed0"]}  # its seconds too
    assert two.replica("seed0").journal.read_bytes() == one.replica("seed0").journal.read_bytes()
    assert two.replica("seed1").result is not None


@pytest.mark.process
def test_a_finished_cell_is_not_repeated(worked: Worked, capfd: pytest.CaptureFixture[str]) -> None:
    before = [stamps(run) for run in RunFolder.all(worked.runs)]
    capfd.readouterr()
    assert worked.work() == 1
    assert [stamps(run) for run in RunFolder.all(worked.runs)] == before
    out = capfd.readouterr().out
    assert out.count("skipped: ") == 3
    assert out.endswith("2 of 5 entries done\n")
    assert worked.entries[0].command not in out.splitlines()


@pytest.mark.process
def test_status_says_what_is_done_and_how_long_the_rest_takes(worked: Worked, tmp_path: Path) -> None:
    lines = list(status(worked.entries, worked.runs, kept=worked.kept))
    assert lines[0].split()[:3] == ["1", "done", "took"]
    assert worked.entries[0].command in lines[0]
    assert lines[2].strip().startswith("learner.inner_steps = 'many': ")
    assert "2 done, 3 skipped" in lines
    assert "runs in " in lines[-1]
    assert "nobody is at work: make evidence" in lines[-1]

    text = "\n".join(status(worked.entries, tmp_path, kept=tmp_path))
    assert "4 h 00 min left" in text
    assert "5 waiting\nleft: 4 h 00 min on one core, and 4 of unknown length" in text

    # A third seed: as long as the two that are there took on average.
    more = Entry(spec=worked.entries[0].spec, overrides=(*BRIEF,), seeds=3, data="embedded", hours=9)
    took = [result["seconds"] for result in run_of(worked.entries[4], worked.runs).results()]
    left = standing(more, worked.runs, kept=worked.kept).left
    assert left == pytest.approx(sum(took) / 2, rel=0.5)


@pytest.mark.process
def test_pages_say_command_commit_seconds_and_what_was_measured(worked: Worked) -> None:
    pages = worked.runs / "pages"
    index = (pages / "README.md").read_text(encoding="utf-8")
    assert f"| 1 | `{worked.entries[0].command}` | done | " in index
    assert "| skipped: learner.inner_steps = 'many': " in index
    assert "* [own/tiny](own-tiny.md)" in index
    text = (pages / "own-tiny.md").read_text(encoding="utf-8")
    run = run_of(worked.entries[4], worked.runs)
    assert (pages / "own-tiny.png").is_file()
    assert f"| {run.run_id} | " in text
    assert f"| `{worked.entries[4].command}` |" in text
    assert run.manifest["git"][:12] in text
    made = json.loads((pages / "own-tiny.json").read_text(encoding="utf-8"))
    assert [result["seed"] for result in made["results"]] == [0, 1]
    assert made["verdicts"] == {"no verdict": len(made["comparison"])}


@pytest.mark.process
def test_committed_runs_are_enough_to_be_done_and_reported(
    worked: Worked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept"
    keep(worked.entries, worked.runs, kept=kept)
    done = [worked.entries[i] for i in (0, 4)]
    assert sorted(path.name for path in kept.iterdir()) == sorted(run_name(entry) for entry in done)
    for file in (file for file in kept.rglob("*") if file.is_file()):
        assert file.suffix == ".json"
        assert str(worked.folder.parent) not in file.read_text(encoding="utf-8")

    elsewhere = queue(tmp_path, *({"spec": e.spec, "overrides": list(e.overrides), "seeds": e.seeds} for e in done))
    assert work(elsewhere, tmp_path / "runs", kept=kept) == 0
    assert capfd.readouterr().out == "2 of 2 entries done\n"
    assert not listed(runs_dir=tmp_path / "runs")
    (page,) = write_pages(done, tmp_path / "runs", tmp_path / "pages", kept=kept)
    assert len(page.results_of(0)) == 2

    monkeypatch.setattr(frisket, "__version__", "9.9.9")
    assert standing(done[0], worked.runs, kept=kept).state == "waiting", "other code: not the same numbers"


@pytest.mark.process
def test_finished_models_are_judged_elsewhere_without_another_run(tmp_path: Path) -> None:
    short = [
        "network.channels=2", "stream.ways=2", "stream.steps=4", "stream.queries=2", "learner.inner_steps=1",
        "protocol.every=1", "protocol.validation_episodes=2", "protocol.test_episodes=2",
    ]  # fmt: skip
    told = read_raw("fewshot/glyphs-5w1s-sparse-maml")[0]
    told["published"] = {"source": "nowhere", "metrics": {"accuracy": {"mean": 0.5}}}
    (tmp_path / "told.yaml").write_text(json.dumps(told), encoding="utf-8")
    base: dict[str, Any] = {"spec": str(tmp_path / "told.yaml"), "overrides": short, "page": "small"}
    elsewhere = {"evaluate": ["stream.dataset=digits", "stream.size=28"], "episodes": 3, "page": "digits"}
    asked = queue(tmp_path, base, base | elsewhere, base | {"evaluate": ["stream.dataset=none"]})
    runs, kept = tmp_path / "runs", tmp_path / "kept"
    assert work(asked, runs, kept=kept) == 1
    (run,) = RunFolder.all(runs)
    entries = read_queue(asked)
    found = [standing(entry, runs, kept=kept) for entry in entries]
    assert [one.state for one in found] == ["done", "done", "skipped"]
    assert "is unknown" in found[2].reason
    wanted = frisket.evaluate(run.path, overrides=elsewhere["evaluate"], episodes=3, data="embedded", log=False)
    keep(entries[:1], runs, kept=kept)
    assert standing(entries[1], tmp_path / "none", kept=kept).state == "stopped"
    keep(entries, runs, kept=kept)
    for place in (runs, tmp_path / "none"):
        pages = {page.table.title: page for page in write_pages(entries, place, tmp_path / "pages", kept=kept)}
        assert set(pages) == {"small", "digits"}
        (result,) = pages["digits"].results_of(0)
        assert result["metrics"]["accuracy"] == wanted["results"][0]["accuracy"]
        shown = [{line.published is None for line in compare(pages[title])} for title in ("small", "digits")]
        assert False in shown[0]
        assert shown[1] == {True}, "what is published is of other pictures"
    text = (tmp_path / "pages" / "own-digits.md").read_text(encoding="utf-8")
    assert "stream.dataset=digits stream.size=28 --episodes 3 --data embedded" in text


# -- ended in the middle -----------------------------------------------------------------------------------------------


@pytest.mark.process
@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 1)])
def test_stopped_in_the_middle_it_goes_on_with_the_same_numbers(
    number: int, code: int, workplace: Path, environment: dict[str, str], tiny_spec: str
) -> None:
    file = queue(workplace, {"spec": tiny_spec, "overrides": LONGER})
    (entry,) = read_queue(file)
    runs, kept = workplace / "runs", workplace / "kept"
    command = [sys.executable, "-c", WORK, str(file), str(runs), str(kept)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: standing(entry, runs, kept=kept).state == "running")
        (worker,) = stand_still(run_of(entry, runs))
        lines = list(status([entry], runs, kept=kept))
        assert "replicas 0/1  steps " in lines[1]
        assert lines[-1].endswith("the queue is at work")
        pipe = os.readlink(f"/proc/{worker}/fd/0")
        process.send_signal(number)
        wait_for(lambda: pipe not in handles(process.pid).values())  # by its end the entry is told
        go_on([worker])
        out = process.communicate(timeout=120)[0]
    finally:
        process.kill()
    assert process.returncode == code
    assert out.endswith("stopped; go on with: make evidence\n") == (number == signal.SIGTERM)
    wait_for(lambda: standing(entry, runs, kept=kept).state == "stopped")  # though only the queue has been told

    assert work(file, runs, kept=kept) == 0
    run = run_of(entry, runs)
    assert len(listed(runs_dir=runs)) == 1
    whole = frisket.run(tiny_spec, LONGER, seeds=1, data="embedded", register=False, local=True)
    assert measured(run) == measured(RunFolder.open(whole.path))


@pytest.mark.process
@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="Linux alone")
def test_an_entry_has_one_core_at_the_lowest_priority(
    workplace: Path, environment: dict[str, str], tiny_spec: str
) -> None:
    file = queue(workplace, {"spec": tiny_spec})
    process = subprocess.Popen(
        [sys.executable, "-m", "docs.evidence", "--queue", str(file), "--out", str(workplace / "out")],
        env=environment | {"FRISKET_RUNS": str(workplace / "runs")}, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for(lambda: bool(descendants(process.pid)))
        (child,) = descendants(process.pid)
        wait_for(lambda: b"docs.evidence.entry" in Path(f"/proc/{child}/cmdline").read_bytes())
        assert os.sched_getscheduler(child) == os.SCHED_IDLE
        assert os.getpriority(os.PRIO_PROCESS, child) == 19
        assert b"\0OMP_NUM_THREADS=1\0" in b"\0" + Path(f"/proc/{child}/environ").read_bytes()
        assert os.getsid(child) == child, "so that Linux weighs it by itself"
    finally:
        for pid in (*descendants(process.pid), process.pid):
            os.kill(pid, signal.SIGKILL)
        process.wait()
    assert read_queue(file)[0].experiment().threads == 1
    assert Entry(spec=tiny_spec, overrides=("threads=2",), seeds=1).experiment().threads == 1


def test_a_second_queue_in_the_same_folder_is_refused(tmp_path: Path, tiny_spec: str) -> None:
    with lock(tmp_path / ".queue.lock"), pytest.raises(RunError, match="another process; make evidence-status says"):
        work(queue(tmp_path, {"spec": tiny_spec}), tmp_path)


@pytest.mark.parametrize(
    ("code", "text", "reason"),
    [
        (-9, "", "its process was ended by SIGKILL"),
        (3, "", "its process ended with exit code 3"),
        (1, f"Traceback\n{FAILED}ValueError: no\nException ignored in atexit\n", "ValueError: no"),
        (1, "Segmentation\nfault\n\n", "fault"),
    ],
)
def test_why_a_process_has_ended(code: int, text: str, reason: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(text, encoding="utf-8")
    assert _reason(code, log) == reason


def test_a_reason_goes_once_its_entry_is_done(tmp_path: Path) -> None:
    one, two = (Entry(spec="demo", seeds=seeds) for seeds in (1, 2))
    note(tmp_path, one, "no data")
    note(tmp_path, two, "no memory")
    note(tmp_path, one, None)
    assert skipped(tmp_path) == {two.command: "no memory"}


# -- the file ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "must be a list of entries"),
        ("spec: demo", "must be a list of entries"),
        ("- {spec: demo, seeds: 1", "is not valid YAML"),
        ("- {spec: demo, seeds: 1, seeds: 2}", "'seeds' is said twice"),
        ("- demo", "queue entry 1 = 'demo': must be a mapping of spec, seeds, overrides, data, hours"),
        ("- {spec: demo}", "queue entry 1.seeds"),
        ("- {spec: demo, seeds: 0}", "queue entry 1.seeds = 0: must be at least 1"),
        ("- {spec: demo, seeds: yes}", "queue entry 1.seeds"),
        ("- {spec: demo, seeds: 1, hours: -1}", "queue entry 1.hours = -1.0: must be above 0"),
        ("- {spec: demo, seeds: 1, data: auto}", "queue entry 1.data = 'auto'"),
        ("- {spec: demo, seeds: 1}\n- {spec: demo, seed: 1}", "entry 2.seed = 1: unknown key; did you mean 'seeds'"),
        ("- {spec: demo, seeds: 1}\n- {seeds: 1, spec: demo}", "entry 2 = 'frisket run demo --seeds 1 --data real'"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("verb", ["work", "status", "pages"])
def test_a_wrong_queue_is_one_line(
    text: str,
    says: str,
    verb: str,
    workplace: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("docs.evidence.entry.step_back", lambda: None)
    monkeypatch.setenv("FRISKET_RUNS", str(workplace / "runs"))
    (workplace / "q.yaml").write_text(text, encoding="utf-8")
    assert main([verb, "--queue", "q.yaml", "--out", "out"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert says in err
    assert not (workplace / "runs").exists()


def test_no_queue(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no such file"):
        read_queue(tmp_path / "queue.yaml")


def test_the_queue_of_this_checkout_can_be_run() -> None:
    entries = read_queue()
    assert {entry.data for entry in entries} == {"real"}
    assert all(entry.hours for entry in entries)
    assert len({(run_name(entry), entry.evaluate) for entry in entries}) == len(entries)  # reads every specification
    assert all(entry.experiment().tune is None for entry in entries)


# -- pages of published tables, with results made by hand --------------------------------------------------------------


def made(entry: Entry, runs: Path, mean: float, **manifest: Any) -> RunFolder:
    """A finished run of ``entry``: every seed has measured ``mean``, half of them 0.01 more and half 0.01 less."""
    run = RunFolder.create(
        runs, entry.experiment(), data_mode="real", data={"mnist": {"kind": "real"}}, register=False,
        tracking={"uri": "sqlite:///x", "experiment": "x"}, run_id=run_name(entry),
    )  # fmt: skip
    write_sealed(run.path / "run.json", run.manifest | manifest)
    for replica in run.experiment.replicas():
        spread = 0.0 if replica.seed == entry.seeds - 1 else 0.01 * (-1) ** replica.seed
        about = {"variant": replica.variant, "seed": replica.seed, "config": {}, "sparsity": {}, "seconds": 1800.0}
        run.replica(replica).finish(about | {"metrics": {"accuracy": mean + spread}}, journal_bytes=0)
    return run


def test_an_entry_answers_to_every_table_that_has_it(tmp_path: Path) -> None:
    one = Entry(spec="osaka/p90-sparse-cmaml", seeds=1)
    five = Entry(spec="osaka/p90-cmaml-fixed", seeds=5)
    waits = Entry(spec="osaka/p98-cmaml-fixed", seeds=1)
    short = Entry(spec="osaka/p98-sparse-cmaml", seeds=1, overrides=("stream.steps=600",))
    made(one, tmp_path, 0.86)
    write_json(made(five, tmp_path, 0.80).path / "commits.json", ["a" * 40, "b" * 40 + "+"])
    made(short, tmp_path, 0.5)
    pages = write_pages([one, five, waits, short], tmp_path, tmp_path / "out", kept=tmp_path / "kept")
    assert [page.table.title_name for page in pages] == [
        "sparse/table6", "sparse/tableS8", "sparse/tableS9", "own/osaka-p98-sparse-cmaml"
    ]  # fmt: skip
    text = (tmp_path / "out" / "sparse-tableS9.md").read_text(encoding="utf-8")
    assert "| C-MAML-fixed | p90 | accuracy | 85.30 ± 0.50 | 80.00 ± 0.89 | 5 | -5.30 | miss |" in text
    assert "| sparse-C-MAML | p90 | accuracy | 86.30 ± 0.40 | 86.00 | 1 | -0.30 | no verdict: 1 of 5 seeds |" in text
    assert "| C-MAML-fixed | p98 | not run |" in text
    assert "worked on by the commits aaaaaaaaaaaa, bbbbbbbbbbbb+" in text
    assert "sparse-C-MAML | p98" not in text, "600 steps are another work"
    own = (tmp_path / "out" / "own-osaka-p98-sparse-cmaml.md").read_text(encoding="utf-8")
    assert "| osaka/p98-sparse-cmaml | stream.steps=600 | accuracy | 94.20 ± 0.40 | 50.00 | 1 | " in own
    assert "no verdict: own scale" in own
    index = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "| 2 h 30 min | accuracy 80.00 ± 0.89 |" in index
    said = "C-MAML-fixed, p90, accuracy: miss; 85.30 ± 0.50 expected, 80.00 ± 0.89 found (-5.30)"
    assert f"* sparse/tableS9: {said}" in index


def test_of_runs_of_one_work_the_one_with_the_most_seeds_is_reported(tmp_path: Path) -> None:
    one, two = (Entry(spec="osaka/p90-cmaml-fixed", seeds=seeds) for seeds in (1, 2))
    made(one, tmp_path, 0.85)
    first = write_pages([one, two], tmp_path, tmp_path / "out", kept=tmp_path / "kept")
    made(two, tmp_path, 0.84)
    second = write_pages([one, two], tmp_path, tmp_path / "out", kept=tmp_path / "kept")
    assert [[cell.seeds for cell in page.cells] for page in (first[0], second[0])] == [[1], [2]]


def test_other_code_and_other_data_are_other_work(tmp_path: Path) -> None:
    entry = Entry(spec="osaka/p90-cmaml-fixed", seeds=1, hours=2)
    waiting = Standing(state="waiting", left=7200.0)
    made(entry, tmp_path / "old", 0.85, frisket="0.0.0")
    made(entry, tmp_path / "embedded", 0.85, data_mode="embedded")
    gone = load_spec(entry.spec).as_dict()
    gone["learner"]["no_such_field"] = 1
    made(entry, tmp_path / "gone", 0.85, experiment=gone)
    for folder in ("old", "embedded", "gone", "nothing"):
        assert standing(entry, tmp_path / folder, kept=tmp_path) == waiting
    made(entry, tmp_path / "same", 0.85)
    assert standing(entry, tmp_path / "same", kept=tmp_path).state == "done"
