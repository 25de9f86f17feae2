"""Which specifications need their real data, and how small they must be made to be tried out on embedded data."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import NamedTuple


class RealData(NamedTuple):
    """Attributes: name: the data set; small: overrides with which the specification runs on its embedded stand-in."""

    name: str
    small: tuple[str, ...]


NEEDED: Mapping[str, RealData] = MappingProxyType(
    {
        "pruning/permuted-mnist-*": RealData("mnist", ("stream.validation=100", "stream.samples=640")),
        "pruning/mnist-one-shot": RealData("mnist", ("stream.validation=100", "stream.samples=960")),
        "pruning/generative-notmnist-*": RealData("notmnist", ("protocol.batch=10",)),
        "pruning/imagenet-*": RealData("imagenet", ("stream.batch=256",)),
        "replay/cifar100-single-icarl": RealData("cifar100", ("learner.task_steps=6",)),
        "replay/cifar100-multiple-icarl": RealData("cifar100", ("learner.task_steps=60",)),
        "replay/tinyimagenet-single-icarl": RealData("tinyimagenet", ("learner.task_steps=6",)),
        "replay/tinyimagenet-multiple-icarl": RealData("tinyimagenet", ("learner.task_steps=60",)),
    }
)
"""Name of a specification, or pattern of names, to what it needs: as published, it is too large for embedded data."""


def real_data(name: str) -> RealData | None:
    """What the specification ``name`` needs; None where it runs on embedded data as it is."""
    return next((needed for pattern, needed in NEEDED.items() if fnmatchcase(name, pattern)), None)
