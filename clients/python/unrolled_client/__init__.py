"""Python client of Unrolled: recurrent models over gRPC, streamed.

The public names are loaded at first use, so that a command line that only prints its help does not pay for
gRPC.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unrolled_client.answers import Activations, Classification, Output
    from unrolled_client.async_client import AsyncClient
    from unrolled_client.async_session import AsyncSession
    from unrolled_client.async_steps import AsyncSteps
    from unrolled_client.async_stream import AsyncStream
    from unrolled_client.client import Client
    from unrolled_client.credentials import Tls
    from unrolled_client.errors import UnrolledError
    from unrolled_client.models import Figure, ModelInfo, Port
    from unrolled_client.session import Session
    from unrolled_client.steps import Steps
    from unrolled_client.stream import Stream
    from unrolled_client.values import (
        Chunk,
        Finish,
        ResumePolicy,
        Sampling,
        Score,
        SessionInfo,
        TokenLogprob,
        TokenLogprobs,
    )

__all__ = [
    "Activations",
    "AsyncClient",
    "AsyncSession",
    "AsyncSteps",
    "AsyncStream",
    "Chunk",
    "Classification",
    "Client",
    "Figure",
    "Finish",
    "ModelInfo",
    "Output",
    "Port",
    "ResumePolicy",
    "Sampling",
    "Score",
    "Session",
    "SessionInfo",
    "Steps",
    "Stream",
    "Tls",
    "TokenLogprob",
    "TokenLogprobs",
    "UnrolledError",
]

_MODULES = {
    "Activations": "answers",
    "AsyncClient": "async_client",
    "AsyncSession": "async_session",
    "AsyncSteps": "async_steps",
    "AsyncStream": "async_stream",
    "Classification": "answers",
    "Client": "client",
    "Figure": "models",
    "ModelInfo": "models",
    "Output": "answers",
    "Port": "models",
    "Session": "session",
    "Steps": "steps",
    "Stream": "stream",
    "Tls": "credentials",
    "UnrolledError": "errors",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'values')}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
