"""The evidence queue's command line.

    python -m docs.evidence            # works through docs/results/queue.yaml: make evidence
    python -m docs.evidence status     # what is done, what is running, time left: make evidence-status
    python -m docs.evidence pages      # docs/results/evidence anew, with what is to be committed: make evidence-pages

Runs are kept in FRISKET_RUNS, else in evidence_runs in the checkout. Exit codes: 0 all is done; 2 a mistake of the
user's, in one line; 130 stopped by Ctrl-C; 1 anything else, as an entry that was skipped.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from docs.evidence.queue import PUBLISHED, QUEUE, ROOT, read_queue
from frisket.errors import UserError


def main(arguments: Sequence[str]) -> int:
    """Exit code."""
    parser = argparse.ArgumentParser(prog="python -m docs.evidence", description="What is to be run for docs/results.")
    parser.add_argument("verb", nargs="?", default="work", choices=("work", "status", "pages"))
    parser.add_argument("--queue", type=Path, default=QUEUE, metavar="FILE", help="another queue")
    parser.add_argument("--out", type=Path, default=PUBLISHED, metavar="FOLDER", help="the committed pages and runs")
    asked = parser.parse_args(arguments)
    runs = Path(os.environ.get("FRISKET_RUNS") or ROOT / "evidence_runs").absolute()
    kept = asked.out / "runs"
    try:
        if asked.verb == "status":
            from docs.evidence.status import status

            for line in status(read_queue(asked.queue), runs, kept=kept):
                print(line)
            return 0
        if asked.verb == "pages":
            from docs.evidence.pages import keep, write_pages

            entries = read_queue(asked.queue)
            keep(entries, runs, kept=kept)
            pages = write_pages(entries, runs, asked.out, kept=kept)
            print(f"{len(pages)} pages in {asked.out}")
            return 0
        from docs.evidence.entry import step_back
        from docs.evidence.work import work

        step_back()
        return work(asked.queue, runs, kept=kept)
    except UserError as error:
        print(f"evidence: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
