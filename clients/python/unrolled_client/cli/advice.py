"""Says in one line what went wrong and what to do next."""

from collections.abc import Mapping
from types import MappingProxyType

import click

from unrolled_client import errors
from unrolled_client.cli.failure import Failure
from unrolled_client.cli.place import Place

_ADVICE: Mapping[type[errors.UnrolledError], str] = MappingProxyType(
    {
        errors.Unauthenticated: "name the file of one with --token, or set UNROLLED_TOKEN",
        errors.PermissionDenied: "ask the server's operator for one that has it",
        errors.ModelNotFound: "`unrolled models` lists what is served",
        errors.ModelMismatch: "leave --model out to use the session's",
        errors.SessionNotFound: "`unrolled sessions` lists those there are",
        errors.SessionExpired: "start again without --session",
        errors.SessionBusy: "wait for its other stream, or cancel that",
        errors.PositionMismatch: "`unrolled sessions` lists where they are",
        errors.RewindOutOfRange: "`unrolled sessions` lists how far back they go",
        errors.SnapshotMismatch: "--accept-other-numerics takes it where only the arithmetic differs",
        errors.ResourceExhausted: "try again later",
        errors.Draining: "try again, or another server",
        errors.DeadlineExceeded: "give it more time with --timeout",
    }
)


def explain(error: errors.UnrolledError, server: Place | str) -> click.ClickException:
    """Return the one-line error of the command line for a failed call."""
    if isinstance(error, errors.Unreachable):
        return Failure(f"no server answers at {server} ({error.message}); start one with: unrolled serve")
    if isinstance(error, errors.ResourceExhausted) and error.retry_after_s is not None:
        return Failure(f"{error.message}; try again in {error.retry_after_s:g} s")
    if error.error_id is not None and error.error_id not in error.message:
        return Failure(f"{error.message}; quote {error.error_id} to the server's operator")
    if error.method:
        return Failure(f"{error.message}; the verb is `unrolled {error.method.rpartition('.')[2].lower()}`")
    for kind, advice in _ADVICE.items():
        if isinstance(error, kind):
            return Failure(f"{error.message}; {advice}")
    return Failure(error.message)
