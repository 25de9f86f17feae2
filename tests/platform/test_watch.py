"""Whoever waits for Ray sees that its raylet or its GCS is gone."""

from __future__ import annotations

import socket
from pathlib import Path
from types import SimpleNamespace

import pytest
from processes import wait_for
from ray._private import worker

from frisket.platform.cluster.watch import Watch


@pytest.mark.parametrize(("dying", "word"), [("raylet", "its raylet"), ("gcs", "its GCS does not answer")])
def test_what_dies_is_named(dying: str, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raylet, gcs = socket.socket(socket.AF_UNIX), socket.create_server(("127.0.0.1", 0))
    raylet.bind(str(tmp_path / "raylet"))
    raylet.listen()
    address = f"127.0.0.1:{gcs.getsockname()[1]}"
    node = SimpleNamespace(raylet_socket_name=str(tmp_path / "raylet"), gcs_address=address, head=True)
    monkeypatch.setattr(worker, "_global_node", node)
    with raylet, gcs, Watch() as watch:
        connection = raylet.accept()[0]
        assert watch.lost() is None
        if dying == "raylet":
            connection.close()
        else:
            gcs.close()
        wait_for(lambda: watch.lost() is not None, seconds=20)
        assert word in str(watch.lost())
        connection.close()


def test_a_client_has_nothing_to_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_global_node", None)
    with Watch() as watch:
        assert watch.lost() is None
