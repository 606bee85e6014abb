"""`unrolled admin` against a server in a process of its own."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.support.alphabet import greedy_text, write_bundle
from tests.support.malice import make_malice
from tests.support.server import running_server
from unrolled_client import AdminClient, Client
from unrolled_client.cli.group import unrolled
from unrolled_client.errors import InvalidField, ModelNotFound, Unreachable

STOP_LIMIT_S = 30


def test_operators_change_what_is_served(tmp_path: Path) -> None:
    below = tmp_path / "below"
    write_bundle(below / "letters", name="letters")
    make_malice("nodes in a circle", below / "bad")

    def admin(*words: str) -> Result:
        return CliRunner().invoke(unrolled, ["admin", *words, "--server", address], env={"COLUMNS": "160"})

    first = write_bundle(tmp_path / "first", name="first")
    with running_server(first, admin_listen="127.0.0.1:0", bundles_folder=str(below)) as server:
        address = server.admin_address
        loaded = admin("load", "letters")
        assert (loaded.exit_code, loaded.stdout[:23]) == (0, "serving letters (fp32, ")
        assert admin("load", "letters").stdout.startswith("serving already letters")
        with Client(server.address) as client:
            assert client.generate("a", model="letters", max_tokens=20).read() == greedy_text("a", 20)
        refused = admin("load", "bad")
        assert refused.exit_code == 1
        assert refused.stderr.startswith("error: bundle: bad/cell.onnx: not a valid ONNX model")
        shown = admin("stats")
        assert [line.split()[0] for line in shown.stdout.splitlines()] == ["name", "first", "letters"]
        assert admin("unload", "letters", "--grace", "0").stdout == "unloaded letters: 0 streams and 0 sessions ended\n"
        with AdminClient(address) as operator:
            with pytest.raises(ModelNotFound):
                operator.unload("letters")
            with pytest.raises(InvalidField, match="must be names of"):
                operator.load("../first")
            stats = operator.stats()
            assert [(each.name, each.is_served, each.streams) for each in stats.models] == [("first", True, 0)]
            assert stats.uptime_s > 0
        assert admin("drain").stdout == "draining; 0 streams still run\n"
        assert server.process.wait(STOP_LIMIT_S) == 0
    with AdminClient(address) as operator, pytest.raises(Unreachable):
        operator.stats()
    assert "serve with --admin-listen" in admin("stats").stderr


def test_a_bundle_that_fills_memory_is_refused_while_another_is_served(tmp_path: Path) -> None:
    below = tmp_path / "below"
    make_malice("a constant of 64 GiB", below / "huge")
    first = write_bundle(tmp_path / "first", name="first")
    with (
        running_server(first, admin_listen="127.0.0.1:0", bundles_folder=str(below), trial_memory_mib=256) as server,
        AdminClient(server.admin_address) as operator,
        Client(server.address) as client,
    ):
        before = server.read_metric("process_resident_memory_bytes")
        with pytest.raises(InvalidField, match=r"memory|allocat|MiB|SIG"):
            operator.load("huge")
        assert client.generate("a", max_tokens=20).read() == greedy_text("a", 20)
        assert server.read_metric("process_resident_memory_bytes") - before < 64 << 20
