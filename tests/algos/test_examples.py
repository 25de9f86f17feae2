"""The examples in the methods' docstrings run, and every method's file has one."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

from frisket.algos import learners

MODULES = [info.name for info in pkgutil.iter_modules(learners.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_example_runs(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"frisket.algos.learners.{name}"))
    assert result.attempted > 0
    assert result.failed == 0
