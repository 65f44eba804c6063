"""The figures at `/metrics`. Labels come from closed sets, so that no caller can make series without end."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from forge import __version__

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_REST = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class Metrics:
    """One registry for each application, so that two of them in a process do not meet."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "forge_http_requests",
            "Requests that were answered.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "forge_http_request_seconds",
            "Time from a request's first byte to its answer's last.",
            ["route"],
            buckets=_REST,
            registry=self.registry,
        )
        self.streams = Gauge("forge_streams_open", "Streams that are being sent.", registry=self.registry)
        self.answers = Counter(
            "forge_provider_answers",
            "How conversations with a provider ended.",
            ["provider", "outcome"],
            registry=self.registry,
        )
        self.first_piece = Histogram(
            "forge_provider_first_piece_seconds",
            "Time until a provider's first piece.",
            ["provider"],
            buckets=_REST,
            registry=self.registry,
        )
        self.provider_up = Gauge(
            "forge_provider_up", "1 when the provider answered last.", ["provider"], registry=self.registry
        )
        self.redis_up = Gauge("forge_redis_up", "1 when Redis answered last.", registry=self.registry)
        build = Gauge("forge_build_info", "The version that runs.", ["version"], registry=self.registry)
        build.labels(__version__).set(1)

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts one answered request; `route` is the template, not the path."""
        known = method if method in _METHODS else "OTHER"
        self.requests.labels(known, route, str(status)).inc()
        self.seconds.labels(route).observe(seconds)

    def render(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self.registry)
