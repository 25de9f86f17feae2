"""Where masks come from on the command line: a file, or a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from frisket.algos.masks import store as mask_store
from frisket.algos.masks.bits import format_of
from frisket.algos.masks.mask_set import MaskSet
from frisket.algos.masks.store import MaskStore
from frisket.errors import MaskError
from frisket.platform.model.index import INDEX
from frisket.platform.model.tasks import task_number
from frisket.platform.run.folder import RunFolder
from frisket.platform.specs.uses import Given
from frisket.platform.verbs.load import load_model

FREE = "free"
_MARKS = ("MLmodel", INDEX, RunFolder.MANIFEST)
"""Files by which a folder is known as a model's or a run's."""


def read_masks(
    source: str, seed: int | None = None, variant: str | None = None, uses: Sequence[Given] = (),
    domain: str | None = None,
) -> MaskSet | MaskStore:  # fmt: skip
    """What ``source`` holds: the masks of its tasks, or its only masks; or those of a domain.

    Args:
        source: a file of masks, of one set or of tasks; or anything `frisket.load_model` takes.
        seed, variant: which replica of a model.
        uses: modules of one's own that the model was made with.
        domain: which of the domains that a model has a mask for each of.

    Raises:
        MaskError: a damaged mask file, or a model whose method has no masks.
        ModelError: no such model, seed, variant or domain.
    """
    if source.endswith(".safetensors"):
        if domain is not None:
            raise MaskError("domain", domain, f"{source} is a file, which names no domains; leave it out")
        return MaskStore.load(source) if format_of(source) == mask_store.FORMAT else MaskSet.load(source)
    model = load_model(source, uses=uses)
    if domain is not None:
        return model.masks(seed, variant, domain=domain)
    found = model.store(seed, variant) or model.masks(seed, variant)
    if not found:
        raise MaskError("masks", source, "this method has none; name another model or --variant")
    return found


def one_of(found: MaskSet | MaskStore, source: str, task: str | None) -> MaskSet:
    """The one MaskSet that is asked for.

    Args:
        found: what ``source`` holds.
        task: number of a task, or ``free``: open is what no task uses. None for masks that are no tasks'.

    Raises:
        MaskError: a task of masks that have none.
        ModelError: no such task, or none named where there are several.
    """
    if isinstance(found, MaskStore):
        return ~MaskSet(found.union()) if task == FREE else found[task_number(task, len(found), FREE)]
    if task is not None:
        raise MaskError("task", task, f"{source} has no masks of tasks; leave it out")
    return found


def require_apart(file: Path, source: str) -> None:
    """Raise `MaskError` where writing ``file`` would change a model or a run, or replace what it is made from."""
    if file.exists() and Path(source).exists() and file.samefile(source):
        fix = f"{file.name} in it is the file to be exported; name another folder"
        raise MaskError("FOLDER", str(file.parent), fix)
    for folder in file.resolve().parents:
        mark = next((name for name in _MARKS if (folder / name).is_file()), None)
        if mark is not None:
            fix = f"lies in a model or a run ({folder / mark}), whose own files stay as they are; name another folder"
            raise MaskError("FOLDER", str(file.parent), fix)
