"""What is computed of three replicas is what three replicas do."""

from pathlib import Path

import pytest

from deploy.scaling.drill import drill

SESSIONS = 90


@pytest.mark.program("redis-server")
@pytest.mark.program("envoy")
def test_real_replicas_serve_whom_the_table_says_and_ask_the_store_as_often(tmp_path: Path) -> None:
    rounds = drill(tmp_path, SESSIONS)
    for each in rounds:
        # On a machine that is busy enough a call may be repeated elsewhere: that is all that may differ.
        assert sum((each.streams - each.computed).values()) <= each.repeated
        assert sum(each.streams.values()) == SESSIONS
        assert each.writes == SESSIONS
        assert SESSIONS <= each.claims <= SESSIONS + each.repeated
        assert each.repeated <= SESSIONS // 30
    whole, without, again = (set(each.streams) for each in rounds)
    assert whole == again
    assert without < whole
