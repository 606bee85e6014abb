"""The server's certificate, read again when its files change, without a connection being lost.

A connection keeps what it was made with; the next one gets what is there then. A new pair that does not fit together is
not used. Any thread may ask.
"""

import ssl
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import grpc

from unrolled_service.errors import KeyFileError
from unrolled_service.settings import Settings
from unrolled_service.watched import LOOK_INTERVAL_S, Watched


@dataclass(frozen=True, slots=True, eq=False)
class Certificate:
    """A certificate that fits its key.

    Attributes:
        chain: certificates in PEM, the server's first.
        key: its private key in PEM.
        client_ca: certificates that those of clients are signed by, in PEM; None asks clients for none.
        context: the same for Python's own sockets.
    """

    chain: bytes
    key: bytes = field(repr=False)
    client_ca: bytes | None
    context: ssl.SSLContext

    @classmethod
    def read(cls, chain: Path, key: Path, client_ca: Path | None) -> "Certificate":
        """Read the files.

        Raises:
            KeyFileError: one cannot be read, they do not fit together, or they changed meanwhile.
        """
        paths = [path for path in (chain, key, client_ca) if path is not None]
        contents = [_read(path) for path in paths]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(chain, key, password=lambda: "")  # an error rather than a question on the terminal
        except (ssl.SSLError, OSError, ValueError) as error:
            raise KeyFileError(f"{chain} and {key} are not a certificate and its key: {_fault(error)}") from None
        if client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            try:
                context.load_verify_locations(client_ca)
            except (ssl.SSLError, OSError, ValueError) as error:
                raise KeyFileError(f"{client_ca} holds no certificates: {_fault(error)}") from None
        if contents != [_read(path) for path in paths]:
            raise KeyFileError(f"{chain} and {key} are being changed")
        return cls(contents[0], contents[1], contents[2] if client_ca else None, context)

    @property
    def configuration(self) -> grpc.ServerCertificateConfiguration:
        """The same for gRPC."""
        return grpc.ssl_server_certificate_configuration([(self.key, self.chain)], root_certificates=self.client_ca)


class Certificates:
    """What a server shows, and asks for, when somebody connects.

    Args:
        certificate: the file of the certificate and those up to the root.
        key: the file of its key.
        client_ca: the file of the certificates that sign those of clients; None asks clients for none.
        interval_s: how often the files are looked at, at most.

    Raises:
        KeyFileError: the files cannot be used.
    """

    def __init__(
        self, certificate: Path, key: Path, client_ca: Path | None, *, interval_s: float = LOOK_INTERVAL_S
    ) -> None:
        paths = [path for path in (certificate, key, client_ca) if path is not None]
        read = partial(Certificate.read, certificate, key, client_ca)
        self._watched = Watched(paths, read, interval_s=interval_s)
        self._asks_clients = client_ca is not None

    @classmethod
    def from_settings(cls, settings: Settings) -> "Certificates | None":
        """Return what the settings ask for; None for clear text.

        Raises:
            KeyFileError: a file cannot be used.
        """
        if settings.tls_cert is None or settings.tls_key is None:
            return None
        return cls(settings.tls_cert, settings.tls_key, settings.tls_client_ca)

    def context(self) -> ssl.SSLContext:
        """Return what the next connection of Python's own sockets is to use."""
        return self._watched.current().context

    def server_credentials(self) -> grpc.ServerCredentials:
        """Return credentials of a gRPC port, which look for a newer certificate at every connection."""
        shown = self._watched.current()

        def renew() -> grpc.ServerCertificateConfiguration | None:
            nonlocal shown
            newest = self._watched.current()
            if newest is shown:
                return None
            shown = newest
            return newest.configuration

        return grpc.dynamic_ssl_server_credentials(shown.configuration, renew, self._asks_clients)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}") from error


def _fault(error: Exception) -> str:
    """Return what is wrong, without the place in the library's source."""
    return str(getattr(error, "reason", None) or error).lower().replace("_", " ")
