"""Files: whole or not at all under kill -9, what dead writers leave goes, locks exclude, damage names the file."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from frisket.errors import FileError
from frisket.files import (
    SEAL,
    find_json,
    find_sealed,
    lock,
    made_once,
    making_folder,
    read_json,
    read_sealed,
    replacing,
    scratch,
    sha256,
    sha256_of,
    sha256_of_parts,
    sweep,
    write_json,
    write_sealed,
)

ROOT = Path(__file__).resolve().parent.parent
SIZE = 2**21
WRITER = f"""
import sys
from itertools import count
from pathlib import Path
from frisket.files import write_bytes
path = Path(sys.argv[1])
for n in count():
    write_bytes(path, bytes([n % 251]) * {SIZE})
    print(n, flush=True)
"""
HOLDER = """
import sys, time
from pathlib import Path
from frisket.files import lock, replacing
with lock(Path(sys.argv[1]) / "lock"), replacing(Path(sys.argv[1]) / "held") as part:
    print(part.name, flush=True)
    time.sleep(60)
"""


def started(script: str, argument: Path) -> subprocess.Popen[str]:
    """A process that runs ``script`` and has said its first word."""
    process = subprocess.Popen([sys.executable, "-c", script, str(argument)], cwd=ROOT, stdout=-1, text=True)
    assert process.stdout is not None
    assert process.stdout.readline()
    return process


def killed(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_a_writer_killed_at_any_moment_leaves_the_file_whole(tmp_path: Path) -> None:
    path, pause, leftovers, contents = tmp_path / "content.bin", random.Random(0), 0, set[int]()
    for _ in range(15):
        writer = started(WRITER, path)
        time.sleep(0.03 * pause.random())
        killed(writer)
        content = path.read_bytes()
        assert len(content) == SIZE
        assert content == content[:1] * SIZE
        contents.add(content[0])
        leftovers += len(list(tmp_path.iterdir())) - 1
        with lock(tmp_path / "lock"):
            assert {p.name for p in tmp_path.iterdir()} == {"content.bin", "lock"}
        (tmp_path / "lock").unlink()
    assert leftovers > 0, "no writer died at work: nothing was proved"
    assert len(contents) > 1


def test_a_lock_excludes_another_process_until_it_dies(tmp_path: Path) -> None:
    holder = started(HOLDER, tmp_path)
    try:
        with pytest.raises(FileError, match="mine now"), lock(tmp_path / "lock", busy=FileError("f", 1, "mine now")):
            pass
    finally:
        killed(holder)
    with lock(tmp_path / "lock", busy=FileError("f", 1, "mine now")):
        pass


def test_a_lock_that_is_waited_for_is_had_in_the_end(tmp_path: Path) -> None:
    holder = started(HOLDER, tmp_path)
    waiting = (
        "import sys; from pathlib import Path; from frisket.files import lock\nwith lock(Path(sys.argv[1])): print()"
    )
    waiter = subprocess.Popen([sys.executable, "-c", waiting, str(tmp_path / "lock")], cwd=ROOT)
    time.sleep(0.3)
    assert waiter.poll() is None
    killed(holder)
    assert waiter.wait(timeout=20) == 0


def test_what_a_living_writer_has_begun_is_not_swept(tmp_path: Path) -> None:
    with replacing(tmp_path / "a.json") as file, making_folder(tmp_path / "b") as folder:
        for target in ("a.json", "b"):
            sweep(tmp_path / target)
        with lock(tmp_path / "lock"):
            assert file.is_file()
            assert folder.is_dir()
        file.write_text("1")
        (folder / "c").touch()
    assert {p.name for p in tmp_path.iterdir()} == {"a.json", "b", "lock"}
    assert [p.name for p in (tmp_path / "b").iterdir()] == ["c"]


def test_sweeping_for_a_file_leaves_what_belongs_to_others(tmp_path: Path) -> None:
    dead = {name: f".part-0123456789abcdef-{name}" for name in ("seed0", "alpha-seed0", "seed00")}
    for name in (*dead.values(), ".part-of-the-users"):
        (tmp_path / name).touch()
    sweep(tmp_path / "seed0")
    assert {p.name for p in tmp_path.iterdir()} == {dead["alpha-seed0"], dead["seed00"], ".part-of-the-users"}


SCRATCH = """
import sys, time
from frisket.files import scratch
with scratch("trial") as folder:
    (folder / "half").touch()
    print(folder, flush=True)
    time.sleep(100)
"""


def test_a_folder_aside_goes_with_its_block_or_with_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", SCRATCH], cwd=ROOT, env=environment, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        left = Path(other.stdout.readline().decode().strip())
        with scratch("trial") as folder:
            assert list(folder.iterdir()) == []
            assert folder.stat().st_mode & 0o777 == 0o700
            assert set(tmp_path.iterdir()) == {left, folder}, "that of who lives stays"
        other.kill()
        other.wait()
        assert (left / "half").exists()
    with scratch("other"):
        assert left.exists()
    with pytest.raises(KeyboardInterrupt), scratch("trial") as folder:
        interrupted(folder / "half")
    assert list(tmp_path.iterdir()) == []


def interrupted(file: Path) -> None:
    file.write_text("half")
    raise KeyboardInterrupt


@pytest.mark.parametrize("durable", [True, False])
def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(durable: bool, tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    write_json(path, {"old": 1}, durable=durable)
    with pytest.raises(KeyboardInterrupt), replacing(path, durable=durable) as part:
        interrupted(part)
    with pytest.raises(TypeError):
        write_json(path, {"no JSON": object()}, durable=durable)
    with pytest.raises(KeyboardInterrupt), making_folder(tmp_path / "folder") as folder:
        interrupted(folder / "half")
    assert [p.name for p in tmp_path.iterdir()] == ["kept.json"]
    assert read_json(path) == {"old": 1}


def test_a_new_file_has_the_mode_of_any_other(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    write_json(tmp_path / "made", 1)
    assert (tmp_path / "made").stat().st_mode == plain.stat().st_mode


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "f"
    with replacing(path) as first, replacing(path) as second:
        assert first != second
        assert first.suffix == path.suffix
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"  # the outer block ends last


@pytest.mark.parametrize("damage", [b"", b"{", b'{"a": 1} {', b"\xff\xfe", b"[" * 100_000, b"\0" * 10])
def test_damaged_json_names_the_file(damage: bytes, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(damage)
    with pytest.raises(FileError, match=r"run\.json.*is damaged: it is not JSON"):
        read_json(path)
    assert find_json(path) is None


def test_json_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "none")
    assert find_json(tmp_path / "none") is None


def test_json_comes_back(tmp_path: Path) -> None:
    value = {"ä": [1, 2.5, None, True], "deep": {"x": "±"}}
    for indent in (1, None):
        write_json(tmp_path / "v.json", value, indent=indent)
        assert read_json(tmp_path / "v.json") == value
    assert (tmp_path / "v.json").read_text() == json.dumps(value)


def test_digests_are_the_published_ones(tmp_path: Path) -> None:
    """FIPS 180-2, appendix B.1 and B.3; and a file of several pieces."""
    assert sha256(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    (tmp_path / "million").write_bytes(b"a" * 1_000_000)
    million = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
    assert sha256_of(tmp_path / "million") == million
    (tmp_path / "more").write_bytes(os.urandom(3 * 2**20 + 1))
    assert sha256_of(tmp_path / "more") == sha256((tmp_path / "more").read_bytes())


@pytest.mark.parametrize("value", [{}, {"ä": [1, 2.5, None, True, float("inf")], "deep": {"x": "±", "tuple": (1, 2)}}])
def test_a_sealed_record_comes_back(value: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "v.json"
    write_sealed(path, value)
    assert read_sealed(path) == find_sealed(path) == json.loads(json.dumps(value))
    assert re.fullmatch("[0-9a-f]{64}", json.loads(path.read_text())[SEAL])
    path.write_text(json.dumps(json.loads(path.read_text())))  # laid out otherwise, it says the same
    assert read_sealed(path) == json.loads(json.dumps(value))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda record: record.update(a=2), "is damaged or was changed"),
        (lambda record: record.update(more=1), "is damaged or was changed"),
        (lambda record: record.pop("a"), "is damaged or was changed"),
        (lambda record: record.update(a=record.pop("a")), "is damaged or was changed"),  # the last now
        (lambda record: record.update({SEAL: "0" * 64}), "is damaged or was changed"),
        (lambda record: record.pop(SEAL), "carries no digest of its content"),
    ],
)
def test_a_sealed_record_that_was_changed_is_refused(
    change: Callable[[dict[str, object]], object], says: str, tmp_path: Path
) -> None:
    path = tmp_path / "v.json"
    write_sealed(path, {"a": 1, "b": [0.1]})
    record = json.loads(path.read_text())
    change(record)
    write_json(path, record)
    with pytest.raises(FileError, match=rf"v\.json.*{says}"):
        read_sealed(path)
    assert find_sealed(path) is None


@pytest.mark.parametrize("depth", [100, 300, 900, 990, 5000])
def test_nesting_without_end_is_damage(depth: int, tmp_path: Path) -> None:
    path = tmp_path / "v.json"
    path.write_text('{"sha256": "0", "a": ' + "[" * depth + "]" * depth + "}")
    with pytest.raises(FileError, match="is damaged"):
        read_sealed(path)


def test_what_is_no_regular_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("pipe", "zero"):
        with pytest.raises(FileError, match="is no regular file"):
            read_json(tmp_path / name)


def test_a_digest_of_parts_tells_names_and_order_does_not_matter() -> None:
    one = sha256_of_parts("x", {"a": b"12", "b": b"3"})
    assert one == sha256_of_parts("x", {"b": b"3", "a": b"12"}) == sha256(b"xa12b3")
    assert one != sha256_of_parts("x", {"a": b"3", "b": b"12"})


def test_what_is_replaced_can_be_kept(tmp_path: Path) -> None:
    path, before = tmp_path / "new", tmp_path / "before"
    for text in ("1", "2", "3"):
        with replacing(path, before=before) as part:
            part.write_text(text)
    assert (path.read_text(), before.read_text()) == ("3", "2")
    with pytest.raises(KeyboardInterrupt), replacing(path, before=before) as part:
        interrupted(part)
    assert (path.read_text(), before.read_text()) == ("3", "2")
    assert {p.name for p in tmp_path.iterdir()} == {"new", "before"}


def test_what_is_kept_is_never_missed(tmp_path: Path) -> None:
    """Looked for all the while another process replaces it, a file is there: so whenever a death comes, it is."""
    path, before = tmp_path / "new", tmp_path / "before"
    path.touch()
    script = (
        "import sys; from pathlib import Path; from frisket.files import replacing\n"
        "path, before = map(Path, sys.argv[1:])\n"
        "while True:\n"
        "    with replacing(path, durable=False, before=before): pass\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(path), str(before)]) as writer:
        try:
            while not before.exists():
                assert writer.poll() is None
                time.sleep(0.01)
            missed = sum(not path.exists() for _ in range(20_000))
        finally:
            writer.kill()
    assert missed == 0


@pytest.mark.parametrize(
    "error",
    [OSError(28, "No space left on device"), RuntimeError("I/O error: No space left on device (os error 28)")],
    ids=["of the system", "of a library in Rust"],
)
def test_an_error_while_writing_names_the_file(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(OSError, match="No space left on device") as caught, replacing(tmp_path / "x"):
        raise error
    assert (caught.value.errno, caught.value.filename) == (28, str(tmp_path / "x"))
    with pytest.raises(ConnectionResetError) as other, replacing(tmp_path / "x"):
        raise ConnectionResetError(104, "reset")
    assert other.value.filename is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", [b"", b"seven", b"8", b"7" + bytes(64)])
def test_what_is_made_once_is_made_again_where_it_is_damaged(damage: bytes, tmp_path: Path) -> None:
    path, made = tmp_path / "kept" / "number", list[str]()

    def make(part: Path) -> None:
        made.append(part.name)
        part.write_text("7", encoding="utf-8")

    made_once(path, make)
    made_once(path, make)
    whole = path.read_bytes()
    assert [whole[:1], len(made)] == [b"7", 1]
    for count, content in enumerate([damage, b"8" + whole[1:], whole[:-1]], start=2):
        path.write_bytes(content)
        made_once(path, make)
        assert [path.read_bytes(), len(made)] == [whole, count]

    def fail(part: Path) -> None:
        part.write_text("half", encoding="utf-8")
        raise RuntimeError("no room")

    with pytest.raises(RuntimeError, match="no room"):
        made_once(path.parent / "other", fail)
    assert not (path.parent / "other").exists()
