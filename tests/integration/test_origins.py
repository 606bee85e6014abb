"""What a text came from is said, and a call that continues it is refused by anything else."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from tests.support.reference import Shapes
from tests.support.refusals import read_refusal
from tests.support.serving import serving
from unrolled.v1.generation_pb2 import GenerateRequest, Origin
from unrolled.v1.generation_pb2_grpc import GenerationServiceStub
from unrolled.v1.sequence_pb2 import Inputs, TransduceRequest
from unrolled.v1.sequence_pb2_grpc import SequenceServiceStub
from unrolled_service.models.bundle import Bundle
from unrolled_service.server import Server

OTHERS = [("bundle", "model_sha256"), ("numerics", "numerics")]


@pytest.fixture(scope="module")
def translator(shapes: Shapes) -> Bundle:
    return shapes.bundle("translator")


@pytest.fixture(scope="module")
def server(alphabet: Bundle, translator: Bundle) -> Iterator[Server]:
    with serving(alphabet, translator) as served:
        yield served


def ask(server: Server, model: str, origin: Origin) -> list[Any]:
    """Return all messages of a call that writes six tokens, each by itself."""
    with grpc.insecure_channel(server.address) as channel:
        if model == "alphabet":
            request: Any = GenerateRequest(model=model, prompt="a", max_tokens=6, max_chunk_tokens=1, origin=origin)
            return list(GenerationServiceStub(channel).Generate(request, timeout=30))
        source = Inputs(text="abc")
        request = TransduceRequest(model=model, source=source, max_tokens=6, max_chunk_tokens=1, origin=origin)
        return list(SequenceServiceStub(channel).Transduce(request, timeout=30))


def mismatches(server: Server, differs: str) -> float:
    return server._metrics.registry.get_sample_value("unrolled_mismatches_total", {"differs": differs}) or 0.0


@pytest.mark.parametrize("model", ["alphabet", "translator"])
def test_the_first_piece_says_what_it_comes_from(
    server: Server, alphabet: Bundle, translator: Bundle, model: str
) -> None:
    host = (alphabet if model == "alphabet" else translator).host
    origin = Origin(model_sha256=host.model_sha256, numerics=host.numerics)

    chunks = [each.chunk for each in ask(server, model, Origin()) if each.HasField("chunk")]

    assert chunks[0].origin == origin
    assert len(chunks) > 1
    assert not any(chunk.HasField("origin") for chunk in chunks[1:])
    again = [each.chunk for each in ask(server, model, origin) if each.HasField("chunk")]
    assert again == chunks


@pytest.mark.parametrize("model", ["alphabet", "translator"])
@pytest.mark.parametrize(("differs", "field"), OTHERS)
def test_what_came_from_elsewhere_is_not_continued(server: Server, model: str, differs: str, field: str) -> None:
    before = mismatches(server, differs)

    with pytest.raises(grpc.RpcError) as caught:
        ask(server, model, Origin(**{field: b"\x05" * 32}))

    assert read_refusal(caught.value).reason == "MODEL_MISMATCH"
    assert mismatches(server, differs) == before + 1
