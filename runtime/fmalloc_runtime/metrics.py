"""Metrics for Prometheus: names, labels and buckets."""

from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

Stage = Literal["tokenise", "queue", "inference", "load"]
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_TOKENS = (16, 64, 256, 512, 1024, 2048, 4096, 8192)
_SENTENCES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The metrics of one server; labels are domain, engine and status, never a client."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "fmalloc_requests", "Requests answered.", ("endpoint", "status"), registry=self.registry
        )
        self.request_seconds = Histogram(
            "fmalloc_request_seconds", "Time to answer.", ("endpoint",), buckets=_SECONDS, registry=self.registry
        )
        self.stage_seconds = Histogram(
            "fmalloc_stage_seconds",
            "Time of a request per stage; inference: of a batch; load: of a model, with its hashes.",
            ("stage",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.batch_sentences = Histogram(
            "fmalloc_batch_sentences", "Sentences per batch.", ("domain",), buckets=_SENTENCES, registry=self.registry
        )
        self.batch_tokens = Histogram(
            "fmalloc_batch_tokens",
            "Padded source tokens per batch.",
            ("domain", "engine"),
            buckets=_TOKENS,
            registry=self.registry,
        )
        self.queued = Gauge("fmalloc_queued_sentences", "Sentences waiting for a batch.", registry=self.registry)
        self.routes = Counter("fmalloc_routes", "Texts routed.", ("domain", "asked"), registry=self.registry)
        self.characters = Counter(
            "fmalloc_characters", "Source characters translated.", ("domain",), registry=self.registry
        )
        self.numbers = Counter(
            "fmalloc_numbers",
            "Sentences whose numbers the model kept (also: had none), that got them back, or that lack some.",
            ("domain", "result"),
            registry=self.registry,
        )
        self.documents = Counter("fmalloc_documents", "Documents translated.", ("result",), registry=self.registry)
        self.documents_held = Gauge(
            "fmalloc_documents_held", "Documents on their way or to be downloaded.", registry=self.registry
        )
        self.corrections = Counter(
            "fmalloc_corrections",
            "Corrections that were kept, known already, or refused.",
            ("domain", "result"),
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "fmalloc_in_flight_characters", "Source characters admitted and not yet answered.", registry=self.registry
        )
        self.refused = Counter("fmalloc_refused", "Requests refused.", ("reason",), registry=self.registry)
        self.reloads = Counter(
            "fmalloc_reloads",
            "Changes of live.json that were applied (ok) or not (failed).",
            ("result",),
            registry=self.registry,
        )
        self.failing = Gauge(
            "fmalloc_reload_failing",
            "1 while the current live.json could not be applied, else 0.",
            registry=self.registry,
        )
        self.decisions_lost = Gauge(
            "fmalloc_decisions_lost", "Routing decisions that could not be logged.", registry=self.registry
        )
        self.loaded = Gauge(
            "fmalloc_loaded", "1 if the domain's model is in memory, else 0.", ("domain",), registry=self.registry
        )
        self.model_bytes = Gauge("fmalloc_model_bytes", "Estimated memory of loaded models.", registry=self.registry)

    def stage(self, stage: Stage, seconds: float) -> None:
        """Record the time of a stage."""
        self.stage_seconds.labels(stage).observe(seconds)

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)
