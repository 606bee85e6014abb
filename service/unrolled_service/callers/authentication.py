"""From what a caller shows to who it is.

Tokens come in the `authorization` metadata of a call, or header of a page, as `Bearer TOKEN` (RFC 6750). What is wrong
with one is nobody's business but the operator's: every refusal says the same.
"""

from collections.abc import Sequence
from functools import partial
from typing import Protocol

from unrolled_service.callers.claims import Claims, Issuer
from unrolled_service.callers.identity import Identity
from unrolled_service.callers.tokens import Tokens
from unrolled_service.errors import Unauthenticated
from unrolled_service.settings import Settings
from unrolled_service.watched import Watched

HEADER = "authorization"
MAX_HEADER_LENGTH = 8192
_SCHEME = "bearer"


class Authority(Protocol):
    """Knows bearers by their tokens."""

    def find(self, token: str) -> Identity | None:
        """Return who the bearer of a token is; None for nobody known."""


class Authentication:
    """Tells callers apart; any thread may ask.

    Args:
        authorities: asked one after the other.
    """

    def __init__(self, authorities: Sequence[Watched[Tokens] | Watched[Claims]]) -> None:
        self._authorities = tuple(authorities)

    @classmethod
    def from_settings(cls, settings: Settings) -> "Authentication | None":
        """Return what the settings ask for; None where they ask for none.

        Raises:
            KeyFileError: a file cannot be used.
        """
        authorities: list[Watched[Tokens] | Watched[Claims]] = []
        if path := settings.auth_tokens:
            authorities.append(Watched([path], partial(Tokens.read, path)))
        if path := settings.jwt_keys:
            issuer = Issuer(
                settings.jwt_issuer or "",
                settings.jwt_audience or "",
                settings.jwt_tenant_claim,
                settings.jwt_leeway_s,
            )
            authorities.append(Watched([path], partial(Claims.read, path, issuer)))
        return cls(authorities) if authorities else None

    def identify(self, headers: Sequence[str]) -> Identity:
        """Return who shows these `authorization` headers.

        Raises:
            Unauthenticated: nobody who is known.
        """
        if len(headers) == 1 and len(headers[0]) <= MAX_HEADER_LENGTH:
            scheme, _, token = headers[0].partition(" ")
            if scheme.lower() == _SCHEME and token:
                for authority in self._authorities:
                    known: Authority = authority.current()
                    if identity := known.find(token):
                        return identity
        raise Unauthenticated
