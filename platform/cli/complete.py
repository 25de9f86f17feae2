"""What shells complete: names of specifications, tables, runs and kinds, from what there is; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable

import typer


def specs(incomplete: str) -> list[str]:
    """Specifications; where none begins so, the shell offers files."""
    from frisket.platform.specs.text import spec_names

    return _beginning(incomplete, spec_names())


def tables(incomplete: str) -> list[str]:
    """Published tables."""
    from frisket.platform.specs.text import TABLES, config_names

    return _beginning(incomplete, (name.removeprefix(TABLES) for name in config_names() if name.startswith(TABLES)))


def runs(context: typer.Context, incomplete: str) -> list[str]:
    """Runs in the folder of ``--runs-dir``, newest first, and ``last``."""
    from frisket.platform.verbs.runs import run_names

    return _beginning(incomplete, ["last", *run_names(context.params.get("runs_dir"))])


def overrides(context: typer.Context, incomplete: str) -> list[str]:
    """``SECTION.kind=KIND``. Bash takes ``=`` for a word of its own, other shells do not."""
    before = context.params.get("overrides") or ()
    if len(before) >= 2 and before[-1] == "=":
        return _kinds(before[-2], incomplete)
    path, equals, kind = incomplete.partition("=")
    if equals:
        return [f"{path}={name}" for name in _kinds(path, kind)]
    return _beginning(incomplete, (f"{section}.kind=" for section in ("stream", "network", "learner", "protocol")))


def kinds(context: typer.Context, incomplete: str) -> list[str]:
    """Kinds of what ``frisket list`` lists: ``learners`` and so on."""
    what = context.params.get("what")
    return _kinds(f"{str(getattr(what, 'value', what)).removesuffix('s')}.kind", incomplete)


def _kinds(path: str, incomplete: str) -> list[str]:
    from frisket.platform.specs.outline import known_kinds

    section, _, field = path.partition(".")
    return _beginning(incomplete, known_kinds(section)) if field == "kind" else []


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
