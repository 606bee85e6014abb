"""The log on stderr: a JSON object a line for programs, plain lines for people. Any thread.

A record is an event and its fields (``extra=fields(...)``); the call that it belongs to is added by its request id.
An exception's message may quote a caller: it is written at ``debug`` only, above that the outline without it.
"""

import asyncio
import json
import logging
import sys
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from unrolled_service.settings import LogFormat, LogLevel
from unrolled_service.telemetry.calls import current_call
from unrolled_service.telemetry.outlines import outline

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

PACKAGE = __name__.partition(".")[0]
_Error = tuple[type[BaseException], BaseException, TracebackType | None]


def start_logging(log_format: LogFormat, level: LogLevel, stream: TextIO) -> None:
    """Write what is logged from now on to a stream, also warnings and what ends a thread or the process.

    Libraries do not say more than ``info``: what they write at ``debug`` is not known to be free of callers' texts.
    """
    is_json = not stream.isatty() if log_format == "auto" else log_format == "json"
    handler = logging.StreamHandler(stream)
    handler.setFormatter((JsonLines if is_json else PlainLines)(has_messages=level == "debug"))
    logging.basicConfig(handlers=[handler], level=max(logging.INFO, number_of(level)), force=True)
    logging.getLogger(PACKAGE).setLevel(number_of(level))
    logging.captureWarnings(True)
    threading.excepthook = _log_thread
    sys.excepthook = _log_process
    sys.unraisablehook = _log_unraisable


def number_of(level: LogLevel) -> int:
    """Return the number that ``logging`` has for a level."""
    return logging.getLevelNamesMapping()[level.upper()]


def fields(**values: object) -> dict[str, dict[str, object]]:
    """Return the ``extra`` of a record with these fields; those without a value are left out."""
    return {"fields": {name: value for name, value in values.items() if value not in (None, "")}}


def log_loop(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what an event loop reports, as its exception handler; without the arguments of what failed.

    Args:
        context: what ``loop.call_exception_handler`` takes.
    """
    event = context["message"].partition("(")[0]
    logging.getLogger(asyncio.__name__).error("%s", event, exc_info=context.get("exception"))


class _Lines(logging.Formatter):
    """What both forms have in common.

    Args:
        has_messages: exceptions are written with their messages and lines of source.
    """

    def __init__(self, *, has_messages: bool = False) -> None:
        super().__init__()
        self._has_messages = has_messages

    def _tell(self, record: logging.LogRecord) -> str:
        """Return the exception of a record; nothing where it has none."""
        if not record.exc_info or record.exc_info[1] is None:
            return ""
        return self.formatException(record.exc_info) if self._has_messages else outline(record.exc_info[1])


class JsonLines(_Lines):
    """One JSON object a record: time (RFC 3339, UTC), level, logger, event, request_id, then its fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, in ASCII."""
        call = current_call()
        entry = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **({"request_id": call.request_id} if call else {}),
            **_fields(record),
        }
        if exception := self._tell(record):
            entry["exception"] = exception
        return json.dumps(entry, default=str)


class PlainLines(_Lines):
    """Time, level, logger, event, then fields as ``name=value``; an exception follows on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines; an event stays on one, whatever is in it."""
        call = current_call()
        named = {**_fields(record), **({"request_id": call.request_id} if call else {})}
        logger = record.name.removeprefix(f"{PACKAGE}.")
        words = [_time(record), f"{record.levelname:<7}", f"{logger}:", record.getMessage()]
        line = " ".join([*words, *(f"{name}={value}" for name, value in named.items())])
        line = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in line)
        exception = self._tell(record)
        return f"{line}\n{exception}" if exception else line


def _time(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _fields(record: logging.LogRecord) -> Mapping[str, Any]:
    return getattr(record, "fields", {})


def _log_thread(end: threading.ExceptHookArgs) -> None:
    if end.exc_type is not SystemExit:
        name = end.thread.name if end.thread else "unknown"
        logging.getLogger(PACKAGE).critical("a thread broke off", exc_info=_error_of(end), extra=fields(thread=name))


def _log_process(*error: *_Error) -> None:
    logging.getLogger(PACKAGE).critical("the process broke off", exc_info=error)


def _log_unraisable(end: "UnraisableHookArgs") -> None:
    logging.getLogger(PACKAGE).error("nobody could be told of an exception", exc_info=_error_of(end))


def _error_of(end: "threading.ExceptHookArgs | UnraisableHookArgs") -> _Error:
    return end.exc_type, end.exc_value or end.exc_type(), end.exc_traceback
