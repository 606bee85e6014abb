"""Room for connections: each is a file to the operating system, which lets a process have only so many."""

import logging
import resource

from unrolled_service.telemetry.logs import fields

_log = logging.getLogger(__name__)
_OTHERS = 512  # of the runtime, the store, logs, and at most 64 readers of the operators' pages


def make_room(connections: int) -> None:
    """Raise this process's limit of open files to what so many connections need; warn where that may not be.

    Args:
        connections: of all listeners together.
    """
    wanted = connections + _OTHERS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    possible = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (possible, hard))
    if possible < wanted:
        _log.warning("too few files for max_connections", extra=fields(wanted=wanted, limit=possible))
