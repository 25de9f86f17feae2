"""``upload.json``: how far the sending of a run has come. Replaced atomically after every acknowledged request."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from frisket.files import find_sealed, write_sealed
from frisket.platform.run.folder import RunFolder


@dataclass
class Child:
    """Attributes: run_id: the replica's MLflow run; sent: journal bytes acknowledged; done: nothing is left to send."""

    run_id: str
    sent: int = 0
    done: bool = False


@dataclass
class Record:
    """A cache and a cursor: whatever is lost from it is found again in MLflow by tag, or sent again.

    Attributes:
        parent: the experiment's MLflow run.
        children: replica key to its run.
        model, version: registered name and version.
        open: runs may count as running in MLflow.
        done: everything has been sent.
    """

    path: Path
    parent: str | None = None
    children: dict[str, Child] = field(default_factory=dict)
    model: str | None = None
    version: str | None = None
    open: bool = False
    done: bool = False

    @classmethod
    def of(cls, folder: RunFolder) -> Record:
        """The record of ``folder``; an empty one where nothing was sent or the file is damaged."""
        path = folder.path / "upload.json"
        raw: dict[str, Any] = find_sealed(path) or {}
        try:
            children = {k: Child(**v) for k, v in raw.pop("children", {}).items()}
            return cls(path, children=children, **raw)
        except (TypeError, AttributeError):
            return cls(path)

    def save(self) -> None:
        """Write the record."""
        values = dataclasses.asdict(self)
        del values["path"]
        write_sealed(self.path, values)
