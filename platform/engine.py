"""Leads one replica along its stream: learn, score, journal, checkpoint. Knows neither Ray nor MLflow."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

from frisket.algos import pretrain
from frisket.algos.learner import Learner
from frisket.algos.networks.network import Network
from frisket.algos.registry import LEARNERS, NETWORKS
from frisket.algos.state_file import load_state, save_state
from frisket.algos.tree import to_device
from frisket.envs.data import ImageSet, resolve
from frisket.envs.registry import STREAMS
from frisket.envs.stream import Stream
from frisket.errors import FrisketError, UserError
from frisket.platform.heap import keep_freed_memory
from frisket.platform.journal import Journal
from frisket.platform.protocols.protocol import Protocol
from frisket.platform.registry import PROTOCOLS
from frisket.platform.runfolder import ReplicaFolder, RunFolder, write_json
from frisket.platform.spec import Experiment, Replica
from frisket.types import Batch, Episode, State

PROGRESS_SECONDS = 1.0

T = TypeVar("T", Batch, Episode)


class Stopped(FrisketError):
    """The replica was asked to stop; its checkpoint is written."""


def datasets(experiment: Experiment) -> tuple[str, ...]:
    """Names of the data sets the experiment's stream needs, over all variants."""
    labels = list(experiment.variants) or [None]
    streams = [experiment.variant(label).stream for label in labels]
    return tuple(dict.fromkeys(n for s in streams for n in STREAMS[s.kind].datasets(s.config)))


def build_stream(experiment: Experiment, data: Mapping[str, ImageSet], seed: int) -> Stream:
    """The stream of one seed."""
    return STREAMS[experiment.stream.kind].build(experiment.stream.config, data, seed)


def build_network(experiment: Experiment, shape: tuple[int, int, int], ways: int) -> Network:
    """The network for inputs of ``shape`` (C, H, W) and ``ways`` labels."""
    channels, size, _ = shape
    entry = NETWORKS[experiment.network.kind]
    return entry.build(experiment.network.config, in_channels=channels, size=size, ways=ways)


def build_learner(experiment: Experiment, shape: tuple[int, int, int], ways: int) -> Learner:
    """The learner, over a network for inputs of ``shape`` and ``ways`` labels."""
    entry = LEARNERS[experiment.learner.kind]
    return entry.build(experiment.learner.config, build_network(experiment, shape, ways))


def choose_device(wanted: str) -> torch.device:
    """The device ``wanted`` (``auto``: a GPU where there is one)."""
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise UserError("device", wanted, "this machine has no usable GPU: set device=cpu or device=auto")
    return torch.device(wanted)


def run_replica(
    folder: RunFolder, replica: Replica, *, data_dir: str | None = None, stop: Callable[[], bool] = lambda: False
) -> None:
    """Run ``replica`` to its end, from its checkpoint if it has one; nothing to do if it has a result.

    Args:
        folder: the run it belongs to; everything is written there.
        replica: which variant and seed.
        data_dir: first place to look for data.
        stop: asked at every step; when it says True the replica checkpoints and raises.

    Raises:
        Stopped: ``stop`` said so.
    """
    files = folder.replica(replica)
    with files.lock():
        if files.result is None:
            experiment = folder.experiment.variant(replica.variant)
            _Walk(folder, files, experiment, replica, data_dir).run(stop)


class _Walk:
    """One replica on its way: pre-training, if any, then the stream. Exists for the length of `run_replica`."""

    def __init__(
        self, folder: RunFolder, files: ReplicaFolder, experiment: Experiment, replica: Replica, data_dir: str | None
    ) -> None:
        torch.set_num_threads(experiment.threads)
        keep_freed_memory()
        self.folder, self.files, self.experiment, self.replica = folder, files, experiment, replica
        self.device = choose_device(experiment.device)
        self.stream_entry = STREAMS[experiment.stream.kind]
        names = self.stream_entry.datasets(experiment.stream.config)
        self.data = resolve(names, folder.manifest["data_mode"], data_dir)
        self.stream = build_stream(experiment, self.data, replica.seed)
        self.learner = build_learner(experiment, self.stream.shape, self.stream.ways)
        entry = PROTOCOLS[experiment.protocol.kind]
        self.protocol: Protocol = entry.build(experiment.protocol.config, self.stream)

        self.clock = self.saved = self.shown = time.monotonic()
        self.cursor, self.seconds, self.journal_bytes = 0, 0.0, 0
        self.state: State = {}
        self.scores: State = self.protocol.init()
        self.pretrained: State | None = None
        if files.checkpoint.exists():
            saved, metadata = load_state(files.checkpoint)
            self.cursor, self.journal_bytes = int(metadata["cursor"]), int(metadata["journal_bytes"])
            self.seconds = float(metadata["seconds"])
            if "pretrain" in saved:
                self.pretrained = to_device(saved["pretrain"], self.device)
            else:
                self.state, self.scores = to_device(saved["learner"], self.device), saved["scores"]

    def run(self, stop: Callable[[], bool]) -> None:
        with Journal(self.files.journal, keep=self.journal_bytes) as journal:
            if not self.state:
                start = self._pretrain(journal, stop) if self.experiment.pretrain else None
                self.state = to_device(self.learner.init(self.replica.seed, start), self.device)
            self._follow_stream(journal, stop)
        self._finish()

    def _pretrain(self, journal: Journal, stop: Callable[[], bool]) -> State:
        config = self.experiment.pretrain
        assert config is not None
        network = build_network(self.experiment, self.stream.shape, self.stream.ways)
        seed = self.replica.seed
        start = self.pretrained or to_device(pretrain.init(config, network, seed), self.device)
        state = start
        assert self.stream_entry.episodes is not None  # refused before the start otherwise
        source = self.stream_entry.episodes(
            self.experiment.stream.config, self.data, domain=config.domain, queries=config.queries, seed=seed
        )
        for state in pretrain.pretrain(config, network, lambda *key: _on(source(*key), self.device), seed, start):
            epoch = int(state["epoch"])
            points = {f"pretrain/{k}": float(state[k]) for k in ("accuracy", "best_accuracy", "outer_loss")}
            journal.points(epoch, points)
            self._show(0, config.epochs)
            stopping = stop()
            if stopping or self._checkpoint_due():
                self._save(journal, {"pretrain": state})
            if stopping:
                raise Stopped(f"replica {self.replica.key} stopped after epoch {epoch} of its pre-training")
        return pretrain.warm_start(state)

    def _follow_stream(self, journal: Journal, stop: Callable[[], bool]) -> None:
        steps = self.stream.steps
        while self.cursor < steps:
            position = self.cursor
            batch = _on(self.stream.batch(position), self.device)
            self.state, self.scores, record = self.protocol.step(self.learner, self.state, self.scores, batch)
            journal.step(position, record)
            self.cursor += 1
            done, stopping = self.cursor == steps, stop()
            if done or self.cursor % self.experiment.log_every == 0:
                points, self.scores = self.protocol.points(self.scores)
                journal.points(position, {**points, **self._sparsity_points()})
            if done or time.monotonic() - self.shown >= PROGRESS_SECONDS:
                self._show(self.protocol.final(self.scores)[self.protocol.headline], steps)
            if done or stopping or self._checkpoint_due():
                self._save(journal, {"learner": self.state, "scores": self.scores})
            if stopping and not done:
                raise Stopped(f"replica {self.replica.key} stopped at step {self.cursor} of {steps}")

    def _checkpoint_due(self) -> bool:
        return time.monotonic() - self.saved >= self.experiment.checkpoint_seconds

    def _elapsed(self) -> float:
        """Seconds worked on this replica, earlier attempts counted in."""
        return self.seconds + time.monotonic() - self.clock

    def _sparsity_points(self) -> dict[str, float]:
        masks = self.learner.masks(self.state)
        return (
            {f"sparsity/{k}": v for k, v in masks.sparsities().items()} | {"sparsity": masks.sparsity()}
            if masks
            else {}
        )

    def _show(self, score: float, steps: int) -> None:
        """The progress file: not durable, written for the eye."""
        progress = {"cursor": self.cursor, "steps": steps, self.protocol.headline: score, "seconds": self._elapsed()}
        temporary = self.files.path / f".progress.{os.getpid()}"
        temporary.write_text(json.dumps(progress), encoding="utf-8")
        os.replace(temporary, self.files.path / "progress.json")
        self.shown = time.monotonic()

    def _save(self, journal: Journal, state: State) -> None:
        """Journal first, then the checkpoint that refers to it."""
        journal_bytes = journal.commit()
        metadata = {"cursor": self.cursor, "journal_bytes": journal_bytes, "seconds": self._elapsed()}
        save_state(self.files.checkpoint, state, {k: str(v) for k, v in metadata.items()})
        self.saved = time.monotonic()

    def _finish(self) -> None:
        masks = self.learner.masks(self.state)
        if masks:
            masks.save(self.files.masks)
        write_json(
            self.files.path / "result.json",
            {
                "replica": self.replica.key,
                "variant": self.replica.variant,
                "seed": self.replica.seed,
                "config": _config(self.folder.experiment, self.replica.variant),
                "metrics": self.protocol.final(self.scores) | ({"sparsity": masks.sparsity()} if masks else {}),
                "sparsity": {"overall": masks.sparsity(), **masks.sparsities()} if masks else {},
                "input": {"shape": list(self.stream.shape), "ways": self.stream.ways},
                "seconds": self._elapsed(),
            },
        )


def _on(data: T, device: torch.device) -> T:
    """A batch or an episode with its tensors on ``device``."""
    tensors = {f.name: v for f in dataclasses.fields(data) if isinstance(v := getattr(data, f.name), Tensor)}
    return dataclasses.replace(data, **{k: v.to(device) for k, v in tensors.items()})


def _config(experiment: Experiment, variant: str | None) -> dict[str, Any]:
    """What makes the variant, as flat ``section.field`` keys."""
    if variant is None:
        return {}
    sections = experiment.variants[variant]
    flat = {f"{s}.{k}": v for s, fields in sections.items() for k, v in (fields or {}).items()}
    return {"variant": variant, **flat}
