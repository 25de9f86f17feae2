"""Large buffers in blocks that are named by their content: what has not changed since it was last written is not
written again.

A replay memory of a million transitions grows by some thousand between two checkpoints. In blocks of a mebibyte a
checkpoint digests all of it, which takes a fraction of a second, and writes those it has not written before. A block is
a file whose name is the SHA-256 of its content, so what is read is known to be what was written, equal blocks are one,
and no writing touches what an older checkpoint refers to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from frisket.errors import FileError
from frisket.files import NOT_AS_SEALED, sha256, write_bytes

SIZE = 2**20
"""Bytes of a block; the last of a buffer may have fewer."""


class Blocks:
    """Blocks in ``folder``, which is made when there is something to put there. Attributes: written: bytes written."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.written = folder, 0

    def put(self, buffer: Any) -> list[str]:
        """Names of the blocks of ``buffer``, of one dimension, in order; those not there yet are written, durably."""
        view, names = memoryview(buffer).cast("B"), list[str]()
        self.folder.mkdir(exist_ok=True)
        there = {path.name for path in self.folder.iterdir()}
        for start in range(0, len(view), SIZE):
            piece = view[start : start + SIZE]
            name = sha256(piece)
            if name not in there:
                write_bytes(self.folder / name, piece)
                there.add(name)
                self.written += len(piece)
            names.append(name)
        return names

    def get(self, names: Sequence[str], buffer: Any) -> None:
        """Read the blocks ``names`` into ``buffer``, of one dimension.

        Raises:
            FileError: one is damaged or not there, or they do not fill it.
        """
        view, start = memoryview(buffer).cast("B"), 0
        for name in names:
            path = self.folder / name
            if re.fullmatch("[0-9a-f]{64}", name) is None:
                raise FileError("block of a state", str(path), "is no block's name")
            try:
                piece = path.read_bytes()
            except FileNotFoundError as error:
                raise FileError("block of a state", str(path), "is not there") from error
            if sha256(piece) != name or start + len(piece) > len(view):
                raise FileError("block of a state", str(path), NOT_AS_SEALED)
            view[start : start + len(piece)] = piece
            start += len(piece)
        if start != len(view):
            raise FileError("blocks of a state", str(self.folder), "are not as many as they were")

    def keep(self, names: Iterable[str]) -> None:
        """Remove all blocks but ``names``, and the folder where none is left."""
        kept = set(names)
        if not self.folder.is_dir():
            return
        for path in self.folder.iterdir():
            if path.name not in kept:
                path.unlink()
        if not kept:
            self.folder.rmdir()
