from unrolled_service.tenants.occupancy import Occupancy


def fill(places: Occupancy, tenant: str, limit: int) -> int:
    """Take places for a tenant until it is refused; return how many it got."""
    taken = 0
    while places.has_room(tenant, limit):
        places.add(tenant)
        taken += 1
    return taken


def test_a_tenant_alone_gets_every_place() -> None:
    assert fill(Occupancy(), "a", 10) == 10


def test_one_that_comes_later_gets_its_part_and_no_more() -> None:
    places = Occupancy()
    fill(places, "greedy", 12)
    assert fill(places, "b", 12) == 6
    assert fill(places, "c", 12) == 4
    assert fill(places, "greedy", 12) == 0


def test_there_are_never_more_than_twice_as_many() -> None:
    places = Occupancy()
    for i in range(100):
        fill(places, f"tenant {i}", 100)
    assert places.total == 200


def test_what_is_given_back_goes_to_whoever_has_less() -> None:
    places = Occupancy()
    fill(places, "greedy", 10)
    fill(places, "b", 10)
    for _ in range(5):
        places.remove("greedy")
    assert not places.has_room("greedy", 10)
    places.remove("b")
    assert places.total == 9
    assert places.has_room("greedy", 10)


def test_a_tenant_that_has_left_counts_no_more() -> None:
    places = Occupancy()
    places.add("a")
    places.remove("a")
    assert fill(places, "b", 3) == 3
