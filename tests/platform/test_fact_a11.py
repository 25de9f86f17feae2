"""Fact A11 of the osaka spec, on streams long enough to show it (16 filters; half a minute each)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from frisket.envs.data import load, resolve
from frisket.envs.data.imageset import ImageSet
from frisket.errors import DataError
from frisket.platform.protocols.online_accuracy import accuracy_of
from frisket.platform.specs.build import Inputs, build_learner, build_stream, datasets
from frisket.platform.specs.experiment import Experiment, load_spec

pytestmark = pytest.mark.slow


def accuracies(experiment: Experiment, data: dict[str, ImageSet]) -> tuple[list[float], list[int]]:
    """Accuracy at every position, and how many positions the task then had lasted."""
    torch.set_num_threads(1)
    stream = build_stream(experiment, data, seed=0)
    learner = build_learner(experiment, Inputs.of(stream))
    state, scores, ages = learner.init(0), [], []
    for t in range(stream.steps):
        batch = stream.batch(t)
        assert batch.task is not None
        ages.append(t - batch.task.start)
        scores.append(accuracy_of(learner.predict(state, batch.x), batch.y))
        state, _ = learner.observe(state, batch.hide_task())
    return scores, ages


def test_a11_accuracy_rises_within_a_segment() -> None:
    """C-MAML + PAP, p = 0.98, 500 steps of embedded data: a task's first answers against its later ones."""
    experiment = load_spec("osaka/p98-cmaml", ["stream.steps=500", "learner.inner_steps=4", "network.channels=16"])
    scores, ages = accuracies(experiment, resolve(datasets(experiment), "embedded"))
    first = [a for a, age in zip(scores, ages, strict=True) if age == 0]
    early = [a for a, age in zip(scores, ages, strict=True) if 1 <= age <= 3]
    late = [a for a, age in zip(scores, ages, strict=True) if age >= 10]
    means = [sum(group) / len(group) for group in (first, early, late)]
    assert means[0] < 0.25  # a fresh task is answered by chance
    assert means[0] + 0.1 < means[1] < means[2] - 0.1


def test_a11_online_adam_stays_below_40_percent_at_2000_steps() -> None:
    """Online Adam, p = 0.90, on real data where it is on this machine, else on the stand-ins; nothing is downloaded."""
    shared = Path(__file__).parents[3] / "shared" / "data"
    folder = os.environ.get("FRISKET_DATA") or (str(shared) if shared.is_dir() else None)
    experiment = load_spec("osaka/p90-online-adam", ["stream.steps=2000", "network.channels=16"])
    names = datasets(experiment)
    try:
        data = {name: load(name, folder) for name in names}
    except DataError:
        data = resolve(names, "embedded")
    scores, _ = accuracies(experiment, data)
    assert sum(scores) / len(scores) < 0.40
