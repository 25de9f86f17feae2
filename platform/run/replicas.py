"""The files of replicas and of packs in a run's folder (`frisket.platform.run.folder`), and what of them can be gone on
from."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from frisket.algos.masks.mask_set import MaskSet
from frisket.algos.masks.store import MaskStore
from frisket.algos.state_file import load_state, save_state
from frisket.blocks import Blocks
from frisket.errors import FileError, MaskError, RunError
from frisket.files import find_sealed, held, lock, seal_of, sweep, write_sealed
from frisket.platform.run.journal import crc_at, require_whole
from frisket.platform.run.result import AGAIN, read_result
from frisket.types import State

_log = logging.getLogger("frisket.run")

T = TypeVar("T")


class ReplicaFolder:
    """Files of one replica under ``path``. Its result says which replica of which run it is of, and carries the digests
    of what lies beside it, so that whole files of another do not pass for its own.

    Args:
        path: the folder, named like the replica.
        run: id of the run.
    """

    def __init__(self, path: Path, run: str = "") -> None:
        self.path, self.run = path, run
        self.key = path.name
        self.journal = path / "journal.jsonl"
        self.final = path / "final.safetensors"
        self.masks = path / "masks.safetensors"
        self.domains = path / "domains.safetensors"

    @property
    def result(self) -> dict[str, Any] | None:
        """The result once the replica is done, else None. One that a search stopped early says so under ``stopped``.

        Raises:
            RunError: it is damaged, or another replica's.
        """
        return read_result(self.path, self.run)

    def finish(self, result: Mapping[str, Any], journal_bytes: int) -> None:
        """Write the result, the last of the replica's files, with how long its journal is and the seals of the others,
        which tell what they hold."""
        seals = {path.name: seal_of(path) for path in (self.final, self.masks, self.domains) if path.exists()}
        own = {"of": [self.run, self.key], "files": seals, "journal_bytes": journal_bytes}
        own["journal_crc"] = crc_at(self.journal, journal_bytes)
        write_sealed(self.path / "result.json", {**result, **own})

    def _own(self, what: str, path: Path, read: Callable[[Path], T]) -> T:
        """What ``read``, which compares the content of a file with its seal, gives of ``path``, if it is the file that
        was there when the replica was done.

        Raises:
            RunError: it is damaged, not there, or another.
        """
        result = self.result
        try:
            found = read(path)
            if result is not None and seal_of(path) != result["files"].get(path.name):
                raise FileError(what, str(path), "is not the file that its result.json was written with")
        except FileNotFoundError as error:
            way = AGAIN.format("the result.json beside it")
            raise RunError(what, str(path), f"is not there; {way}") from error
        except (FileError, MaskError) as error:
            way = AGAIN.format("it and the result.json beside it")
            raise RunError(what, str(path), f"{error.fix}; {way}") from error
        return found

    @property
    def state(self) -> State:
        """The learner's State of a replica that is done.

        Raises:
            RunError: it is damaged, or not there.
        """
        return self._own("final state", self.final, load_state)[0]

    @property
    def mask_set(self) -> MaskSet | None:
        """The masks of a replica that is done; None for a method that has none.

        Raises:
            RunError: they are damaged, or another replica's.
        """
        return self._own("masks", self.masks, MaskSet.load) if self._left(self.masks) else None

    @property
    def domain_masks(self) -> MaskStore | None:
        """The masks of the stream's domains, in their order; None for a replica whose protocol found none.

        Raises:
            RunError: they are damaged, or another replica's.
        """
        return self._own("masks of domains", self.domains, MaskStore.load) if self._left(self.domains) else None

    def _left(self, path: Path) -> bool:
        """Whether ``path`` is there, or was when the replica was done."""
        result = self.result
        return path.exists() or (result is not None and path.name in result["files"])

    def require_whole(self) -> None:
        """Raise `RunError` unless all that a replica which is done leaves behind is as it was written."""
        result = self.result
        if result is None:
            return
        try:
            require_whole(self.journal, length := int(result["journal_bytes"]))
            if crc_at(self.journal, length) != result["journal_crc"]:
                raise FileError("journal", str(self.journal), "is not the one that its result.json was written with")
        except FileError as error:
            way = AGAIN.format("it and the result.json beside it")
            raise RunError("journal", str(self.journal), f"{error.fix}; {way}") from error
        if "stopped" not in result:
            _ = self.state, self.mask_set, self.domain_masks

    def committed_bytes(self) -> int:
        """Length of the part of the journal that is final.

        Raises:
            RunError: not so much of it is there.
        """
        said = self.result or self.committed
        length = 0 if said is None else int(said["journal_bytes"])
        found = self.journal.stat().st_size if length and self.journal.exists() else 0
        if found < length:
            way = AGAIN.format("result.json beside it, if it is there,")
            raise RunError("journal", str(self.journal), f"is cut short: {found} bytes of at least {length}; {way}")
        return length

    @property
    def committed(self) -> dict[str, Any] | None:
        """``{"journal_bytes", "cursor", "seconds"}`` of the last checkpoint; None before the first, and where it is
        damaged, until the run goes on."""
        return find_sealed(self.path / "committed.json")

    def progress(self) -> dict[str, Any] | None:
        """``{"cursor", "steps", "seconds", "task", "rates", "pace"}`` (the latter three of `frisket.platform.run.pace`,
        once the stream has begun) and the headline metric so far, where there is one; None before the first step."""
        return find_sealed(self.path / "progress.json")

    @property
    def last_said(self) -> dict[str, Any]:
        """What the replica says of itself last: its result, else its progress; empty before its first step."""
        return self.result or self.progress() or {}

    def begun(self, since: float) -> bool:
        """Whether a living process holds the replica, or has worked on it ``since`` then, in seconds of the clock."""
        with contextlib.suppress(OSError):
            if (self.path / "progress.json").stat().st_mtime >= since:
                return True
        return self.held

    @property
    def held(self) -> bool:
        """Whether a living process works on it."""
        return held(self.path / ".lock")

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the replica for this process; the kernel lets go when the process dies, however it dies.

        Raises:
            RunError: another live process works on it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        busy = RunError("replica", str(self.path), "is being worked on by another process; wait or end it")
        with lock(self.path / ".lock", busy=busy):
            yield


class PackFolder:
    """Files of a pack of replicas.

    Attributes:
        members: its replicas' files.
        checkpoint: all of them at one cursor.
        before: the checkpoint before that one.
        blocks: what both are made of besides: their large tensors.
    """

    def __init__(self, run: Path, members: Sequence[ReplicaFolder]) -> None:
        self.members = members
        self.checkpoint = run / "packs" / f"{members[0].key}.safetensors"
        self.before = self.checkpoint.with_suffix(".before.safetensors")
        self.blocks = Blocks(self.checkpoint.with_suffix(".blocks"))

    @property
    def done(self) -> bool:
        """Whether every replica of the pack is done."""
        return all(files.result is not None for files in self.members)

    def save(self, state: State, metadata: Mapping[str, Any]) -> None:
        """Write a checkpoint; the one there was becomes the one before it."""
        said = {k: json.dumps(v) for k, v in {**metadata, "of": self._of}.items()}
        save_state(self.checkpoint, state, said, before=self.before, blocks=self.blocks)

    @property
    def _of(self) -> list[str]:
        return [self.members[0].run, *(files.key for files in self.members)]

    def load(self) -> tuple[State, dict[str, Any]] | None:
        """``(state, metadata)`` to go on from: of the newest checkpoint that is whole; None where there is none. One
        that is damaged gives way to the one before it, and that is logged. To be called under `lock`.

        Raises:
            RunError: what there is of checkpoints is damaged, or of the journals up to there.
        """
        damaged: list[str] = []
        for path in (self.checkpoint, self.before):
            try:
                state, metadata = load_state(path, blocks=self.blocks)
            except FileNotFoundError:
                continue
            except FileError as error:
                damaged.append(f"{path.name} {error.fix}")
                continue
            said = {k: json.loads(v) for k, v in metadata.items()}
            if said.pop("of", None) != self._of:
                damaged.append(f"{path.name} is of another run, or of other replicas")
                continue
            if damaged:
                _log.warning("checkpoint %s; going on from the one before it, at step %d", damaged[0], said["cursor"])
                os.replace(path, self.checkpoint)
            self._require_journals(said["journal_bytes"])
            return state, said
        if damaged:
            raise RunError("checkpoint", str(self.checkpoint), f"{' and '.join(damaged)}; {self.from_the_start}")
        return None

    def _require_journals(self, lengths: Sequence[int]) -> None:
        for files, length in zip(self.members, lengths, strict=True):
            try:
                require_whole(files.journal, length)
            except FileError as error:
                raise RunError("journal", str(files.journal), f"{error.fix}; {self.from_the_start}") from error

    @property
    def from_the_start(self) -> str:
        """What can be done where a pack cannot go on."""
        there = " and ".join(path.name for path in (self.checkpoint, self.before) if path.exists())
        way = f"restore it, or remove {there} in {self.checkpoint.parent} and resume the run"
        return f"{way}: this part of it runs again from its first step, the others keep what they have"

    def commit(self, journal_bytes: Sequence[int], cursor: int, seconds: float) -> None:
        """Say how far the checkpoint is. What a death prevents from being said is said when the run goes on."""
        for files, length in zip(self.members, journal_bytes, strict=True):
            committed = {"journal_bytes": length, "cursor": cursor, "seconds": seconds}
            write_sealed(files.path / "committed.json", committed)

    def clear(self) -> None:
        """Remove the checkpoints of a pack that is done."""
        self.before.unlink(missing_ok=True)
        self.checkpoint.unlink(missing_ok=True)
        self.blocks.keep(())

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold all of the pack's replicas, as `ReplicaFolder.lock` does."""
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            for files in self.members:
                stack.enter_context(files.lock())
            sweep(self.checkpoint)
            yield
