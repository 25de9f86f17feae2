"""``frisket masks`` and ``frisket ui``."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from PIL import Image
from servers import Server
from typer.testing import CliRunner

from frisket.algos.masks import MaskSet
from frisket.errors import MaskError, ModelError, UserError
from frisket.platform.cli.masks import app, masks_of
from frisket.platform.cli.ui import ui
from frisket.platform.runfolder import RunFolder


def invoke(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "160"}, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_show_names_every_tensor(finished: RunFolder) -> None:
    text = invoke("show", str(finished.path), "--seed", "1")
    masks = MaskSet.load(finished.replica("sparse-seed1").masks)
    for name, mask in masks.items():
        (row,) = [line for line in text.splitlines() if f" {name} " in line]
        cells = [c.strip() for c in row.strip("│ ").split("│")]
        assert cells[1] == " x ".join(map(str, mask.shape))
        assert cells[2:] == [str(mask.numel()), str(int(mask.sum())), f"{masks.sparsity(name):.1%}"]
    assert f"{masks.sparsity():.1%}" in text


def test_diff_counts(finished: RunFolder) -> None:
    first, second = (MaskSet.load(finished.replica(f"sparse-seed{i}").masks) for i in (0, 1))
    text = invoke("diff", str(finished.path), str(finished.path), "--seed", "0", "--other-seed", "1")
    (row,) = [line for line in text.splitlines() if " overall " in line]
    parts = (first & second, first - second, second - first)
    expected = [str(sum(int(m.sum()) for m in part.values())) for part in parts]
    assert [c.strip() for c in row.strip("│ ").split("│")][1:] == [*expected, f"{first.overlap(second):.3f}"]
    assert "equal" not in text
    assert "the masks are equal" in invoke("diff", str(finished.path), str(finished.path))


def test_export_writes_pictures_and_masks(finished: RunFolder, tmp_path: Path) -> None:
    source = finished.replica("sparse-seed0").masks
    invoke("export", str(source), str(tmp_path / "out"))
    masks = MaskSet.load(tmp_path / "out/masks.safetensors")
    assert masks == MaskSet.load(source)
    pictures = sorted((tmp_path / "out").glob("*.png"))
    assert len(pictures) == len(masks)
    with Image.open(pictures[0]) as picture:
        assert picture.format == "PNG"


def test_mistakes_are_told(finished: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(MaskError, match="this method has none"):
        masks_of(str(finished.path), variant="fixed")
    with pytest.raises(ModelError, match="variant = 'dense'"):
        masks_of(str(finished.path), variant="dense")
    with pytest.raises(MaskError, match="no such file"):
        masks_of(str(tmp_path / "none.safetensors"))
    with pytest.raises(MaskError, match="not a mask file"):
        masks_of(str(shutil.copy(finished.replica("sparse-seed0").final, tmp_path / "x.safetensors")))


def test_ui_refuses_a_port_in_use() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        with pytest.raises(UserError, match="choose another"):
            ui(port=busy.getsockname()[1])


def test_ui_does_not_start_a_second_server(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@tracking.example:5000")
    ui(port=1)
    assert capsys.readouterr().out == "MLflow already runs at http://tracking.example:5000 (MLFLOW_TRACKING_URI)\n"


@pytest.mark.process
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_ui_serves_until_it_is_told_to_stop(tmp_path: Path, how: signal.Signals) -> None:
    port = Server(tmp_path).port
    # Where the tests run in the background, a shell has made them ignore Ctrl-C, and children inherit that.
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{heed}; from frisket.platform.cli.ui import ui; ui(port={port})"
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path.cwd()), environment.get("PYTHONPATH")]))
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1) as answer:
                    assert answer.status == 200
                    break
            except OSError:
                assert process.poll() is None
                time.sleep(0.1)
        else:
            pytest.fail("no page within a minute")
    finally:
        process.send_signal(how)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert f"http://127.0.0.1:{port}".encode() in out
    assert (tmp_path / "mlflow.db").exists()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
