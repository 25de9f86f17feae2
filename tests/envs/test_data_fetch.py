"""Fetching, from a real server on the loopback interface."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tiny_data import TINY_FILES, TINY_IMAGES, bare_machine, gz, idx, put, source

from frisket.envs.data import Source, fetch, load, resolve
from frisket.errors import DataError


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        self.server.seen.append(self.path)  # pyright: ignore[reportAttributeAccessIssue]


class _Server(ThreadingHTTPServer):
    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), partial(_Handler, directory=str(folder)))
        self.seen: list[str] = []

    def mirror(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{name}/"


@contextmanager
def serving(folder: Path) -> Iterator[_Server]:
    with _Server(folder) as server:
        thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.01))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return bare_machine(monkeypatch, tmp_path)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[_Server]:
    """A server with mirrors ``good``, ``wrong`` (other content), ``page`` (error pages with code 200), ``repacked``."""
    folder = tmp_path / "web"
    put(folder, "good", TINY_FILES)
    put(folder, "wrong", {name: gz(idx(TINY_IMAGES + 1)) for name in TINY_FILES})
    put(folder, "page", dict.fromkeys(TINY_FILES, b"<html>sorry</html>"))
    put(folder, "repacked", TINY_FILES | {"images.gz": gz(idx(TINY_IMAGES), level=1)})
    with serving(folder) as server:
        yield server


def tiny(*mirrors: str) -> dict[str, Source]:
    return {"tiny": source("tiny", TINY_FILES, mirrors=mirrors)}


def test_fetch_tries_mirrors_in_order_and_keeps_only_good_files(cache: Path, web: _Server) -> None:
    unreachable = "http://127.0.0.1:9/"  # the discard port: refused at once
    sources = tiny(unreachable, *(web.mirror(name) for name in ("absent", "wrong", "page", "good")))
    rows = fetch(progress=False, sources=sources)
    assert [(row.file, row.status, row.path) for row in rows] == [
        (name, "ok", cache / "tiny" / name) for name in TINY_FILES
    ]
    assert {p.name: p.read_bytes() for p in (cache / "tiny").iterdir()} == TINY_FILES
    assert load("tiny", sources=sources).images.shape == (6, 1, 28, 28)
    assert [path for path in web.seen if path.endswith("images.gz")][-1] == "/good/images.gz"


def test_second_fetch_asks_for_nothing_or_only_what_is_missing(cache: Path, web: _Server) -> None:
    sources = tiny(web.mirror("good"))
    fetch(progress=False, sources=sources)
    web.seen.clear()
    fetch(progress=False, sources=sources)
    assert web.seen == []
    (cache / "tiny" / "labels.gz").write_bytes(b"damaged")
    fetch(progress=False, sources=sources)
    assert {path for path in web.seen if path.startswith("/")} == {"/good/labels.gz"}
    assert (cache / "tiny" / "labels.gz").read_bytes() == TINY_FILES["labels.gz"]


def test_repacked_mirror_is_accepted(cache: Path, web: _Server) -> None:
    rows = fetch(progress=False, sources=tiny(web.mirror("repacked")))
    assert [row.status for row in rows] == ["repacked", "ok"]


def test_failed_fetch_says_why_and_leaves_nothing(cache: Path, web: _Server) -> None:
    with pytest.raises(DataError) as caught:
        fetch(progress=False, sources=tiny(web.mirror("absent"), web.mirror("wrong")))
    text = str(caught.value)
    assert "404" in text
    assert "its content has digest" in text
    assert "frisket data fetch tiny" in text
    assert not list(cache.rglob("*.gz"))
    assert not list(cache.rglob("*.part"))


def test_failed_fetch_keeps_the_file_that_was_there(cache: Path, web: _Server) -> None:
    put(cache, "tiny", {"images.gz": b"half a download"})
    with pytest.raises(DataError, match="cannot be fetched"):
        fetch(progress=False, sources=tiny(web.mirror("page")))
    assert (cache / "tiny" / "images.gz").read_bytes() == b"half a download"


def test_fetch_into_a_named_folder(cache: Path, web: _Server, tmp_path: Path) -> None:
    rows = fetch(["tiny"], tmp_path / "new" / "folder", progress=False, sources=tiny(web.mirror("good")))
    assert {row.path for row in rows} == {tmp_path / "new" / "folder" / "tiny" / name for name in TINY_FILES}
    assert not (cache / "tiny").exists()


def test_folder_that_cannot_be_made_is_named(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"data_dir = .*cannot be made"):
        fetch(["tiny"], tmp_path / "file" / "folder", progress=False, sources=tiny())


def test_progress_is_drawn_on_stderr(cache: Path, web: _Server, capsys: pytest.CaptureFixture[str]) -> None:
    fetch(sources=tiny(web.mirror("good")))
    out, err = capsys.readouterr()
    assert out == ""
    assert "images.gz" in err.replace("\n", "")


def test_resolve_fetches_into_the_cache_and_only_reads_the_named_folder(
    cache: Path, web: _Server, tmp_path: Path
) -> None:
    named = put(tmp_path / "named", "tiny", {"labels.gz": TINY_FILES["labels.gz"]})
    for mode in ("auto", "real"):
        assert resolve(["tiny"], mode, named, sources=tiny(web.mirror("good")))["tiny"].name == "tiny"
    assert [p.name for p in (cache / "tiny").iterdir()] == ["images.gz"]
    assert [p.name for p in (named / "tiny").iterdir()] == ["labels.gz"]


def test_auto_says_why_the_network_failed(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    sources = tiny("http://127.0.0.1:9/")  # the discard port: refused at once
    assert resolve(["tiny"], "auto", sources=sources)["tiny"].name == "digits"
    (record,) = caplog.records
    assert "refused" in record.getMessage()
    assert "is missing" not in record.getMessage()
