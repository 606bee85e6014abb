import hashlib
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from tests.support.access import write_tokens
from unrolled_service.callers.identity import Identity, Scope
from unrolled_service.callers.issuing import token as issue
from unrolled_service.callers.tokens import PREFIX, Grant, Tokens, digest_of, make_token
from unrolled_service.errors import KeyFileError, PermissionDenied

ACME = Identity("acme", frozenset({Scope.GENERATE}))
HEX = hashlib.sha256(b"unr_x").hexdigest()


def test_a_token_is_known_by_its_sha256_alone() -> None:
    tokens = Tokens([Grant(hashlib.sha256(b"unr_x").digest(), ACME)])

    assert tokens.find("unr_x") == ACME
    for wrong in ("", "unr_", "unr_y", "unr_x ", HEX, "UNR_X"):
        assert tokens.find(wrong) is None


@given(st.lists(st.text(), min_size=1, max_size=20, unique=True), st.text())
def test_every_token_is_its_own_bearers(known: list[str], other: str) -> None:
    tokens = Tokens(Grant(digest_of(each), Identity(f"t{i}", frozenset())) for i, each in enumerate(known))

    assert [identity.tenant for each in known if (identity := tokens.find(each))] == [
        f"t{i}" for i in range(len(known))
    ]
    assert (tokens.find(other) is not None) == (other in known)


def test_a_file_says_tenant_and_scopes(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"# people\n\n{HEX}  acme\tgenerate session\n{'0' * 64} ops/2@x admin metrics\n")
    path.chmod(0o644)

    tokens = Tokens.read(path)

    assert len(tokens) == 2
    assert tokens.find("unr_x") == Identity("acme", frozenset({Scope.GENERATE, Scope.SESSION}))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("unr_secret acme generate", ":1: does not begin with a SHA-256 in hex"),
        (f"{HEX[:-2]} acme generate", ":1: does not begin with a SHA-256 in hex"),
        (f"# x\n{HEX}", ":2: a tenant is 1 to 128 printable ASCII characters"),
        (f"{HEX} ä generate", ":1: a tenant is 1 to 128 printable ASCII characters"),
        (f"{HEX} {'t' * 129} generate", ":1: a tenant is 1 to 128 printable ASCII characters"),
        (f"{HEX} acme", ":1: scopes are one or more of generate, session, admin, metrics"),
        (f"{HEX} acme generate,session", ":1: scopes are one or more of generate, session, admin, metrics"),
        (f"{HEX} acme generate\n{HEX} other admin", ": two lines are for the same token"),
        ("\udcff", ": is not UTF-8 text"),
    ],
)
def test_a_file_that_is_wrong_is_refused_without_its_tokens(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "tokens"
    path.write_bytes(text.encode(errors="surrogateescape"))
    path.chmod(0o600)

    with pytest.raises(KeyFileError) as caught:
        Tokens.read(path)

    assert str(caught.value) == f"{path}{fault}"
    assert "secret" not in str(caught.value)


def test_a_file_that_others_may_write_is_refused(tmp_path: Path) -> None:
    path = write_tokens(tmp_path / "tokens", {"unr_x": "acme generate"})
    path.chmod(0o620)
    with pytest.raises(KeyFileError, match="others than its owner may write to it"):
        Tokens.read(path)
    with pytest.raises(KeyFileError, match="No such file"):
        Tokens.read(tmp_path / "nowhere")


def test_an_empty_file_knows_nobody(tmp_path: Path) -> None:
    assert len(Tokens.read(write_tokens(tmp_path / "tokens", {}))) == 0


def test_a_scope_that_is_lacking_is_named() -> None:
    ACME.check(Scope.GENERATE)
    with pytest.raises(PermissionDenied, match="the token lacks the scope admin"):
        ACME.check(Scope.ADMIN)


def test_new_tokens_are_long_and_differ() -> None:
    made = {make_token() for _ in range(100)}
    assert len(made) == 100
    assert all(len(each) == len(PREFIX) + 43 and each.startswith(PREFIX) for each in made)


def test_the_verb_makes_a_token_and_the_line_that_knows_it(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    told = CliRunner().invoke(issue, ["acme", "--scope", "session", "--scope", "metrics"]).output.splitlines()
    added = CliRunner().invoke(issue, ["beta", "--append", str(path)]).output.splitlines()

    assert len(told) == 2
    assert len(added) == 1
    assert path.stat().st_mode & 0o777 == 0o600
    assert added[0] not in path.read_text()
    with path.open("a") as file:
        file.write(told[1])
    tokens = Tokens.read(path)
    assert tokens.find(told[0]) == Identity("acme", frozenset({Scope.SESSION, Scope.METRICS}))
    assert tokens.find(added[0]) == Identity("beta", frozenset({Scope.GENERATE, Scope.SESSION}))


def test_the_verb_refuses_a_tenant_that_no_file_can_name() -> None:
    result = CliRunner().invoke(issue, ["two words"])
    assert result.exit_code == 2
    assert "1 to 128 printable ASCII characters without spaces" in result.output
