"""Prometheus text, as the imitated servers write it."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric


def text(registry: CollectorRegistry, *, multiprocess: bool) -> bytes:
    """The exposition of a registry.

    Args:
        multiprocess: as prometheus_client writes the sum of several processes: no `_created` samples, and no line at
            all for a metric that has no sample yet.
    """
    if not multiprocess:
        return generate_latest(registry)
    return generate_latest(_Multiprocess(registry))


class _Multiprocess:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            if metric.samples:
                yield metric
