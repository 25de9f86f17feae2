"""The examples in the methods' docstrings run, and every method's file has one."""

from __future__ import annotations

import doctest
import importlib

import pytest

from frisket.algos.kinds import LEARNERS

MODULES = sorted({entry.build.__module__ for entry in LEARNERS.values()})


@pytest.mark.parametrize("name", MODULES)
def test_example_runs(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0
