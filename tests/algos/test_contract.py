"""Every method and network holds to its contract (`frisket.algos.contract`): every row, and the further forms a row can
take. And the contract finds what is wrong."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from toys import FORMS, build, trial

from frisket.algos.contract import METHOD_CHECKS, NETWORK_CHECKS, NetworkTrial, Trial
from frisket.algos.kinds import NETWORKS
from frisket.algos.learner import Prunable
from frisket.findings import Check, NotAsked


def names(check: Check[Any]) -> str:
    return getattr(check, "__name__", "")


@pytest.mark.parametrize("form", list(FORMS))
@pytest.mark.parametrize("check", METHOD_CHECKS, ids=names)
def test_method(check: Check[Trial], form: str) -> None:
    with contextlib.suppress(NotAsked):
        check(trial(form))


@pytest.mark.parametrize("kind", list(NETWORKS))
@pytest.mark.parametrize("check", NETWORK_CHECKS, ids=names)
def test_network(check: Check[NetworkTrial], kind: str) -> None:
    with contextlib.suppress(NotAsked):
        check(NetworkTrial(NETWORKS[kind]))


def test_methods_that_answer_from_more_than_their_parameters_are_not_pruned() -> None:
    for form in ("icarl", "independent", "static-sparse"):
        learner = build(form)
        assert isinstance(learner, Prunable)
        assert learner.dense(learner.init(0)) is None
