import asyncio
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled_service.telemetry.calls import Call, begin_call, current_call, note

METHOD = "/unrolled.v1.GenerationService/Generate"


class Context:
    """A gRPC context that has metadata and nothing else."""

    def __init__(self, *metadata: tuple[str, str | bytes]) -> None:
        self.metadata = metadata
        self.reads = 0

    def invocation_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        self.reads += 1
        return self.metadata


def id_of(*metadata: tuple[str, Any]) -> str:
    return Call(METHOD, Context(*metadata)).request_id


@given(st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True))
def test_a_well_formed_request_id_is_taken(given_id: str) -> None:
    assert id_of(("user-agent", "x"), ("x-request-id", given_id)) == given_id


@given(st.text().filter(lambda text: not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", text)))
def test_any_other_is_replaced(given_id: str) -> None:
    assert re.fullmatch(r"[0-9a-f]{16}", id_of(("x-request-id", given_id)))


@pytest.mark.parametrize(
    "metadata",
    [(), (("x-request-id", b"abc"),), (("x-request-id", "a"), ("x-request-id", "b")), (("x-request-id-2", "a"),)],
)
def test_none_or_two_or_bytes_are_replaced(metadata: tuple[tuple[str, Any], ...]) -> None:
    assert re.fullmatch(r"[0-9a-f]{16}", id_of(*metadata))


def test_an_id_is_made_once() -> None:
    call = Call(METHOD, Context())
    assert call.request_id == call.request_id
    assert call.request_id != id_of()


def test_grpc_is_not_asked_for_metadata_after_the_arrival() -> None:
    context = Context(("x-request-id", "a"))
    call = Call(METHOD, context)
    context.metadata = ()  # the call has ended, and with it what it was sent
    assert (call.request_id, call.read_metadata("x-request-id"), context.reads) == ("a", "a", 1)


def test_a_task_and_the_tasks_that_it_starts_have_the_call() -> None:
    async def below() -> Call | None:
        note(session_id="s")
        return current_call()

    async def serve(name: str) -> tuple[Call, Call | None]:
        call = begin_call(METHOD, Context(("x-request-id", name)))
        await asyncio.sleep(0)
        note(model=name)
        return call, await asyncio.create_task(below())

    async def crowd() -> list[tuple[Call, Call | None]]:
        return list(await asyncio.gather(*(serve(f"{i}") for i in range(8))))

    for i, (call, found) in enumerate(asyncio.run(crowd())):
        assert found is call
        assert (call.request_id, call.model, call.session_id) == (f"{i}", f"{i}", "s")
    assert current_call() is None
    note(model="nobody's")
