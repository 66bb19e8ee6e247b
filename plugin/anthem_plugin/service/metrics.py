"""`GET /metrics`: what the service does, as Prometheus reads it; no text of any request is in it."""

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The counters of one service, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = known = CollectorRegistry()
        ProcessCollector(registry=known)
        self.requests = Counter("anthem_requests", "Requests answered.", ["path", "status"], registry=known)
        self.seconds = Histogram(
            "anthem_request_seconds", "Time to the end of an answer.", ["path"], buckets=_SECONDS, registry=known
        )
        self.busy = Gauge("anthem_busy_requests", "Requests under way, also those given up as late.", registry=known)
        self.documents = Counter("anthem_documents", "Documents scored and products encoded.", registry=known)
        self.rewrites = Counter("anthem_rewrites", "Bodies rewritten or left alone.", ["reranked"], registry=known)


def routes(metrics: Metrics) -> APIRouter:
    """The endpoint that Prometheus asks."""
    router = APIRouter(tags=["health"])

    @router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    def show_metrics() -> Response:
        """Show the counters in the text format of Prometheus."""
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return router
