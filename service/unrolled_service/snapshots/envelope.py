"""Bytes under a signature: what is sealed here opens where one of the keys is known, and only as it was.

The signature is verified before anybody looks at what it covers. A parser forgives what no signature
covers, fields in another order, twice or unknown; so one form of the envelope is taken, the one that
``seal`` writes, and every change of one byte is refused. Knows nothing of what is inside; pure, for any thread.
"""

import struct

from google.protobuf.message import DecodeError

from unrolled.v1.snapshot_pb2 import SignedSnapshot
from unrolled_service.errors import SnapshotInvalid
from unrolled_service.snapshots.keys import Keys

FORMAT = 1
MAX_BYTES = 64 * 2**20
UNREADABLE = (DecodeError, UnicodeDecodeError)  # the second by protobuf's Python implementation alone
_LABEL = b"unrolled.v1.Snapshot"


def seal(inner: bytes, keys: Keys) -> bytes:
    """Return the bytes in an envelope signed with the first key.

    Raises:
        SnapshotInvalid: that would be more than ``MAX_BYTES``.
    """
    signature = keys.sign(*frame(FORMAT, keys.signing_id, inner))
    signed = SignedSnapshot(format=FORMAT, key_id=keys.signing_id, snapshot=inner, signature=signature)
    if signed.ByteSize() > MAX_BYTES:
        raise SnapshotInvalid(f"the session takes {signed.ByteSize()} bytes, a snapshot has at most {MAX_BYTES}")
    return signed.SerializeToString()


def unseal(data: bytes, keys: Keys) -> bytes:
    """Return what ``seal`` was given, here or on another server with one of these keys.

    Raises:
        SnapshotInvalid: it was changed, has another format, or no key here signed it.
    """
    if len(data) > MAX_BYTES:
        raise SnapshotInvalid(f"the snapshot has {len(data)} bytes, at most {MAX_BYTES} are taken")
    try:
        signed = SignedSnapshot.FromString(data)
    except UNREADABLE as error:
        raise SnapshotInvalid("the bytes are not a snapshot") from error
    if signed.format != FORMAT:
        raise SnapshotInvalid(f"the snapshot has format {signed.format}, this server knows {FORMAT}")
    key_id, inner, signature = signed.key_id, signed.snapshot, signed.signature
    if not keys.verify(key_id, signature, *frame(FORMAT, key_id, inner)):
        raise SnapshotInvalid("the snapshot is damaged, or no key of this server signed it")
    again = SignedSnapshot(format=FORMAT, key_id=key_id, snapshot=inner, signature=signature)
    if again.SerializeToString() != data:
        raise SnapshotInvalid("the snapshot is damaged: something was added or moved")
    return inner


def frame(version: int, key_id: str, inner: bytes) -> tuple[bytes, bytes]:
    """Return what is signed, in pieces: lengths before what varies, so that no two envelopes give the same."""
    name = key_id.encode()
    return _LABEL + struct.pack(">IIQ", version, len(name), len(inner)) + name, inner
