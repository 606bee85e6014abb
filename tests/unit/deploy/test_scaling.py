"""What is computed of many replicas, where it can be worked out on paper."""

import pytest

from deploy.scaling.capacity import Load, Replica, Shared, plan
from deploy.scaling.simulation import Simulation, Traffic

REPLICAS = [f"10.0.0.{i}:50051" for i in range(1, 6)]
REPLICA = Replica(tokens_per_s=1000, messages_per_s=100, session_bytes=10, memory_bytes=10_000)
SHARED = Shared(
    store_operations_per_s=100,
    store_session_bytes=20,
    store_memory_bytes=20_000,
    front_message_s=0.02,
    front_call_s=0.1,
)


def test_a_turn_is_a_claim_and_a_write_and_one_write_an_interval() -> None:
    outcome = Simulation(REPLICAS, {}).run(Traffic(50, talk_s=2.5, think_s=5.0, interval_s=1.0), 100)
    turns = outcome.streams.total()
    assert turns > 50 * 8
    assert (outcome.claims, outcome.writes) == (turns, 3 * turns)
    assert outcome.store_operations.total() == outcome.claims + outcome.writes
    assert outcome.moves == outcome.cut == 0


def test_a_lost_replica_cuts_its_streams_and_moves_its_sessions_there_and_back() -> None:
    lost, ids = REPLICAS[2], [f"{i:032x}" for i in range(400)]
    simulation = Simulation(REPLICAS, {lost: (50, 100)})
    outcome = simulation.run(Traffic(len(ids), talk_s=4.0, think_s=4.0), 200, ids=ids)
    theirs = [each for each in ids if simulation.table(0).place(each) == lost]
    moved = sum(simulation.table(60).place(each) != simulation.table(0).place(each) for each in ids)
    assert 0.2 * len(theirs) < outcome.cut < 0.8 * len(theirs)  # half of the time a session's stream runs
    assert moved <= outcome.moves <= 2 * moved + outcome.cut
    assert outcome.claims == outcome.streams.total()
    assert lost not in [simulation.table(99).place(each) for each in ids]
    assert simulation.table(100).replicas == tuple(REPLICAS)


def test_the_same_seed_gives_the_same_outcome() -> None:
    traffic, simulation = Traffic(20, 1.0, 3.0), Simulation(REPLICAS, {})
    assert simulation.run(traffic, 30, seed=4) == simulation.run(traffic, 30, seed=4)
    assert simulation.run(traffic, 30, seed=4) != simulation.run(traffic, 30, seed=5)


@pytest.mark.parametrize(
    ("load", "replicas", "limit"),
    [
        (Load(streams=14, tokens_per_s=100, messages_per_s=1, sessions=0, turns_per_s=0), 3, "engine"),
        (Load(streams=14, tokens_per_s=1, messages_per_s=10, sessions=0, turns_per_s=0), 3, "messages"),
        (Load(streams=1, tokens_per_s=1, messages_per_s=1, sessions=7000, turns_per_s=0), 11, "memory"),
    ],
)
def test_what_is_full_first_decides_with_room_to_spare_and_one_more(load: Load, replicas: int, limit: str) -> None:
    needed = plan(load, REPLICA, SHARED)
    assert (needed.replicas, needed.limit) == (replicas, limit)


def test_store_and_balancer_are_shares_of_one() -> None:
    load = Load(streams=10, tokens_per_s=1, messages_per_s=10, sessions=500, turns_per_s=20, interval_s=0.5)
    needed = plan(load, REPLICA, SHARED)
    assert needed.store_share == pytest.approx((2 * 20 + 10 / 0.5) / 100)
    assert needed.store_memory_share == pytest.approx(0.5)
    assert needed.front_threads == pytest.approx(100 * 0.02 + 20 * 0.1)
