"""Python client of Unrolled: streamed text from recurrent models, over gRPC.

The public names are loaded at first use, so that a command line that only prints its help does not pay for
gRPC.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unrolled_client.async_client import AsyncClient
    from unrolled_client.async_session import AsyncSession
    from unrolled_client.async_stream import AsyncStream
    from unrolled_client.client import Client
    from unrolled_client.errors import UnrolledError
    from unrolled_client.session import Session
    from unrolled_client.stream import Stream
    from unrolled_client.values import (
        Chunk,
        Finish,
        ModelInfo,
        ResumePolicy,
        Sampling,
        Score,
        SessionInfo,
        TokenLogprob,
        TokenLogprobs,
    )

__all__ = [
    "AsyncClient",
    "AsyncSession",
    "AsyncStream",
    "Chunk",
    "Client",
    "Finish",
    "ModelInfo",
    "ResumePolicy",
    "Sampling",
    "Score",
    "Session",
    "SessionInfo",
    "Stream",
    "TokenLogprob",
    "TokenLogprobs",
    "UnrolledError",
]

_MODULES = {
    "AsyncClient": "async_client",
    "AsyncSession": "async_session",
    "AsyncStream": "async_stream",
    "Client": "client",
    "Session": "session",
    "Stream": "stream",
    "UnrolledError": "errors",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'values')}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
