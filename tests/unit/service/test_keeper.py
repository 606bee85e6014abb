import asyncio
from typing import cast

from unrolled_service.bridge.outbox import Outbox
from unrolled_service.settings import Settings
from unrolled_service.storage.custody import Custody
from unrolled_service.storage.keeper import Keeper

NEVER = {"store_interval_s": 3000.0, "store_lease_s": 3600.0}


class Saves:
    """A custody that counts what it is to write."""

    has_store = True

    def __init__(self) -> None:
        self.count = 0
        self.saved = asyncio.Event()

    async def save(self, session_id: str, *, lease_s: float) -> None:
        assert (session_id, lease_s) == ("s", 3600.0)
        self.count += 1
        self.saved.set()


def test_a_session_is_written_after_so_many_tokens() -> None:
    async def check() -> None:
        saves = Saves()
        settings = Settings(store_interval_tokens=100, **NEVER)  # type: ignore[arg-type]
        keeper = Keeper(cast(Custody, saves), "s", Outbox(), settings)
        keeper.start()
        try:
            for round_ in range(3):
                for position in (0, 50, 99):
                    keeper.note(100 * round_ + position)
                await asyncio.sleep(0)
                assert saves.count == round_
                saves.saved.clear()
                keeper.note(100 * (round_ + 1))
                async with asyncio.timeout(10):
                    await saves.saved.wait()
        finally:
            keeper.stop()

    asyncio.run(check())
