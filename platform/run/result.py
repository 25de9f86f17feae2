"""What a replica that is done says of itself, read for whoever asks; imports nothing heavy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from frisket.errors import FileError, RunError
from frisket.files import read_sealed

AGAIN = "remove {} and resume the run: the replica runs again from its first step, the others keep what they have"
"""What can be done where the files of a replica that is done are not its own."""


def read_result(folder: Path, run: str) -> dict[str, Any] | None:
    """The result in the ``folder`` of a replica, which is named like it, of the run ``run``; None while there is none.

    Raises:
        RunError: it is damaged, or another replica's.
    """
    path = folder / "result.json"
    try:
        said = read_sealed(path)
    except FileNotFoundError:
        return None
    except FileError as error:
        raise RunError("result", str(error.value), f"{error.fix}; {AGAIN.format('it')}") from error
    of = said.get("of")
    if of != [run, folder.name]:
        whose = f"the replica {of[1]} of run {of[0]}" if isinstance(of, list) and len(of) == 2 else "nobody"
        raise RunError("result", str(path), f"is of {whose}; {AGAIN.format('it')}")
    return said
