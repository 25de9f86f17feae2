"""docs/streaming.md: its example runs, its tables name what there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from frisket.platform.specs.section import StreamSource
from frisket.platform.streaming.metrics import METRICS
from frisket.platform.streaming.transport import LocalTransport


@pytest.fixture(scope="module")
def page(checkout: Path) -> str:
    return (checkout / "docs" / "streaming.md").read_text(encoding="utf-8")


def test_metrics_are_listed_as_they_are(page: str) -> None:
    rows = re.findall(r"^\| `(frisket_\w+)` \| (\w+) \| (.+) \|$", page, re.M)
    assert rows == [(name, metric.kind, metric.text) for name, metric in METRICS.items()]


def test_every_source_is_explained(page: str) -> None:
    named = re.findall(r"^\| `([\w-]+)`(?: \(default\))? \| ", page, re.M)
    assert sorted(name for name in named if not name.startswith("frisket_")) == sorted(get_args(StreamSource))


def test_example_runs(page: str) -> None:
    """In this process, by the replacement that the page itself names."""
    (code,) = re.findall(r"```python\n(.+?)```", page, re.S)
    for line in ("import ray\n", "ray.init()\n", "service.stop()\n"):
        assert line in code
        code = code.replace(line, "")
    code = re.sub(r"RayTransport\.start\(.+\) +#.*", "LocalTransport(sources=2)", code).replace(
        "range(1000)", "range(30)"
    )
    names: dict[str, object] = {"LocalTransport": LocalTransport, "__name__": __name__}
    exec(code, names)
    item = names["item"]
    assert isinstance(item, dict)
    assert item["path"].shape == (5, 2)
    assert item["reward"] == 29 / 7
