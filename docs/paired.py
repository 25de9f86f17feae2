"""Differences of methods that learned the same streams, seed by seed, from the committed results.

    python -m docs.paired                              # the tables of docs/results, in Markdown
    python -m docs.paired ra A.json B.json             # A minus B in one metric, in points
    python -m docs.paired accuracy R.json:sparse-cmaml R.json:cmaml-fixed

A seed's stream depends on nothing but the stream's settings and the seed, so two methods at one seed have seen the same
batches, and what their streams have in common leaves the difference. The interval is Student's, of the n differences:
``mean +- t(0.975, n - 1) s / sqrt(n)``, s their sample standard deviation.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from frisket.platform.verbs.compare import difference

RESULTS = Path(__file__).parent / "results"
REPLAY = RESULTS / "replay-mnist"
OSAKA = RESULTS / "osaka-p90-short" / "result.json"

STREAMS = ("rotations", "permutations", "many-permutations")
REPLAY_PAIRS = (
    ("la-maml", "cmaml"), ("la-maml", "sync-la-maml"), ("cmaml", "sync-la-maml"), ("la-maml", "mer"),
    ("la-maml", "er"), ("sparse-la-maml", "la-maml"), ("sparse-la-maml", "mer"), ("sync-la-maml", "ewc"),
    ("sync-la-maml-printed", "ewc"), ("sync-la-maml", "online"), ("mer", "er"),
)  # fmt: skip
DRAWN_PAIRS = (("rotations", "la-maml", "cmaml"), ("rotations", "la-maml", "mer"), ("permutations", "la-maml", "mer"))


@dataclass(frozen=True, kw_only=True)
class Paired:
    """Differences of n pairs. Attributes: mean; half: of the 95 % interval's width, NaN for one pair."""

    n: int
    mean: float
    half: float

    def __str__(self) -> str:
        return f"{100 * self.mean:+.2f} +- {100 * self.half:.2f}"


def paired(differences: Sequence[float]) -> Paired:
    """Mean and interval of ``differences``, at least one."""
    n = len(differences)
    found = difference(dict(enumerate(differences)), dict.fromkeys(range(n), 0.0), same_stream=True)
    low, high = found.interval or (math.nan, math.nan)
    return Paired(n=n, mean=found.mean, half=(high - low) / 2)


def seeds(path: Path, metric: str, variant: str | None = None) -> dict[int, float]:
    """Seed to ``metric`` in a ``--json`` file, of one of its variants where it has any."""
    rows = json.loads(path.read_text(encoding="utf-8"))["results"]
    return {r["seed"]: r["metrics"][metric] for r in rows if variant is None or r["config"]["variant"] == variant}


def differences(a: Mapping[int, float], b: Mapping[int, float]) -> list[float]:
    """``a - b`` at the seeds that both have."""
    return [a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())]


def by_draw(stream: str, a: str, b: str, metric: str) -> list[list[float]]:
    """Differences on every draw of ``stream`` that both ran: draw 0 is that of the table's cells, its first three
    seeds."""
    found = []
    for draw in range(5):
        files = [REPLAY / "draws" / f"{stream}-{name}-{draw}.json" for name in (a, b)]
        if draw == 0:
            files = [REPLAY / "cells" / f"{stream}-{name}.json" for name in (a, b)]
        if all(file.exists() for file in files):
            found.append(differences(*(seeds(file, metric) for file in files))[:3])
    return found


def replay_table() -> Iterator[str]:
    """The methods of Table 1 and Table 5 on the tables' streams."""
    yield from _head("A - B", "stream", "n", "RA", "BTI")
    for a, b in REPLAY_PAIRS:
        for stream in STREAMS:
            files = [REPLAY / "cells" / f"{stream}-{name}.json" for name in (a, b)]
            if all(file.exists() for file in files):
                ra, bti = (paired(differences(*(seeds(file, metric) for file in files))) for metric in ("ra", "bti"))
                yield f"| {a} - {b} | {stream} | {ra.n} | {ra} | {bti} |"


def draws_table() -> Iterator[str]:
    """The same over several draws of a stream; a draw counts once, by the mean of its seeds."""
    yield from _head("A - B", "stream", "draws", "RA", "BTI")
    for stream, a, b in DRAWN_PAIRS:
        ra, bti = (
            paired([statistics.fmean(seeds) for seeds in by_draw(stream, a, b, metric)]) for metric in ("ra", "bti")
        )
        yield f"| {a} - {b} | {stream} | {ra.n} | {ra} | {bti} |"


def osaka_table() -> Iterator[str]:
    """The methods of the short OSAKA run."""
    yield from _head("A - B", "n", "all", "Omniglot", "MNIST", "Fashion-MNIST")
    metrics = ("accuracy", *(f"accuracy/{domain}" for domain in ("omniglot", "mnist", "fashion_mnist")))
    for a, b in (("sparse-cmaml", "cmaml-fixed"), ("sparse-cmaml", "online-adam"), ("cmaml-fixed", "online-adam")):
        found = [paired(differences(seeds(OSAKA, metric, a), seeds(OSAKA, metric, b))) for metric in metrics]
        yield f"| {a} - {b} | {found[0].n} | {' | '.join(map(str, found))} |"


TABLES = {
    "results/replay-mnist/README.md": (replay_table, draws_table),
    "results/osaka-p90-short/README.md": (osaka_table,),
}
"""Page to the tables that it holds, as they are made here."""


def _head(*names: str) -> list[str]:
    return [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]


def _seeds(argument: str, metric: str) -> dict[int, float]:
    """Of ``FILE.json`` or ``FILE.json:VARIANT``."""
    file, _, variant = argument.partition(":")
    return seeds(Path(file), metric, variant or None)


if __name__ == "__main__":
    if len(sys.argv) == 4:
        found = paired(differences(*(_seeds(argument, sys.argv[1]) for argument in sys.argv[2:])))
        print(f"n = {found.n}, {found} points (95 %)")
    else:
        for page, tables in TABLES.items():
            for table in tables:
                print(f"{page}\n\n" + "\n".join(table()) + "\n")
