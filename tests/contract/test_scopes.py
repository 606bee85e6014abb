"""Every method has a scope, or a place on the list of those that are open."""

from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthServicer, add_HealthServicer_to_server
from grpc_reflection.v1alpha import reflection_pb2

from tests.support.access import find_methods, path_of
from unrolled.v1.session_pb2_grpc import SessionServiceServicer, add_SessionServiceServicer_to_server
from unrolled_service.callers.identity import Scope
from unrolled_service.callers.scopes import OPEN_METHODS, OPEN_PAGES, SCOPES, scope_of
from unrolled_service.rpc.arrival import Arrivals
from unrolled_service.rpc.guard import Guard

OWN = {path_of(method): method for method in find_methods()}
FOREIGN = {
    path_of(method)
    for file in (health_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR)
    for service in file.services_by_name.values()
    for method in service.methods
}


def test_the_contract_has_methods() -> None:
    assert "/unrolled.v1.GenerationService/Generate" in OWN
    assert len(OWN) >= 15


def test_every_method_of_the_contract_has_a_scope_and_none_is_open() -> None:
    assert {*SCOPES} == {*OWN}
    assert not OPEN_METHODS & {*OWN}


def test_what_is_open_is_health_and_reflection_and_nothing_else() -> None:
    assert {*OPEN_METHODS} == FOREIGN
    assert {*OPEN_PAGES} == {"/healthz", "/readyz"}


@pytest.mark.parametrize("path", OWN)
def test_a_scope_is_that_of_its_service(path: str) -> None:
    service = OWN[path].containing_service
    wanted = {"SessionService": Scope.SESSION}.get(service.name, Scope.GENERATE)
    assert scope_of(path) == (wanted if service.full_name.startswith("unrolled.v1.") else Scope.ADMIN)


def test_a_method_that_nobody_decided_on_cannot_be_served() -> None:
    class Nobody:
        def add_registered_method_handlers(self, *_: Any) -> None:
            raise AssertionError("it was served")

    guard = Guard(Nobody(), None, None, None, Arrivals(60.0))  # type: ignore[arg-type]
    handler = grpc.unary_unary_rpc_method_handler(lambda *_: b"")
    with pytest.raises(LookupError, match=r"/unrolled\.v1\.GenerationService/Invented has neither"):
        guard.add_methods("unrolled.v1.GenerationService", {"Invented": handler})


def test_every_method_is_added_by_itself_once() -> None:
    added: list[str] = []

    class Recorder:
        def add_registered_method_handlers(self, service: str, handlers: dict[str, Any]) -> None:
            added.extend([f"/{service}/{name}" for name in handlers])

    guard = Guard(Recorder(), None, None, None, Arrivals(60.0))  # type: ignore[arg-type]
    add_SessionServiceServicer_to_server(SessionServiceServicer(), guard)  # of an older compiler
    add_HealthServicer_to_server(HealthServicer(), guard)  # of a newer one
    own = [path for path in OWN if path.startswith("/unrolled.v1.SessionService/")]
    assert sorted(added) == sorted([*own, *(path for path in FOREIGN if ".Health/" in path)])
