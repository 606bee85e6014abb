"""A session as portable, signed bytes, and back (proto/unrolled/v1/snapshot.proto).

Reading takes two steps. ``open_snapshot`` needs no bundle: it opens the envelope and checks every bound.
``Opened.unpack`` then finds the host among those that this server has, and makes the content fit it. What is
checked here was signed by a server, so it guards against other versions and defects, not against callers.
Knows neither engines nor sessions; pure, for any thread.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unrolled.v1.snapshot_pb2 import Snapshot
from unrolled_service.errors import SnapshotInvalid, SnapshotMismatch
from unrolled_service.snapshots.envelope import UNREADABLE, seal, unseal
from unrolled_service.snapshots.keys import Keys

MAX_PENDING = 2**21
MAX_POSITION = 2**63 - 1
MAX_TTL_S = 31_536_000.0
_YEAR_10000 = 253_402_300_800.0  # no timestamp can say it
_MAX_COUNT = 2**32 - 256  # the largest float32 that a uint32 holds
_EXACT_COUNT = 2**24  # float32 counts no further without rounding
_HASH_BYTES = 32
_Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Host:
    """What computes a state: a bundle, in one precision, on this machine's arithmetic.

    Attributes:
        model: name of the bundle.
        model_sha256: its identity, 32 bytes.
        precision: form of the cell that is served.
        numerics: fingerprint of the arithmetic, 32 bytes.
        state_size: S, float32 numbers of one state.
        vocabulary_size: V; 0 where the cell takes vectors.
        input_width: F, numbers of a vector; 0 where it takes tokens.
        is_generative: its outputs are fed back, so going on needs an input that the state has not taken.
    """

    model: str
    model_sha256: bytes
    precision: str
    numerics: bytes
    state_size: int
    vocabulary_size: int
    input_width: int = 0
    is_generative: bool = True

    @property
    def key(self) -> str:
        """What tells its bundle from others, also from others of that name; no bundle's name has an @."""
        return f"{self.model}@{self.model_sha256.hex()}"


@dataclass(frozen=True, slots=True, eq=False)
class Content:
    """Everything that the text of a session depends on.

    Attributes:
        host: what computed the state; after reading, what is to go on with it.
        owner: whom it belongs to; empty for nobody in particular.
        seed: uint64, seed of its draws where a call gives none.
        consumed: inputs that the state has taken: the earliest position that can be gone back to.
        state: f32[S], every state tensor in the manifest's order, flattened.
        pending: inputs of the history after ``consumed``, oldest first: tokens, V added to generated ones, or the
            numbers of vectors one behind the other.
        generated: f32[V], how often each token of the state was generated.
        fed: f32[V], how often each was fed.
        ttl_s: idle time after which it expires.
        created: seconds since the epoch.
        latest_consumed: inputs that ``latest`` has taken.
        latest: f32[S], a later state; None where there is none.
    """

    host: Host
    owner: str
    seed: int
    consumed: int
    state: _Floats
    pending: tuple[float, ...]
    generated: _Floats
    fed: _Floats
    ttl_s: float
    created: float
    latest_consumed: int = 0
    latest: _Floats | None = None

    @property
    def position(self) -> int:
        """Inputs in the whole history."""
        return self.consumed + len(self.pending) // (self.host.input_width or 1)


def encode(content: Content, keys: Keys) -> bytes:
    """Return a session as bytes, signed with the first key.

    Raises:
        SnapshotInvalid: nobody could read them: the state or a vector is not finite, or it is too large.
    """
    if not all(np.isfinite(each).all() for each in (content.state, content.latest) if each is not None):
        raise SnapshotInvalid("the session's state has a number that is not finite")
    if not np.isfinite(content.pending).all():
        raise SnapshotInvalid("the session's history has a number that is not finite")
    if len(content.pending) > MAX_PENDING:
        raise SnapshotInvalid(
            f"the session's history has {len(content.pending)} numbers, at most {MAX_PENDING} are taken"
        )
    takes_vectors = content.host.input_width > 0
    inner = Snapshot(
        model=content.host.model,
        model_sha256=content.host.model_sha256,
        precision=content.host.precision,
        numerics=content.host.numerics,
        owner=content.owner,
        seed=content.seed,
        consumed=content.consumed,
        state=content.state.astype("<f4").tobytes(),
        pending=[] if takes_vectors else [int(token) for token in content.pending],
        pending_vectors=np.array(content.pending, "<f4").tobytes() if takes_vectors else b"",
        generated=_pack(content.generated),
        fed=_pack(content.fed),
        ttl_s=content.ttl_s,
        created=content.created,
        latest_consumed=content.latest_consumed,
        latest=b"" if content.latest is None else content.latest.astype("<f4").tobytes(),
    ).SerializeToString()
    return seal(inner, keys)


def open_snapshot(data: bytes, keys: Keys, *, owner: str) -> "Opened":
    """Return what a key of this server signed, once everything holds that can be told without a bundle.

    Args:
        data: what ``encode`` returned, here or on another server.
        keys: those of this server.
        owner: who asks.

    Raises:
        SnapshotInvalid: damaged, of another form, or signed by nobody known.
        SnapshotMismatch: it belongs to another owner, who is not named.
    """
    inner = unseal(data, keys)
    try:
        snapshot = Snapshot.FromString(inner)
    except UNREADABLE as error:
        raise SnapshotInvalid("what is signed is not a snapshot") from error
    _check(snapshot)
    if snapshot.owner != owner:
        raise SnapshotMismatch("the snapshot belongs to another owner")
    return Opened(snapshot)


class Opened:
    """A genuine snapshot that waits for its host.

    Args:
        snapshot: verified and checked; not to be changed any more.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    @property
    def model_sha256(self) -> bytes:
        """Identity of the bundle that it belongs to."""
        return self._snapshot.model_sha256

    def unpack(self, hosts: Iterable[Host], *, accept_other_numerics: bool) -> Content:
        """Return the session for the one of these hosts that serves its bundle.

        Args:
            hosts: what this server has.
            accept_other_numerics: take it also where the text may come out differently from here on:
                computed in another precision or by other arithmetic.

        Raises:
            SnapshotMismatch: none serves its bundle, or the one that does computes differently.
            SnapshotInvalid: its sizes are not those of its own bundle.
        """
        told = self._snapshot
        host = next((host for host in hosts if host.model_sha256 == told.model_sha256), None)
        if host is None:
            bundle = f"{told.model} with sha256 {told.model_sha256.hex()}"
            message = f"the snapshot belongs to the bundle {bundle}, which is not served here"
            raise SnapshotMismatch(message, differs="bundle")
        if not accept_other_numerics:
            _check_numerics(told, host)
        size, pending = host.vocabulary_size, _pending(told, host)
        for state in (told.state, told.latest or told.state):
            if len(state) != 4 * host.state_size:
                raise SnapshotInvalid(f"a state has {len(state) // 4} numbers, the bundle's {host.state_size}")
        if max(told.pending, default=-1) >= 2 * size or max((*told.generated, *told.fed), default=-1) >= size:
            raise SnapshotInvalid("the snapshot has a token outside the bundle's vocabulary")
        return Content(
            host=host,
            owner=told.owner,
            seed=told.seed,
            consumed=told.consumed,
            state=np.frombuffer(told.state, "<f4").astype(np.float32),
            pending=pending,
            generated=_unpack(told.generated, size),
            fed=_unpack(told.fed, size),
            ttl_s=told.ttl_s,
            created=told.created,
            latest_consumed=told.latest_consumed,
            latest=np.frombuffer(told.latest, "<f4").astype(np.float32) if told.latest else None,
        )


def _pending(told: Snapshot, host: Host) -> tuple[float, ...]:
    """Return the inputs that the state has not taken, once they are of the kind that the host takes."""
    width = host.input_width
    if told.pending if width else told.pending_vectors:
        raise SnapshotInvalid(f"the snapshot has pending {'tokens' if width else 'vectors'}, not what the bundle takes")
    if not width:
        count, pending = len(told.pending), tuple(told.pending)
    else:
        numbers = np.frombuffer(told.pending_vectors, "<f4")
        if len(numbers) % width:
            raise SnapshotInvalid(f"the snapshot has pending vectors that are not {width} numbers wide")
        count, pending = len(numbers) // width, tuple(numbers.tolist())
    if host.is_generative and told.consumed and not count:
        raise SnapshotInvalid("the snapshot has nothing to go on from")
    if told.consumed + count > MAX_POSITION:
        raise SnapshotInvalid("the snapshot is at a position too high")
    if told.latest_consumed > told.consumed + count:
        raise SnapshotInvalid("the snapshot has a latest state at a position that it had not")
    return pending


def _check(snapshot: Snapshot) -> None:
    """Refuse what no server writes; a server of another version may have, or one with a defect."""
    known = Snapshot()
    known.CopyFrom(snapshot)
    known.DiscardUnknownFields()  # in every message inside
    counts = (*snapshot.generated.values(), *snapshot.fed.values())
    faults = {
        "has a field that this server does not know": snapshot.ByteSize() != known.ByteSize(),
        "does not name its bundle by a sha256": len(snapshot.model_sha256) != _HASH_BYTES,
        "does not name its arithmetic by 32 bytes": len(snapshot.numerics) != _HASH_BYTES,
        "does not name a precision": not snapshot.precision,
        "has half a number in it": any(
            len(each) % 4 for each in (snapshot.state, snapshot.latest, snapshot.pending_vectors)
        ),
        "has a number that is not finite": not all(
            map(_is_finite, (snapshot.state, snapshot.latest, snapshot.pending_vectors))
        ),
        "has a latest state at a position that it had not": (
            snapshot.latest_consumed <= snapshot.consumed if snapshot.latest else snapshot.latest_consumed
        ),
        "has too many pending inputs": len(snapshot.pending) + len(snapshot.pending_vectors) // 4 > MAX_PENDING,
        "is at a position too high": snapshot.consumed + len(snapshot.pending) > MAX_POSITION,
        "counts a token too often": max(counts, default=0) > _MAX_COUNT,
        "counts more tokens than its state has taken": sum(min(each, _EXACT_COUNT) for each in counts)
        > snapshot.consumed,
        "has an idle time that is not above 0 s and at most a year": not 0 < snapshot.ttl_s <= MAX_TTL_S,
        "has a time of creation that is none": not 0 <= snapshot.created < _YEAR_10000,
    }
    for fault, is_present in faults.items():
        if is_present:
            raise SnapshotInvalid(f"the snapshot {fault}")


def _check_numerics(snapshot: Snapshot, host: Host) -> None:
    if snapshot.precision != host.precision:
        raise SnapshotMismatch(
            f"the snapshot was computed in {snapshot.precision}, here the bundle is served in {host.precision}",
            differs="precision",
        )
    if snapshot.numerics != host.numerics:
        message = "the snapshot was computed by a machine whose arithmetic rounds differently"
        raise SnapshotMismatch(message, differs="numerics")


def _is_finite(state: bytes) -> bool:
    return bool(np.isfinite(np.frombuffer(state, "<f4", len(state) // 4)).all())


def _pack(counts: _Floats) -> dict[int, int]:
    return {int(token): int(min(counts[token], _MAX_COUNT)) for token in np.flatnonzero(counts)}


def _unpack(counts: Mapping[int, int], size: int) -> _Floats:
    unpacked = np.zeros(size, np.float32)
    for token, count in counts.items():
        unpacked[token] = count
    return unpacked
