"""JSON Web Tokens (RFC 7519): who an issuer says that somebody is.

A signature counts only in one of a fixed list of algorithms, none of which takes a secret that the verifier shares,
and only in those that fit the key; what the token's own header asks for decides nothing. The only module that
imports jwt. Values, for any thread; nothing here asks the network.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from unrolled_service.callers.identity import Identity, Scope, is_tenant
from unrolled_service.errors import KeyFileError

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA")
MIN_RSA_BITS = 2048
_REMEMBERED = 1024
_RSA = ALGORITHMS[:6]
_CURVES = {"secp256r1": ("ES256",), "secp384r1": ("ES384",)}
_SCOPES: Mapping[str, Scope] = {scope.value: scope for scope in Scope}
# What a malformed token makes the library raise beside its own errors: a header nested too deeply, an infinite time.
_MALFORMED = (jwt.PyJWTError, ValueError, TypeError, ArithmeticError, RecursionError)


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who signs tokens, and what must be in them.

    Attributes:
        name: the `iss` of its tokens.
        audience: this server's name, one of the token's `aud`.
        tenant_claim: the claim that names the tenant.
        leeway_s: how far its clock may be from this one's, in seconds.
    """

    name: str
    audience: str
    tenant_claim: str
    leeway_s: float


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A public key and the algorithms that a signature of it may have; `id` tells it from the issuer's others."""

    id: str | None
    key: Any = field(repr=False)
    algorithms: tuple[str, ...]


class Claims:
    """Reads the tokens of an issuer.

    Args:
        issuer: what must be in them.
        keys: verify their signatures; at least one, and no two of the same id.

    Raises:
        ValueError: there is none, or two have the same id.
    """

    def __init__(self, issuer: Issuer, keys: Sequence[VerifyingKey]) -> None:
        if not keys:
            raise ValueError("there is no key that can verify a token")
        self._issuer = issuer
        self._keys = {key.id: key for key in keys}
        if len(self._keys) < len(keys):
            raise ValueError("two keys have the same id, or none")
        # A signature takes as long as a call's messages; who goes on calling with a token waits for it once.
        self._verified = lru_cache(_REMEMBERED)(self._verify)

    @classmethod
    def read(cls, path: Path, issuer: Issuer) -> "Claims":
        """Read a file with a public key in PEM, or with a JSON Web Key Set (RFC 7517).

        Raises:
            KeyFileError: naming the fault.
        """
        try:
            content = path.read_bytes()
            keys = _read_set(content) if content.lstrip().startswith(b"{") else [_read_pem(content)]
            return cls(issuer, keys)
        except OSError as error:
            raise KeyFileError(f"{path}: {error.strerror}") from error
        except (ValueError, TypeError, RecursionError, UnsupportedAlgorithm, jwt.PyJWTError) as error:
            raise KeyFileError(f"{path}: {error}") from None

    def find(self, token: str) -> Identity | None:
        """Return who the bearer of a token is; None where anything about it is wrong."""
        try:
            verified = self._verified(token)
        except _MALFORMED:
            return None
        return verified.identity if verified.expires > time.time() - self._issuer.leeway_s else None

    def _verify(self, token: str) -> "_Verified":
        """Return what a token says; raises one of ``_MALFORMED`` where it says nothing that counts."""
        claims = jwt.decode(
            token,
            *self._key_of(jwt.get_unverified_header(token).get("kid")),
            audience=self._issuer.audience,
            issuer=self._issuer.name,
            leeway=self._issuer.leeway_s,
            options={"require": ["exp", "iss", "aud", self._issuer.tenant_claim]},
        )
        tenant, scopes = claims[self._issuer.tenant_claim], claims.get("scope", "")
        if not (isinstance(tenant, str) and is_tenant(tenant) and isinstance(scopes, str)):
            raise jwt.InvalidTokenError
        granted = frozenset(_SCOPES[name] for name in scopes.split() if name in _SCOPES)
        return _Verified(Identity(tenant, granted), int(claims["exp"]))

    def _key_of(self, key_id: str | None) -> tuple[Any, list[str]]:
        """Return the key that a token names, or the only one where one of the two has no name, and its algorithms."""
        only = next(iter(self._keys.values()))
        key = self._keys.get(key_id) or (only if len(self._keys) == 1 and None in (key_id, only.id) else None)
        if key is None:
            raise jwt.InvalidTokenError
        return key.key, list(key.algorithms)


@dataclass(frozen=True, slots=True)
class _Verified:
    """What a token said when it was verified; until ``expires``, in seconds since the epoch, it goes on saying so."""

    identity: Identity
    expires: int


def _read_pem(content: bytes) -> VerifyingKey:
    key = load_pem_public_key(content)
    return VerifyingKey(None, key, _algorithms_of(key))


def _read_set(content: bytes) -> list[VerifyingKey]:
    listed = json.loads(content).get("keys")
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        raise ValueError("is not a set of keys: it has no list of objects named keys")
    return [_read_jwk(each) for each in listed if each.get("use", "sig") == "sig"]


def _read_jwk(told: dict[str, Any]) -> VerifyingKey:
    name = f"the key {told.get('kid')!r}"
    if told.get("kty") == "oct":
        raise ValueError(f"{name} is a shared secret; only public keys verify tokens here")
    wanted = told.get("alg")
    if wanted not in (None, *ALGORITHMS):
        raise ValueError(f"{name} is for {wanted}, not for one of {', '.join(ALGORITHMS)}")
    key = jwt.PyJWK(told).key
    fitting = _algorithms_of(key)
    if wanted not in (None, *fitting):
        raise ValueError(f"{name} is for {wanted}, which does not fit it")
    return VerifyingKey(told.get("kid"), key, fitting if wanted is None else (wanted,))


def _algorithms_of(key: object) -> tuple[str, ...]:
    """Return the algorithms that fit a public key.

    Raises:
        ValueError: none does that is accepted here.
    """
    match key:
        case RSAPublicKey() if key.key_size < MIN_RSA_BITS:
            raise ValueError(f"an RSA key has at least {MIN_RSA_BITS} bits, this one has {key.key_size}")
        case RSAPublicKey():
            return _RSA
        case EllipticCurvePublicKey() if key.curve.name in _CURVES:
            return _CURVES[key.curve.name]
        case Ed25519PublicKey():
            return ("EdDSA",)
    raise ValueError(f"is not a public key for one of {', '.join(ALGORITHMS)}")
