"""A key file is read as it was meant, or refused with the line and the fault."""

import base64
import hashlib
import hmac
from pathlib import Path

import pytest

from unrolled_service.errors import KeyFileError
from unrolled_service.snapshots.keys import Key, Keys

A, B = bytes(range(32)), bytes(range(100, 148))


def write_keys(folder: Path, content: str | bytes, mode: int = 0o600) -> Path:
    path = folder / "keys"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_file_is_read_in_order(tmp_path: Path, mode: int) -> None:
    lines = f"# the newer one signs\n\nnew : {base64.b64encode(B).decode()}\r\n old.1_x-y:{A.hex().upper()} \n"

    assert Keys.read(write_keys(tmp_path, lines, mode)) == Keys((Key("new", B), Key("old.1_x-y", A)))


FAULTS: dict[str, tuple[str | bytes, str]] = {
    "empty": ("# nothing\n", r"keys: there is no key"),
    "no colon": ("#\nabc\n", r"keys:2: is not id:secret"),
    "no id": (f":{A.hex()}", r"keys:1: an id is 1 to 64"),
    "an id with a blank": (f"a b:{A.hex()}", r"keys:1: an id is 1 to 64"),
    "a long id": (f"{'a' * 65}:{A.hex()}", r"keys:1: an id is 1 to 64"),
    "no secret": ("a:", r"keys:1: a secret has at least 32 bytes, this one has 0"),
    "a short secret": (f"a:{A[1:].hex()}", r"keys:1: a secret has at least 32 bytes, this one has 31"),
    "neither": ("a:hello, world", r"keys:1: the secret is neither hex nor base64"),
    "not even ASCII": ("a:ü", r"keys:1: the secret is neither hex nor base64"),
    "an id twice": (f"a:{A.hex()}\na:{B.hex()}", r"keys: two keys have the same id"),
    "not text": (b"\xff\xfe", r"keys: is not UTF-8 text"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_is_named(tmp_path: Path, case: str) -> None:
    content, message = FAULTS[case]

    with pytest.raises(KeyFileError, match=message):
        Keys.read(write_keys(tmp_path, content))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610])
def test_a_file_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = write_keys(tmp_path, f"a:{A.hex()}", mode)

    with pytest.raises(KeyFileError, match=rf"others than its owner may use it \(mode 0{mode:o}\); chmod 600"):
        Keys.read(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match=r"keys: No such file"):
        Keys.read(tmp_path / "keys")


@pytest.mark.parametrize("secret", [A.hex()[:-1], A.hex()[:-2], A.hex()[:-2] + "!!"])
def test_no_message_has_the_secret(tmp_path: Path, secret: str) -> None:
    with pytest.raises(KeyFileError) as refusal:
        Keys.read(write_keys(tmp_path, f"a:{secret}"))

    assert A.hex()[:8] not in str(refusal.value)
    assert refusal.value.__cause__ is None


def test_no_repr_has_a_secret() -> None:
    assert repr(Keys((Key("a", A), Key("b", B)))) == "Keys(keys=(Key(id='a'), Key(id='b')))"


def test_a_signature_is_the_standards() -> None:
    keys = Keys((Key("a", A), Key("b", B)))

    assert keys.signing_id == "a"
    assert keys.sign(b"he", b"llo") == hmac.digest(A, b"hello", hashlib.sha256)


def test_every_key_verifies_under_its_own_id_alone() -> None:
    keys = Keys((Key("a", A), Key("b", B)))
    signature = hmac.digest(B, b"hello", "sha256")

    assert keys.verify("b", signature, b"hello")
    assert not keys.verify("a", signature, b"hello")
    assert not keys.verify("c", signature, b"hello")
    assert not keys.verify("b", signature, b"hello!")
    assert not keys.verify("b", signature[:-1], b"hello")


def test_random_keys_are_nobody_elses() -> None:
    one, other = Keys.random(), Keys.random()

    assert one.signing_id != other.signing_id
    assert not other.verify(other.signing_id, one.sign(b"hello"), b"hello")
