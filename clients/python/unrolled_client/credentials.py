"""What a client shows to a server and what it asks to be shown: TLS, and a bearer token."""

import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Self

import grpc

VARIABLE = "UNROLLED_TOKEN"
HEADER = "authorization"
Token = str | Callable[[], str]


@dataclass(frozen=True, slots=True)
class Tls:
    """Talk TLS, and only to a server that can prove who it is.

    Attributes:
        ca: certificates in PEM that the server's must be signed by; None takes those that gRPC comes with.
        cert: the client's certificate in PEM and those up to its root, for servers that ask for one; needs `key`.
        key: the certificate's private key in PEM.
    """

    ca: bytes | None = None
    cert: bytes | None = None
    key: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            raise ValueError("a certificate and its key need each other")

    @classmethod
    def read(
        cls,
        *,
        ca: str | os.PathLike[str] | None = None,
        cert: str | os.PathLike[str] | None = None,
        key: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Read the files of certificates and key.

        Raises:
            OSError: one cannot be read.
            ValueError: there is a certificate without a key, or a key without a certificate.
        """
        return cls(*(None if path is None else Path(path).read_bytes() for path in (ca, cert, key)))

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """Return the same for gRPC."""
        return grpc.ssl_channel_credentials(self.ca, self.key, self.cert)

    def context(self) -> ssl.SSLContext:
        """Return the same for Python's own sockets; without `ca` it takes the certificates of this machine.

        Raises:
            ValueError: they are no certificates, or no key that fits.
        """
        try:
            context = ssl.create_default_context(cadata=self.ca.decode() if self.ca else None)
            if self.cert and self.key:
                with NamedTemporaryFile() as pair:  # which can be loaded from files alone
                    pair.write(b"\n".join((self.cert, self.key)))
                    pair.flush()
                    context.load_cert_chain(pair.name, password=lambda: "")  # an error rather than a question
        except (ssl.SSLError, UnicodeDecodeError) as error:
            raise ValueError(f"the certificates or the key cannot be used: {error}") from None
        return context


def resolve_token(token: Token | None) -> Token | None:
    """Return the token to show: the given one, else that of UNROLLED_TOKEN, else none."""
    return token or os.environ.get(VARIABLE) or None


def check_privacy(target: str, token: Token | None, credentials: object) -> None:
    """Refuse to let a token travel in clear text, except within this machine.

    Raises:
        ValueError: it would.
    """
    if token is not None and credentials is None and not is_local(target):
        raise ValueError(f"a token would travel to {target} in clear text; use TLS")


def is_local(target: str) -> bool:
    """Return whether a gRPC target is surely on this machine."""
    scheme, separator, rest = target.partition(":")
    if scheme in ("unix", "unix-abstract"):
        return True
    address = rest.lstrip("/") if separator and scheme in ("ipv4", "ipv6", "dns") else target
    host = address.rpartition(":")[0] if address.count(":") == 1 or "]:" in address else address
    host = host.removeprefix("[").removesuffix("]")
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def headers_of(token: Token | None) -> tuple[tuple[str, str], ...]:
    """Return the metadata that shows a token; one that is made anew is asked for now."""
    if token is None:
        return ()
    return ((HEADER, f"Bearer {token() if callable(token) else token}"),)
