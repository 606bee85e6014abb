"""What was logged as an error, but for what is not of the test that asks."""

import logging
from collections.abc import Iterable

_GRPC_POLLER = "PollerCompletionQueue._handle_events"


def complaints(records: Iterable[logging.LogRecord]) -> list[str]:
    """Return the messages of errors.

    Left out are those of gRPC's poller. There is one for the whole process, and it complains to whatever loop runs
    when something arrives late for a loop of an earlier test that is closed.
    """
    messages = [each.getMessage() for each in records if each.levelno >= logging.ERROR]
    return [each for each in messages if _GRPC_POLLER not in each]
