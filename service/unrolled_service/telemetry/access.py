"""What is said of a call when it has ended: a line of the log, and a span. Runs on the event loop.

Says what was called and how it went; never a prompt, a text, or the id of a session. At ``debug`` every call has its
line; above that only refusals have one, and no more than some a second for each reason.
"""

import logging
import re
import secrets
import time
from hashlib import blake2b

import grpc

from unrolled_service.errors import InvalidField, UnrolledError
from unrolled_service.telemetry.calls import Call
from unrolled_service.telemetry.logs import fields
from unrolled_service.telemetry.traces import Traces

_log = logging.getLogger(__name__)
_SHORTAGES = {grpc.StatusCode.RESOURCE_EXHAUSTED.name, grpc.StatusCode.UNAVAILABLE.name}
_LINES_PER_S = 10
_HASH_BYTES = 4


class Access:
    """Writes of calls that have ended.

    Args:
        traces: take a span a call; None where there are none.
    """

    def __init__(self, traces: Traces | None = None) -> None:
        self._traces = traces
        self._key = secrets.token_bytes(16)
        self._brake = Brake(_LINES_PER_S)

    def note_end(self, call: Call, code: str, error: Exception | None = None) -> None:
        """Take in the end of a call.

        Args:
            call: the one that ended.
            code: name of its gRPC status.
            error: why it was refused; None where it was not.
        """
        if error is None and self._traces is None and not _log.isEnabledFor(logging.DEBUG):
            return
        reason = None if error is None else getattr(error, "reason", "INTERNAL")
        if isinstance(error, UnrolledError):
            self._log_refusal(call, code, error)
        else:
            _log.debug("call", extra=self._describe(call, code, reason=reason))
        if self._traces is not None:
            self._traces.add(call, code, reason)

    def close(self) -> None:
        """Send the spans that are left. Blocks, for some seconds at most."""
        if self._traces is not None:
            self._traces.close()

    def _log_refusal(self, call: Call, code: str, error: UnrolledError) -> None:
        level = logging.WARNING if code in _SHORTAGES else logging.INFO
        if not _log.isEnabledFor(level):
            return
        suppressed = 0 if _log.isEnabledFor(logging.DEBUG) else self._brake.admit(error.reason)
        if suppressed is not None:
            field = re.sub(r"\[.*", "", error.field, flags=re.S) if isinstance(error, InvalidField) else None
            said = self._describe(
                call, code, reason=error.reason, field=field, differs=error.differs, suppressed=suppressed or None
            )
            _log.log(level, "refused", extra=said)

    def _describe(self, call: Call, code: str, **more: object) -> dict[str, dict[str, object]]:
        finish = call.finish
        session = call.session_id and blake2b(call.session_id.encode(), key=self._key, digest_size=_HASH_BYTES)
        return fields(
            method=call.method,
            code=code,
            **more,
            model=call.model,
            session=session.hexdigest() if session else None,
            duration_ms=_ms(time.monotonic() - call.began_s),
            prompt_tokens=finish and finish.prompt_tokens,
            generated_tokens=finish and finish.generated_tokens,
            queue_ms=finish and _ms(finish.queue_s),
            first_token_ms=finish and _ms(finish.first_token_s),
        )


class Brake:
    """Lets some events of a kind through in a second and counts the rest, so that a flood does not fill the log.

    Args:
        limit: events of a kind in a second.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._seconds: dict[str, tuple[int, int]] = {}

    def admit(self, kind: str) -> int | None:
        """Return how many of a kind were held back since the last one that was not, or None to hold this one back."""
        now = int(time.monotonic())
        second, count = self._seconds.get(kind, (now, 0))
        held_back = max(0, count - self._limit) if second != now else 0
        count = 1 if second != now else count + 1
        self._seconds[kind] = (now, count)
        return held_back if count <= self._limit else None


def _ms(seconds: float) -> float:
    return round(1e3 * seconds, 3)
