"""Snapshots come back as they were, or are refused with the right reason; nothing in between."""

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.support.snapshots import EXAMPLE, FIXTURE, HOST, KEYS, OWNER, check, decode, facts, read_inner, sign
from unrolled.v1.snapshot_pb2 import SignedSnapshot, Snapshot
from unrolled_service.errors import SnapshotInvalid, SnapshotMismatch
from unrolled_service.snapshots.envelope import MAX_BYTES
from unrolled_service.snapshots.keys import Key, Keys
from unrolled_service.snapshots.snapshot import MAX_PENDING, Content, Host, encode, open_snapshot

DATA = encode(EXAMPLE, KEYS)
SIZE = HOST.vocabulary_size


@st.composite
def contents_of_vectors(draw: st.DrawFn, host: Host) -> Content:
    """Draw a session that was fed vectors."""
    numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)
    width, count = draw(st.integers(1, 5)), draw(st.integers(0, 8))
    host = replace(host, vocabulary_size=0, input_width=width, is_generative=draw(st.booleans()))
    consumed = draw(st.integers(0, 2**63 - 1 - count)) if count or not host.is_generative else 0
    ahead = draw(st.integers(0, count))
    return Content(
        host=host,
        owner="",
        seed=draw(st.integers(0, 2**64 - 1)),
        consumed=consumed,
        state=draw(arrays(np.float32, host.state_size, elements=numbers)),
        latest_consumed=consumed + ahead if ahead else 0,
        latest=draw(arrays(np.float32, host.state_size, elements=numbers)) if ahead else None,
        pending=tuple(draw(arrays(np.float32, count * width, elements=numbers)).tolist()),
        generated=np.empty(0, np.float32),
        fed=np.empty(0, np.float32),
        ttl_s=1.0,
        created=0.0,
    )


@st.composite
def contents(draw: st.DrawFn) -> Content:
    """Draw a session that a server could have."""
    size = draw(st.integers(2, 30))
    host = Host(
        model=draw(st.text(min_size=1, max_size=128)),
        model_sha256=draw(st.binary(min_size=32, max_size=32)),
        precision=draw(st.sampled_from(["fp32", "int8"])),
        numerics=draw(st.binary(min_size=32, max_size=32)),
        state_size=draw(st.integers(1, 40)),
        vocabulary_size=size,
    )
    if draw(st.booleans()):
        return draw(contents_of_vectors(host))
    pending = draw(st.lists(st.integers(0, 2 * size - 1), max_size=20))
    most = 2**24 if pending else 0
    generated, fed = (draw(arrays(np.float32, size, elements=st.integers(0, most), fill=st.just(0))) for _ in "gf")
    taken = int(generated.sum(dtype=np.float64) + fed.sum(dtype=np.float64))
    consumed = draw(st.integers(taken, 2**63 - 1 - len(pending))) if pending else 0
    numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)
    ahead = draw(st.integers(0, len(pending)))
    return Content(
        host=host,
        owner=draw(st.text(max_size=20)),
        seed=draw(st.integers(0, 2**64 - 1)),
        consumed=consumed,
        state=draw(arrays(np.float32, host.state_size, elements=numbers)),
        latest_consumed=consumed + ahead if ahead else 0,
        latest=draw(arrays(np.float32, host.state_size, elements=numbers)) if ahead else None,
        pending=tuple(pending),
        generated=generated,
        fed=fed,
        ttl_s=draw(st.floats(0, 31_536_000, exclude_min=True)),
        created=draw(st.floats(0, 253_402_300_800, exclude_max=True)),
    )


@given(contents())
def test_a_session_comes_back_to_the_bit(content: Content) -> None:
    again = decode(encode(content, KEYS), host=content.host, owner=content.owner)

    assert facts(again) == facts(content)


def test_the_first_format_is_read_forever() -> None:
    assert facts(decode(FIXTURE.read_bytes())) == facts(EXAMPLE)


def test_counts_past_what_float32_adds_up_come_back() -> None:
    content = replace(
        EXAMPLE, generated=np.full(SIZE, 2**24, np.float32), consumed=2**24 * SIZE * 3, latest_consumed=0, latest=None
    )
    huge = replace(content, generated=np.full(SIZE, 2.0**33, np.float32))

    assert facts(decode(encode(content, KEYS))) == facts(content)
    assert {*decode(encode(huge, KEYS)).generated} == {2.0**32 - 256}


def test_what_comes_back_can_be_written_to() -> None:
    content = decode(DATA)

    assert all(each.flags.writeable for each in (content.state, content.generated, content.fed))


def find_taken(variants: Iterable[bytes]) -> list[bytes]:
    """Return the ones that are not refused as invalid; whatever else they raise is a failure."""
    taken = []
    for data in variants:
        with suppress(SnapshotInvalid):
            open_snapshot(data, KEYS, owner=OWNER)
            taken.append(data)
    return taken


def test_nothing_but_the_very_bytes_is_taken() -> None:
    places = range(len(DATA))
    other = (DATA[:i] + bytes([b]) + DATA[i + 1 :] for i in places for b in range(256) if b != DATA[i])
    further = {DATA[:i] + bytes([b]) + DATA[i:] for i in (*places, len(DATA)) for b in range(256)}

    assert find_taken([DATA]) == [DATA]
    assert find_taken(other) == []
    assert find_taken(further) == []
    assert find_taken(DATA[:i] + DATA[i + 1 :] for i in places) == []
    assert find_taken(DATA[:i] for i in places) == []
    assert find_taken(DATA[i:] for i in places if i) == []


def resign(**fields: object) -> bytes:
    signed = SignedSnapshot.FromString(DATA)
    for name, value in fields.items():
        setattr(signed, name, value)
    return signed.SerializeToString()


def move_key_id_last() -> bytes:
    signed = SignedSnapshot.FromString(DATA)
    key_id = SignedSnapshot(key_id=signed.key_id).SerializeToString()
    signed.ClearField("key_id")
    return signed.SerializeToString() + key_id


OUTER: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "format 0"),
    "noise": (b"\xff" * 50, "not a snapshot"),
    "too long": (bytes(MAX_BYTES + 1), "at most"),
    "format 2": (resign(format=2), "format 2, this server knows 1"),
    "format 2, rightly signed": (sign(SignedSnapshot.FromString(DATA).snapshot, version=2), "format 2"),
    "an unknown key": (resign(key_id="test-2"), "no key of this server"),
    "a key id that is no text": (DATA.replace(b"test-1", b"test-\xff"), "not a snapshot"),
    "no signature": (resign(signature=b""), "no key of this server"),
    "half a signature": (resign(signature=SignedSnapshot.FromString(DATA).signature[:16]), "no key of this server"),
    "an unknown field": (DATA + b"\x28\x01", "added or moved"),
    "a field twice": (DATA + DATA[:2], "added or moved"),
    "fields in another order": (move_key_id_last(), "added or moved"),
    "a number written longer": (b"\x08\x81\x00" + DATA[2:], "added or moved"),
}


@pytest.mark.parametrize("case", OUTER)
def test_an_envelope_is_refused(case: str) -> None:
    data, message = OUTER[case]

    with pytest.raises(SnapshotInvalid, match=message):
        open_snapshot(data, KEYS, owner=OWNER)


def test_the_signature_is_verified_before_the_snapshot_is_parsed() -> None:
    noise = b"\xff\xff\xff"
    unsigned = SignedSnapshot(format=1, key_id=KEYS.signing_id, snapshot=noise, signature=bytes(32))

    with pytest.raises(SnapshotInvalid, match="no key of this server"):
        open_snapshot(unsigned.SerializeToString(), KEYS, owner=OWNER)
    with pytest.raises(SnapshotInvalid, match="what is signed"):
        open_snapshot(sign(noise), KEYS, owner=OWNER)


def test_another_secret_of_the_same_name_is_refused() -> None:
    other = Keys((Key(KEYS.signing_id, bytes(32)),))

    with pytest.raises(SnapshotInvalid, match="no key of this server"):
        decode(encode(EXAMPLE, other))


def test_keys_are_rotated() -> None:
    old, new = KEYS.keys[0], Key("test-2", os.urandom(32))
    rotated = Keys((new, old))
    fresh = encode(EXAMPLE, rotated)

    assert facts(decode(DATA, rotated)) == facts(EXAMPLE)
    assert SignedSnapshot.FromString(fresh).key_id == "test-2"
    assert facts(decode(fresh, Keys((new,)))) == facts(EXAMPLE)
    with pytest.raises(SnapshotInvalid):
        decode(fresh, KEYS)
    with pytest.raises(SnapshotInvalid):
        decode(DATA, Keys((new,)))


def set_state(snapshot: Snapshot, number: float) -> None:
    snapshot.state = np.array([number, 0, 0, 0, 0], "<f4").tobytes()


def put(**fields: object) -> Callable[[Snapshot], object]:
    def change(snapshot: Snapshot) -> None:
        for name, value in fields.items():
            setattr(snapshot, name, value)

    return change


def strip(snapshot: Snapshot) -> None:
    del snapshot.pending[:]
    put(latest=b"", latest_consumed=0)(snapshot)


ALONE = {"latest": b"", "latest_consumed": 0}
FORGERIES: dict[str, tuple[Callable[[Snapshot], object], str]] = {
    "short sha256": (put(model_sha256=bytes(31)), "by a sha256"),
    "long numerics": (put(numerics=bytes(33)), "arithmetic by 32 bytes"),
    "no precision": (put(precision=""), "name a precision"),
    "half a number": (lambda s: put(state=s.state[:-1])(s), "half a number"),
    "a number less": (lambda s: put(state=s.state[:-4])(s), "has 4 numbers, the bundle's 5"),
    "a number more": (lambda s: put(state=s.state + bytes(4))(s), "has 6 numbers, the bundle's 5"),
    "NaN": (lambda s: set_state(s, np.nan), "not finite"),
    "infinity": (lambda s: set_state(s, -np.inf), "not finite"),
    "consumed past the end": (put(consumed=2**63, **ALONE), "position too high"),
    "position past the end": (put(consumed=2**63 - 4, **ALONE), "position too high"),
    "too many pending": (
        lambda s: s.pending.extend([1] * (MAX_PENDING - len(s.pending) + 1)),
        "too many pending",
    ),
    "pending outside": (lambda s: s.pending.append(52), "outside the bundle's vocabulary"),
    "nothing pending": (strip, "go on from"),
    "a later state that is shorter": (lambda s: put(latest=s.latest[:-4])(s), "has 4 numbers, the bundle's 5"),
    "half a number in a later state": (lambda s: put(latest=s.latest[:-1])(s), "half a number"),
    "NaN in a later state": (lambda s: put(latest=s.state[:-4] + b"\x00\x00\xc0\x7f")(s), "not finite"),
    "a later state before the first": (put(latest_consumed=7), "position that it had not"),
    "a later state after the last": (put(latest_consumed=12), "position that it had not"),
    "a later position without a state": (put(latest=b""), "position that it had not"),
    "generated outside": (
        lambda s: put(consumed=99, **ALONE)(s) or s.generated.update({26: 1}),
        "outside the bundle's",
    ),
    "fed outside": (lambda s: put(consumed=99, **ALONE)(s) or s.fed.update({2**32 - 1: 1}), "outside the bundle's"),
    "one count too many": (lambda s: s.generated.update({5: 1}), "more tokens than its state has taken"),
    "a count of 4 billion": (lambda s: s.fed.update({0: 2**32 - 1}), "too often"),
    "no idle time": (put(ttl_s=0.0), "idle time"),
    "negative idle time": (put(ttl_s=-1.0), "idle time"),
    "idle for ever": (put(ttl_s=np.inf), "idle time"),
    "idle for NaN": (put(ttl_s=np.nan), "idle time"),
    "made before time": (put(created=-1.0), "time of creation"),
    "made never": (put(created=np.nan), "time of creation"),
    "made in the year 10000": (put(created=253_402_300_800.0), "time of creation"),
    "unknown field": (lambda s: s.MergeFromString(b"\xa0\x06\x01"), "does not know"),
}


@pytest.mark.parametrize("case", FORGERIES)
def test_what_no_server_writes_is_refused_though_it_is_signed(case: str) -> None:
    change, message = FORGERIES[case]
    snapshot = read_inner(DATA)
    change(snapshot)

    with pytest.raises(SnapshotInvalid, match=message):
        decode(sign(snapshot.SerializeToString()))


VECTORS = replace(
    EXAMPLE,
    host=replace(HOST, vocabulary_size=0, input_width=2),
    pending=(0.5, -1.0, 2.0, 0.25, 1.0, 1.0),
    generated=np.empty(0, np.float32),
    fed=np.empty(0, np.float32),
)


def set_vectors(*numbers: float) -> Callable[[Snapshot], object]:
    return put(pending_vectors=np.array(numbers, "<f4").tobytes())


def turn_into_tokens(snapshot: Snapshot) -> None:
    set_vectors()(snapshot)
    snapshot.pending.append(1)


FORGED_VECTORS: dict[str, tuple[Callable[[Snapshot], object], str]] = {
    "half a number": (lambda s: put(pending_vectors=s.pending_vectors[:-2])(s), "half a number"),
    "half a vector": (lambda s: put(pending_vectors=s.pending_vectors[:-4])(s), "not 2 numbers wide"),
    "NaN": (set_vectors(1.0, np.nan, *[0.0] * 4), "not finite"),
    "infinity": (set_vectors(np.inf, *[0.0] * 5), "not finite"),
    "tokens too": (lambda s: s.pending.append(1), "has pending tokens, not what the bundle takes"),
    "tokens alone": (turn_into_tokens, "has pending tokens"),
    "nothing": (lambda s: set_vectors()(s) or put(**ALONE)(s), "go on from"),
    "a later state after the last": (put(latest_consumed=11), "position that it had not"),
    "too many": (put(pending_vectors=bytes(4 * (MAX_PENDING + 2))), "too many pending"),
    "a position past the end": (put(consumed=2**63 - 3, **ALONE), "position too high"),
    "a count": (lambda s: s.fed.update({0: 1}), "outside the bundle's vocabulary"),
}


@pytest.mark.parametrize("case", FORGED_VECTORS)
def test_vectors_that_no_server_writes_are_refused(case: str) -> None:
    change, message = FORGED_VECTORS[case]
    snapshot = read_inner(encode(VECTORS, KEYS))
    change(snapshot)

    with pytest.raises(SnapshotInvalid, match=message):
        decode(sign(snapshot.SerializeToString()), host=VECTORS.host)


def test_vectors_are_not_for_a_bundle_of_tokens() -> None:
    snapshot = read_inner(DATA)
    snapshot.pending_vectors = bytes(8)

    with pytest.raises(SnapshotInvalid, match="has pending vectors, not what the bundle takes"):
        decode(sign(snapshot.SerializeToString()))


def test_a_session_that_is_only_read_may_have_nothing_pending() -> None:
    host = replace(VECTORS.host, is_generative=False)
    content = replace(VECTORS, host=host, pending=(), latest=None, latest_consumed=0)

    assert facts(decode(encode(content, KEYS), host=host)) == facts(content)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_a_state_that_nobody_could_read_is_not_written(number: float) -> None:
    with pytest.raises(SnapshotInvalid, match="not finite"):
        encode(replace(EXAMPLE, state=np.full(5, number, np.float32)), KEYS)
    with pytest.raises(SnapshotInvalid, match="not finite"):
        encode(replace(VECTORS, pending=(0.0, number)), KEYS)


def test_more_than_fits_is_not_written() -> None:
    with pytest.raises(SnapshotInvalid, match="at most"):
        encode(replace(EXAMPLE, state=np.zeros(MAX_BYTES // 4, np.float32)), KEYS)
    with pytest.raises(SnapshotInvalid, match="at most 2097152"):
        encode(replace(VECTORS, pending=(0.5,) * (MAX_PENDING + 2)), KEYS)


def test_another_owner_is_refused_and_learns_nothing() -> None:
    with pytest.raises(SnapshotMismatch) as refusal:
        open_snapshot(DATA, KEYS, owner="bob")

    assert refusal.value.message == "the snapshot belongs to another owner"


@pytest.mark.parametrize("accept", [False, True])
def test_another_bundle_is_refused_by_name(accept: bool) -> None:
    others = [replace(HOST, model_sha256=bytes(32)), replace(HOST, model_sha256=bytes(31) + b"\x01")]

    with pytest.raises(SnapshotMismatch, match=f"alphabet with sha256 {HOST.model_sha256.hex()}, which is not served"):
        open_snapshot(DATA, KEYS, owner=OWNER).unpack(others, accept_other_numerics=accept)


def test_the_bundle_is_found_among_several() -> None:
    opened = open_snapshot(DATA, KEYS, owner=OWNER)
    others = replace(HOST, model="other", model_sha256=bytes(32), state_size=9), HOST

    assert opened.model_sha256 == HOST.model_sha256
    assert opened.unpack(others, accept_other_numerics=False).host is HOST


@pytest.mark.parametrize(
    ("host", "message"),
    [
        (replace(HOST, precision="int8"), "computed in fp32, here the bundle is served in int8"),
        (replace(HOST, numerics=bytes(32)), "rounds differently"),
    ],
)
def test_other_arithmetic_is_refused_unless_accepted(host: Host, message: str) -> None:
    opened = open_snapshot(DATA, KEYS, owner=OWNER)

    with pytest.raises(SnapshotMismatch, match=message):
        opened.unpack([host], accept_other_numerics=False)
    accepted = opened.unpack([host], accept_other_numerics=True)
    assert facts(accepted) == facts(replace(EXAMPLE, host=host))


@given(st.binary(max_size=400))
def test_noise_is_refused(data: bytes) -> None:
    check(data)


@given(st.data())
def test_a_mutation_is_refused_or_read_as_what_it_is(data: st.DataObject) -> None:
    inner = bytearray(read_inner(DATA).SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(inner))] * 2)))
        inner[start : min(end, start + 8)] = data.draw(st.binary(max_size=8))

    check(bytes(inner))
