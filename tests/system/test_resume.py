"""A server is killed in the middle of a stream, another takes its address, and the text is the unbroken one."""

from pathlib import Path
from typing import Any

from deploy.cluster.ports import free_addresses
from tests.support.server import running_server
from tests.support.windows import SMALL_WINDOW
from unrolled_client import Client

LONG = 12_000  # more than fits into a small window, so that the stream waits for its reader


def test_a_killed_server_is_not_noticed(bundle: Path) -> None:
    limits: dict[str, Any] = {
        "listen": next(free_addresses()),
        "max_tokens": LONG,
        "max_prompt_tokens": 2 * LONG,
    }
    with (
        running_server(bundle, **limits) as first,
        Client(first.address, options=SMALL_WINDOW) as client,
    ):
        whole = client.generate("a", max_tokens=LONG, seed=7).read()
        with client.generate("a", max_tokens=LONG, seed=7) as stream:
            next(stream)
            first.process.kill()
            first.process.wait()
            with running_server(bundle, **limits):
                text = stream.read()
    assert text == whole
    assert stream.resumes >= 1
    assert stream.finish is not None
    assert (stream.finish.prompt_tokens, stream.finish.generated_tokens) == (1, LONG)
