"""What the service counts. Read it from Prometheus (Ray adds ``ray_`` to the names), or from `Numbers.totals`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple


class Metric(NamedTuple):
    """Attributes: kind: of Prometheus; text: what it says."""

    kind: Literal["counter", "gauge", "histogram"]
    text: str


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "frisket_source_chunks": Metric("counter", "chunks a source has made"),
        "frisket_source_items": Metric("counter", "items (batches) in them"),
        "frisket_source_bytes": Metric("counter", "their bytes on the wire"),
        "frisket_source_busy_seconds": Metric("counter", "time a source has spent on making them"),
        "frisket_source_queue_depth": Metric("gauge", "requests a source has not answered yet"),
        "frisket_consumer_chunks": Metric("counter", "chunks a consumer has taken"),
        "frisket_consumer_items": Metric("counter", "items (batches) in them"),
        "frisket_consumer_bytes": Metric("counter", "their bytes on the wire"),
        "frisket_consumer_ahead": Metric("gauge", "chunks under way to a consumer"),
        "frisket_consumer_lag_seconds": Metric(
            "histogram", "how long a consumer waited for a chunk when it came to it"
        ),
        "frisket_consumer_retries": Metric("counter", "requests repeated because a source was lost"),
    }
)
"""By name. All have the tags `TAGS`: the service, and who counts (number of the source, name of the consumer)."""

TAGS = ("service", "who")
_LAG_BOUNDS = [0.0001, 0.001, 0.01, 0.1, 1.0, 10.0]


class Numbers:
    """Totals of this process: sums of counters and histograms, last values of gauges."""

    def __init__(self) -> None:
        self.totals: dict[str, float] = {}

    def record(self, name: str, value: float) -> None:
        """Add to a counter, set a gauge, put into a histogram."""
        old = 0.0 if METRICS[name].kind == "gauge" else self.totals.get(name, 0.0)
        self.totals[name] = old + value


class RayNumbers(Numbers):
    """`Numbers` that Ray exports too; in a process that is part of a Ray cluster. Args: service, who: the tags."""

    def __init__(self, service: str, who: str) -> None:
        from ray.util.metrics import Counter, Gauge, Histogram

        super().__init__()
        tags = {"service": service, "who": who}
        makers = {
            "counter": lambda name, text: Counter(name, text, TAGS).inc,
            "gauge": lambda name, text: Gauge(name, text, TAGS).set,
            "histogram": lambda name, text: Histogram(name, text, _LAG_BOUNDS, TAGS).observe,
        }
        self._tags = tags
        self._export = {name: makers[metric.kind](name, metric.text) for name, metric in METRICS.items()}

    def record(self, name: str, value: float) -> None:
        super().record(name, value)
        if value or METRICS[name].kind != "counter":  # Ray refuses to add nothing
            self._export[name](value, tags=self._tags)
