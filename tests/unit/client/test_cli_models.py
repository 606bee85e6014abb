import re

from click.testing import CliRunner

from tests.unit.client.fake_server import FakeServer, refusal
from tests.unit.client.test_client_models import drawing, served, translating
from unrolled_client.cli.group import unrolled


def test_models_are_a_table(fake: FakeServer) -> None:
    fake.models = [served("letters"), served("others", None), drawing(), translating()]
    result = CliRunner().invoke(unrolled, ["models", "--server", fake.target], env={"COLUMNS": "160"})
    assert result.exit_code == 0
    rows = [re.split(r"\s{2,}", line.strip()) for line in result.stdout.splitlines()]
    header, first, second, draw, translate = rows
    assert header == ["name", "task", "takes", "gives", "cell", "parameters", "figure", "sha256"]
    assert first[:5] == ["letters", "generate", "2 tokens", "2 tokens", "lstm 2x512"]
    assert first[5:] == ["3,286,593", "1.438 nats/char", "abababababab"]
    assert second[6] == "-"
    assert draw[1:4] == ["generate", "2 labels", "vector of 64, 4 times"]
    assert "recognised 0.500" in draw
    assert translate[1:4] == ["transduce", "3 tokens", "2 tokens, 9 times"]


def test_a_failure_is_one_line(fake: FakeServer) -> None:
    fake.refusals["ListModelsRequest"] = [refusal("QUEUE_FULL", "no place")]
    result = CliRunner().invoke(unrolled, ["models", "--server", fake.target])
    assert result.exit_code == 1
    assert result.stderr == "error: no place; try again later\n"
