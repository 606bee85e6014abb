"""A small session, keys to sign it with, snapshots that no server makes, and what holds for all bytes.

Run as a program, it writes tests/data/snapshot-v1.bin if that is not there: what it holds was written once
and has to be readable forever.
"""

from pathlib import Path

import numpy as np

from unrolled.v1.snapshot_pb2 import SignedSnapshot, Snapshot
from unrolled_service.errors import SnapshotInvalid, SnapshotMismatch
from unrolled_service.snapshots.envelope import FORMAT, frame
from unrolled_service.snapshots.keys import Key, Keys
from unrolled_service.snapshots.snapshot import Content, Host, encode, open_snapshot

FIXTURE = Path(__file__).resolve().parents[1] / "data" / "snapshot-v1.bin"
OWNER = "ada"
KEYS = Keys((Key("test-1", bytes(range(32))),))
HOST = Host(
    model="alphabet",
    model_sha256=bytes(range(100, 132)),
    precision="fp32",
    numerics=bytes(range(200, 232)),
    state_size=5,
    vocabulary_size=26,
)


def count(**counts: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return f32[26], so many of each letter."""
    row = np.zeros(26, np.float32)
    for letter, number in counts.items():
        row[ord(letter) - ord("a")] = number
    return row


EXAMPLE = Content(
    host=HOST,
    owner=OWNER,
    seed=2**64 - 1,
    consumed=7,
    state=np.array([1.0, -0.0, 2.0**-149, 3.4028235e38, -1 / 3], np.float32),
    pending=(3, 26 + 25, 0, 26),
    generated=count(b=3, z=1),
    fed=count(a=1, b=2),
    ttl_s=600.5,
    created=1_700_000_000.25,
    latest_consumed=9,
    latest=np.array([0.5, 2.0**-126, -1.0, 0.0, 0.1], np.float32),
)


def sign(inner: bytes, keys: Keys = KEYS, *, version: int = FORMAT) -> bytes:
    """Return a snapshot of any bytes that is rightly signed."""
    key_id = keys.signing_id
    signature = keys.sign(*frame(version, key_id, inner))
    return SignedSnapshot(format=version, key_id=key_id, snapshot=inner, signature=signature).SerializeToString()


def read_inner(data: bytes) -> Snapshot:
    """Return what is signed, whoever signed it."""
    return Snapshot.FromString(SignedSnapshot.FromString(data).snapshot)


def decode(data: bytes, keys: Keys = KEYS, *, host: Host = HOST, owner: str = OWNER) -> Content:
    """Read a snapshot in both steps, on a server with one host."""
    return open_snapshot(data, keys, owner=owner).unpack([host], accept_other_numerics=False)


def facts(content: Content) -> dict[str, object]:
    """Return a content as plain values that can be compared, numbers by their bits."""
    values = {name: getattr(content, name) for name in content.__dataclass_fields__}
    return {
        name: (value.dtype.str, value.tobytes()) if isinstance(value, np.ndarray) else value
        for name, value in values.items()
    }


def check_bytes(data: bytes) -> None:
    """Fail unless bytes that nobody signed are refused."""
    try:
        open_snapshot(data, KEYS, owner=OWNER)
    except SnapshotInvalid:
        return
    if data != FIXTURE.read_bytes():
        raise AssertionError("a forgery was taken")


def check_signed(inner: bytes) -> None:
    """Fail unless signed bytes are refused, or read and written again as what they were."""
    try:
        content = open_snapshot(sign(inner), KEYS, owner=OWNER).unpack([HOST], accept_other_numerics=True)
    except (SnapshotInvalid, SnapshotMismatch):
        return
    if facts(decode(encode(content, KEYS))) != facts(content):
        raise AssertionError("a second reading differs from the first")


def check(data: bytes) -> None:
    """Take any bytes as they come, and as what a server signed."""
    check_bytes(data)
    check_signed(data)


if __name__ == "__main__":
    with FIXTURE.open("xb") as file:
        file.write(encode(EXAMPLE, KEYS))
