"""docs/your-method.md does what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def blocks(checkout: Path, workplace: Path) -> list[str]:
    """The page's Python; its files are written into the workplace."""
    page = (checkout / "docs" / "your-method.md").read_text(encoding="utf-8")
    method, caller = re.findall(r"```python\n(.*?)```", page, re.S)
    (workplace / "my_method.py").write_text(method, encoding="utf-8")
    (spec,) = re.findall(r"```yaml\n(.*?)```", page, re.S)
    (workplace / "mine.yaml").write_text(spec, encoding="utf-8")
    (commands,) = re.findall(r"```\n(frisket.*?)```", page, re.S)
    return [commands, caller]


@pytest.mark.process
def test_the_page_runs(
    blocks: list[str], frisket: Callable[..., subprocess.CompletedProcess[str]], workplace: Path,
    environment: dict[str, str],
) -> None:  # fmt: skip
    commands, caller = blocks
    said = []
    for line in commands.strip().splitlines():
        done = frisket(*line.partition("#")[0].split()[1:])
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    assert re.search(r"falling-sgd: all \d+ hold", said[0])
    assert "mine" in said[1]
    assert "falling-sgd" not in said[3]
    done = subprocess.run(
        [sys.executable, "-c", caller], cwd=workplace, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "(1, 10)"
