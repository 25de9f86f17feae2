"""Leads a pack of replicas to the end of its drive: resume, journal, checkpoint, stop. What happens at a position is
the drive's (`frisket.platform.run.drive`). Knows neither Ray nor MLflow."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from typing import Any

import torch

from frisket.algos.inner import pretrain
from frisket.algos.parts.tree import to_device
from frisket.algos.state_file import save_state
from frisket.envs.data import Pictures
from frisket.envs.stream import Stream
from frisket.errors import RunError, Stopped
from frisket.files import write_sealed
from frisket.heap import give_back_freed_memory, keep_freed_memory, within_memory
from frisket.platform.run import collapse
from frisket.platform.run.divergence import Lost, lost, sentence
from frisket.platform.run.drive import Episodes, drive_of, seen
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.journal import Journal
from frisket.platform.run.pace import Pace, task_at
from frisket.platform.run.together import Together
from frisket.platform.specs.build import (
    Inputs,
    build_learner,
    build_network,
    build_protocol,
    build_stream,
    choose_device,
    load_data,
)
from frisket.platform.specs.experiment import Experiment, Pack, Replica
from frisket.platform.specs.uses import blamed
from frisket.types import Batch, Split, State

PROGRESS_SECONDS = 1.0

OpenStream = Callable[[Experiment, Replica], Stream]
"""Opens the stream of one replica of a plain experiment."""


def run_replica(
    folder: RunFolder, replica: Replica, *, data_dir: str | None = None, stop: Callable[[], bool] = lambda: False
) -> None:
    """`run_pack` of a pack of one."""
    run_pack(folder, (replica,), data_dir=data_dir, stop=stop)


def run_pack(
    folder: RunFolder,
    pack: Pack,
    *,
    data_dir: str | None = None,
    stop: Callable[[], bool] = lambda: False,
    open_stream: OpenStream | None = None,
    together: Together | None = None,
) -> None:
    """Run the replicas of ``pack`` together to their end, from their checkpoint if they have one; nothing to do if all
    have results.

    Args:
        folder: the run they belong to; everything is written there.
        pack: one of `Experiment.packs`.
        data_dir: first place to look for data.
        stop: asked at every step; when it says True the pack checkpoints and raises.
        open_stream: where streams come from; None: they are made in this process.
        together: processes that all run this pack, sharing the tasks of its meta-batches; rank 0 alone writes and asks
            ``stop``.

    Raises:
        Stopped: ``stop`` said so.
    """
    files = folder.pack(pack)
    if together is not None and together.rank:
        if not files.done:
            Walk(folder, pack, data_dir, open_stream, together).accompany()
        return
    with files.lock():
        if not files.done:
            method = folder.experiment.variant(pack[0].variant).learner.kind
            with within_memory(), blamed(folder.experiment.uses, f"{method} failed in its run"):
                Walk(folder, pack, data_dir, open_stream, together).run(stop)


class Walk:
    """A pack on its way: pre-training, if any, then the stream. Exists for the length of `run_pack`; what plans a run
    walks along a part of it (`frisket.platform.planning.probe`).

    Args:
        folder, pack, data_dir, open_stream, together: as for `run_pack`; the pack is not held by anybody else.
    """

    def __init__(
        self, folder: RunFolder, pack: Pack, data_dir: str | None, open_stream: OpenStream | None = None,
        together: Together | None = None,
    ) -> None:  # fmt: skip
        experiments = [folder.experiment.variant(replica.variant) for replica in pack]
        self.experiment = experiments[0]  # what follows is the same in all, but for fields of the learner
        torch.set_num_threads(self.experiment.threads)
        keep_freed_memory()
        self.folder, self.files, self.replicas, self.data_dir = folder, folder.pack(pack), pack, data_dir
        self.name = " and ".join(dict.fromkeys((pack[0].key, pack[-1].key)))
        self.device = choose_device(self.experiment.device)
        self.stream_row = self.experiment.stream.row
        if open_stream is None:
            self.streams = self._build_streams()
        else:
            self.streams = [open_stream(one, replica) for one, replica in zip(experiments, pack, strict=True)]
        self.stream = self.streams[0]
        first, *others = (build_learner(one, Inputs.of(self.stream)) for one in experiments)
        self.pack = first.pack(others, steps=self.stream.steps, may_compile=folder.manifest.get("compiler", False))
        self.protocol = build_protocol(self.experiment, self.streams)
        self.drive = drive_of(self.pack, self.protocol, self.streams, self.device, together)

        self.clock = self.saved = self.shown = time.monotonic()
        self.cursor, self.seconds, self.journal_bytes = 0, 0.0, [0] * len(pack)
        self.state: State = {}
        self.scores: list[State] = [self.protocol.init() for _ in pack]
        self.lost: list[Lost | None] = [None] * len(pack)
        self.paces: list[Pace] = []
        self.pretrained: State | None = None
        found = self.files.load()
        if found is not None:
            saved, metadata = found
            self.cursor, self.journal_bytes = metadata["cursor"], metadata["journal_bytes"]
            self.seconds, self.lost = metadata["seconds"], [Lost.read(said) for said in metadata["diverged"]]
            if "pretrain" in saved:
                self.pretrained = to_device(saved["pretrain"], self.device)
            else:
                self.state = to_device(saved["learner"], self.device)
                self._require_replicas(self.state)
                self.scores = [self._known(saved["scores"][str(i)]) for i in range(len(pack))]

    def _require_replicas(self, state: State) -> None:
        """Raise `RunError` for a checkpoint that is not of a pack: of a method that had no packs when it was begun."""
        try:
            self.pack.replica(state, len(self.replicas) - 1)
        except IndexError:
            fix = "was begun by a version in which its method had no packs; start it anew"
            raise RunError("resume", self.folder.run_id, fix) from None

    def _known(self, scores: State) -> State:
        """``scores`` of a checkpoint, if they are all that the protocol keeps."""
        missing = [name for name in self.protocol.init() if name not in scores]
        if missing:
            fix = f"has no {' and no '.join(missing)}: another commit of frisket made it; {self.files.from_the_start}"
            raise RunError("checkpoint", str(self.files.checkpoint), fix)
        return scores

    @cached_property
    def data(self) -> Mapping[str, Pictures]:
        """The data sets; a worker whose stream is served may never need them."""
        return load_data(self.experiment, self.folder.manifest["data_mode"], self.data_dir)

    def _build_streams(self) -> list[Stream]:
        """One for each replica, in this process."""
        first, *others = [replica.seed for replica in self.replicas]
        stream = build_stream(self.experiment, self.data, first)
        return [stream, *(stream.reseeded(s) or build_stream(self.experiment, self.data, s) for s in others)]

    def run(self, stop: Callable[[], bool]) -> None:
        with contextlib.ExitStack() as stack:
            finals = [(files.committed or {"journal_bytes": 0})["journal_bytes"] for files in self.files.members]
            each = zip(self.files.members, self.journal_bytes, finals, strict=True)
            journals = [stack.enter_context(Journal(files.journal, keep, final)) for files, keep, final in each]
            if any(self.journal_bytes) or any(finals):  # a death, or damage, may have left it unsaid or said too much
                self._commit(journals)
            if not self.state:
                self.state = self._start(self._pretrain(journals, stop) if self.experiment.pretrain else None)
            give_back_freed_memory()  # what reading the data and making the state took
            for stream in self.streams:
                stack.enter_context(stream.at_work())
            self._follow(journals, stop)
        self._finish()

    def accompany(self) -> None:
        """Take the steps that another process leads, and write nothing."""
        assert isinstance(self.drive, Episodes)
        self.drive.accompany()

    def _start(self, pretrained: State | None) -> State:
        """The pack's state before the stream."""
        states = [one.init(r.seed, pretrained) for one, r in zip(self.pack.learners, self.replicas, strict=True)]
        return to_device(self.pack.join(states), self.device)

    def _pretrain(self, journals: list[Journal], stop: Callable[[], bool]) -> State:
        config, (journal,), (replica,) = self.experiment.pretrain, journals, self.replicas
        assert config is not None
        network = build_network(self.experiment, Inputs.of(self.stream))
        seed = replica.seed
        start = self.pretrained or to_device(pretrain.init(config, network, seed), self.device)
        state = start
        assert self.stream_row.episodes is not None  # refused before the start otherwise
        source = self.stream_row.episodes(
            self.experiment.stream.config, self.data, domain=config.domain, queries=config.queries, seed=seed
        )

        def episode(split: Split, number: int) -> Batch:
            return seen(source, source.episode(split, number), self.device)

        for state in pretrain.pretrain(config, network, episode, seed, start):
            epoch = int(state["epoch"])
            points = {f"pretrain/{k}": float(state[k]) for k in ("accuracy", "best_accuracy", "outer_loss")}
            journal.points(epoch, points)
            self._show(0, config.epochs)
            stopping = stop()
            if stopping or self._checkpoint_due():
                self._save(journals, {"pretrain": state})
            if stopping:
                raise Stopped(f"replica {self.name} stopped after epoch {epoch} of its pre-training")
        return pretrain.warm_start(state)

    def _follow(self, journals: list[Journal], stop: Callable[[], bool]) -> None:
        """Walk along the drive from the cursor to its end."""
        self.paces = [Pace() for _ in self.replicas]
        self.drive.begin(self.state, self.cursor)
        try:
            self._walked(journals, stop)
        except Stopped:
            self.drive.end()
            raise
        self.drive.end()

    def _walked(self, journals: list[Journal], stop: Callable[[], bool]) -> None:
        steps = self.drive.steps
        for position in self.positions():
            self.state, scored, numbers = self.drive.step(position, self.state, self.scores)
            self.scores = [one.scores for one in scored]
            for i, (journal, one) in enumerate(zip(journals, scored, strict=True)):
                journal.step(position, one.record)
                self.paces[i].count(one.record)
                if self.lost[i] is None:
                    found = lost(position, one.record, numbers[i], partial(self.pack.replica, self.state, i))
                    if found is not None:
                        self.lost[i] = found
                        journal.warning(position, sentence(self.replicas[i].key, found))
            self.cursor = position + 1
            done, stopping = self.cursor == steps, stop()
            if done:
                self._warn_of_collapse(journals, position)
            if done or self.cursor % self.experiment.log_every == 0:
                self._plot(position, journals)
            if done or time.monotonic() - self.shown >= PROGRESS_SECONDS:
                self._show(steps, steps)
            if done or stopping or self._checkpoint_due():
                scores = {str(i): one for i, one in enumerate(self.scores)}
                self._save(journals, {"learner": self.state, "scores": scores})
            if stopping and not done:
                raise Stopped(f"replica {self.name} stopped at step {self.cursor} of {steps}")

    def positions(self) -> Iterator[int]:
        """The positions that are taken, in order: all from the cursor to the drive's end."""
        return iter(range(self.cursor, self.drive.steps))

    def _plot(self, position: int, journals: list[Journal]) -> None:
        """Journal what is to be plotted at ``position``."""
        for i, journal in enumerate(journals):
            points, self.scores[i] = self.protocol.points(self.scores[i])
            journal.points(position, {**points, **self._sparsity_points(i)})

    def _warn_of_collapse(self, journals: list[Journal], position: int) -> None:
        for replica, scores, journal in zip(self.replicas, self.scores, journals, strict=True):
            found = collapse.collapsed(self.protocol.final(scores))
            if found is not None:
                journal.warning(position, collapse.sentence(replica.key, found))

    def _checkpoint_due(self) -> bool:
        return time.monotonic() - self.saved >= self.experiment.checkpoint_seconds

    def _elapsed(self) -> float:
        """Seconds worked on the pack, divided among its replicas, earlier attempts counted in."""
        return self.seconds + (time.monotonic() - self.clock) / len(self.replicas)

    def _chosen(self, index: int) -> State:
        """A replica's state as it is kept once the stream has ended."""
        return self.protocol.chosen(self.pack.replica(self.state, index), self.scores[index])

    def _sparsity_points(self, index: int) -> dict[str, float]:
        masks = self.pack.learners[index].masks(self.pack.replica(self.state, index))
        return (
            {f"sparsity/{k}": v for k, v in masks.sparsities().items()} | {"sparsity": masks.sparsity()}
            if masks
            else {}
        )

    def _show(self, done: int, steps: int) -> None:
        """The progress files: not durable, written for the eye."""
        headline = self.protocol.headline
        task = task_at(self.stream, self.cursor - 1) if done else None
        for i, (files, scores, found) in enumerate(zip(self.files.members, self.scores, self.lost, strict=True)):
            progress = {"cursor": self.cursor, "steps": steps, "seconds": self._elapsed()} | _said(found)
            if done:
                pace = self.paces[i].seconds
                each = None if pace is None else pace / len(self.replicas)
                progress |= {"task": task, "rates": self.paces[i].rates(), "pace": each}
            score = self.protocol.final(scores).get(headline) if done else None
            progress |= {} if score is None else {headline: score}
            write_sealed(files.path / "progress.json", progress, durable=False)
        self.shown = time.monotonic()

    def _save(self, journals: list[Journal], state: State) -> None:
        """Journals first, then the checkpoint that refers to them, then word of it to whoever reads the journals."""
        self.journal_bytes = [journal.commit() for journal in journals]
        metadata = {"cursor": self.cursor, "journal_bytes": self.journal_bytes, "seconds": self._elapsed()}
        self.files.save(state, metadata | {"diverged": [_said(found) for found in self.lost]})
        self._commit(journals)
        self.saved = time.monotonic()

    def _commit(self, journals: list[Journal]) -> None:
        self.files.commit([journal.final for journal in journals], self.cursor, self._elapsed())

    def _finish(self) -> None:
        for i, (replica, files) in enumerate(zip(self.replicas, self.files.members, strict=True)):
            state = self._chosen(i)
            masks = self.pack.learners[i].masks(state)
            if masks:
                masks.save(files.masks)
            if (by_domain := self.protocol.domain_masks(self.scores[i])) is not None:
                by_domain.save(files.domains)
            save_state(files.final, state, {})
            metrics = self.protocol.final(self.scores[i])
            files.finish(
                {
                    "replica": replica.key,
                    "variant": replica.variant,
                    "seed": replica.seed,
                    "config": _config(self.folder.experiment, replica.variant),
                    "metrics": metrics | ({"sparsity": masks.sparsity()} if masks else {}),
                    "sparsity": {"overall": masks.sparsity(), **masks.sparsities()} if masks else {},
                    "input": Inputs.of(self.stream).as_dict(),
                    "seconds": self._elapsed(),
                    **_said(self.lost[i]),
                    **_said(collapse.collapsed(metrics)),
                },
                self.journal_bytes[i],
            )
        self.files.clear()


def _said(found: Lost | collapse.Collapsed | None) -> dict[str, Any]:
    return {} if found is None else found.said()


def _config(experiment: Experiment, variant: str | None) -> dict[str, Any]:
    """What makes the variant, as flat ``section.field`` keys."""
    if variant is None:
        return {}
    sections = experiment.variants[variant]
    flat = {f"{s}.{k}": v for s, fields in sections.items() for k, v in (fields or {}).items()}
    return {"variant": variant, **flat}
