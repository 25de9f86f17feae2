"""What specifications are called: ``FAMILY/STREAM-METHOD[-VARIANT]``.

METHOD is the learner's kind, or one of its usual short names (`SHORT`). ``demo`` has no family, and those of ``own``,
whose method is only an example, are named for what they learn from.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

SHORT: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "cmaml-no-pap": ("cmaml",),
        "efficient-packnet": ("epn", "powerprop-epn"),
        "ewc-fisher": ("ewc", "powerprop-ewc"),
        "la-maml": ("grid",),
        "mmsup": ("sparsity-grid", "schedule-grid"),
        "online-laplace": ("laplace", "powerprop-laplace"),
        "online-sgd": ("online", "iid", "one-shot", "sparsity-grid"),
        "replay-cmaml": ("cmaml",),
        "replay-ewc": ("ewc",),
        "replay-metabgd": ("metabgd",),
        "sac": ("fine-tuning",),
        "sac-agem": ("agem",),
        "sac-epn": ("epn", "powerprop-epn"),
        "sac-ewc": ("ewc",),
        "sac-l2": ("l2",),
        "sac-mas": ("mas",),
        "sac-multi": ("multi",),
        "sac-packnet": ("packnet",),
        "sac-perfect-memory": ("perfect-memory",),
        "sac-single": ("single",),
        "sac-vcl": ("vcl",),
        "sequential": ("naive",),
        "sparse-cmaml": ("sparse-grid",),
        "sparse-la-maml": ("sparse-grid",),
        "sparse-maml": ("sparsity-grid", "k-grid", "alpha-grid"),
        "static-sparse": ("static", "dense", "one-shot"),
    }
)
"""Kind of learner to what stands for it as METHOD, beside the kind itself. ``iid`` is a stream with all tasks mixed,
``dense`` a mask without holes, ``one-shot`` a network that is pruned once it has learned, ``...grid`` a search."""

UNNAMED = ("own",)
"""Families whose names have no METHOD."""


class Name(NamedTuple):
    """Attributes: family, stream, method, variant: the parts of a name; variant empty for none."""

    family: str
    stream: str
    method: str
    variant: str


def parts(name: str, kind: str) -> Name | None:
    """The parts of ``name``, whose learner is of ``kind``; None where no word of the name stands for it."""
    family, slash, rest = name.partition("/")
    if not slash:
        return None
    for word in sorted((kind, *SHORT.get(kind, ())), key=len, reverse=True):
        stream, found, after = f"{rest}-".partition(f"-{word}-")
        if found and stream:
            return Name(family, stream, word, after.rstrip("-"))
    return None
