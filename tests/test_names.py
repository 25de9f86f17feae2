"""Every specification is called FAMILY/STREAM-METHOD[-VARIANT], METHOD being its learner's kind or a word for it."""

from __future__ import annotations

import pytest

from frisket.algos.kinds import LEARNERS
from frisket.platform.specs.outline import Outline, outlines
from frisket.tune_configs.names import SHORT, UNNAMED, Name, parts

OUTLINES = [outline for outline in outlines() if "/" in outline.name and outline.name.split("/")[0] not in UNNAMED]


def named(outline: Outline) -> Name | None:
    return parts(outline.name, outline.kinds("learner")[0])


@pytest.mark.parametrize(
    ("name", "kind", "found"),
    [
        ("replay/rotations-la-maml", "la-maml", ("replay", "rotations", "la-maml", "")),
        ("osaka/p98-cmaml-pre-um", "cmaml-no-pap", ("osaka", "p98", "cmaml", "pre-um")),
        ("pruning/mnist-powerprop-epn", "efficient-packnet", ("pruning", "mnist", "powerprop-epn", "")),
        ("replay/rotations-sparse-la-maml", "sparse-la-maml", ("replay", "rotations", "sparse-la-maml", "")),
        ("replay/rotations-fast", "er", None),
        ("replay/er", "er", None),
        ("demo", "er", None),
    ],
)
def test_parts_of_a_name(name: str, kind: str, found: tuple[str, ...] | None) -> None:
    assert parts(name, kind) == found


@pytest.mark.parametrize("outline", OUTLINES, ids=lambda outline: outline.name)
def test_method_is_the_kind_or_a_word_for_it(outline: Outline) -> None:
    kind, found = outline.kinds("learner")[0], named(outline)
    assert found is not None, f"{outline.name} names no method; its learner is {kind}"
    assert found.method in (kind, *SHORT.get(kind, ()))
    assert outline.name == f"{found.family}/{'-'.join(filter(None, found[1:]))}"


def test_one_stream_has_one_name() -> None:
    """What is called alike in a family has one kind of stream."""
    streams: dict[tuple[str, str], set[str]] = {}
    for outline in OUTLINES:
        found = named(outline)
        assert found is not None
        streams.setdefault((found.family, found.stream), set()).update(outline.kinds("stream"))
    assert {name: kinds for name, kinds in streams.items() if len(kinds) > 1} == {}


def test_every_word_is_used_and_stands_for_a_kind() -> None:
    assert set(SHORT) <= set(LEARNERS)
    used = {
        (outline.kinds("learner")[0], found.method) for outline in OUTLINES if (found := named(outline)) is not None
    }
    assert {(kind, word) for kind, words in SHORT.items() for word in words} - used == set()
