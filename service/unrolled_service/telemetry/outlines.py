"""Exceptions without their words, which may quote a caller: types and frames. Any thread.

Knows files, lines and functions; never a message, a note, a variable or a line of source.
"""

import traceback
from collections import deque

_FRAMES = 100  # of an exception, those nearest to it
_BECAUSE = "The above exception was the direct cause of the following exception:"
_MEANWHILE = "During handling of the above exception, another exception occurred:"


def outline(error: BaseException) -> str:
    """Return the types and frames of an exception, of those it came from and of those it holds."""
    return "\n".join(_outline(error, set()))


def _outline(error: BaseException, seen: set[int]) -> list[str]:
    chain: list[BaseException] = []
    came_from: BaseException | None = error
    while came_from is not None and id(came_from) not in seen:
        seen.add(id(came_from))
        chain.append(came_from)
        came_from = came_from.__cause__ or (None if came_from.__suppress_context__ else came_from.__context__)
    lines: list[str] = []
    for each in reversed(chain):
        if lines:
            lines += ["", _BECAUSE if each.__cause__ else _MEANWHILE, ""]
        lines += [*_frames(each), _name(type(each))]
        if isinstance(each, BaseExceptionGroup):
            lines += [f"  | {line}" for held in each.exceptions for line in _outline(held, seen)]
    return lines


def _frames(error: BaseException) -> list[str]:
    frames = deque(traceback.walk_tb(error.__traceback__), maxlen=_FRAMES)
    lines = [f'  File "{at.f_code.co_filename}", line {line}, in {at.f_code.co_qualname}' for at, line in frames]
    return ["Traceback (most recent call last):", *lines] if lines else []


def _name(kind: type[BaseException]) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
