"""A call's hold on a row: opened and closed on the engine's thread, whatever becomes of the caller.

Everything runs on the event loop but what is sent to the engine's thread, in the order in which it was sent there.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

from unrolled_service.bridge.outbox import Outbox
from unrolled_service.bridge.workers import Worker, Workers
from unrolled_service.engine import Engine
from unrolled_service.errors import Overloaded, UnrolledError
from unrolled_service.metrics import Metrics
from unrolled_service.models.bundle import Bundle
from unrolled_service.rows.finish import Finish
from unrolled_service.rows.row import Row
from unrolled_service.rpc.caller import caller
from unrolled_service.rpc.preemption import preempting
from unrolled_service.settings import Settings
from unrolled_service.storage.custody import Custody
from unrolled_service.storage.keeper import Keeper
from unrolled_service.telemetry.calls import note
from unrolled_service.tenants.quotas import Quotas
from unrolled_service.tenants.terms import NOBODY, Terms

_SHORTEST_RETRY_S = 0.1

Submit = Callable[[Outbox], Row]
"""Opens a row whose news goes to an outbox. On the engine's thread."""


class Claim:
    """A row that is closed even if its caller goes away while it is being opened.

    Attributes:
        outbox: where its news arrives.
        row: None until it is open.
        engine: whose row it is; to be read only.
        owner: the tenant whose call it is.
        keeper: keeps its session, if it has one.
        terms: on whose account it runs, once it is accepted.
        is_begun: the row was, or is about to be, opened.
        is_settled: it finished, and was counted.
    """

    def __init__(
        self,
        worker: Worker,
        custody: Custody,
        session_id: str | None,
        settings: Settings,
        metrics: Metrics,
        make_terms: Callable[[bool], Terms],
    ) -> None:
        self.terms = NOBODY
        self.is_begun = self.is_settled = False
        self._metrics = metrics
        self._model = ""
        self._counted: str | None = None
        self._make_terms = make_terms
        self.outbox = Outbox()
        self.row: Row | None = None
        self.engine: Engine = worker.engine
        self.owner = custody.owner
        self.keeper = Keeper(custody, session_id, self.outbox, settings)
        self._driver = worker.driver
        self._worker = worker
        self._custody = custody
        self._session_id = session_id

    async def bundle(self, model: str) -> Bundle:
        """Return the bundle of a call: the one it names, its session's, or the only one."""
        if self._session_id:
            asked = self._session_id, model
            bundle = await self._driver.call(self.engine.bundle_of, *asked, owner=self.owner)
        else:
            bundle = self.engine.lane(model).bundle
        self._model = bundle.name
        note(model=self._model)
        return bundle

    def accept(
        self, bundle: Bundle, *, fed: int, given: int, is_batch: bool, left_s: float | None, preempt: bool = False
    ) -> None:
        """Take a call, or refuse it before it costs more than this.

        Args:
            bundle: of the call.
            fed: inputs that the caller gives.
            given: outputs that it asks for.
            is_batch: its priority.
            left_s: seconds until its deadline; None where it has none.
            preempt: it takes the place of another one, and is not refused here.

        Raises:
            ModelNotFound: the bundle is being unloaded.
            QueueFull, Draining: there is no place.
            Overloaded: its first output would come too late.
        """
        self.terms = self._make_terms(is_batch)
        lane, calls = self.engine.lane(bundle.host.key), self._worker.calls
        if not preempt:
            self.engine.check_place(lane, fed + given, tenant=self.terms.tenant, places=calls[lane.key])
            if left_s is not None and (wait_s := lane.scheduler.wait_s(self.terms, fed)) > left_s:
                raise Overloaded(
                    f"the first token would come in about {wait_s:.1f} s, and the deadline is in {left_s:.1f} s",
                    retry_after_s=max(_SHORTEST_RETRY_S, wait_s - left_s),
                )
        calls[lane.key].add(self.terms.tenant)
        self._counted = lane.key

    async def start(self, submit: Submit, *, preempt: bool = False) -> None:
        """Open the row, in the place of the one that runs on the session if it is to be preempted."""
        self.is_begun = True
        if self._session_id and preempt:
            await preempting(self._worker, self._session_id, partial(self._take_over, submit), owner=self.owner)
        else:
            self._driver.open(self._open, self.outbox, submit)
        self.keeper.start()

    def send(self, act: Callable[[Row], object]) -> None:
        """Do something with the row on the engine's thread, if it could be opened."""
        self._driver.post(self._with_row, act)

    def wake(self) -> None:
        """Make the engine look again for rows that can run."""
        self._driver.wake()

    async def settle(self, finish: Finish) -> None:
        """Count the end, close the row, and store its session, before its caller hears of it."""
        self.is_settled = True
        self.outbox.delivered = finish.position
        note(finish=finish)
        self._metrics.count_stream(self._model, finish)
        self.keeper.stop()
        self.close()
        if self._session_id:
            await self._custody.save(self._session_id)

    def close(self) -> None:
        """Close the row."""
        self.send(self.engine.close)
        self.count_out()

    def count_out(self) -> None:
        """Count the call no more: the engine will hear that it is over before it hears of any other."""
        if self._counted is not None:
            calls = self._worker.calls
            calls[self._counted].remove(self.terms.tenant)
            if not calls[self._counted].total:
                del calls[self._counted]  # the bundle may never be back
            self._counted = None

    def save_later(self) -> None:
        """Store what the call leaves without waiting for it."""
        if self._session_id:
            self._custody.save_later(self._session_id)

    async def save(self) -> None:
        """Store what the call leaves, before its caller hears of the end; also if the caller goes away."""
        if self._session_id and self.row is None:
            await self._custody.release(self._session_id)
        elif self._session_id:
            await asyncio.shield(self._custody.save_later(self._session_id))

    def placed(self, error: Exception) -> Exception:
        """Return an error that says where the session is left, if there is one."""
        if self.row is not None and self.row.session and isinstance(error, UnrolledError):
            return error.at(self.outbox.delivered)
        return error

    def _open(self, submit: Submit) -> None:
        self.row = submit(self.outbox)

    def _with_row(self, act: Callable[[Row], object]) -> None:
        if self.row is not None:
            act(self.row)

    async def _take_over(self, submit: Submit) -> None:
        """Open a row in the place of another, which leaves no lease."""
        if self._session_id:
            await self._custody.hold(self._session_id)
        await self._driver.call(self._open, submit)


class Claims:
    """Makes claims for the calls of a service, and sees to it that none is left behind.

    Args:
        workers: where rows run.
        custody: who has sessions.
        metrics: count the calls that break off.
        quotas: what tenants may have.
        settings: limits.
    """

    def __init__(
        self, workers: Workers, custody: Custody, metrics: Metrics, quotas: Quotas, settings: Settings
    ) -> None:
        self._quotas = quotas
        self._workers = workers
        self._custody = custody
        self._metrics = metrics
        self._settings = settings

    @asynccontextmanager
    async def claim(self, session_id: str | None = None, expected_position: int | None = None) -> AsyncIterator[Claim]:
        """Hold a session of the caller's, or a throw-away state, for a call; the row is closed however that ends.

        Args:
            session_id: None takes a state that is thrown away.
            expected_position: where the caller has the session; None where it does not say.

        Raises:
            QuotaExceeded: the tenant has no more calls, or tokens.
            SessionNotFound, SessionExpired, SessionEvicted, SessionBusy, StoreUnavailable: it cannot be had.
        """
        tenant = caller().tenant
        with self._quotas.stream(tenant):
            custody = self._custody.of(tenant)
            if session_id:
                worker = await custody.hold(session_id, expected_position=expected_position)
            else:
                worker = self._workers.for_stream()
            make_terms = partial(self._quotas.terms, tenant)
            claim = Claim(worker, custody, session_id, self._settings, self._metrics, make_terms)
            try:
                yield claim
            except asyncio.CancelledError:
                self._abandon(claim, "cancelled")
                claim.save_later()
                raise
            except Exception:
                self._abandon(claim, "error")
                await claim.save()
                raise
            finally:
                claim.keeper.stop()
                claim.outbox.closed.set()

    def _abandon(self, claim: Claim, end: str) -> None:
        """Close a row, and count it unless it is settled; the engine need not hear of one that was never begun."""
        if claim.is_begun and not claim.is_settled:
            claim.send(partial(self._close, claim.engine, end))
        claim.count_out()
        claim.outbox.closed.set()

    def _close(self, engine: Engine, end: str, row: Row) -> None:
        self._metrics.count_broken_stream(row.model, end)  # on the engine's thread, which knows whether it was opened
        engine.close(row)
