"""What a caller needs for which method and page: every one is named here, so that a new one is a decision.

Methods that are not of this table cannot be served; see ``scope_of``.
"""

from unrolled_service.callers.identity import Scope

_METHODS = {
    "unrolled.v1.GenerationService": {"Generate": Scope.GENERATE, "Score": Scope.GENERATE},
    "unrolled.v1.SequenceService": {
        "Step": Scope.GENERATE,
        "Classify": Scope.GENERATE,
        "Transduce": Scope.GENERATE,
    },
    "unrolled.v1.SessionService": {
        "CreateSession": Scope.SESSION,
        "GetSession": Scope.SESSION,
        "ListSessions": Scope.SESSION,
        "DeleteSession": Scope.SESSION,
        "ForkSession": Scope.SESSION,
        "RewindSession": Scope.SESSION,
        "ExportSnapshot": Scope.SESSION,
        "ImportSnapshot": Scope.SESSION,
    },
    "unrolled.v1.ModelService": {"ListModels": Scope.GENERATE, "GetModel": Scope.GENERATE},
}
SCOPES = {f"/{service}/{name}": scope for service, names in _METHODS.items() for name, scope in names.items()}
"""The scope of every method that needs one."""

OPEN_METHODS = frozenset(
    {
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/List",
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    }
)
"""What anybody may call who can connect: whether the server serves, and its contract."""

OPEN_PAGES = frozenset({"/healthz", "/readyz"})
"""What anybody may read who can connect; every other page needs ``PAGES``."""

PAGES = Scope.METRICS


def scope_of(method: str) -> Scope | None:
    """Return the scope that a method needs; None for one that is open to anybody.

    Args:
        method: its path, for instance ``/unrolled.v1.GenerationService/Generate``.

    Raises:
        LookupError: nobody decided that yet.
    """
    if method in OPEN_METHODS:
        return None
    if method not in SCOPES:
        raise LookupError(f"{method} has neither a scope nor a place among the open methods")
    return SCOPES[method]
