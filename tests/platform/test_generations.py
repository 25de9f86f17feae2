"""Two checkpoints are kept: a damaged one gives way to the one before it, bit for bit; what cannot be gone on from is
refused before a step is computed, with what can be done. And whatever a death leaves between two writes is mended."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from watching import measured

import frisket
from frisket.algos import state_file
from frisket.algos.state_file import load_state, save_state
from frisket.errors import ModelError, RunError, Stopped
from frisket.files import read_sealed, write_sealed
from frisket.platform.cli.main import main
from frisket.platform.executors import local
from frisket.platform.run.engine import run_pack
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.replicas import PackFolder
from frisket.platform.verbs.run import prepare

ALONE: dict[str, Any] = {
    "name": "tiny", "seeds": 1, "variants": {}, "log_every": 3, "checkpoint_seconds": 1000.0,
    "stream": {"p": 0.8, "steps": 15, "shots": 1}, "network": {"channels": 2},
    "learner": {"kind": "sparse-cmaml", "inner_steps": 1, "switch_threshold": 0.2},
}  # fmt: skip
TOGETHER: dict[str, Any] = {
    "name": "pair", "seeds": 2, "variants": {}, "log_every": 3, "checkpoint_seconds": 1000.0, "pack": 2,
    "stream": {"kind": "rotations", "tasks": 1, "samples": 60, "batch": 4, "test_samples": 20},
    "network": {"kind": "mlp", "hidden": [8]},
    "learner": {"kind": "er", "samples_per_step": 5, "memory_slots": 20},
    "protocol": {"kind": "retained-accuracy"},
}  # fmt: skip
BOTH = pytest.mark.parametrize("fields", [ALONE, TOGETHER], ids=["alone", "pack"])
Damage = Callable[[bytes], bytes]
DAMAGES: dict[str, Damage] = {
    "a changed byte": lambda raw: raw[:-9] + bytes([raw[-9] ^ 1]) + raw[-8:],
    "a changed cursor": lambda raw: raw.replace(b'"cursor":"8"', b'"cursor":"9"'),
    "cut": lambda raw: raw[: len(raw) // 2],
    "empty": lambda _: b"",
    "another file": lambda _: b'{"a": 1}',
}
HARMED = pytest.mark.parametrize("harm", DAMAGES.values(), ids=DAMAGES.keys())


def begun(parent: Path, fields: dict[str, Any]) -> RunFolder:
    return prepare(fields, data="embedded", runs_dir=parent)


def stopped_twice(parent: Path, fields: dict[str, Any], after: tuple[int, ...] = (4, 4)) -> RunFolder:
    """A run with a checkpoint after 4 steps, and the newest after 8."""
    folder = begun(parent, fields)
    for steps in after:
        asked = iter([False] * (steps - 1))
        with pytest.raises(Stopped):
            run_pack(folder, folder.packs[0], stop=lambda asked=asked: next(asked, True))
    return folder


def ended(folder: RunFolder) -> dict[str, Any]:
    """What the run measured, gone on with to its end by another process."""
    folder = RunFolder.open(folder.path)
    local.execute(folder, data_dir=None, stop=lambda: False)
    return measured(folder)


def files_of(folder: RunFolder) -> PackFolder:
    return folder.pack(folder.packs[0])


def journals(folder: RunFolder) -> list[bytes]:
    return [files.journal.read_bytes() for files in folder.replicas()]


def change(path: Path, harm: Damage) -> None:
    before = path.read_bytes()
    path.write_bytes(harm(before))
    assert path.read_bytes() != before


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the runs measure that nothing happens to."""
    return {fields["name"]: ended(begun(tmp_path_factory.mktemp("whole"), fields)) for fields in (ALONE, TOGETHER)}


@BOTH
@HARMED
def test_a_damaged_checkpoint_gives_way_to_the_one_before_it(
    fields: dict[str, Any], harm: Damage, undisturbed: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = stopped_twice(tmp_path, fields)
    sent = journals(folder)  # as far as they are final, and may have been sent
    change(files_of(folder).checkpoint, harm)
    assert ended(folder) == undisturbed[fields["name"]]
    (said,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert files_of(folder).checkpoint.name in said
    assert said.endswith("going on from the one before it, at step 4")
    assert all(now.startswith(then) for now, then in zip(journals(folder), sent, strict=True))
    assert not any((folder.path / "packs").iterdir())


@BOTH
@pytest.mark.parametrize("harmed", [False, True])
def test_a_checkpoint_in_blocks(
    fields: dict[str, Any], harmed: bool, undisturbed: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tensors are put into blocks as a large memory is; a harmed one gives way to the checkpoint before."""
    monkeypatch.setattr(state_file, "LARGE", 64)
    folder = stopped_twice(tmp_path, fields)
    files = files_of(folder)
    newest, older = (set(state_file._blocks_of(path)) for path in (files.checkpoint, files.before))
    assert newest
    assert older
    if harmed:
        (files.blocks.folder / min(newest - older)).write_bytes(b"not this")
    loaded = files.load()
    assert loaded is not None
    assert loaded[1]["cursor"] == (4 if harmed else 8)
    assert ended(folder) == undisturbed[fields["name"]]
    assert not any((folder.path / "packs").iterdir())


@BOTH
def test_a_good_checkpoint_is_not_replaced_by_a_damaged_one(
    fields: dict[str, Any], undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    """Damaged, gone on from the one before, stopped, damaged again."""
    folder = stopped_twice(tmp_path, fields)
    for _ in range(2):
        change(files_of(folder).checkpoint, DAMAGES["empty"])
        asked = iter([False])
        with pytest.raises(Stopped):
            run_pack(folder, folder.packs[0], stop=lambda asked=asked: next(asked, True))
        assert files_of(folder).before.stat().st_size > 0
    assert ended(folder) == undisturbed[fields["name"]]


@BOTH
def test_two_damaged_checkpoints_are_refused_with_a_way_on(
    fields: dict[str, Any], undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    folder = stopped_twice(tmp_path, fields)
    files, sent = files_of(folder), journals(folder)
    change(files.checkpoint, DAMAGES["a changed byte"])
    change(files.before, DAMAGES["cut"])
    for refuse in (files.load, lambda: ended(folder), folder.require_whole):
        with pytest.raises(RunError, match="resume the run: this part of it runs again") as refused:
            refuse()
        for path in (files.checkpoint, files.before):
            assert path.name in refused.value.fix
    assert journals(folder) == sent
    files.checkpoint.unlink()
    files.before.unlink()
    assert ended(folder) == undisturbed[fields["name"]]
    assert all(now.startswith(then) for now, then in zip(journals(folder), sent, strict=True))


def test_the_first_checkpoint_damaged_is_refused(tmp_path: Path) -> None:
    folder = stopped_twice(tmp_path, ALONE, after=(4,))
    change(files_of(folder).checkpoint, DAMAGES["empty"])
    with pytest.raises(RunError, match=r"seed0\.safetensors is damaged.*remove seed0\.safetensors in"):
        ended(folder)


@BOTH
@pytest.mark.parametrize("keep", [0.0, 0.5, -1])
def test_a_journal_that_is_too_short_is_refused_and_left_alone(
    fields: dict[str, Any], keep: float, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    folder = stopped_twice(tmp_path, fields)
    journal = folder.replicas()[-1].journal
    whole = journal.read_bytes()
    cut = whole[: int(keep) if keep < 0 else int(keep * len(whole))]
    journal.write_bytes(cut)
    for refuse in (folder.require_whole, lambda: ended(folder)):
        with pytest.raises(RunError, match="is cut short") as refused:
            refuse()
        assert refused.value.value == str(journal)
        assert "remove" in refused.value.fix
    assert journal.read_bytes() == cut
    for path in (files_of(folder).checkpoint, files_of(folder).before):
        path.unlink()
    assert ended(folder) == undisturbed[fields["name"]]
    assert journal.read_bytes().startswith(cut[: cut.rfind(b"\n") + 1])


def test_a_journal_with_a_changed_byte_is_refused(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    folder = stopped_twice(tmp_path, ALONE)
    journal = folder.replicas()[0].journal
    change(journal, lambda raw: raw.replace(b'"t":2', b'"t":7', 1))
    with pytest.raises(RunError, match="a line is not as it was written"):
        ended(folder)
    for path in (files_of(folder).checkpoint, files_of(folder).before):
        path.unlink()
    assert ended(folder) == undisturbed["tiny"]


def test_lines_that_come_out_otherwise_are_replaced(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    """As on a device whose sums round by chance: the later lines are those of the state that is gone on with."""
    folder = stopped_twice(tmp_path, ALONE)
    other = stopped_twice(tmp_path / "other", ALONE | {"learner": {"kind": "cmaml-fixed", "inner_steps": 1}})
    shutil.copy(other.replicas()[0].journal, folder.replicas()[0].journal)
    for path in (files_of(folder).checkpoint, files_of(folder).before):
        path.unlink()
    assert ended(folder) == undisturbed["tiny"]


def test_what_says_how_far_a_checkpoint_is_is_said_again(tmp_path: Path) -> None:
    folder = stopped_twice(tmp_path, ALONE)
    (files,) = folder.replicas()
    said = files.committed
    assert said is not None
    change(files.path / "committed.json", DAMAGES["a changed byte"])
    assert files.committed is None
    with pytest.raises(Stopped):
        run_pack(folder, folder.packs[0], stop=lambda: True)
    assert files.committed is not None
    assert files.committed["cursor"] == said["cursor"] + 1
    assert files.committed_bytes() == files.journal.stat().st_size


# -- between two writes ------------------------------------------------------------------------------------------------


def snapshot(folder: RunFolder, where: Path) -> Path:
    return Path(shutil.copytree(folder.path, where))


DEATHS: dict[str, tuple[str, tuple[str, ...]]] = {
    "before the new checkpoint": ("old", ("old", "old")),
    "between the two renamings": ("only before", ("old", "old")),
    "before it is said how far": ("new", ("old", "old")),
    "between the members of a pack": ("new", ("new", "old")),
    "after it is said how far": ("new", ("new", "new")),
}
"""Moment to: which checkpoints lie there, and which one ``committed.json`` of each member speaks of."""


@BOTH
@pytest.mark.parametrize("moment", DEATHS)
def test_a_death_between_two_writes_is_mended(
    fields: dict[str, Any], moment: str, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    folder = stopped_twice(tmp_path, fields, after=(4,))
    old = snapshot(folder, tmp_path / "old")
    asked = iter([False] * 3)
    with pytest.raises(Stopped):
        run_pack(folder, folder.packs[0], stop=lambda: next(asked, True))
    newest, committed = DEATHS[moment]
    files = files_of(folder)
    kept = old / "packs" / files.checkpoint.name
    if newest != "new":
        files.before.unlink()
        files.checkpoint.unlink()
        shutil.copy(kept, files.checkpoint if newest == "old" else files.before)
    for replica, which in zip(folder.replicas(), committed, strict=False):
        if which == "old":
            shutil.copy(old / "replicas" / replica.key / "committed.json", replica.path / "committed.json")
        with replica.journal.open("ab") as journal:
            journal.write(b'{"t":8,"step":{"accuracy":9.0}}\n' + b"\0" * 50 + b'{"t":9,"st')
    assert ended(folder) == undisturbed[fields["name"]]
    assert not any((folder.path / "packs").iterdir())


def test_checkpoints_that_a_death_left_behind_at_the_end_go(tmp_path: Path) -> None:
    folder = stopped_twice(tmp_path, ALONE)
    kept = snapshot(folder, tmp_path / "kept")
    whole = ended(folder)
    shutil.copy(kept / "packs" / "seed0.safetensors", folder.path / "packs" / "seed0.safetensors")
    RunFolder.open(folder.path).require_whole()
    assert not any((folder.path / "packs").iterdir())
    assert measured(folder) == whole


# -- a run that is done ------------------------------------------------------------------------------------------------


def said_to_user(capsys: pytest.CaptureFixture[str], *arguments: str, code: int) -> str:
    """The one line that the command gives; warnings left out."""
    capsys.readouterr()
    assert main(list(arguments)) == code
    err = capsys.readouterr().err
    assert "Traceback" not in err
    return err


@pytest.mark.parametrize(
    ("name", "harm", "says"),
    [
        ("result.json", lambda raw: raw.replace(b'"seed": 0', b'"seed": 1'), "result.json"),
        ("result.json", lambda _: b"{", "result.json"),
        ("journal.jsonl", lambda raw: raw[:-200], "is cut short"),
    ],
)
def test_a_damaged_end_is_named_and_the_replica_is_not_run_again_unasked(
    name: str, harm: Damage, says: str, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stopped_twice(workplace / "frisket_runs", ALONE)
    whole = ended(folder)
    files = RunFolder.open(folder.path).replicas()[0]
    change(files.path / name, harm)
    left = {path: path.read_bytes() for path in files.path.iterdir()}
    for command in (["run", "--resume", "last", "--local"], ["sync", folder.run_id]):
        err = said_to_user(capsys, *command, code=2)
        assert says in err
        assert str(files.path) in err
        assert "MLflow" not in err
    assert {path: path.read_bytes() for path in files.path.iterdir()} == left
    (files.path / "result.json").unlink()
    assert main(["run", "--resume", "last", "--local"]) == 0
    assert measured(folder) == whole


def test_settings_changed_between_attempts_are_refused_by_name(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stopped_twice(workplace / "frisket_runs", ALONE)
    change(folder.path / "run.json", lambda raw: raw.replace(b'"inner_steps": 1', b'"inner_steps": 2', 1))
    err = said_to_user(capsys, "run", "--resume", str(folder.path), "--local", code=2)
    assert "its run.json is damaged or was changed" in err
    assert "start one" in err


@pytest.mark.parametrize("torn", ["{", "[]", '{"run_id": "x", "created": "2026"}'])
def test_a_torn_folder_hinders_no_other(
    torn: str, workplace: Path, capsys: pytest.CaptureFixture[str], undisturbed: dict[str, Any]
) -> None:
    folder = stopped_twice(workplace / "frisket_runs", ALONE)
    (workplace / "frisket_runs" / "x").mkdir()
    (workplace / "frisket_runs" / "x" / "run.json").write_text(torn)
    for command in (["runs"], ["run", "--resume", "last", "--local"]):
        err = said_to_user(capsys, *command, code=0)
        assert err.count(f"skipped: {workplace}/frisket_runs/x/run.json") == (command[0] == "run")
    assert measured(folder) == undisturbed["tiny"]
    err = said_to_user(capsys, "run", "--resume", "x", "--local", code=2)
    assert "its run.json" in err
    assert read_sealed(folder.path / "summary.json")["results"]


@pytest.mark.parametrize(
    ("name", "harm", "says"),
    [
        ("final.safetensors", DAMAGES["a changed byte"], "its content is not what its sha256 says"),
        ("final.safetensors", None, "is not there"),
        ("journal.jsonl", lambda raw: raw.replace(b'"t":2', b'"t":7', 1), "a line is not as it was written"),
    ],
    ids=["weights changed", "weights gone", "journal changed"],
)
def test_what_a_replica_that_is_done_left_is_looked_at_before_it_is_taken(
    name: str, harm: Damage | None, says: str, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stopped_twice(workplace / "frisket_runs", ALONE)
    whole = ended(folder)
    files = RunFolder.open(folder.path).replicas()[0]
    if harm is None:
        (files.path / name).unlink()
    else:
        change(files.path / name, harm)
    weights = name == "final.safetensors"
    for command in (
        ["run", "--resume", "last", "--local"],
        ["sync", folder.run_id],
        ["masks", "show", str(folder.path)],
    ):
        if weights or command[0] != "masks":
            err = said_to_user(capsys, *command, code=2)
            assert name in err
            assert says in err
            assert "MLflow" not in err
            assert "frisket sync" not in err
    with pytest.raises(ModelError, match=name) if weights else contextlib.nullcontext():
        frisket.load_model(folder.path)
    (files.path / "result.json").unlink()
    (files.path / name).unlink(missing_ok=True)
    assert ended(folder) == whole


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("result.json", "is of the replica seed0 of run "),
        ("final.safetensors", "is not the file that its result.json was written with"),
        ("masks.safetensors", "is not the file that its result.json was written with"),
        ("journal.jsonl", "is not the one that its result.json was written with"),
    ],
)
@pytest.mark.parametrize("whose", ["another run's", "a sibling's"])
def test_whole_files_of_another_replica_do_not_pass_for_its_own(
    name: str, says: str, whose: str, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = {**ALONE, "seeds": 2}
    folder = begun(workplace / "frisket_runs", pair)
    other = begun(workplace / "elsewhere", {**pair, "learner": {**ALONE["learner"], "mask_shift": 0.1}})
    for one in (folder, other):  # runs of one specification would hold the same
        ended(one)
    sibling = folder.replicas()[0] if whose == "a sibling's" else other.replicas()[1]
    mine = folder.replicas()[1]
    if name == "journal.jsonl":  # of the same length, whatever its times are
        result = read_sealed(mine.path / "result.json")
        shutil.copy(sibling.journal, mine.journal)
        length = mine.journal.stat().st_size
        write_sealed(mine.path / "result.json", {**result, "journal_bytes": length})
    else:
        shutil.copy(sibling.path / name, mine.path / name)
    if (name, whose) == ("result.json", "another run's"):
        says = f"is of the replica seed1 of run {other.run_id}"
    for command in (["run", "--resume", folder.run_id, "--local"], ["sync", folder.run_id]):
        err = said_to_user(capsys, *command, code=2)
        assert says in err
        assert str(mine.path / name) in err


def test_the_manifest_of_another_run_does_not_pass_for_its_own(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, other = begun(workplace / "frisket_runs", ALONE), begun(workplace / "elsewhere", ALONE)
    ended(folder)
    shutil.copy(other.path / "run.json", folder.path / "run.json")
    err = said_to_user(capsys, "run", "--resume", str(folder.path), "--local", code=2)
    assert f"is of the replica seed0 of run {folder.path.name}" in err


@BOTH
def test_the_checkpoint_of_another_run_is_not_gone_on_from(fields: dict[str, Any], tmp_path: Path) -> None:
    folder, other = (stopped_twice(tmp_path / place, fields, after=(4,)) for place in ("mine", "other"))
    shutil.copy(files_of(other).checkpoint, files_of(folder).checkpoint)
    with pytest.raises(RunError, match="is of another run, or of other replicas"):
        ended(folder)


def test_a_damaged_run_that_is_asked_for_by_name_is_refused(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stopped_twice(workplace / "frisket_runs", ALONE)
    change(folder.path / "run.json", lambda raw: raw.replace(b'"created"', b'"created_"'))
    for command in (
        ["run", "--resume", folder.run_id, "--local"],
        ["sync", folder.run_id],
        ["compare", folder.run_id, "last"],
    ):
        err = said_to_user(capsys, *command, code=2)
        assert "run.json is damaged or was changed" in err
    assert main(["sync"]) == 0
    assert "every run in frisket_runs that can be read is in MLflow" in " ".join(capsys.readouterr().out.split())


def test_a_checkpoint_of_another_commit_is_refused(tmp_path: Path) -> None:
    """It lacks what the protocol has come to keep since."""
    folder = stopped_twice(tmp_path, ALONE)
    files = files_of(folder)
    state, metadata = load_state(files.checkpoint)
    name, _ = state["scores"]["0"].popitem()
    save_state(files.checkpoint, state, metadata)
    with pytest.raises(RunError, match=f"has no {name}: another commit of frisket made it; restore it, or remove"):
        run_pack(folder, folder.packs[0], stop=lambda: False)
