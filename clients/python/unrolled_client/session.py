"""A handle on a session, synchronous."""

import time
import weakref
from types import TracebackType
from typing import TYPE_CHECKING, Self, Unpack

from unrolled_client.errors import SessionBusy
from unrolled_client.stream import Stream
from unrolled_client.values import SessionInfo
from unrolled_client.wire import requests

if TYPE_CHECKING:
    from unrolled_client.client import Client

# A cancelled stream occupies its session until the slice in progress is over.
BUSY_DELAYS_S = tuple(0.01 * 2**n for n in range(8))


class Session:
    """A session of the server. Calls on it continue where the last one ended, one stream at a time.

    As a context manager it closes its open stream at exit; the session itself lives on.
    """

    def __init__(self, client: "Client", session_id: str, position: int | None = None) -> None:
        self._client = client
        self._id = session_id
        self._position = position
        self._stream: weakref.ref[Stream] | None = None

    @property
    def id(self) -> str:
        """Return the session's id."""
        return self._id

    @property
    def position(self) -> int | None:
        """Return the last position that the server reported, in tokens; None before any report.

        After a cancelled stream the session may be further: the server counts text that was under way. `info`
            asks.
        """
        return self._position

    def generate(self, prompt: str = "", *, max_tokens: int, **options: Unpack[requests.GenerateOptions]) -> Stream:
        """Feed the prompt and stream the text that follows.

        Args:
            prompt: text to feed first; may be empty once the session is past position 0.
            max_tokens: how many tokens to generate at most, from 1.
            options: see `Client.generate`.
        """
        call = requests.generate(prompt, max_tokens=max_tokens, session_id=self._id, **options)
        stream = self._client._start(call, self._advance)
        self._stream = weakref.ref(stream)
        return stream

    def info(self) -> SessionInfo:
        """Ask the server for the session as it is now.

        Raises:
            SessionNotFound, SessionExpired: it is gone.
        """
        info = self._client.get_session(self._id)
        self._advance(info.position)
        return info

    def delete(self) -> None:
        """Cancel the handle's open stream and end the session.

        Raises:
            SessionNotFound, SessionExpired: it is gone already.
            SessionBusy: a stream of somebody else runs on it.
        """
        self.close()
        for delay_s in BUSY_DELAYS_S:
            try:
                return self._client.delete_session(self._id)
            except SessionBusy:
                time.sleep(delay_s)
        return self._client.delete_session(self._id)

    def close(self) -> None:
        """Cancel the handle's open stream, if there is one; the session lives on."""
        stream = self._stream() if self._stream is not None else None
        if stream is not None:
            stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _advance(self, position: int) -> None:
        self._position = position
