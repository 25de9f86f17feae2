"""Pictures of generative models of a sequence of tasks: every task's log-likelihood, and samples of every task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from frisket.algos.learner import TaskWeights
from frisket.algos.networks.latent import LatentNetwork
from frisket.algos.state_file import load_state
from frisket.platform.run.folder import ReplicaFolder
from frisket.platform.run.journal import read_journal
from frisket.platform.specs.build import Inputs, build_learner
from frisket.platform.specs.experiment import Experiment
from frisket.rng import torch_generator
from frisket.types import Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SAMPLES = 8  # of every task


class Likelihoods(NamedTuple):
    """Of one replica, [T] each. Attributes: learned: after the task's own training; last: after the last task's."""

    learned: np.ndarray
    last: np.ndarray


def read_likelihoods(journal: Path) -> Likelihoods | None:
    """What a finished replica's journal says; None where its protocol measures no likelihood."""
    steps = [line["step"] for line, _ in read_journal(journal) if "step" in line]
    rows = [step["likelihoods"] for step in steps if "likelihoods" in step]
    if not rows:
        return None
    matrix = np.array(rows, float)  # null becomes NaN
    return Likelihoods(matrix.diagonal().copy(), matrix[-1])


def draw_likelihoods(
    found: Mapping[str, Sequence[Likelihoods]], spec: str, caption: str, published: float | None = None
) -> Figure:
    """One panel per method, the mean over its replicas; ``published``: the mean over tasks that was printed."""
    figure, axes = _figure(len(found), f"{spec}: log-likelihood of every task's test images", caption)
    for (label, seeds), ax in zip(found.items(), axes, strict=True):
        learned, last = (np.mean([getattr(one, name) for one in seeds], axis=0) for name in Likelihoods._fields)
        tasks = np.arange(len(last))
        ax.bar(tasks - 0.2, learned, 0.4, color="#56B4E9", label="after its own training")
        ax.bar(tasks + 0.2, last, 0.4, color="#D55E00", label="after the last task")
        if published is not None:
            ax.axhline(published, color="#555555", ls=":", lw=1.2, label="published mean, full scale")
        ax.set(title=f"{label}: mean {last.mean():.1f}", xlabel="task", xticks=tasks)
        ax.grid(alpha=0.25, axis="y")
        ax.set_axisbelow(True)
    axes[0].set_ylabel("nats per image")
    axes[0].legend(fontsize=8)
    return figure


def sample_images(plain: Experiment, files: ReplicaFolder) -> np.ndarray:
    """What the finished replica ``files`` of a plain experiment makes for every task of the same few draws of the
    prior, [T, n, H, W] in [0, 1]."""
    result = files.result
    assert result is not None
    learner, (state, _) = build_learner(plain, Inputs.from_dict(result["input"])), load_state(files.final)
    assert isinstance(learner, TaskWeights)
    network = learner.computes
    assert isinstance(network, LatentNetwork)
    z = torch.randn(_SAMPLES, network.latent, generator=torch_generator(result["seed"], "samples"))
    tasks = [Task("", (), start) for start in learner.starts(state)]
    with torch.no_grad():
        images = [network.images(learner.weights_for(state, task), z)[:, 0] for task in tasks]
    return torch.stack(images).numpy()


def draw_samples(images: Mapping[str, np.ndarray], spec: str, caption: str) -> Figure:
    """One panel per method: a column for each task, [T, n, H, W]."""
    figure, axes = _figure(len(images), f"{spec}: samples of every task, after the last (first seed)", caption)
    for (label, grid), ax in zip(images.items(), axes, strict=True):
        tasks, samples, height, width = grid.shape
        sheet = grid.transpose(1, 2, 0, 3).reshape(samples * height, tasks * width)
        ax.imshow(sheet, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        ax.set(title=label, xlabel="task", yticks=[])
        ax.set_xticks((np.arange(tasks) + 0.5) * width, list(map(str, range(tasks))))
    return figure


def _figure(panels: int, title: str, caption: str) -> tuple[Figure, list]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(4.4 * panels + 0.8, 6.4), 4.8), dpi=110)
    figure.set_layout_engine("constrained", h_pad=0.1)  # with the default the labels below are cut off
    figure.suptitle(f"{title}\n", fontsize=11)
    figure.text(0.5, 0.93, caption, ha="center", va="center", fontsize=7.5, color="#555555")
    return figure, list(figure.subplots(1, panels, squeeze=False)[0])
