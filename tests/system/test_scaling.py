"""What is computed of three replicas is what three replicas do."""

from pathlib import Path

import pytest

from deploy.scaling.drill import drill

SESSIONS = 90


@pytest.mark.program("redis-server")
@pytest.mark.program("envoy")
def test_real_replicas_serve_whom_the_table_says_and_ask_the_store_as_often(tmp_path: Path) -> None:
    rounds = drill(tmp_path, SESSIONS)
    assert [each.streams for each in rounds] == [each.computed for each in rounds]
    assert [(each.claims, each.writes) for each in rounds] == [(SESSIONS, SESSIONS)] * 3
    whole, without, again = (set(each.streams) for each in rounds)
    assert whole == again
    assert without < whole
