"""JSON Web Tokens: each fault by itself makes nobody of the bearer, whatever else is right."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from tests.support.server import wait_until
from unrolled_service.callers.claims import ALGORITHMS, Claims, Issuer, VerifyingKey
from unrolled_service.callers.identity import Identity, Scope
from unrolled_service.errors import KeyFileError

ISSUER = Issuer("https://issuer", "unrolled", "sub", leeway_s=10.0)
ACME = Identity("acme", frozenset({Scope.GENERATE, Scope.SESSION}))


@cache
def private(kind: str) -> Any:
    match kind:
        case "rsa" | "rsa-other":
            return rsa.generate_private_key(65537, 2048)
        case "rsa-small":
            return rsa.generate_private_key(65537, 1024)
        case "ed25519":
            return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key({"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1()}[kind])


def public_pem(kind: str) -> bytes:
    pem: bytes = private(kind).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem


def public_jwk(kind: str, **more: str) -> dict[str, Any]:
    algorithm: Any = {"r": RSAAlgorithm, "e": OKPAlgorithm, "p": ECAlgorithm}[kind[0]]
    jwk: dict[str, Any] = json.loads(algorithm.to_jwk(private(kind).public_key()))
    return jwk | more


def told(**changes: Any) -> dict[str, Any]:
    """Return good claims but for some; None takes one away."""
    now = int(time.time())
    good = {
        "iss": "https://issuer",
        "aud": "unrolled",
        "sub": "acme",
        "exp": now + 60,
        "scope": "openid generate session",
    }
    return {name: value for name, value in (good | changes).items() if value is not None}


def signed(kind: str = "rsa", algorithm: str = "RS256", headers: dict[str, Any] | None = None, **changes: Any) -> str:
    return jwt.encode(told(**changes), private(kind), algorithm, headers)


def part(content: object) -> str:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def forged(header: dict[str, Any], secret: bytes | None = None, content: dict[str, Any] | None = None) -> str:
    """Return a token whose signature is none, or an HMAC, or nonsense."""
    text = f"{part(header)}.{part(told() if content is None else content)}"
    digest = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}.get(header.get("alg", ""))
    signature = hmac.new(secret, text.encode(), digest).digest() if secret is not None and digest else b""
    return f"{text}.{part(signature)}"


def tampered(token: str) -> str:
    header, _, signature = token.split(".")
    return f"{header}.{part(told(sub='other'))}.{signature}"


@pytest.fixture
def claims(tmp_path: Path) -> Claims:
    (tmp_path / "key.pem").write_bytes(public_pem("rsa"))
    return Claims.read(tmp_path / "key.pem", ISSUER)


def test_a_good_token_says_tenant_and_scopes(claims: Claims) -> None:
    assert claims.find(signed()) == ACME
    assert claims.find(signed(scope=None)) == Identity("acme", frozenset())
    assert claims.find(signed(aud=["other", "unrolled"])) == ACME
    assert claims.find(signed(headers={"kid": "any"})) == ACME


@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [
        *(("rsa", each) for each in ALGORITHMS[:6]),
        ("p256", "ES256"),
        ("p384", "ES384"),
        ("ed25519", "EdDSA"),
    ],
)
def test_an_algorithm_of_the_list_counts_if_it_fits_the_key(tmp_path: Path, kind: str, algorithm: str) -> None:
    (tmp_path / "pem").write_bytes(public_pem(kind))
    (tmp_path / "jwks").write_text(json.dumps({"keys": [public_jwk(kind, kid="k")]}))
    token = signed(kind, algorithm, headers={"kid": "k"})

    assert Claims.read(tmp_path / "pem", ISSUER).find(token) == ACME
    assert Claims.read(tmp_path / "jwks", ISSUER).find(token) == ACME


FAULTS: dict[str, Callable[[], str]] = {
    "expired": lambda: signed(exp=int(time.time()) - 60),
    "expired by more than the leeway": lambda: signed(exp=int(time.time()) - 11),
    "without expiry": lambda: signed(exp=None),
    "an expiry that is no time": lambda: signed(exp="tomorrow"),
    "an infinite expiry": lambda: signed(exp=float("inf")),
    "not yet valid": lambda: signed(nbf=int(time.time()) + 60),
    "issued in the future": lambda: signed(iat=int(time.time()) + 60),
    "for another audience": lambda: signed(aud="other"),
    "for an audience that begins alike": lambda: signed(aud="unrolled2"),
    "for nobody": lambda: signed(aud=None),
    "for an empty list": lambda: signed(aud=[]),
    "by another issuer": lambda: signed(iss="https://other"),
    "by no issuer": lambda: signed(iss=None),
    "without a tenant": lambda: signed(sub=None),
    "with an empty tenant": lambda: signed(sub=""),
    "with a tenant of two words": lambda: signed(sub="a b"),
    "with a tenant too long": lambda: signed(sub="t" * 129),
    "with scopes in a list": lambda: signed(scope=["generate"]),
    "by another key": lambda: signed("rsa-other"),
    "by a key of another kind": lambda: signed("p256", "ES256"),
    "with other claims than were signed": lambda: tampered(signed()),
    "cut short": lambda: signed()[:-4],
    "unsigned": lambda: forged({"alg": "none"}),
    "unsigned, spelt otherwise": lambda: forged({"alg": "NoNe"}),
    "unsigned, without an algorithm": lambda: forged({}),
    "unsigned, with an algorithm of the list": lambda: forged({"alg": "RS256"}),
    "signed with the public key as a secret": lambda: forged({"alg": "HS256"}, public_pem("rsa")),
    "the same, without the last newline": lambda: forged({"alg": "HS256"}, public_pem("rsa").strip()),
    "the same, longer": lambda: forged({"alg": "HS512"}, public_pem("rsa")),
    "signed with an empty secret": lambda: forged({"alg": "HS256"}, b""),
    "with a key of its own": lambda: jwt.encode(
        told(), private("rsa-other"), "RS256", {"jwk": public_jwk("rsa-other"), "jku": "https://evil/jwks"}
    ),
    "with a header that must be understood": lambda: signed(headers={"crit": ["b64"], "b64": False}),
    "with a name that is a number": lambda: forged({"alg": "RS256", "kid": 7}),
    "a header nested too deeply": lambda: f"{part(b'[' * 5000)}.{part(told())}.AA",
    "claims that are a list": lambda: jwt.api_jws.encode(b"[]", private("rsa"), "RS256"),
    "claims that are no JSON": lambda: jwt.api_jws.encode(b"\xff", private("rsa"), "RS256"),
    "nothing": lambda: "",
    "dots": lambda: "..",
    "five parts": lambda: "a.b.c.d.e",
    "no ASCII": lambda: "ä.ö.ü",
    "zeros": lambda: "\0.\0.\0",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_is_enough(claims: Claims, fault: str) -> None:
    assert claims.find(FAULTS[fault]()) is None


def test_the_leeway_is_for_clocks_that_differ(claims: Claims) -> None:
    assert claims.find(signed(exp=int(time.time()) - 5)) == ACME
    assert claims.find(signed(nbf=int(time.time()) + 5)) == ACME


@given(st.text() | st.tuples(st.binary(), st.binary(), st.binary()).map(lambda parts: ".".join(map(part, parts))))
def test_anything_else_is_nobody(text: str) -> None:
    key = jwt.PyJWK(public_jwk("ed25519")).key
    assert Claims(ISSUER, [VerifyingKey(None, key, ("EdDSA",))]).find(text) is None


def test_a_token_that_was_good_expires_all_the_same(claims: Claims, monkeypatch: pytest.MonkeyPatch) -> None:
    token, now = signed(), time.time()
    for later, wanted in ((0, ACME), (60, ACME), (69, ACME), (72, None), (0, ACME)):
        monkeypatch.setattr(time, "time", lambda later=later: now + later)
        assert claims.find(token) == wanted


def test_a_token_that_was_not_good_yet_becomes_it(claims: Claims) -> None:
    begins = time.time() + 13  # 3 s beyond the leeway
    token = signed(nbf=begins)
    assert claims.find(token) is None
    wait_until(lambda: claims.find(token) == ACME, "the token is within the leeway")


def test_a_claim_of_ones_own_may_name_the_tenant(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(public_pem("rsa"))
    claims = Claims.read(tmp_path / "key", Issuer("https://issuer", "unrolled", "org", 0.0))
    token = jwt.encode(told(org="firm"), private("rsa"), "RS256")

    assert claims.find(token) == Identity("firm", ACME.scopes)
    assert claims.find(signed()) is None


def test_a_set_of_keys_is_chosen_from_by_name(tmp_path: Path) -> None:
    keys = [public_jwk("rsa", kid="one"), public_jwk("p256", kid="two"), {"kty": "unknown", "use": "enc"}]
    (tmp_path / "jwks").write_text(json.dumps({"keys": keys}))
    claims = Claims.read(tmp_path / "jwks", ISSUER)

    assert claims.find(signed(headers={"kid": "one"})) == ACME
    assert claims.find(signed("p256", "ES256", {"kid": "two"})) == ACME
    assert claims.find(signed(headers={"kid": "two"})) is None
    assert claims.find(signed(headers={"kid": "three"})) is None
    assert claims.find(signed()) is None


def test_a_key_says_which_algorithm_it_is_for(tmp_path: Path) -> None:
    (tmp_path / "jwks").write_text(json.dumps({"keys": [public_jwk("rsa", kid="one", alg="PS256")]}))
    claims = Claims.read(tmp_path / "jwks", ISSUER)

    assert claims.find(signed(algorithm="PS256", headers={"kid": "one"})) == ACME
    assert claims.find(signed(algorithm="RS256", headers={"kid": "one"})) is None


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (lambda: b"", ""),
        (lambda: b"hello", ""),
        (lambda: b'{"keys": {}}', "is not a set of keys"),
        (lambda: b'{"keys": []}', "there is no key that can verify a token"),
        (lambda: json.dumps({"keys": [public_jwk("rsa", use="enc")]}).encode(), "there is no key"),
        (lambda: json.dumps({"keys": [public_jwk("rsa"), public_jwk("p256")]}).encode(), "two keys have the same id"),
        (lambda: b'{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}', "is a shared secret"),
        (lambda: json.dumps({"keys": [public_jwk("rsa", alg="HS256")]}).encode(), "is for HS256"),
        (lambda: json.dumps({"keys": [public_jwk("p256", alg="ES384")]}).encode(), "is for ES384, which does not fit"),
        (lambda: public_pem("rsa-small"), "at least 2048 bits, this one has 1024"),
        (lambda: public_pem("p521"), "is not a public key for one of RS256"),
        (
            lambda: private("rsa").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            "",
        ),
    ],
)
def test_a_file_of_keys_that_is_wrong_is_refused(tmp_path: Path, content: Callable[[], bytes], fault: str) -> None:
    (tmp_path / "keys").write_bytes(content())
    with pytest.raises(KeyFileError, match=f"keys: .*{fault}"):
        Claims.read(tmp_path / "keys", ISSUER)
