"""One class after the other: what a task shows, keeps back and is judged on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from frisket.envs.data import SOURCES, resolve
from frisket.envs.data.imageset import ImageSet, Provenance
from frisket.envs.data.sources import SAMPLE
from frisket.envs.kinds import STREAMS
from frisket.envs.streams.character_tasks import CharacterTasksConfig, CharacterTaskStream
from frisket.errors import SpecError

COUNTS = (30, 41, 25)  # training images of each class
TESTED = (6, 5, 7)


def images(name: str, counts: tuple[int, ...]) -> ImageSet:
    """Classes mixed in file order; a picture's pixels are its index, so that it can be known again."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    pixels = np.broadcast_to(np.arange(len(labels), dtype=np.uint8)[:, None, None, None], (len(labels), 1, 4, 4))
    provenance = Provenance(name, "real", "made here", "none", "none", {})
    return ImageSet(name, pixels.copy(), labels.astype(np.int64), tuple("ABC"), provenance)


def stream(seed: int = 0, **fields: Any) -> CharacterTaskStream:
    config = CharacterTasksConfig(**{"dataset": "made", "tasks": 3, "epochs": 2, "batch": 5, **fields})
    data = {"made": images("made", COUNTS), "made:test": images("made:test", TESTED)}
    return CharacterTaskStream(config, data, seed)


def shown(tasks: CharacterTaskStream, task: int, epoch: int) -> list[int]:
    """Indices of the pictures that ``task`` shows in ``epoch``, batch by batch."""
    batches = (tasks.batch(p) for p in range(tasks.start(task), tasks.start(task + 1)))
    return [int(v) for b in batches if b.epoch == epoch for v in (b.x[:, 0, 0, 0] * 255).round()]


def test_tasks_have_as_many_batches_as_their_class_fills() -> None:
    tasks = stream()
    assert [tasks.start(t) for t in range(4)] == [0, 10, 24, 32]  # 27, 37 and 23 images to learn from
    assert tasks.steps == 32
    assert [tasks.task_index(p) for p in (0, 9, 10, 23, 24, 31)] == [0, 0, 1, 1, 2, 2]
    assert [p for p in range(32) if tasks.ends_task(p)] == [9, 23, 31]
    ends = [tasks.batch(p).end for p in (9, 23, 31)]
    assert [end.steps for end in ends if end] == [10, 14, 8]
    assert [len(end.validation()[1]) for end in ends if end] == [3, 4, 2]
    assert tasks.batch(8).end is None


@pytest.mark.parametrize("task", range(3))
def test_a_task_shows_its_class_alone_and_every_epoch_in_another_order(task: int) -> None:
    tasks = stream()
    labels = tasks._train.labels
    first, second = shown(tasks, task, 0), shown(tasks, task, 1)
    assert set(labels[first]) == set(labels[second]) == {task}
    assert len(set(first)) == len(first) == len(second)
    assert first != second
    own = np.flatnonzero(labels == task)
    kept = own[len(own) - int(0.1 * len(own)) :]  # the last tenth in file order
    assert not set(kept) & {*first, *second}
    assert (tasks.validation_set(task)[0][:, 0, 0, 0] * 255).round().int().tolist() == kept.tolist()
    x, y = tasks.test_set(task)
    assert y.tolist() == [task] * TESTED[task]
    assert len(x) == TESTED[task]


def test_what_an_epoch_leaves_out_changes_from_epoch_to_epoch() -> None:
    tasks = stream(epochs=8, batch=20)  # 27 images, one batch
    missing = {frozenset(tasks.samples(0, e)) - frozenset(shown(tasks, 0, e)) for e in range(8)}
    assert len(missing) > 1
    assert {len(m) for m in missing} == {7}


def test_a_batch_is_a_function_of_seed_and_position() -> None:
    one, again, other = stream(3), stream(3), stream(4)
    for position in (31, 0, 17):
        a, b = one.batch(position), again.batch(position)
        assert torch.equal(a.x, b.x)
        assert (a.position, a.epoch, a.task) == (b.position, b.epoch, b.task)
    assert not torch.equal(one.batch(17).x, other.batch(17).x)
    assert float(one.batch(0).x.max()) <= 1
    assert one.batch(12).task == again.batch(20).task


def test_fewer_samples() -> None:
    tasks = stream(samples=12)
    assert tasks.steps == 3 * 2 * 2
    assert len(set(shown(tasks, 1, 0)) | set(shown(tasks, 1, 1))) <= 12


def test_data_without_test_images_are_divided_at_random_but_for_ever() -> None:
    config = CharacterTasksConfig(dataset="made", tasks=3, epochs=1, batch=5, test_share=0.2)
    assert config.datasets() == ("made",)
    data = {"made": images("made", COUNTS)}
    one, other = CharacterTaskStream(config, data, 0), CharacterTaskStream(config, data, 1)
    for t, count in enumerate(COUNTS):
        tested, same = (set((s.test_set(t)[0][:, 0, 0, 0] * 255).round().int().tolist()) for s in (one, other))
        assert tested == same
        assert len(tested) == round(0.2 * count)
        own = set(np.flatnonzero(data["made"].labels == t).tolist())
        kept = set((one.validation_set(t)[0][:, 0, 0, 0] * 255).round().int().tolist())
        learned = set(one.samples(t).tolist())
        assert tested | kept | learned == own
        assert len(tested) + len(kept) + len(learned) == len(own)
        assert tested != set(sorted(own)[-len(tested) :])


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"tasks": 4}, "tasks = 4: must be at most 3"),
        ({"batch": 24}, "batch = 24: must be at most 23"),
        ({"samples": 4}, "samples = 4: must be at least batch = 5"),
        ({"epochs": 0}, "epochs"),
        ({"validation": 1.0}, "validation"),
        ({"test_share": 1.0}, "test_share"),
    ],
)
def test_mistakes_are_named(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError, match=says):
        stream(**fields)


def test_stand_ins_serve_both_data_sets() -> None:
    for name, share in (("mnist", None), ("notmnist", 0.3)):
        config = CharacterTasksConfig(dataset=name, test_share=share, epochs=1)
        tasks = STREAMS["character-tasks"].build(config, resolve(config.datasets(), "embedded"), 0)
        assert isinstance(tasks, CharacterTaskStream)
        assert tasks.tasks == 10
        assert tasks.shape == (1, 28, 28)
        assert {*tasks.provenance()} == {"digits"}
        shared = {*tasks.samples(4).tolist()} & {*tasks._judge[4].tolist()}
        assert not shared


def test_notmnist_is_a_sample_and_says_so() -> None:
    source = SOURCES["notmnist"]
    assert source.form == SAMPLE
    assert any("10,000 of about 18,700" in note for note in source.notes)
