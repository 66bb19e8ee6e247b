"""`GET /metrics`: what the service does, as Prometheus reads it; no text of any request is in it."""

from collections.abc import Callable, Iterator

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

_DURATION_BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class ServiceMetrics:
    """The counters of one service, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = known = CollectorRegistry()
        ProcessCollector(registry=known)
        self.requests = Counter("anthem_requests", "Requests answered.", ["path", "status"], registry=known)
        self.seconds = Histogram(
            "anthem_request_seconds",
            "Time to the end of an answer.",
            ["path"],
            buckets=_DURATION_BUCKETS_SECONDS,
            registry=known,
        )
        self.busy = Gauge("anthem_busy_requests", "Requests under way, also those given up as late.", registry=known)
        self.documents = Counter("anthem_documents", "Documents scored and products encoded.", registry=known)
        self.rewrites = Counter("anthem_rewrites", "Bodies rewritten or left alone.", ["reranked"], registry=known)

    def watch(self, cache_info: Callable[[], tuple[int, int, int | None, int]]) -> None:
        """Show the hits and misses of a cache of queries, as `cache_info` of an LRU cache has them."""
        self.registry.register(_QueryCacheCollector(cache_info))


class _QueryCacheCollector(Collector):
    def __init__(self, cache_info: Callable[[], tuple[int, int, int | None, int]]) -> None:
        self._cache_info = cache_info

    def collect(self) -> Iterator[CounterMetricFamily]:
        """The counts of this moment."""
        hits, misses, *_ = self._cache_info()
        shown = CounterMetricFamily("anthem_query_cache", "Queries looked up in the cache.", labels=["result"])
        shown.add_metric(["hit"], hits)
        shown.add_metric(["miss"], misses)
        yield shown


def routes(metrics: ServiceMetrics) -> APIRouter:
    """The endpoint that Prometheus asks."""
    router = APIRouter(tags=["health"])

    @router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    def show_metrics() -> Response:
        """Show the counters in the text format of Prometheus."""
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return router
