"""Carries a row's news from its outbox to the caller, one message at a time."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, cast

import grpc

from unrolled_service.bridge.outbox import Parcel
from unrolled_service.errors import ReaderStalled
from unrolled_service.rows.finish import Finish
from unrolled_service.rpc.claim import Claim

Pieces = Callable[[Parcel], Iterable[tuple[Parcel, Any]]]
"""Cuts a parcel into pieces, each with its message."""


async def relay(
    claim: Claim,
    context: grpc.aio.ServicerContext,
    limit_s: float,
    pieces: Pieces,
    *,
    write_end: Callable[[Finish], Any] | None = None,
    on_parcel: Callable[[Parcel], None] = lambda _: None,
) -> None:
    """Write what the outbox gets until the finish; one write at a time.

    Args:
        claim: on the row; settled before the caller hears of the finish.
        context: of the call.
        limit_s: how long a write waits for its reader.
        pieces: cuts a parcel into messages.
        write_end: makes the last message of the finish; None sends none.
        on_parcel: called with every parcel once it has left.

    Raises:
        ReaderStalled: the reader took nothing for too long.
        CancelledError: the connection broke under a message, which is the caller's going away.
        Exception: the row's own failure.
    """
    outbox, keeper = claim.outbox, claim.keeper
    is_begun = False
    try:
        with outbox.watch(limit_s):
            while True:
                parcel = await outbox.take()
                if not is_begun and (parcel.text or parcel.items or parcel.finish):
                    # By itself: a first message that is interrupted would make gRPC send this twice, and no status.
                    await context.send_initial_metadata(())
                    is_begun = True
                for piece, message in pieces(parcel):
                    if keeper.is_overdue:
                        await keeper.confirm()
                    if outbox.is_ended:
                        break
                    await outbox.write(context.write(message), piece.position)
                    keeper.note(piece.position)
                if outbox.error:
                    raise claim.placed(outbox.error)
                claim.wake()  # a row that rests may go on
                on_parcel(parcel)
                if parcel.finish:
                    finish = cast(Finish, parcel.finish)
                    await claim.settle(finish)
                    if write_end is not None:
                        await outbox.write(context.write(write_end(finish)), finish.position)
                    return
    except grpc.aio.InternalError:
        raise asyncio.CancelledError from None
    except TimeoutError:
        stalled = ReaderStalled(f"the reader took nothing for {limit_s:g} s")
        raise claim.placed(outbox.error or stalled) from None
