"""Stands before every method: lets in who may call it, turns errors into statuses, lets no detail out, notes every end.

What a handler raises would reach the caller as text, paths and all; so would the parser's words about
a malformed message. Here a refusal becomes its documented status, and anything else becomes INTERNAL
with an id; the detail goes to the log under that id. A call that fails tells its request id in the trailing metadata;
one that succeeds does not, for it would cost as much as a message.
"""

import asyncio
import inspect
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from types import SimpleNamespace
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from google.rpc.status_pb2 import Status

from unrolled_service.callers.authentication import HEADER, Authentication
from unrolled_service.callers.identity import ANYBODY, Scope
from unrolled_service.callers.scopes import scope_of
from unrolled_service.errors import QueueFull, UnrolledError
from unrolled_service.metrics import Metrics
from unrolled_service.rpc.arrival import Arrivals, lenient
from unrolled_service.rpc.caller import introduce
from unrolled_service.rpc.status import defect_status, refusal_status
from unrolled_service.telemetry.access import Access
from unrolled_service.telemetry.calls import REQUEST_ID_KEY, Call, begin_call
from unrolled_service.telemetry.logs import fields

_log = logging.getLogger(__name__)
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_OWN = "/unrolled."
MAX_WATCHERS = 4096
_RETRY_AFTER_S = 1.0
_KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


class Guard:
    """Takes the place of a server where services are added, and adds them guarded.

    An interceptor would do the same once more for every call, which costs as much as a message.

    Args:
        server: where the services go.
        metrics: count the calls.
        access: notes their ends.
        authentication: tells callers apart; None lets anybody do anything.
        arrivals: wait for what calls bring.

    Attributes:
        calls: calls of the server's own services that have not ended; watchers of its health do not count.
        watchers: calls that anybody may make and that last for as long as the caller likes.
    """

    def __init__(
        self,
        server: grpc.aio.Server,
        metrics: Metrics,
        access: Access,
        authentication: Authentication | None,
        arrivals: Arrivals,
    ) -> None:
        self.calls = self.watchers = 0
        self._authentication = authentication
        self._arrivals = arrivals
        self._server = server
        self._metrics = metrics
        self._access = access

    def add_generic_rpc_handlers(self, services: Iterable[grpc.ServiceRpcHandler]) -> None:
        """Add services, each of their methods by itself.

        gRPC takes in one call of a method at a time, and one of all methods together that it knows through services
        alone: there, a flood of one would hold up all others.
        """
        for service in services:
            name = service.service_name()
            self.add_methods(name, {method: service.service(_details(name, method)) for method in _methods(name)})

    def add_registered_method_handlers(self, service: str, handlers: dict[str, grpc.RpcMethodHandler]) -> None:
        """Do nothing: whoever calls this adds the service too, and older stubs add that alone."""

    def add_methods(self, service: str, handlers: Mapping[str, grpc.RpcMethodHandler]) -> None:
        """Add methods of a service, by their names."""
        wrapped = {name: self._wrap(handler, f"/{service}/{name}") for name, handler in handlers.items()}
        self._server.add_registered_method_handlers(service, wrapped)

    def _wrap(self, handler: grpc.RpcMethodHandler, method: str) -> grpc.RpcMethodHandler:
        """Return a method's handler with the guard around its parser and its behaviour."""
        behaviour = getattr(handler, next(kind for kind in _KINDS if getattr(handler, kind)))
        if not handler.request_streaming:
            behaviour = self._arrivals.one(behaviour, method, is_stream=handler.response_streaming)
        scope = scope_of(method)
        watches = scope is None and handler.response_streaming
        guarded = self._guard(behaviour, method, scope, takes_many=handler.request_streaming, watches=watches)
        wrap = getattr(grpc, f"stream_{'stream' if handler.response_streaming else 'unary'}_rpc_method_handler")
        return wrap(guarded, lenient(handler.request_deserializer, is_open=scope is None), handler.response_serializer)

    def _guard(
        self, behaviour: Callable[..., Any], method: str, scope: Scope | None, *, takes_many: bool, watches: bool
    ) -> Callable[..., Any]:
        weight, each = int(method.startswith(_OWN)), self._arrivals.each

        async def answer(requests: AsyncIterator[Any], context: grpc.aio.ServicerContext) -> Any:
            self.calls += weight
            self.watchers += watches
            call = begin_call(method, context)
            try:
                self._admit(scope, context, watches)
                reply = await behaviour(each(requests, method) if takes_many else requests, context)
            except Exception as error:
                await self._refuse(error, call, context)
            except asyncio.CancelledError:
                self._end(call, _cancellation(context))
                raise
            else:
                self._end(call, "OK")
                return reply
            finally:
                self.calls -= weight
                self.watchers -= watches

        async def stream(requests: AsyncIterator[Any], context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
            self.calls += weight
            self.watchers += watches
            call = begin_call(method, context)
            try:
                self._admit(scope, context, watches)
                async for reply in behaviour(each(requests, method) if takes_many else requests, context):
                    yield reply
            except Exception as error:
                await self._refuse(error, call, context)
            except asyncio.CancelledError:
                self._end(call, _cancellation(context))
                raise
            else:
                self._end(call, "OK")
            finally:
                self.calls -= weight
                self.watchers -= watches

        return stream if inspect.isasyncgenfunction(behaviour) else answer

    def _admit(self, scope: Scope | None, context: grpc.aio.ServicerContext, watches: bool) -> None:
        """Find out who calls before anything of the call is looked at.

        Raises:
            Unauthenticated, PermissionDenied
            QueueFull: as many as may watch do so.
        """
        if watches and self.watchers > MAX_WATCHERS:
            raise QueueFull(f"all {MAX_WATCHERS} places for watchers are taken", retry_after_s=_RETRY_AFTER_S)
        identity = ANYBODY
        if scope is not None and self._authentication is not None:
            shown = [value for key, value in context.invocation_metadata() if key == HEADER]
            identity = self._authentication.identify(shown)
            identity.check(scope)
        introduce(identity)

    def _end(self, call: Call, code: str, error: Exception | None = None) -> None:
        self._metrics.count_rpc(call.method, code)
        self._access.note_end(call, code, error)

    async def _refuse(self, error: Exception, call: Call, context: grpc.aio.ServicerContext) -> None:
        """End the call with an error's status; whoever returns then lets gRPC end it.

        Raises:
            AbortError: the service had ended it already.
            CancelledError: the caller has gone away.
        """
        if isinstance(error, grpc.aio.AbortError):
            self._end(call, _CODES[context.code()].name)
            raise error
        if isinstance(error, NotImplementedError):  # of the service, by whoever wrote it; no defect
            self._end(call, grpc.StatusCode.UNIMPLEMENTED.name)
            await _abort(context, grpc.StatusCode.UNIMPLEMENTED, "the server has no such method")
            return
        status = self._status(error, call)
        code = _CODES[status.code]
        self._end(call, code.name, error)
        trailing = (("grpc-status-details-bin", status.SerializeToString()), (REQUEST_ID_KEY, call.request_id))
        await _abort(context, code, status.message, trailing)

    def _status(self, error: Exception, call: Call) -> Status:
        if isinstance(error, UnrolledError):
            self._metrics.count_rejection(error.reason, error.differs)
            return refusal_status(error)
        error_id = secrets.token_hex(8)
        _log.error("failed", exc_info=error, extra=fields(method=call.method, error_id=error_id))
        self._metrics.count_rejection("INTERNAL")
        return defect_status(error_id)


async def _abort(
    context: grpc.aio.ServicerContext,
    code: grpc.StatusCode,
    message: str,
    trailing: tuple[tuple[str, str | bytes], ...] = (),
) -> None:
    """Send a status, and return: gRPC raises its exception again when the method ends.

    gRPC keeps that exception with the call. With its traceback, whose frames lead to the call, it would be a circle for
    the garbage collector, which under a flood of refusals stops everything for tens of milliseconds each second.

    Raises:
        CancelledError: the caller has gone away with its connection.
    """
    try:
        await context.abort(code, message, trailing)
    except grpc.aio.AbortError as end:
        end.__traceback__ = end.__context__ = None
    except grpc.aio.InternalError:
        raise asyncio.CancelledError from None


def _methods(service: str) -> list[str]:
    """Return the names of a service's methods."""
    return [method.name for method in descriptor_pool.Default().FindServiceByName(service).methods]


def _details(service: str, method: str) -> grpc.HandlerCallDetails:
    return SimpleNamespace(method=f"/{service}/{method}", invocation_metadata=())


def _cancellation(context: grpc.aio.ServicerContext) -> str:
    """Return the code of a call that was broken off: by its deadline or by its caller."""
    left_s = context.time_remaining()
    return "DEADLINE_EXCEEDED" if left_s is not None and left_s <= 0 else "CANCELLED"
