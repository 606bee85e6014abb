"""The engine's thread, and the bridge between it and the event loop.

The thread owns the engine: it obeys commands between slices and publishes what a slice did, and the
answers to commands, in one wake-up of the event loop.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, cast

from unrolled_service.bridge.outbox import Outbox
from unrolled_service.engine import Engine, SliceFailed
from unrolled_service.rows.delivery import Delivery
from unrolled_service.rows.slice import Slice

_log = logging.getLogger(__name__)
_R = TypeVar("_R")
_RECORDS = 16  # of slices without news, to be counted together
_TOGETHER = 16  # streams that get news in one turn of the event loop
_INTAKE_TURNS = 4  # of the event loop, which gRPC needs to take in a call


@dataclass(slots=True)
class _Command:
    call: Callable[[], Any]
    answer: asyncio.Future[Any] | None = None
    outbox: Outbox | None = None
    result: Any = None
    error: Exception | None = None

    def obey(self) -> None:
        try:
            self.result = self.call()
        except Exception as error:  # it belongs to the caller, not to this thread
            self.error = error

    def tell(self) -> None:
        """Hand the outcome to who asked; a caller that has gone away gets nothing."""
        if self.answer is None:
            if self.error and self.outbox:
                self.outbox.put(Delivery(self.outbox, "", 0, error=self.error))
            elif self.error:
                _log.error("a command without an answer failed", exc_info=self.error)
        elif not self.answer.done():
            if self.error:
                self.answer.set_exception(self.error)
            else:
                self.answer.set_result(self.result)


class Driver:
    """Runs an engine on a thread of its own.

    Args:
        engine: not to be touched by anybody else while the driver runs.
        on_slice: called on the event loop with what each slice did.
    """

    def __init__(self, engine: Engine, on_slice: Callable[[Slice], None]) -> None:
        self._engine = engine
        self._on_slice = on_slice
        self._commands: deque[_Command] = deque()
        self._wake = threading.Event()
        self._obeyed: list[_Command] = []
        self._done: list[Slice] = []
        self._news: list[Delivery] = []
        self._undelivered: dict[Outbox, list[Delivery]] = {}
        self._is_stopping = False
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    async def stop(self) -> None:
        """Stop after the slice in progress."""
        self._is_stopping = True
        self._wake.set()
        await asyncio.to_thread(self._thread.join)

    async def call(self, function: Callable[..., _R], /, *args: Any, **kwargs: Any) -> _R:
        """Run a function on the engine's thread, between slices; return or raise what it does."""
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._send(_Command(partial(function, *args, **kwargs), answer))
        return cast(_R, await answer)

    def post(self, function: Callable[..., object], /, *args: Any) -> None:
        """Run a function on the engine's thread, between slices, and do not wait for it."""
        self._send(_Command(partial(function, *args)))

    def open(self, function: Callable[..., object], outbox: Outbox, /, *args: Any) -> None:
        """Run a function on the engine's thread, between slices; what it raises goes to the outbox."""
        self._send(_Command(partial(function, *args), outbox=outbox))

    def wake(self) -> None:
        """Make the engine look again for rows that can run."""
        if not self._wake.is_set():  # setting it takes a lock, and most messages find it set
            self._wake.set()

    def _send(self, command: _Command) -> None:
        self._commands.append(command)
        self.wake()

    def _run(self) -> None:
        while not self._is_stopping:
            self._wake.clear()
            self._obeyed += self._obey()
            done, news = self._slice()
            if done:
                self._done.append(done)
            self._news += news
            if done is None:
                self._tell(is_idle=True)
                if not news:
                    self._wake.wait(self._engine.seconds_to_wake())
                    self._engine.registry.expire()

    def _tell(self, *, is_idle: bool = False) -> None:
        """Publish what has come together, in one wake-up of the event loop; mere records can wait.

        This waits until the next run begins: a loop that wakes any sooner takes the interpreter's lock
        just when this thread needs it to begin that run.
        """
        if self._obeyed or self._news or len(self._done) >= _RECORDS or (is_idle and self._done):
            self._loop.call_soon_threadsafe(self._publish, self._obeyed, self._done, self._news)
            self._obeyed, self._done, self._news = [], [], []

    def _obey(self) -> list[_Command]:
        obeyed = []
        while self._commands:
            command = self._commands.popleft()
            command.obey()
            obeyed.append(command)
        return obeyed

    def _slice(self) -> tuple[Slice | None, list[Delivery]]:
        try:
            done = self._engine.slice(self._tell)
        except SliceFailed as failure:
            _log.exception("a slice of %s failed", failure)
            return None, self._engine.fail(failure, key=str(failure))
        return done, done.deliveries if done else []

    def _publish(self, obeyed: list[_Command], done: list[Slice], news: list[Delivery]) -> None:
        for command in obeyed:
            command.tell()
        self.deliver(news)
        for each in done:
            self._on_slice(each)

    def deliver(self, news: Iterable[Delivery]) -> None:
        """Put news into the outboxes of their streams, soon and in order. On the event loop only."""
        is_at_it = bool(self._undelivered)
        for delivery in news:
            self._undelivered.setdefault(cast(Outbox, delivery.sink), []).append(delivery)
        if not is_at_it:
            self._deliver_some()

    def _deliver_some(self, turns: int = 0) -> None:
        """Put some news into outboxes, and the others when the event loop has looked at what else is due.

        gRPC takes in the calls of a method one by one, and each passes the loop several times; it must not meet the
        messages of a whole slice each time. Where more rows want to run than may, calls come faster than they can be
        served: a stream has its turn when one of them could be taken in, and if that takes long, its news becomes one
        message.

        Args:
            turns: of the event loop to let pass before.
        """
        if turns:
            self._loop.call_soon(self._deliver_some, turns - 1)
            return
        is_crowded = self._engine.is_crowded
        for _ in range(1 if is_crowded else min(_TOGETHER, len(self._undelivered))):
            outbox = next(iter(self._undelivered))
            for delivery in self._undelivered.pop(outbox):
                outbox.put(delivery)
        if self._undelivered:
            self._loop.call_soon(self._deliver_some, _INTAKE_TURNS - 1 if is_crowded else 0)
