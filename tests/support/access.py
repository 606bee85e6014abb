"""Certificates, tokens and raw calls for tests of who may do what."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import grpc
import trustme
from google.protobuf.descriptor import MethodDescriptor

from tests.support.stubs import PROTO
from unrolled_service.callers.tokens import digest_of

LIMIT_S = 60.0
Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Pair:
    """Files of a certificate and its key."""

    cert: Path
    key: Path


class Ca:
    """A certificate authority that writes what it issues into a folder."""

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.pem = self._ca.cert_pem.bytes()
        self.path = folder / "ca.pem"
        self.path.write_bytes(self.pem)

    def issue(self, *names: str, stem: str = "server") -> Pair:
        """Write a certificate for some names, in the place of the one before, each file in one go."""
        made = self._ca.issue_cert(*(names or ("localhost", "127.0.0.1")))
        pair = Pair(self._folder / f"{stem}.pem", self._folder / f"{stem}.key")
        replace(pair.key, made.private_key_pem.bytes())
        replace(pair.cert, b"".join(each.bytes() for each in made.cert_chain_pems))
        return pair


class Cast:
    """Everybody's certificates: the server's, a client's, and those of somebody else.

    Attributes:
        tls, mutual: what a server is set to that shows its certificate; and that asks for its clients'.
    """

    def __init__(self, folder: Path) -> None:
        self.ca, self.other_ca = Ca(folder / "ours"), Ca(folder / "theirs")
        self.server = self.ca.issue()
        self.client, self.other_client = (each.issue("client", stem="client") for each in (self.ca, self.other_ca))
        self.tls = {"tls_cert": self.server.cert, "tls_key": self.server.key}
        self.mutual = {**self.tls, "tls_client_ca": self.ca.path}


def replace(path: Path, content: bytes) -> None:
    """Write a file in one go."""
    draft = path.with_suffix(".new")
    draft.write_bytes(content)
    draft.chmod(0o600)
    os.replace(draft, path)


def write_tokens(path: Path, grants: Mapping[str, str]) -> Path:
    """Write the file that knows some tokens; a grant is a tenant and scopes, separated by spaces."""
    lines = (f"{digest_of(token).hex()} {grant}\n" for token, grant in grants.items())
    replace(path, "".join(lines).encode())
    return path


def bearer(token: str) -> Pairs:
    """Return the metadata that shows a token."""
    return [("authorization", f"Bearer {token}")]


def find_methods(package: str = "unrolled") -> list[MethodDescriptor]:
    """Return every method of every .proto file of a package, by the generated stubs."""
    stubs = (path.relative_to(PROTO).with_suffix("") for path in sorted(PROTO.rglob("*_pb2.py")))
    names = [".".join(path.parts) for path in stubs]
    files = [import_module(name).DESCRIPTOR for name in names if name.startswith(f"{package}.")]
    return [method for file in files for service in file.services_by_name.values() for method in service.methods]


def path_of(method: MethodDescriptor) -> str:
    """Return what a method is called on the wire."""
    return f"/{method.containing_service.full_name}/{method.name}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that a caller can see of how a call ended."""

    code: str
    details: str
    initial: tuple[tuple[str, str | bytes], ...]
    trailing: tuple[tuple[str, str | bytes], ...]
    replies: tuple[bytes, ...]


def call(channel: grpc.Channel, method: MethodDescriptor, request: bytes = b"", metadata: Pairs = ()) -> Outcome:
    """Make a call of any kind with one message, as bytes, and read it to its end."""
    kind = f"{_word(method.client_streaming)}_{_word(method.server_streaming)}"
    make = getattr(channel, kind)(path_of(method))
    metadata = [*metadata, ("x-request-id", "same")]  # one that the server makes differs from call to call
    given: Any = iter([request]) if method.client_streaming else request
    replies: list[bytes] = []
    if method.server_streaming:
        running = make(given, metadata=metadata, timeout=LIMIT_S)
        failure: Any = running
        try:
            replies.extend(running)
        except grpc.RpcError as error:
            failure = error
    else:
        try:
            reply, failure = make.with_call(given, metadata=metadata, timeout=LIMIT_S)
            replies.append(reply)
        except grpc.RpcError as error:
            failure = error
    return Outcome(
        failure.code().name,
        failure.details() or "",
        tuple(map(tuple, failure.initial_metadata() or ())),
        tuple(map(tuple, failure.trailing_metadata() or ())),
        tuple(replies),
    )


def _word(is_streaming: bool) -> str:
    return "stream" if is_streaming else "unary"


def tls_channel(
    address: str, ca: Ca, pair: Pair | None = None, options: Sequence[tuple[str, int]] = ()
) -> grpc.Channel:
    """Return a channel of its own, which shares no connection with others."""
    shown = (None, None) if pair is None else (pair.key.read_bytes(), pair.cert.read_bytes())
    credentials = grpc.ssl_channel_credentials(ca.pem, *shown)
    return grpc.secure_channel(address, credentials, [("grpc.use_local_subchannel_pool", 1), *options])


def open_streams(methods: Sequence[MethodDescriptor]) -> Iterator[MethodDescriptor]:
    """Yield those methods whose calls end by themselves after one message."""
    return (method for method in methods if method.name != "Watch")
