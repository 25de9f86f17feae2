"""The model card."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from runs import MakeRun

from frisket.algos.masks.mask_set import MaskSet
from frisket.envs.kinds import STREAMS
from frisket.files import read_sealed, write_sealed
from frisket.platform.model.model import FrisketModel
from frisket.platform.reports.card import APART, LIMIT, card, note
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.summary import summarise
from frisket.platform.tracking.registry import registered_name


class OfRun:
    """What the card's example calls ``frisket``, for a run that is in no registry."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder

    def load_model(self, uri: str) -> FrisketModel:
        assert uri == "models:/tiny-pair/3"
        return FrisketModel.of_run(self._folder)


def cells(text: str) -> list[list[str]]:
    """The rows of all tables, without the room between columns."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.replace(APART, "").strip() for cell in line.strip("|").split("|")] for line in lines]


def make(folder: RunFolder) -> str:
    return card(folder, "5", "abc", "tiny-pair", "3")


def test_card_says_what_how_well_and_how_to_load(finished: RunFolder) -> None:
    text = make(finished)
    assert text.splitlines()[3].startswith("`tiny/pair`: **sparse**: ")
    assert "embedded data" in text
    assert "do not compare with published ones" in text
    for label, rows in summarise(finished)["variants"].items():
        for metric, row in rows.items():
            std = f"{row['std']:.4f}" if row["n"] > 1 else ""
            assert [label, metric, f"{row['mean']:.4f}", std, str(row["n"])] in cells(text)
    assert 'frisket.load_model("models:/tiny-pair/3")' in text
    assert "![masks of sparse](get-artifact?path=figures%2Fmasks-sparse.png&run_uuid=abc)" in text
    assert "(#/experiments/5/runs/abc/artifacts/figures/masks-sparse.html)" in text
    assert any(row[0] == "conv1.weight" for row in cells(text))
    assert finished.run_id in text
    assert "infer" not in text  # its methods keep no mask for each task


@pytest.mark.parametrize(
    ("section", "said"),
    [
        (
            {"kind": "osaka", "p": 0.9, "ways": 5, "shots": 2, "steps": 1200},
            "a hidden task of 5 classes, 2 images of each a batch, that stays with probability 0.9 from one batch to "
            "the next; 1,200 batches",
        ),
        (
            {"kind": "rotations", "tasks": 5, "span": 90.0},
            "5 tasks in sequence, each turned by another angle between 0 and 90 degrees; 1,000 images a task, one pass",
        ),
        (
            {"kind": "permutations", "tasks": 100, "samples": 200, "epochs": 10},
            "100 tasks in sequence, each with its pixels in another order; 200 images a task, 10 passes",
        ),
        (
            {"kind": "split-classes", "epochs": 10},
            "20 tasks of 5 classes each, one after the other in 10 passes, judged among its own classes",
        ),
        (
            {"kind": "split-classes", "order": "mixed", "batch": 8, "mixed_batches": 500, "epochs": 2},
            "20 tasks of 5 classes each, mixed in every batch; 1,000 batches",
        ),
        ({"kind": "character-tasks"}, "10 tasks in sequence, each the images of one class in 200 passes"),
        ({"kind": "pictures"}, "one task of pictures, 224 x 224 pixels; 512,000 batches of 256"),
    ],
)
def test_card_says_what_kind_of_stream(section: dict[str, Any], said: str, finished_run: MakeRun) -> None:
    folder = finished_run("sqlite:///none.db")
    manifest = read_sealed(folder.path / "run.json")
    manifest["experiment"]["stream"] = section
    write_sealed(folder.path / "run.json", manifest)
    kind = section["kind"]
    assert f". Learned on the stream {kind} ({said}), network conv4 (" in make(RunFolder.open(folder.path))


def test_every_stream_says_what_it_is_in_a_line() -> None:
    for kind, entry in STREAMS.items():
        config = entry.config()
        assert entry.in_words(config) == config.in_words() != entry.summary, kind
        assert "\n" not in entry.in_words(config)


def test_a_stream_without_words_of_its_own_has_its_summary() -> None:
    class Silent:
        pass

    assert STREAMS["osaka"].in_words(Silent()) == STREAMS["osaka"].summary


def test_published_number_stands_beside_ours(finished_run: MakeRun) -> None:
    folder = finished_run("sqlite:///none.db")
    manifest = read_sealed(folder.path / "run.json")
    manifest["data_mode"] = "real"
    manifest["experiment"]["published"] = {
        "source": "SPARSE21, Table 6", "n": 5,
        "metrics": {"accuracy": {"mean": 0.942, "std": 0.004}}, "searched": ["learner.alpha_0"],
    }  # fmt: skip
    write_sealed(folder.path / "run.json", manifest)
    text = make(RunFolder.open(folder.path))
    said = {(row[0], row[1]): row[5] for row in cells(text) if len(row) == 6}
    assert said["variant", "metric"] == "published"
    assert said["sparse", "accuracy"] == "0.942 ± 0.004"
    assert said["fixed", "accuracy"] == ""
    assert "SPARSE21, Table 6 (5 seeds), real data" in text
    assert "full scale. Not its settings, but searched: learner.alpha_0.\n" in text
    assert "stand-in" not in text


def test_card_fits_the_registry_whole_sections_only(finished_run: MakeRun) -> None:
    folder = finished_run("sqlite:///none.db")
    path = folder.replica("sparse-seed0").path / "result.json"
    result = read_sealed(path)
    result["sparsity"] |= {f"layer{i}.weight": 0.5 for i in range(300)}
    write_sealed(path, result)
    text = make(folder)
    assert len(text) <= LIMIT
    assert "layer1.weight" not in text
    assert "## Results" in text
    assert "## Load it" in text
    assert text.count("```") == 2


def test_card_says_whose_loading_runs_code(finished: RunFolder) -> None:
    text = make(finished)
    assert "`frisket.load_model` runs no code from it" in text
    assert "`mlflow.pyfunc.load_model` runs code by MLflow's own rules" in text
    assert "`loader_module`" in text


def test_the_first_line_is_for_a_list(finished: RunFolder) -> None:
    """MLflow's list of versions shows 32 characters of it, as they are."""
    title, line = make(finished).splitlines()[:2]
    mean = summarise(finished)["summary"]["accuracy"]["mean"]
    assert title == f"accuracy {mean:.3f}, embedded data"
    assert len(title) <= 32
    assert line == "=" * len(title)  # a title in Markdown all the same


def test_no_column_is_empty_and_variants_are_apart(finished: RunFolder) -> None:
    rows = cells(make(finished))
    head = rows.index(["variant", "metric", "mean", "std", "n"])  # nothing was published
    labels = [row[0] for row in rows[head + 1 :]]
    assert labels[: labels.index("data set")].count("&nbsp;") == 1
    assert labels[labels.index("&nbsp;") - 1 : labels.index("&nbsp;") + 2] == ["sparse", "&nbsp;", "fixed"]
    assert f"mean{APART} | std{APART} | n |" in make(finished)


@pytest.mark.parametrize(
    ("order", "predicts", "masks"),
    [
        (("sparse", "fixed"), "sparse", "sparse"),
        (("fixed", "sparse"), "fixed", "sparse"),
        (("fixed",), "fixed", None),
    ],
)
def test_the_example_is_of_the_headline_and_can_be_run(
    order: tuple[str, ...], predicts: str, masks: str | None, finished_run: MakeRun
) -> None:
    folder = finished_run("sqlite:///none.db")
    manifest = read_sealed(folder.path / "run.json")
    variants = manifest["experiment"]["variants"]
    manifest["experiment"]["variants"] = {label: variants[label] for label in order}
    write_sealed(folder.path / "run.json", manifest)
    folder = RunFolder.open(folder.path)
    text = make(folder)
    assert f'probabilities = model.predict(x, seed=0, variant="{predicts}")' in text
    assert ("model.masks(" in text) == (masks is not None)
    program = text[text.index("model = frisket") : text.index("import mlflow")]
    shape = folder.results()[0]["input"]["shape"]
    names: dict[str, Any] = {"frisket": OfRun(folder), "x": torch.zeros(2, *shape)}
    exec(program, names)
    assert names["probabilities"].shape[0] == 2
    if masks is not None:
        assert f'model.masks(seed=0, variant="{masks}")' in text
        assert names["masks"] == MaskSet.load(folder.replica(f"{masks}-seed0").masks)


@pytest.mark.parametrize(("seeds", "said"), [(1, "seed 0, on"), (2, "seeds 0 to 1, on")])
def test_one_seed_has_no_spread(seeds: int, said: str, finished_run: MakeRun) -> None:
    folder = finished_run("sqlite:///none.db")
    manifest = read_sealed(folder.path / "run.json")
    manifest["experiment"]["seeds"] = seeds
    write_sealed(folder.path / "run.json", manifest)
    text = make(RunFolder.open(folder.path))
    assert said in text
    assert ("standard deviation" in text) == (seeds > 1)
    spreads = {row[3] for row in cells(text) if row[0] in ("sparse", "fixed") and len(row) == 5 and row[4] == "1"}
    assert spreads <= {""}


def test_note_of_a_run_names_no_version(finished: RunFolder) -> None:
    text = note(finished, "5", "abc")
    assert "models:/" not in text
    assert "## Results" in text


def test_registered_name_has_no_forbidden_characters() -> None:
    assert registered_name("osaka/p98-sparse-cmaml") == "osaka-p98-sparse-cmaml"
    assert registered_name("a:b/c") == "a-b-c"
