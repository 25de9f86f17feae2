"""``frisket masks`` and ``frisket ui``."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import torch
from PIL import Image
from servers import Server
from typer.testing import CliRunner

from frisket import load_model
from frisket.algos.masks.mask_set import MaskSet
from frisket.algos.masks.store import MaskStore
from frisket.errors import MaskError, ModelError, UserError
from frisket.platform.cli.masks import app, masks_of
from frisket.platform.cli.ui import ui
from frisket.platform.model.model import write_model
from frisket.platform.run.folder import RunFolder


def invoke(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "160"}, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_show_names_every_tensor(finished: RunFolder) -> None:
    text = invoke("show", str(finished.path), "--seed", "1")
    masks = MaskSet.load(finished.replica("sparse-seed1").masks)
    for name, mask in masks.items():
        row = cells(text, name)
        assert row[1] == " x ".join(map(str, mask.shape))
        assert row[2:] == [str(mask.numel()), str(int(mask.sum())), f"{masks.sparsity(name):.1%}"]
    assert f"{masks.sparsity():.1%}" in text


def test_diff_counts(finished: RunFolder) -> None:
    first, second = (MaskSet.load(finished.replica(f"sparse-seed{i}").masks) for i in (0, 1))
    text = invoke("diff", str(finished.path), str(finished.path), "--seed", "0", "--other-seed", "1")
    parts = (first & second, first - second, second - first)
    expected = [str(sum(int(m.sum()) for m in part.values())) for part in parts]
    assert cells(text, "overall")[1:] == [*expected, f"{first.overlap(second):.3f}"]
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


def cells(text: str, first: str) -> list[str]:
    """The cells of the row that begins with ``first``, in a table as a pipe gets it."""
    rows = (re.split(" {2,}", line.strip()) for line in text.splitlines())
    return next(row for row in rows if row[0] == first)


def test_show_says_what_every_task_takes(sequence: RunFolder, tmp_path: Path) -> None:
    text = invoke("show", str(sequence.path), "--picture", str(tmp_path / "taken.png"))
    store = load_model(sequence.path).store()
    assert store is not None
    used: MaskSet | None = None
    for t, masks in enumerate(store):
        both = masks & used if used is not None else masks - masks
        used = masks if used is None else used | masks
        shares = [1 - masks.sparsity(), *(1 - masks.sparsity(name) for name in masks)]
        reused = ones(both)
        expected = [str(t), *(f"{s:.1%}" for s in shares), str(ones(masks) - reused), str(reused)]
        assert cells(text, str(t)) == [*expected, f"{used.sparsity():.1%}"]
    first, second = store[0], store[1]
    overlaps = text[text.index("overlap") :]
    assert cells(overlaps, "1")[1:3] == [f"{first.overlap(second):.2f}", "1.00"]
    with Image.open(tmp_path / "taken.png") as picture:
        assert picture.format == "PNG"


def ones(masks: MaskSet) -> int:
    return sum(int(m.sum()) for m in masks.values())


def test_show_and_export_one_task(sequence: RunFolder, tmp_path: Path) -> None:
    store = load_model(sequence.path).store()
    assert store is not None
    overall = cells(invoke("show", str(sequence.path), "--task", "2"), "overall")
    assert overall[-2:] == [str(ones(store[2])), f"{store[2].sparsity():.1%}"]
    assert cells(invoke("show", str(sequence.path), "--task", "free"), "overall")[-2] == str(
        ones(~MaskSet(store.union()))
    )
    invoke("export", str(sequence.path), str(tmp_path), "--task", "2")
    assert MaskSet.load(tmp_path / "masks.safetensors") == store[2]
    assert len(list(tmp_path.glob("mask_*.png"))) == len(store.shapes)


def test_export_of_all_tasks_is_a_store_that_can_be_looked_at(sequence: RunFolder, tmp_path: Path) -> None:
    """One bit per weight and task plus 2 % and the header; what it says is what the model says."""
    invoke("export", str(sequence.path), str(tmp_path / "out"))
    file = tmp_path / "out/store.safetensors"
    store = load_model(sequence.path).store()
    assert store is not None
    assert list(MaskStore.load(file)) == list(store)
    assert file.stat().st_size <= len(store) * store.row_bytes * 1.02 + 300
    assert len(list((tmp_path / "out").glob("task-[012]/mask_*.png"))) == 3 * len(store.shapes)
    shown = [invoke("show", source).splitlines()[1:] for source in (str(file), str(sequence.path))]  # but for the title
    assert shown[0] == shown[1]
    assert "the masks are equal" in invoke("diff", str(file), str(sequence.path), "--task", "1")
    invoke("export", str(file), str(tmp_path / "bare"), "--no-pictures")
    assert [p.name for p in (tmp_path / "bare").iterdir()] == ["store.safetensors"]
    assert list(MaskStore.load(tmp_path / "bare/store.safetensors")) == list(store)


def test_diff_of_tasks_and_of_models(sequence: RunFolder) -> None:
    store = load_model(sequence.path).store()
    assert store is not None
    row = cells(invoke("diff", str(sequence.path), "--task", "0", "--other-task", "2"), "overall")
    parts = (store[0] & store[2], store[0] - store[2], store[2] - store[0])
    assert row[1:] == [*(str(ones(part)) for part in parts), f"{store[0].overlap(store[2]):.3f}"]
    narrower = ["--task", "0", "--other-variant", "packnet"]
    with pytest.raises(MaskError, match="must cover the same tensors"):
        invoke("diff", str(sequence.path), *narrower)  # packnet's heads are kept apart


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["show", "{run}", "--task", "3"], ModelError, "task = '3': must be a task from 0 to 2, or 'free'"),
        (["show", "{run}", "--task", "last"], ModelError, "task = 'last'"),
        (["show", "{run}", "--task", "-1"], ModelError, "task = '-1'"),
        (["show", "{run}", "--variant", "online"], MaskError, "this method has none"),
        (["show", "{run}", "--picture", "{tmp}/none/a.png"], MaskError, "a folder that exists"),
        (["show", "{run}", "--picture", "{tmp}/a.docx"], MaskError, "must be a .png file"),
        (["show", "{run}", "--task", "0", "--picture", "{tmp}/a.png"], MaskError, "is of all tasks' masks"),
        (["diff", "{run}"], MaskError, "name what to compare with"),
        (["diff", "{run}", "{run}"], ModelError, "task = None: must be a task from 0 to 2, or 'free'"),
        (["diff", "{run}", "{masks}", "--task", "0"], MaskError, "has no masks of tasks"),
        (["show", "{masks}", "--task", "0"], MaskError, "has no masks of tasks"),
        (["export", "{tmp}/store.safetensors", "{tmp}"], MaskError, "is the file to be exported"),
    ],
)
def test_mistakes_about_tasks_are_told(
    arguments: list[str], error: type[UserError], message: str, sequence: RunFolder, finished: RunFolder, tmp_path: Path
) -> None:
    """And leave the store on disk as it is."""
    store = load_model(sequence.path).store()
    assert store is not None
    file = store.save(tmp_path / "store.safetensors")
    before = file.read_bytes()
    names = {"run": sequence.path, "tmp": tmp_path, "masks": finished.replica("sparse-seed0").masks}
    with pytest.raises(error, match=message):
        invoke(*(argument.format(**names) for argument in arguments))
    assert file.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["store.safetensors"]


@pytest.mark.parametrize("place", ["", "replicas/sparse-seed0", "replicas/new/deeper", "../{name}/replicas/x"])
def test_nothing_is_written_into_a_model_or_a_run(place: str, finished: RunFolder, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished.path, tmp_path / "run"))
    write_model(RunFolder.open(run), tmp_path / "model")
    (tmp_path / "other").symlink_to(tmp_path / "model")
    for source in ("run", "model", "other"):
        target = tmp_path / source / place.format(name=source)
        before = {path: path.read_bytes() for path in (tmp_path / source).rglob("*") if path.is_file()}
        with pytest.raises(MaskError, match="whose own files stay as they are"):
            invoke("export", str(run), str(target), "--variant", "sparse")
        assert {path: path.read_bytes() for path in (tmp_path / source).rglob("*") if path.is_file()} == before


def test_a_damaged_store_is_refused_and_left_alone(sequence: RunFolder, tmp_path: Path) -> None:
    store = load_model(sequence.path).store()
    assert store is not None
    whole = store.save(tmp_path / "store.safetensors").read_bytes()
    flipped = whole[:-1] + bytes([whole[-1] ^ 4])
    for damaged in (whole[:-1], whole[:40], b"", whole.replace(b"[30, 784]", b"[31, 784]"), flipped):
        file = tmp_path / "damaged.safetensors"
        file.write_bytes(damaged)
        for arguments in (["show", str(file)], ["export", str(file), str(tmp_path / "out")]):
            with pytest.raises(MaskError, match=r"damaged|not a mask file"):
                invoke(*arguments)
        assert file.read_bytes() == damaged
    assert not (tmp_path / "out").exists()


def test_masks_of_many_tasks_are_shown_without_overlaps(tmp_path: Path) -> None:
    store = MaskStore({"w": (3, 3)})
    for t in range(13):
        store = store.appended({"w": torch.arange(9).view(3, 3) <= t})
    text = invoke("show", str(store.save(tmp_path / "many.safetensors")))
    assert cells(text, "12") == ["12", "100.0%", "100.0%", "0", "9", "0.0%"]
    assert "the overlaps of 13 tasks are in the picture" in text


def test_ui_refuses_a_port_in_use() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        with pytest.raises(UserError, match="choose another"):
            ui(port=busy.getsockname()[1])


def test_ui_does_not_start_a_second_server(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@tracking.example:5000")
    ui(port=1)
    assert capsys.readouterr().out == "MLflow already runs at http://***@tracking.example:5000 (MLFLOW_TRACKING_URI)\n"


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
