"""Who somebody is, as far as this server cares: a tenant, and what it may do."""

import re
from dataclasses import dataclass
from enum import StrEnum

from unrolled_service.errors import PermissionDenied

MAX_TENANT_LENGTH = 128
_TENANT = re.compile(rf"[!-~]{{1,{MAX_TENANT_LENGTH}}}")


class Scope(StrEnum):
    """What a token may be good for."""

    GENERATE = "generate"
    SESSION = "session"
    ADMIN = "admin"
    METRICS = "metrics"


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller.

    Attributes:
        tenant: whose sessions it has; empty where callers are not told apart.
        scopes: what it may do.
    """

    tenant: str
    scopes: frozenset[Scope]

    def check(self, scope: Scope) -> None:
        """Refuse what the caller may not do.

        Raises:
            PermissionDenied: it lacks the scope.
        """
        if scope not in self.scopes:
            raise PermissionDenied(scope)


ANYBODY = Identity("", frozenset(Scope))
"""The caller of a server that asks nobody who they are."""


def is_tenant(name: str) -> bool:
    """Return whether a text can name a tenant: 1 to 128 printable ASCII characters without spaces."""
    return bool(_TENANT.fullmatch(name))
