"""Write the generated blocks of README.md and docs anew, or compare.

    python -m docs.tables            # writes
    python -m docs.tables --check    # names the blocks that are old, exit code 1 where there is one

A block stands between two comments, of which the first names it and what it is asked for:

    <!-- made by python -m docs.tables: logged -->
    ...
    <!-- end -->
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from docs.tables import components, methods, numbers, overview, results

ROOT = Path(__file__).resolve().parents[2]

Block = Callable[[Path, Sequence[str]], str]
"""What makes a block: the page it is for, and the words after its name."""

BLOCKS: Mapping[str, Block] = MappingProxyType(
    {
        "arguments": methods.arguments_table,
        "capabilities": methods.capabilities_table,
        "cells": results.cells_table,
        "components": components.components_table,
        "logged": methods.logged_table,
        "methods": methods.index,
        "names": overview.names,
        "numbers": numbers.numbers,
        "osaka": overview.osaka,
        "printed": numbers.printed,
        "searches": overview.searches,
        "short-run": numbers.short_run,
        "sparsity": results.sparsity_table,
        "specifications": overview.specifications,
        "tables": overview.tables,
    }
)
_BLOCK = re.compile(
    r"(?P<open><!-- made by python -m docs\.tables: (?P<name>[\w-]+)(?P<words>[^>]*) -->\n)"
    r"(?P<body>.*?)(?P<end><!-- end -->)",
    re.DOTALL,
)


def pages(root: Path) -> Iterator[Path]:
    """Everything that may have blocks."""
    yield root / "README.md"
    yield from sorted((root / "docs").rglob("*.md"))


def made(page: Path, text: str) -> str:
    """``text``, which is the one of ``page``, with its blocks as they should be.

    Raises:
        SystemExit: there is no block of a name.
    """

    def fresh(found: re.Match[str]) -> str:
        if found["name"] not in BLOCKS:
            raise SystemExit(f"{page}: no block {found['name']}; there are {', '.join(BLOCKS)}")
        body = BLOCKS[found["name"]](page, found["words"].split())
        return f"{found['open']}\n{body}\n\n{found['end']}"

    return _BLOCK.sub(fresh, text)


def main(arguments: Sequence[str], root: Path = ROOT) -> int:
    """Exit code. Args: root: what README.md and docs lie in."""
    parser = argparse.ArgumentParser(prog="python -m docs.tables", description="The generated tables of the docs.")
    parser.add_argument("--check", action="store_true", help="write nothing; say what is old")
    check = parser.parse_args(arguments).check
    old = 0
    for page in pages(root):
        text = page.read_text(encoding="utf-8")
        fresh = made(ROOT / page.relative_to(root), text)
        if fresh == text:
            continue
        old += 1
        print(f"{page.relative_to(root)}: {'old; run python -m docs.tables' if check else 'written'}")
        if not check:
            page.write_text(fresh, encoding="utf-8")
    return 1 if check and old else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
