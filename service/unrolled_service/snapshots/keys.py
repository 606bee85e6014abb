"""The secrets that sign snapshots: the first one signs, all of them verify.

So a key is rotated by adding a new one behind the old on every server, then putting it first, and taking the
old one away once no snapshot that matters bears its id. Nothing here knows what is signed; a secret is in
no message and in no ``repr``. Values, for any thread.
"""

import base64
import binascii
import hmac
import os
import re
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from unrolled_service.errors import KeyFileError

MIN_SECRET_BYTES = 32
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2})+")


@dataclass(frozen=True, slots=True)
class Key:
    """A secret and the name it goes by.

    Args:
        id: 1 to 64 of A-Z a-z 0-9 . _ -; not secret.
        secret: at least 32 bytes.

    Raises:
        ValueError: saying which of the two is at fault.
    """

    id: str
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise ValueError("an id is 1 to 64 of A-Z a-z 0-9 . _ -")
        if len(self.secret) < MIN_SECRET_BYTES:
            raise ValueError(f"a secret has at least {MIN_SECRET_BYTES} bytes, this one has {len(self.secret)}")


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of a server.

    Args:
        keys: at least one, no two of the same id; the first one signs.

    Raises:
        ValueError: there is none, or two have the same id.
    """

    keys: tuple[Key, ...]

    def __post_init__(self) -> None:
        if not self.keys:
            raise ValueError("there is no key")
        if len({key.id for key in self.keys}) < len(self.keys):
            raise ValueError("two keys have the same id")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file of lines ``id:secret``, the signing key first.

        A secret is hex where it has nothing but hex digits, else base64. Empty lines and those that begin
        with ``#`` do not count.

        Raises:
            KeyFileError: naming the line and the fault, never the secret.
        """
        keys: list[Key] = []
        try:
            for number, line in enumerate(_read_private(path).splitlines(), 1):
                if line.strip() and not line.startswith("#"):
                    keys.append(_parse(line, f"{path}:{number}"))
            return cls(tuple(keys))
        except ValueError as error:  # of all keys together, or of the text's encoding
            fault = "is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
            raise KeyFileError(f"{path}: {fault}") from None

    @classmethod
    def random(cls) -> Self:
        """Make one key that nobody else has: what it signs lives as long as the process."""
        return cls((Key(f"random-{secrets.token_hex(4)}", secrets.token_bytes(MIN_SECRET_BYTES)),))

    @property
    def signing_id(self) -> str:
        """The id of the key that signs."""
        return self.keys[0].id

    def sign(self, *parts: bytes) -> bytes:
        """Return the HMAC-SHA256 (RFC 2104) of the parts, one after the other, under the first key."""
        return _sign(self.keys[0].secret, parts)

    def verify(self, key_id: str, signature: bytes, *parts: bytes) -> bool:
        """Return whether the key of that id signed the parts; the comparison takes the same time either way."""
        secret = next((key.secret for key in self.keys if key.id == key_id), None)
        return secret is not None and hmac.compare_digest(_sign(secret, parts), signature)


def _sign(secret: bytes, parts: tuple[bytes, ...]) -> bytes:
    code = hmac.new(secret, digestmod="sha256")
    for part in parts:
        code.update(part)
    return code.digest()


def _read_private(path: Path) -> str:
    """Return the text of a file that its owner alone can touch."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read()
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}") from error
    if mode & 0o077:
        raise KeyFileError(f"{path}: others than its owner may use it (mode {mode:04o}); chmod 600 it")
    return content.decode()


def _parse(line: str, place: str) -> Key:
    key_id, colon, text = (part.strip() for part in line.partition(":"))
    if not colon:
        raise KeyFileError(f"{place}: is not id:secret")
    try:
        secret = bytes.fromhex(text) if _HEX.fullmatch(text) else base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise KeyFileError(f"{place}: the secret is neither hex nor base64") from None
    try:
        return Key(key_id, secret)
    except ValueError as error:
        raise KeyFileError(f"{place}: {error}") from None
