"""Spans of a server's calls: in memory, and as a collector receives them."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import Queue
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from tests.support.serving import serving
from unrolled.v1.generation_pb2 import GenerateRequest
from unrolled.v1.generation_pb2_grpc import GenerationServiceStub
from unrolled_client import Client
from unrolled_service.graphs.program import Program
from unrolled_service.models.bundle import Bundle
from unrolled_service.telemetry.traces import Traces, TracesMissing

GENERATE = "unrolled.v1.GenerationService/Generate"
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    monkeypatch.setattr(Traces, "to", lambda _: Traces(SimpleSpanProcessor(exporter)))
    return exporter


@contextmanager
def tracing(bundle: Bundle, **settings: object) -> Iterator[GenerationServiceStub]:
    with serving(bundle, otlp_endpoint="http://127.0.0.1:1", **settings) as server:
        with grpc.insecure_channel(server.address) as channel:
            yield GenerationServiceStub(channel)


def attributes_of(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_a_call_is_one_span_with_what_it_took(alphabet: Bundle, spans: InMemorySpanExporter) -> None:
    with tracing(alphabet) as stub:
        list(stub.Generate(GenerateRequest(prompt="hello", max_tokens=200), metadata=[("x-request-id", "r-1")]))

    (span,) = spans.get_finished_spans()
    assert (span.name, span.kind, span.parent) == (GENERATE, SpanKind.SERVER, None)
    assert span.status.status_code is StatusCode.UNSET
    attributes = attributes_of(span)
    queue_s, first_s = attributes.pop("unrolled.queue_s"), attributes.pop("unrolled.time_to_first_token_s")
    assert attributes == {
        "rpc.system.name": "grpc",
        "rpc.method": GENERATE,
        "rpc.response.status_code": "OK",
        "unrolled.request_id": "r-1",
        "unrolled.model": "alphabet",
        "unrolled.prompt_tokens": 5,
        "unrolled.generated_tokens": 200,
        "unrolled.finish": "length",
    }
    assert span.start_time is not None
    assert span.end_time is not None
    assert 0 <= queue_s <= first_s <= (span.end_time - span.start_time) / 1e9


def test_a_span_hangs_below_its_callers(alphabet: Bundle, spans: InMemorySpanExporter) -> None:
    with tracing(alphabet) as stub:
        for parent in (f"00-{TRACE}-{PARENT}-01", "nonsense", f"00-{TRACE}-{PARENT}-00"):
            list(stub.Generate(GenerateRequest(prompt="a", max_tokens=1), metadata=[("traceparent", parent)]))

    child, root = spans.get_finished_spans()  # the caller of the third does not record, and so it is not recorded
    assert child.parent is not None
    assert (f"{child.parent.trace_id:032x}", f"{child.parent.span_id:016x}") == (TRACE, PARENT)
    assert f"{child.context.trace_id:032x}" == TRACE
    assert root.parent is None


def test_a_refusal_says_why_and_only_a_defect_is_an_error(
    alphabet: Bundle, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError

    with tracing(alphabet) as stub:
        monkeypatch.setattr(Program, "run", fail)
        for request in (GenerateRequest(prompt="a secret!"), GenerateRequest(prompt="a", max_tokens=1)):
            with pytest.raises(grpc.RpcError):
                list(stub.Generate(request))

    refused, failed = spans.get_finished_spans()
    assert attributes_of(refused)["unrolled.reason"] == "INVALID_FIELD"
    assert attributes_of(refused)["rpc.response.status_code"] == "INVALID_ARGUMENT"
    assert refused.status.status_code is StatusCode.UNSET
    assert attributes_of(failed)["unrolled.reason"] == "INTERNAL"
    assert failed.status.status_code is StatusCode.ERROR
    assert not any("secret" in repr((span.to_json(), span.events)) for span in (refused, failed))


def test_a_collector_receives_the_spans_before_the_server_is_gone(alphabet: Bundle) -> None:
    received: Queue[ExportTraceServiceRequest] = Queue()

    def export(request: ExportTraceServiceRequest, _: grpc.ServicerContext) -> ExportTraceServiceResponse:
        received.put(request)
        return ExportTraceServiceResponse()

    handler = grpc.unary_unary_rpc_method_handler(
        export, ExportTraceServiceRequest.FromString, ExportTraceServiceResponse.SerializeToString
    )
    collector = grpc.server(ThreadPoolExecutor(1))
    service, _, method = EXPORT.lstrip("/").partition("/")
    collector.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {method: handler})])
    port = collector.add_insecure_port("127.0.0.1:0")
    collector.start()
    with serving(alphabet, otlp_endpoint=f"http://127.0.0.1:{port}") as server, Client(server.address) as client:
        client.generate("hello", max_tokens=3).read()
    collector.stop(None)

    (resource,) = received.get(timeout=10).resource_spans
    named = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert named["service.name"] == "unrolled"
    assert [span.name for span in resource.scope_spans[0].spans] == [GENERATE]


def test_without_the_extra_traces_say_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.grpc.trace_exporter", None)
    with pytest.raises(TracesMissing, match=r"install it with: pip install 'unrolled\[otel\]'"):
        Traces.to("http://127.0.0.1:1")


def test_a_server_loads_without_what_makes_traces() -> None:
    code = "import sys\nsys.modules['opentelemetry'] = None\nimport unrolled_service.cli"
    assert not subprocess.run([sys.executable, "-c", code], check=False).returncode
