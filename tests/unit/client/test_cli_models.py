from click.testing import CliRunner

from tests.unit.client.fake_server import FakeServer, refusal
from tests.unit.client.test_client_models import served
from unrolled_client.cli.group import unrolled


def test_models_are_a_table(fake: FakeServer) -> None:
    fake.models = [served("letters"), served("others", None)]
    result = CliRunner().invoke(unrolled, ["models", "--server", fake.target], env={"COLUMNS": "120"})
    assert result.exit_code == 0
    header, first, second = (line.split() for line in result.stdout.splitlines())
    assert header == ["name", "cell", "size", "parameters", "vocabulary", "nats/char", "sha256"]
    assert first == ["letters", "lstm", "2x512", "3,286,593", "2", "1.438", "abababababab"]
    assert second[5] == "-"


def test_a_failure_is_one_line(fake: FakeServer) -> None:
    fake.refusals["ListModelsRequest"] = [refusal("QUEUE_FULL", "no place")]
    result = CliRunner().invoke(unrolled, ["models", "--server", fake.target])
    assert result.exit_code == 1
    assert result.stderr == "error: no place; try again later\n"
