"""OpenTelemetry traces: one span a call, made when it has ended. Needs the extra ``otel``.

The only module that imports opentelemetry, and not before traces are asked for. Its words are those of
OpenTelemetry's semantic conventions for RPC, its environment is OpenTelemetry's own (``OTEL_SERVICE_NAME``,
``OTEL_TRACES_SAMPLER``, ``OTEL_EXPORTER_OTLP_HEADERS``, ...).
"""

import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Self

from unrolled_service.telemetry.calls import Call

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor

_PARENT_KEYS = ("traceparent", "tracestate")
_CLOSING_MS = 5000
_FAULTS = {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
"""Codes that are errors of the server's side, by the conventions."""


class TracesMissing(Exception):
    """The extra ``otel`` is not installed. The message says how to get it."""


class Traces:
    """Turns calls into spans.

    Args:
        processor: takes the spans.

    Raises:
        TracesMissing
    """

    def __init__(self, processor: "SpanProcessor") -> None:
        from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.trace import SpanKind, Status, StatusCode  # noqa: PLC0415
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        named = Resource.create({SERVICE_NAME: "unrolled"}).merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(resource=named)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("unrolled", version("unrolled"))
        self._propagator = TraceContextTextMapPropagator()
        self._kind, self._fault = SpanKind.SERVER, Status(StatusCode.ERROR)

    @classmethod
    def to(cls, endpoint: str) -> Self:
        """Return traces that go to a collector by OTLP over gRPC, in the background.

        Raises:
            TracesMissing
        """
        try:
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
            from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise TracesMissing(
                f"otlp_endpoint needs {error.name}; install it with: pip install 'unrolled[otel]'"
            ) from error
        return cls(BatchSpanProcessor(OTLPSpanExporter(endpoint)))

    def add(self, call: Call, code: str, reason: str | None) -> None:
        """Make the span of a call that ends now, below its caller's span if the caller sent one."""
        end_ns = time.time_ns()
        carrier = {key: value for key in _PARENT_KEYS if (value := call.read_metadata(key))}
        name = call.method.lstrip("/")
        attributes: dict[str, str | int | float] = {
            "rpc.system.name": "grpc",
            "rpc.method": name,
            "rpc.response.status_code": code,
            "unrolled.request_id": call.request_id,
        }
        if call.model:
            attributes["unrolled.model"] = call.model
        if reason:
            attributes["unrolled.reason"] = reason
        if finish := call.finish:
            attributes |= {
                "unrolled.prompt_tokens": finish.prompt_tokens,
                "unrolled.generated_tokens": finish.generated_tokens,
                "unrolled.finish": finish.reason.value,
                "unrolled.queue_s": finish.queue_s,
                "unrolled.time_to_first_token_s": finish.first_token_s,
            }
        span = self._tracer.start_span(
            name,
            context=self._propagator.extract(carrier),
            kind=self._kind,
            attributes=attributes,
            start_time=end_ns - int(1e9 * (time.monotonic() - call.began_s)),
        )
        if code in _FAULTS:
            span.set_status(self._fault)
        span.end(end_ns)

    def close(self) -> None:
        """Send what is left."""
        self._provider.force_flush(_CLOSING_MS)
        self._provider.shutdown()
