"""Every stream holds to its contract (`frisket.envs.contract`): every row, and the further forms a row can take. And
the contract finds what is wrong."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from frisket.envs.contract import STREAM_CHECKS, StreamTrial, check
from frisket.envs.kinds import STREAMS
from frisket.envs.stream import Stream
from frisket.envs.streams.kind import StreamKind
from frisket.findings import Check, NotAsked
from frisket.types import Batch, Task

# Further forms of a stream, beside the one its row is quick in.
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    **{kind: (kind, {}) for kind in STREAMS},
    "mixed-episodes/unequal": ("mixed-episodes", {"domains": {"omniglot": 0.7, "miniimagenet": 0.3}}),
    "osaka/still": ("osaka", {"p": 1.0}),
    "osaka/restless": ("osaka", {"p": 0.0}),
    "incremental/task": ("incremental", {"scenario": "task"}),
    "incremental/domain": ("incremental", {"scenario": "domain", "augment": "crop-flip", "order_seed": 3}),
    "permutations/one_by_one": ("permutations", {"batch": 1, "samples": 8, "identity_first": True}),
    "robots/one_hot": ("robots", {"one_hot": True}),
    "robots/together": ("robots", {"together": True}),
    "robots/pendulum": ("robots", {"sequence": "pendulum", "steps": 400, "environments": 1, "trials": 2}),
    "rotations/passes": ("rotations", {"epochs": 2, "pad": 2, "mean": 0.1, "std": 0.3}),
    "split-classes/mixed": ("split-classes", {"order": "mixed", "mixed_tasks": 2, "mixed_batches": 6}),
    "split-classes/flipped": ("split-classes", {"augment": "crop-flip"}),
    "split-classes/one_head": ("split-classes", {"own_classes": False, "augment": "crop-flip-brightness"}),
}


def names(check: Check[StreamTrial]) -> str:
    return getattr(check, "__name__", "")


@pytest.mark.parametrize("form", list(FORMS))
@pytest.mark.parametrize("check", STREAM_CHECKS, ids=names)
def test_stream(check: Check[StreamTrial], form: str) -> None:
    kind, fields = FORMS[form]
    row = STREAMS[kind]
    with contextlib.suppress(NotAsked):
        check(StreamTrial(replace(row, quick={**row.quick, **fields})))


@dataclass(frozen=True, kw_only=True)
class CountingConfig:
    """Attributes: steps: of the stream; fault: what is wrong with it."""

    steps: int = 9
    fault: str = ""

    def datasets(self) -> tuple[str, ...]:
        return ()


class Counting(Stream):
    """Position p shows p, in tasks of three; with a fault."""

    shape, ways, domains = (1, 2, 2), 2, ("numbers",)

    def __init__(self, config: CountingConfig, data: Any, seed: int) -> None:
        self.steps, self.fault, self.seed, self.made = config.steps, config.fault, seed, 0

    def batch(self, position: int) -> Batch:
        self.made += 1
        x = torch.full((4, 1, 2, 2), float(position + 100 * self.seed))
        if self.fault == "remembers":
            x += self.made
        if self.fault == "global":
            x += np.random.rand()  # noqa: NPY002
        y = torch.tensor([0, 1, 1, 2 if self.fault == "labels" else 0])
        start = position - position % 3 + (self.fault == "tasks" and position % 3 == 2)
        return Batch(x.double() if self.fault == "double" else x, y, position, Task("numbers", (0, 1), start))

    def reseeded(self, seed: int) -> Stream | None:
        return Counting(CountingConfig(fault=self.fault), {}, seed + (self.fault == "reseeds"))

    def provenance(self) -> dict[str, Any]:
        return {"numbers": {1, 2} if self.fault == "provenance" else {"name": "numbers"}}


@pytest.mark.parametrize(
    ("fault", "broken", "says"),
    [
        ("", set(), ""),
        ("remembers", {"any order gives the same bits"}, "x differs at position 8, backwards"),
        ("global", {"no global generator is used"}, "the global generator of numpy was used"),
        ("labels", {"batches are as declared"}, r"position 0: labels \[0, 1, 2\] of range\(0, 2\)"),
        ("double", {"batches are as declared"}, r"torch\.float64"),
        ("tasks", {"tasks hold between switches"}, ""),
        ("reseeds", {"reseeded is built anew"}, "x differs at position 0 of seed 5"),
        ("provenance", {"provenance can be written"}, "set is not JSON serializable"),
    ],
)
def test_a_fault_is_found(fault: str, broken: set[str], says: str) -> None:
    kind = StreamKind(name="counting", config=CountingConfig, build=Counting, summary="counts", quick={"fault": fault})
    found = {finding.name: finding.seen for finding in check(kind) if not finding.ok}
    assert broken <= set(found)
    assert bool(broken) == bool(found)
    for name in broken:
        assert re.search(says, found[name])
