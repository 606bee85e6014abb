"""Envoy's table: even, and steady when a replica comes or goes."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.scaling.maglev import Maglev

ADDRESSES = [f"10.0.0.{i}:50051" for i in range(1, 41)]
IDS = [f"{i:032x}" for i in range(4000)]


@settings(max_examples=10)
@given(replicas=st.lists(st.sampled_from(ADDRESSES), min_size=1, max_size=12, unique=True))
def test_sessions_spread_evenly(replicas: list[str]) -> None:
    table = Maglev(replicas)
    placed = [table.place(each) for each in IDS]
    mean = len(IDS) / len(replicas)
    for replica in replicas:
        assert abs(placed.count(replica) - mean) < 6 * mean**0.5  # six deviations of chance


@settings(max_examples=10)
@given(replicas=st.lists(st.sampled_from(ADDRESSES), min_size=2, max_size=12, unique=True), data=st.data())
def test_losing_a_replica_moves_its_sessions_and_next_to_no_other(replicas: list[str], data: st.DataObject) -> None:
    lost = data.draw(st.sampled_from(replicas))
    before, after = Maglev(replicas), Maglev([each for each in replicas if each != lost])
    others = [each for each in IDS if before.place(each) != lost]
    assert all(after.place(each) != lost for each in IDS)
    assert sum(before.place(each) != after.place(each) for each in others) < 0.02 * len(IDS)


def test_the_order_of_replicas_hardly_matters() -> None:
    replicas = ADDRESSES[:5]
    shuffled = random.Random(0).sample(replicas, len(replicas))
    one, other = Maglev(replicas), Maglev(shuffled)
    assert sum(one.place(each) != other.place(each) for each in IDS) < 0.01 * len(IDS)


@pytest.mark.parametrize("replicas", [[], ADDRESSES[:8]])
def test_a_table_has_an_entry_for_every_replica(replicas: list[str]) -> None:
    with pytest.raises(ValueError, match="a table of 7 entries does not do"):
        Maglev(replicas, size=7)
