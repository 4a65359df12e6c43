"""Numbers for Prometheus: a registry per service, few buckets, no user labels."""

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

SECONDS_BUCKETS = (0.005, 0.025, 0.1, 0.5, 2.5, 10.0)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_LOOP_LAG_EVERY_SECONDS = 1.0


class RequestTimes(Collector):
    """How long requests took, by route and status; plain numbers, because this is written on every request."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str, int], list[float]] = {}

    def add(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request. `route` is the pattern, never the path."""
        counts = self._seen.get((method, route, status))
        if counts is None:
            counts = self._seen[(method, route, status)] = [0.0] * (len(SECONDS_BUCKETS) + 2)
        counts[bisect_left(SECONDS_BUCKETS, seconds)] += 1
        counts[-1] += seconds

    def collect(self) -> Iterable[Metric]:
        family = HistogramMetricFamily("darkroom_http_request_seconds", "Time to answer a request", labels=["method", "route", "status"])
        bounds = [str(bound) for bound in SECONDS_BUCKETS] + ["+Inf"]
        for (method, route, status), counts in list(self._seen.items()):
            total, buckets = 0.0, []
            for bound, count in zip(bounds, counts, strict=False):
                total += count
                buckets.append((bound, total))
            family.add_metric([method, route, str(status)], buckets, sum_value=counts[-1])
        yield family


class RelayNumbers(Collector):
    """What the relay counts by itself, read when somebody asks: facts told, and how long the oldest has been waiting."""

    def __init__(self, told_by_topic: Mapping[str, int], oldest_seconds: Callable[[], float]) -> None:
        self._told_by_topic = told_by_topic
        self._oldest_seconds = oldest_seconds

    def collect(self) -> Iterable[Metric]:
        told = CounterMetricFamily("darkroom_facts_told", "Facts the broker has acknowledged", labels=["topic"])
        for topic, count in list(self._told_by_topic.items()):
            told.add_metric([topic], count)
        yield told
        yield GaugeMetricFamily("darkroom_outbox_oldest_seconds", "Age of the oldest fact nobody was told, at the last sweep", value=self._oldest_seconds())


class Metrics:
    """A service's registry. Names come out as `darkroom_<name>`; six services in one process keep six registries."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.registry = CollectorRegistry()
        self.requests = RequestTimes()
        self.registry.register(self.requests)
        ProcessCollector(registry=self.registry)
        self.loop_lag = self.gauge("loop_lag_seconds", "How late the event loop woke up last")

    def counter(self, name: str, meaning: str, labels: Sequence[str] = ()) -> Counter:
        return Counter(f"darkroom_{name}", meaning, labels, registry=self.registry)

    def gauge(self, name: str, meaning: str, labels: Sequence[str] = ()) -> Gauge:
        return Gauge(f"darkroom_{name}", meaning, labels, registry=self.registry)

    def histogram(self, name: str, meaning: str, labels: Sequence[str] = (), buckets: Sequence[float] = SECONDS_BUCKETS) -> Histogram:
        return Histogram(f"darkroom_{name}", meaning, labels, registry=self.registry, buckets=buckets)

    def render(self) -> bytes:
        """The registry in Prometheus' text format."""
        return generate_latest(self.registry)

    async def watch_loop_lag(self, draining: asyncio.Event) -> None:
        """Keep the loop-lag gauge until draining; a Loop for the service to run."""
        loop = asyncio.get_running_loop()
        while not draining.is_set():
            due = loop.time() + _LOOP_LAG_EVERY_SECONDS
            await asyncio.sleep(_LOOP_LAG_EVERY_SECONDS)
            self.loop_lag.set(max(0.0, loop.time() - due))
