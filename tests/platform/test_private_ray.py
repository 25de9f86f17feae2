"""A private Ray is this user's alone: no other user of the machine reaches its files, its sockets or its ports."""

from __future__ import annotations

import ipaddress
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from processes import descendants, handles
from ray._private import worker

from frisket.errors import ClusterError
from frisket.platform.cluster import private_folder
from frisket.platform.cluster.session import ray_session

SOCKET_BYTES = 107


def sockets() -> set[str]:
    """The sockets that this process and those it started hold, as /proc numbers them."""
    found = set[str]()
    for pid in {os.getpid()} | descendants(os.getpid()):
        found |= {handle.removeprefix("socket:[").removesuffix("]") for handle in handles(pid).values()}
    return found


def listening() -> Iterator[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """The addresses of this machine that those processes take TCP connections on."""
    ours = sockets()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and words[9] in ours:  # the state LISTEN; the socket's number
                shown = bytes.fromhex(words[1].partition(":")[0])  # four bytes at a time, as this machine keeps them
                order = -1 if sys.byteorder == "little" else 1
                address = ipaddress.ip_address(b"".join(shown[i : i + 4][::order] for i in range(0, len(shown), 4)))
                yield getattr(address, "ipv4_mapped", None) or address


def socket_files() -> set[Path]:
    """The files of the local sockets of those processes."""
    ours = sockets()
    lines = [line.split(maxsplit=7) for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    return {Path(line[7]) for line in lines if len(line) == 8 and line[6] in ours and line[7].startswith("/")}


def closed_by(path: Path) -> list[Path]:
    """The folders on the way to ``path`` that its owner, who is this user, alone may enter or read."""
    found = [(folder, folder.stat()) for folder in path.parents]
    return [one for one, stats in found if stat.S_IMODE(stats.st_mode) == 0o700 and stats.st_uid == os.getuid()]


@pytest.mark.process
@pytest.mark.usefixtures("ray_cluster")
def test_no_other_user_comes_near_a_private_ray() -> None:
    assert ray.get(ray.remote(lambda: 42).remote()) == 42  # a worker is there too
    node = worker._global_node
    assert node is not None
    rays, token = Path(node.get_temp_dir_path()), Path(os.environ["RAY_AUTH_TOKEN_PATH"])
    assert token.parent.stat().st_uid == os.getuid()
    assert stat.S_IMODE(token.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert rays.parent == token.parent  # Ray opens its own folder, and what is in it, to everybody
    files = [path for path in rays.rglob("*") if not path.is_symlink()]
    assert len(files) > 10
    assert all(token.parent in closed_by(path) for path in [rays, *files])
    local = {path for path in socket_files() if not path.is_relative_to("/run") and "/dev" not in path.parents}
    assert {path.name for path in local} >= {"raylet", "plasma_store"}
    assert all(path.is_relative_to(rays) for path in local)
    assert all(len(os.fsencode(path)) <= SOCKET_BYTES for path in local)
    addresses = list(listening())
    assert len(addresses) >= 5  # raylet, GCS, agents, worker
    assert all(address.is_loopback for address in addresses), addresses


def test_longest_path_of_a_socket_is_foreseen() -> None:
    longest = Path("/tmp") / f"{private_folder._PREFIX}12345678" / private_folder._LONGEST
    assert len(os.fsencode(longest)) <= SOCKET_BYTES


def test_a_folder_too_deep_for_sockets_is_said_before_ray_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 80)
    deep.mkdir()
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)  # other tests of this process may have a session
    monkeypatch.setattr(os, "access", lambda path, mode: path != "/tmp")
    monkeypatch.setattr(private_folder.tempfile, "gettempdir", lambda: str(deep))
    with pytest.raises(ClusterError, match=r"TMPDIR.*too long a path"), ray_session(1):
        pass
    assert list(deep.iterdir()) == []


def test_what_others_put_into_the_folder_of_temporaries_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: path != "/tmp")
    monkeypatch.setattr(private_folder.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(private_folder, "_SOCKET_BYTES", 500)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / f"{private_folder._PREFIX}linked").symlink_to(elsewhere)
    (elsewhere / "lock").touch()
    dead, new = (tmp_path / f"{private_folder._PREFIX}{name}" for name in ("dead", "new"))
    dead.mkdir()
    (dead / "lock").touch()
    new.mkdir()
    stillborn = tmp_path / f"{private_folder._PREFIX}stillborn"
    stillborn.mkdir()
    os.utime(stillborn, (0, 0))
    made_anew = tmp_path / f"{private_folder._PREFIX}anew"  # by a worker of Ray's after it was removed
    (made_anew / "r" / "logs").mkdir(parents=True)
    with private_folder.private_folder() as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        found = [path.exists() for path in (elsewhere, dead, new, stillborn, made_anew)]
        assert found == [True, False, True, False, False]
        (folder / "r").mkdir()
        (folder / "token").touch()
    assert not folder.exists()


def test_a_folder_that_is_still_written_to_is_found_again_by_its_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: path != "/tmp")
    monkeypatch.setattr(private_folder.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(private_folder, "_SOCKET_BYTES", 500)
    remove = private_folder.shutil.rmtree

    def written_meanwhile(path: Path, ignore_errors: bool) -> None:
        remove(path)
        if path.name == "r":
            (path / "logs").mkdir(parents=True)

    with monkeypatch.context() as patch, private_folder.private_folder() as folder:
        (folder / "r").mkdir()
        patch.setattr(private_folder.shutil, "rmtree", written_meanwhile)
        private_folder._clear(folder)
        assert (folder / "lock").exists()
        private_folder._clear(folder)
    assert list(tmp_path.iterdir()) == [folder]
    with private_folder.private_folder():
        assert not folder.exists()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="only Linux says what processes were told")
def test_what_ray_left_at_work_in_the_folder_is_ended(tmp_path: Path) -> None:
    """A worker that is still starting would make the folder again. Whoever only reads there is no business of ours."""
    folder = tmp_path / "session"
    folder.mkdir()
    wait = [sys.executable, "-c", "import time; time.sleep(100)"]
    options = [f"--temp-dir={folder}/r"], [f"{folder}/r/logs"], [f"--temp-dir={folder}-other/r"]
    starting, reader, other = (subprocess.Popen([*wait, *words]) for words in options)
    try:
        private_folder._clear(folder)
        assert starting.wait(10) == -signal.SIGKILL
        assert [one.poll() for one in (reader, other)] == [None, None]
    finally:
        for one in (starting, reader, other):
            one.kill()
            one.wait()
    assert not folder.exists()
