"""Bearer tokens by their hashes: who knows a token is who the file says.

A line of the file is the SHA-256 of a token in hex, a tenant, and scopes; tokens themselves are written nowhere. They
have 256 random bits, so a plain hash of one cannot be reversed. Values, for any thread.
"""

import hashlib
import hmac
import secrets
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from unrolled_service.callers.identity import MAX_TENANT_LENGTH, Identity, Scope, is_tenant
from unrolled_service.errors import KeyFileError

PREFIX = "unr_"
_TOKEN_BYTES = 32
_DIGEST_BYTES = 32
_TAG_BYTES = 16


@dataclass(frozen=True, slots=True)
class Grant:
    """What one token is good for.

    Attributes:
        digest: its SHA-256, 32 bytes.
        identity: who it makes its bearer.
    """

    digest: bytes
    identity: Identity

    def __str__(self) -> str:
        """Return its line in the file."""
        return " ".join((self.digest.hex(), self.identity.tenant, *sorted(self.identity.scopes)))


class Tokens:
    """The tokens that a file knows.

    A token is looked for under a tag that depends on a secret of this object, then compared in constant time: how long
    that takes tells nothing about any token in the file.

    Args:
        grants: what the tokens are good for.

    Raises:
        ValueError: two are for the same token.
    """

    def __init__(self, grants: Iterable[Grant]) -> None:
        self._secret = secrets.token_bytes(_TAG_BYTES)
        self._grants: dict[bytes, Grant] = {}
        for grant in grants:
            if self._grants.setdefault(self._tag(grant.digest), grant) is not grant:
                raise ValueError("two lines are for the same token")

    def __len__(self) -> int:
        return len(self._grants)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file of tokens; empty lines and those that begin with ``#`` do not count.

        Raises:
            KeyFileError: naming the line and the fault.
        """
        try:
            with path.open("rb") as file:
                mode = stat.S_IMODE(path.stat().st_mode)
                lines = file.read().decode().splitlines()
            if mode & 0o022:
                raise KeyFileError(f"{path}: others than its owner may write to it (mode {mode:04o}); chmod 600 it")
            numbered = [(f"{path}:{i}", line) for i, line in enumerate(lines, 1)]
            return cls(_parse(line, place) for place, line in numbered if line.strip() and not line.startswith("#"))
        except OSError as error:
            raise KeyFileError(f"{path}: {error.strerror}") from error
        except UnicodeDecodeError:
            raise KeyFileError(f"{path}: is not UTF-8 text") from None
        except ValueError as error:
            raise KeyFileError(f"{path}: {error}") from None

    def find(self, token: str) -> Identity | None:
        """Return who the bearer of a token is; None for nobody known."""
        digest = digest_of(token)
        grant = self._grants.get(self._tag(digest))
        return grant.identity if grant is not None and hmac.compare_digest(grant.digest, digest) else None

    def _tag(self, digest: bytes) -> bytes:
        return hashlib.blake2b(digest, key=self._secret, digest_size=_TAG_BYTES).digest()


def make_token() -> str:
    """Return a new token: 256 random bits behind a prefix that scanners for leaked secrets can know."""
    return PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)


def digest_of(token: str) -> bytes:
    """Return the SHA-256 of a token."""
    return hashlib.sha256(token.encode()).digest()


_SCOPES: Mapping[str, Scope] = {scope.value: scope for scope in Scope}


def _parse(line: str, place: str) -> Grant:
    text, *rest = line.split()
    try:
        digest = bytes.fromhex(text)
    except ValueError:
        digest = b""
    if len(digest) != _DIGEST_BYTES:
        raise KeyFileError(f"{place}: does not begin with a SHA-256 in hex")
    if not rest or not is_tenant(rest[0]):
        raise KeyFileError(f"{place}: a tenant is 1 to {MAX_TENANT_LENGTH} printable ASCII characters")
    tenant, *names = rest
    if not names or not {*names} <= _SCOPES.keys():
        raise KeyFileError(f"{place}: scopes are one or more of {', '.join(_SCOPES)}")
    return Grant(digest, Identity(tenant, frozenset(_SCOPES[name] for name in names)))
