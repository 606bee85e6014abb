"""Every call that the server takes a priority for can have one."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.client.fake_server import FakeServer
from unrolled.v1 import generation_pb2

ASKING: dict[str, Callable[..., Any]] = {
    "generate": lambda client, **options: client.generate("a", max_tokens=1, **options).read(),
    "score": lambda client, **options: client.score("ab", **options),
    "step": lambda client, **options: client.step("a", **options).read(),
    "classify": lambda client, **options: client.classify("a", **options),
    "transduce": lambda client, **options: client.transduce("a", **options).read(),
    "session.generate": lambda client, **options: session(client).generate("a", max_tokens=1, **options).read(),
    "session.step": lambda client, **options: session(client).step("a", **options).read(),
    "session.classify": lambda client, **options: session(client).classify("a", **options),
}
PRIORITIES = {
    None: generation_pb2.PRIORITY_UNSPECIFIED,
    "interactive": generation_pb2.PRIORITY_INTERACTIVE,
    "batch": generation_pb2.PRIORITY_BATCH,
}


def session(client: Any) -> Any:
    return client.open_session(client.create_session().id)


@pytest.mark.parametrize("name", ASKING)
@pytest.mark.parametrize("priority", PRIORITIES)
def test_a_priority_reaches_the_wire(fake: FakeServer, client: Any, name: str, priority: str | None) -> None:
    ASKING[name](client, priority=priority)
    request = fake.requests[-1]
    assert getattr(request, "opening", request).priority == PRIORITIES[priority]


@pytest.mark.parametrize("name", ASKING)
def test_a_priority_that_there_is_not_is_refused(client: Any, name: str) -> None:
    with pytest.raises(ValueError, match="PRIORITY_URGENT"):
        ASKING[name](client, priority="urgent")
