"""What repeated and resumed calls are made of: programs of steps, which a client performs in its own way.

A program is a generator. It yields a step, gets the step's outcome or error back, and returns its result; it
neither waits nor calls, so that one program serves threads and tasks.
"""

from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypeVar

from unrolled_client.errors import IdempotencyConflict, SessionMoved, Unavailable, UnrolledError
from unrolled_client.wire.calls import UnaryCall
from unrolled_client.wire.patience import Patience

Result = TypeVar("Result")


@dataclass(frozen=True)
class Pause:
    """Wait for some seconds."""

    seconds: float


Step: TypeAlias = Pause | UnaryCall[Any]
Program: TypeAlias = Generator[Step, Any, Result]


def repeat(call: UnaryCall[Result], patience: Patience | None) -> Program[Result]:
    """Make a call, again where it failed for want of a server and a repetition is harmless.

    Args:
        call: the call.
        patience: bounds the repetitions; None: there are none.

    Raises:
        UnrolledError: how the last attempt failed.
    """
    is_repeated, following = False, call
    while True:
        if patience is not None:
            following = replace(following, timeout=patience.remaining_s(), has_own_timeout=True)
        try:
            result: Result = yield following
            return result
        except UnrolledError as failure:
            error = failure
        if is_repeated and (already_done := following.recover(error)) is not None:
            following = already_done
            continue
        following = call
        pause_s = patience.pause_s(error) if patience is not None and _is_worth_it(call, error, is_repeated) else None
        if pause_s is None:
            raise error
        yield Pause(pause_s)
        is_repeated = True


def perform(program: Program[Result], take_step: Callable[[Step], Any]) -> Result:
    """Run a program to its result, step by step."""
    try:
        step = next(program)
        while True:
            try:
                outcome = take_step(step)
            except UnrolledError as error:
                step = program.throw(error)
            else:
                step = program.send(outcome)
    except StopIteration as end:
        result: Result = end.value
        return result


async def perform_async(program: Program[Result], take_step: Callable[[Step], Awaitable[Any]]) -> Result:
    """Do the same as `perform`, awaiting every step."""
    try:
        step = next(program)
        while True:
            try:
                outcome = await take_step(step)
            except UnrolledError as error:
                step = program.throw(error)
            else:
                step = program.send(outcome)
    except StopIteration as end:
        result: Result = end.value
        return result


def _is_worth_it(call: UnaryCall[Any], error: UnrolledError, is_repeated: bool) -> bool:
    # A repetition with the same key may meet the first attempt while it still runs.
    kinds = (Unavailable, SessionMoved, IdempotencyConflict) if is_repeated else (Unavailable, SessionMoved)
    return call.is_repeatable and isinstance(error, kinds)
