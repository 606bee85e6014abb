"""How often Python's garbage collector may stand in the way.

While it runs, neither the engine nor the event loop moves: 2 ms for a thousand of the youngest objects, 50 ms for what
a thousand waiting calls are made of. What calls leave behind is freed without it, but for some small objects of gRPC's
in circles; those that outlive the next thousand wait for a collection of older ones.
"""

import asyncio
import gc
from collections.abc import Callable

_THRESHOLDS = (1_000, 5_000, 100)
_OLDER = 1  # the generation of what has outlived a thousand younger objects, since this generation was last looked at
_INTERVAL_S = 10.0


def spare_collections() -> None:
    """Keep the collector away from what lives as long as the process, and from running all the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)


async def collect_older(is_crowded: Callable[[], bool], interval_s: float = _INTERVAL_S) -> None:
    """Collect what has got older, again and again, while no crowd makes that long; returns only if cancelled."""
    while True:
        await asyncio.sleep(interval_s)
        if not is_crowded():
            gc.collect(_OLDER)
