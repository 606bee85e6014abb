"""The call that is being served: what is known of it, for whoever writes of it. Runs on the event loop.

Every gRPC call is a task of its own, so a context variable leads from anywhere below a handler, and from the tasks
that it starts, to its call. Knows nothing that a caller wrote but names and ids.
"""

import re
import secrets
import time
from collections.abc import Iterable
from contextvars import ContextVar

import grpc

from unrolled_service.rows.finish import Finish

REQUEST_ID_KEY = "x-request-id"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_MADE_BYTES = 8


class Call:
    """One call, from its arrival to its end.

    Args:
        method: full name, ``/package.Service/Method``.
        context: of gRPC.

    Attributes:
        method: as given.
        model: name of the bundle, once it is found.
        session_id: of the session that it acts on, if there is one. Not for the log as it is.
        finish: how its row ended, if it has.
        began_s: ``time.monotonic`` of its arrival.
    """

    __slots__ = ("_metadata", "_request_id", "began_s", "finish", "method", "model", "session_id")

    def __init__(self, method: str, context: grpc.aio.ServicerContext) -> None:
        self.method = method
        self.model = ""
        self.session_id: str | None = None
        self.finish: Finish | None = None
        self.began_s = time.monotonic()
        # Read now: what a call leaves behind may outlive it, and gRPC's memory of the metadata does not.
        self._metadata: Iterable[tuple[str, str | bytes]] = context.invocation_metadata() or ()
        self._request_id = ""

    @property
    def request_id(self) -> str:
        """What the caller names the call by: 1 to 64 of ``A-Z a-z 0-9 . _ -`` in ``x-request-id``; else one is made.

        Most calls end without being asked, so it is found or made when it is asked for.
        """
        if not self._request_id:
            given = self.read_metadata(REQUEST_ID_KEY)
            is_taken = given is not None and _REQUEST_ID.fullmatch(given)
            self._request_id = given if is_taken and given else secrets.token_hex(_MADE_BYTES)
        return self._request_id

    def read_metadata(self, key: str) -> str | None:
        """Return what the caller sent under a key; None for nothing, for bytes, and for more than one."""
        found = [value for name, value in self._metadata if name == key]
        return found[0] if len(found) == 1 and isinstance(found[0], str) else None


_current: ContextVar[Call | None] = ContextVar("call", default=None)


def begin_call(method: str, context: grpc.aio.ServicerContext) -> Call:
    """Return a call that is the current one of this task from now on."""
    call = Call(method, context)
    _current.set(call)
    return call


def current_call() -> Call | None:
    """Return the call that this task serves, if it serves one."""
    return _current.get()


def note(*, model: str | None = None, session_id: str | None = None, finish: Finish | None = None) -> None:
    """Add to what is known of the current call, if there is one."""
    call = _current.get()
    if call is None:
        return
    call.model = model or call.model
    call.session_id = session_id or call.session_id
    call.finish = finish or call.finish
