"""Who is calling: said once by the guard, read where a call meets a session.

It lives in the context of the call's task, so it reaches what the call starts and nothing else.
"""

from contextvars import ContextVar

from unrolled_service.callers.identity import Identity

_CALLER: ContextVar[Identity] = ContextVar("caller")


def caller() -> Identity:
    """Return who is calling.

    Raises:
        LookupError: not in a call, or in one that the guard did not let in.
    """
    return _CALLER.get()


def introduce(identity: Identity) -> None:
    """Say who is calling, for the rest of the current task."""
    _CALLER.set(identity)
