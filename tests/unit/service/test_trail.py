"""A trail against plain lists: what of a call its session's history gets, and when."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled_service.rows.trail import Trail
from unrolled_service.sessions.history import Format, History
from unrolled_service.sessions.session import Session


def make_session(form: Format, past: int) -> Session:
    history = History(form, 1000, items=[0] * past * (form.width or 1))
    return Session(id="s", serial=1, model="m", seed=0, history=history, ttl_s=1.0, created=0.0, ends=1.0, expires=1.0)


@pytest.mark.parametrize("width", [0, 1, 3])
@given(past=st.integers(0, 5), acts=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 40)), max_size=12))
def test_a_history_follows_to_positions_and_no_further(width: int, past: int, acts: list[tuple[int, int]]) -> None:
    session = make_session(Format(0 if width else 50, width), past)
    trail, size = Trail(session, width), width or 1
    added: list[float] = []
    recorded = past
    for count, share in acts:
        items = (
            [float(len(added) + i) for i in range(count * size)] if width else [len(added) + i for i in range(count)]
        )
        trail.add(np.array(items, np.float32).reshape(-1, width) if width else np.array(items, np.int64))
        added += items
        position = past + (len(added) // size) * share // 40

        missing = max(0, position - recorded)
        begin = (recorded - past) * size
        assert trail.unrecorded(position) == added[begin : begin + missing * size]
        assert session.history.end == recorded
        trail.record(position)
        recorded = max(recorded, position)
        assert session.history.end == recorded
        assert session.history.since(past) == added[: (recorded - past) * size]
        assert trail.unrecorded(recorded) == []
