"""A running server: what is started, in which order, and how it goes away.

Starting: the bundles prove themselves, the engine's thread starts, the services listen, health says
SERVING. Going away: health says NOT_SERVING, new work is refused, streams have the grace time, the
rest end with DRAINING, the ports close, the thread stops.
"""

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Sequence

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha._async import ReflectionServicer
from grpc_reflection.v1alpha.reflection_pb2 import DESCRIPTOR as REFLECTION
from grpc_reflection.v1alpha.reflection_pb2_grpc import add_ServerReflectionServicer_to_server

from unrolled.admin.v1 import admin_pb2
from unrolled.admin.v1.admin_pb2_grpc import add_AdminServiceServicer_to_server
from unrolled.v1 import generation_pb2, model_pb2, sequence_pb2, session_pb2
from unrolled.v1.generation_pb2_grpc import add_GenerationServiceServicer_to_server
from unrolled.v1.model_pb2_grpc import add_ModelServiceServicer_to_server
from unrolled.v1.sequence_pb2_grpc import add_SequenceServiceServicer_to_server
from unrolled.v1.session_pb2_grpc import add_SessionServiceServicer_to_server
from unrolled_service.address import split_address
from unrolled_service.bridge.catalog import Catalog
from unrolled_service.bridge.workers import Workers
from unrolled_service.callers.authentication import Authentication
from unrolled_service.callers.certificates import Certificates
from unrolled_service.descriptors import make_room
from unrolled_service.errors import Draining
from unrolled_service.garbage import collect_older, spare_collections
from unrolled_service.http import OperatorServer
from unrolled_service.metrics import Metrics
from unrolled_service.models.bundle import Bundle
from unrolled_service.rows.slice import Slice
from unrolled_service.rpc.admin import AdminService
from unrolled_service.rpc.arrival import Arrivals
from unrolled_service.rpc.claim import Claims
from unrolled_service.rpc.generation import GenerationService
from unrolled_service.rpc.guard import Guard
from unrolled_service.rpc.model import ModelService
from unrolled_service.rpc.sequence import SequenceService
from unrolled_service.rpc.session import SessionService
from unrolled_service.settings import Settings
from unrolled_service.snapshots.keys import Keys
from unrolled_service.storage.custody import Custody
from unrolled_service.storage.redis_store import RedisStore
from unrolled_service.telemetry.access import Access
from unrolled_service.telemetry.traces import Traces
from unrolled_service.tenants.quotas import Quotas

_SERVICES = [
    file.DESCRIPTOR.services_by_name[name].full_name
    for file, name in (
        (generation_pb2, "GenerationService"),
        (sequence_pb2, "SequenceService"),
        (session_pb2, "SessionService"),
        (model_pb2, "ModelService"),
    )
]
_MESSAGE_BYTES = 1 << 20
_OPTIONS = [
    ("grpc.so_reuseport", 0),
    ("grpc.max_concurrent_streams", 1024),  # also what bounds the memory that one connection can take
    ("grpc.max_receive_message_length", _MESSAGE_BYTES),
    ("grpc.server.max_pending_requests", 16_384),  # past it, calls of others are dropped too
    ("grpc.server.max_pending_requests_hard_limit", 32_768),
    ("grpc.max_metadata_size", 8 << 10),
    ("grpc.absolute_max_metadata_size", 16 << 10),
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.http2.max_ping_strikes", 2),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
]
_SWITCH_INTERVAL_S = 0.00005
_LAG_INTERVAL_S = 0.25
_PROBE_INTERVAL_S = 1.0
_SWEEP_INTERVAL_S = 1.0
_SERVING, _UNKNOWN = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
_CLOSING_S = 5.0
_POLL_S = 0.02


class Server:
    """A server of some bundles.

    Args:
        bundles: what to serve; names must differ.
        settings: where to listen, and limits.

    Attributes:
        address: ``host:port`` of the gRPC services, once started.
        metrics_address: ``host:port`` of the operators' pages, once started.
        metrics_url: their URL without a path, once started.
        admin_address: ``host:port`` of the admin services, once started; None without them.
        drain_wanted: set when an operator asks for it over the wire; whoever runs the server then calls ``drain``.
    """

    def __init__(self, bundles: Sequence[Bundle], settings: Settings) -> None:
        self._bundles = bundles
        self._settings = settings
        self._is_ready = False
        self._model_names: set[str] = set()
        self._admin: grpc.aio.Server | None = None
        self.admin_address: str | None = None
        self.drain_wanted = asyncio.Event()
        self._is_hurried = False

    async def start(self) -> None:
        """Listen and serve.

        Raises:
            OSError: an address cannot be listened on.
            KeyFileError: a file of keys, tokens or certificates cannot be used.
            TenantFileError: the file of tenants cannot be used.
            TracesMissing: traces are asked for, and what sends them is not installed.
        """
        sys.setswitchinterval(_SWITCH_INTERVAL_S)  # the engine needs the GIL back soon after a run
        spare_collections()
        make_room(self._settings.max_connections * (1 if self._settings.admin_listen is None else 2))
        self._workers = Workers(self._bundles, self._settings, self._count_slice)
        self._metrics = Metrics([worker.engine for worker in self._workers])
        for bundle in self._bundles:
            self._metrics.count_passed_over(bundle)
        self._catalog = Catalog(self._workers, self._metrics)
        self._custody = self._make_custody()
        self._health = HealthServicer()
        self._authentication = Authentication.from_settings(self._settings)
        certificates = Certificates.from_settings(self._settings)
        endpoint = self._settings.otlp_endpoint
        self._access = Access(Traces.to(endpoint) if endpoint else None)
        self._grpc = self._make_grpc()
        self.address = _listen(self._grpc, self._settings.listen, certificates)
        begin_drain = self.drain_wanted.set
        self._operators = AdminService(self._catalog, self._workers, self._metrics, self._settings, begin_drain)
        if self._settings.admin_listen is not None:
            self._admin = self._make_admin()
            self.admin_address = _listen(self._admin, self._settings.admin_listen, certificates)
        host, port = split_address(self._settings.metrics_listen)
        self._http = OperatorServer(
            host,
            port,
            self._metrics.registry,
            self._readiness,
            authentication=self._authentication,
            certificates=certificates,
        )
        self.metrics_address = f"{host}:{self._http.port}"
        self.metrics_url = f"{'https' if certificates else 'http'}://{self.metrics_address}"
        for worker in self._workers:
            worker.engine.registry.on_expired = self._metrics.count_expired
            worker.engine.registry.on_evicted = self._metrics.count_evicted
            worker.driver.start()
        await self._grpc.start()
        if self._admin is not None:
            await self._admin.start()
        self._http.start()
        watches = (
            self._watch_lag(),
            self._watch_store(),
            self._catalog.watch(_SWEEP_INTERVAL_S),
            collect_older(lambda: self._workers.is_crowded),
        )
        self._watches = [asyncio.create_task(watch) for watch in watches]
        for name in ("", *_SERVICES):
            await self._health.set(name, _SERVING)
        await self._follow_catalog()
        self._catalog.on_change = self._follow_catalog
        self._is_ready = True

    async def drain(self) -> None:
        """Refuse new work, give running streams the grace time, and end the rest."""
        self._is_ready = False
        self._operators.is_draining = True
        await self._health.enter_graceful_shutdown()
        for worker in self._workers:
            await worker.driver.call(setattr, worker.engine, "is_draining", True)
        await _is_true_within(self._settings.drain_grace_s, lambda: self._is_hurried or not self._workers.streams)
        if self._workers.streams:
            for worker in self._workers:
                worker.driver.deliver(await worker.driver.call(worker.engine.fail, Draining()))
        await _is_true_within(_CLOSING_S, lambda: not (self._workers.streams or self._guard.calls))

    def end_grace(self) -> None:
        """Let running streams have no more time to drain; they end as they do at the end of the grace time."""
        self._is_hurried = True

    async def stop(self) -> None:
        """Close the ports and stop the threads."""
        self._is_ready = False
        for watch in self._watches:
            watch.cancel()
        if self._admin is not None:
            await self._admin.stop(None)
        closing = asyncio.create_task(self._grpc.stop(_CLOSING_S))  # calls that came before the port was closed
        await asyncio.sleep(0)
        await _is_true_within(_CLOSING_S, lambda: not self._guard.calls)
        await self._grpc.stop(None)
        await closing
        await self._custody.close()
        for worker in self._workers:
            await worker.driver.stop()
        await asyncio.to_thread(self._http.stop)
        await asyncio.to_thread(self._access.close)

    def _readiness(self) -> str:
        """Return ``ready``, ``degraded`` where sessions in memory alone are served, or nothing."""
        if not self._is_ready:
            return ""
        return "ready" if self._custody.is_available else "degraded: the store does not answer"

    def _count_slice(self, done: Slice) -> None:
        self._metrics.count_slice(done)

    def _make_custody(self) -> Custody:
        settings = self._settings
        keys = Keys.read(settings.snapshot_keys) if settings.snapshot_keys else Keys.random()
        store = None
        if settings.store:
            owner, observe = settings.listen, self._metrics.observe_store_operation
            store = RedisStore.from_url(settings.store, owner=owner, on_operation=observe)
        hosts = [bundle.host for bundle in self._catalog.every]
        return Custody(store, self._workers, hosts, keys, settings)

    async def _follow_catalog(self) -> None:
        """Let health, metrics and snapshots know of the bundles that there are now."""
        every, served = self._catalog.every, {f"model/{bundle.name}" for bundle in self._catalog.served}
        self._custody.hosts = [bundle.host for bundle in every]
        self._metrics.show_models(every)
        for name in self._model_names - served:
            await self._health.set(name, _UNKNOWN)
        for name in served - self._model_names:
            await self._health.set(name, _SERVING)
        self._model_names = served

    def _make_grpc(self) -> grpc.aio.Server:
        server = self._bare_server()
        workers, custody, settings = self._workers, self._custody, self._settings
        quotas = Quotas(settings, threading.Lock)
        arrivals = Arrivals(settings.stall_timeout_s, quotas.stream, workers.check_room)
        guard = self._guard = Guard(server, self._metrics, self._access, self._authentication, arrivals)
        claims = Claims(workers, custody, self._metrics, quotas, settings)
        add_GenerationServiceServicer_to_server(GenerationService(claims, settings), guard)
        add_SequenceServiceServicer_to_server(SequenceService(claims, settings), guard)
        add_SessionServiceServicer_to_server(SessionService(workers, custody, self._metrics, quotas, settings), guard)
        add_ModelServiceServicer_to_server(ModelService(workers), guard)
        self._add_company(guard, _SERVICES)
        return server

    def _make_admin(self) -> grpc.aio.Server:
        server = self._bare_server()
        arrivals = Arrivals(self._settings.stall_timeout_s)
        guard = Guard(server, self._metrics, self._access, self._authentication, arrivals)
        add_AdminServiceServicer_to_server(self._operators, guard)
        self._add_company(guard, [admin_pb2.DESCRIPTOR.services_by_name["AdminService"].full_name])
        return server

    def _bare_server(self) -> grpc.aio.Server:
        limit = ("grpc.max_allowed_incoming_connections", self._settings.max_connections)
        return grpc.aio.server(options=[*_OPTIONS, limit])

    def _add_company(self, guard: Guard, services: Sequence[str]) -> None:
        """Add health, and reflection of that and of some services."""
        health_pb2_grpc.add_HealthServicer_to_server(self._health, guard)
        own = (health_pb2.DESCRIPTOR.services_by_name["Health"], REFLECTION.services_by_name["ServerReflection"])
        names = [*services, *(service.full_name for service in own)]
        add_ServerReflectionServicer_to_server(ReflectionServicer(names), guard)

    async def _watch_lag(self) -> None:
        while True:
            due = time.monotonic() + _LAG_INTERVAL_S
            await asyncio.sleep(_LAG_INTERVAL_S)
            self._metrics.observe_event_loop_lag(max(0.0, time.monotonic() - due))

    async def _watch_store(self) -> None:
        while self._custody.has_store:
            await self._custody.probe()
            await asyncio.sleep(_PROBE_INTERVAL_S)


async def _is_true_within(limit_s: float, question: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + limit_s
    while not question():
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(_POLL_S)
    return True


def _listen(server: grpc.aio.Server, address: str, certificates: Certificates | None) -> str:
    """Listen on an address; return it with the port that it has become."""
    host, port = split_address(address)
    place = f"{host}:{port}"
    try:
        if certificates is None:
            return f"{host}:{server.add_insecure_port(place)}"
        return f"{host}:{server.add_secure_port(place, certificates.server_credentials())}"
    except RuntimeError as error:
        raise OSError(f"cannot listen on {place}") from error
