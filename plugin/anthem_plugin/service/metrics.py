"""`GET /metrics`: counters of the service in the format of Prometheus; they contain no text of any request."""

from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

# Method of an LRU cache: hits, misses, limit and size.
_CacheInfo: TypeAlias = Callable[[], tuple[int, int, int | None, int]]

_DURATION_BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class ServiceMetrics:
    """Counters of one service, in a registry that no other service shares."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter("anthem_requests", "Requests answered.", ["path", "status"], registry=registry)
        self.durations = Histogram(
            "anthem_request_seconds",
            "Time until the end of a response.",
            ["path"],
            buckets=_DURATION_BUCKETS_SECONDS,
            registry=registry,
        )
        self.in_progress = Gauge(
            "anthem_busy_requests", "Requests in progress, including those that timed out.", registry=registry
        )
        self.documents = Counter("anthem_documents", "Documents scored and products encoded.", registry=registry)
        self.rewrites = Counter(
            "anthem_rewrites", "Search bodies, by whether they were rewritten.", ["reranked"], registry=registry
        )

    def watch_query_caches(self, caches: Mapping[str, _CacheInfo]) -> None:
        """Add the hits and misses of the query caches, by the encoding that each of them keeps."""
        self.registry.register(_QueryCacheCollector(caches))


class _QueryCacheCollector(Collector):
    def __init__(self, caches: Mapping[str, _CacheInfo]) -> None:
        self._caches = caches

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Read the current counts."""
        labels = ["encoding", "result"]
        lookups = CounterMetricFamily("anthem_query_cache", "Queries looked up in the caches.", labels=labels)
        for encoding, cache_info in self._caches.items():
            hits, misses, *_ = cache_info()
            lookups.add_metric([encoding, "hit"], hits)
            lookups.add_metric([encoding, "miss"], misses)
        yield lookups


def routes(metrics: ServiceMetrics) -> APIRouter:
    """Define the endpoint that Prometheus scrapes."""
    router = APIRouter(tags=["health"])

    @router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def show_metrics() -> Response:
        """Return the counters in the text format of Prometheus."""
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return router
