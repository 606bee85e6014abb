import pytest

from unrolled_service.storage.redis_store import RedisStore
from unrolled_service.storage.scripts import locate

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("redis://127.0.0.1", "redis://127.0.0.1:6379"),
        (f"redis://ann:{SECRET}@store:7000/3", "redis://store:7000/3"),
        (f"redis://:{SECRET}@[::1]:7000?db=2", "redis://[::1]:7000"),
        (f"rediss://:{SECRET}%2F%23@store/?ssl_ca_certs=/etc/ca.pem", "rediss://store:6379/"),
        (f"unix:///run/redis.sock?db=1&password={SECRET}", "unix:///run/redis.sock"),
        ("unix://ann@/run/redis.sock", "unix:///run/redis.sock"),
    ],
)
def test_a_place_says_neither_user_nor_password(url: str, place: str) -> None:
    assert locate(url) == place


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "must begin with redis://"),
        ("127.0.0.1:6379", "must begin with redis://"),
        (f"http://:{SECRET}@store", "must begin with redis://"),
        (f"redis://:{SECRET}@", "no host"),
        (f"redis://:{SECRET}@store:seven", "cannot be read"),
        (f"redis://:{SECRET}@store:70000", "cannot be read"),
        (f"redis://:/{SECRET}@store", "no host"),
        (f"redis://:{SECRET}#1@store", "cannot be read|has a #"),
        (f"redis://:12/{SECRET}@store", "no host"),
        (f"redis://ann:12/{SECRET}@store", "%2F"),
        (f"redis://:{SECRET}@store/first", "no number"),
        (f"redis://:{SECRET}@store?db=first", "no number"),
        (f"redis://:{SECRET}@store?{SECRET}=1", "1 options other than"),
        (f"redis://:{SECRET}@store?decode_responses=true", "1 options other than"),
        (f"redis://store?password={SECRET}", "1 options other than"),
        (f"unix://run/redis.sock?password={SECRET}", "absolute path"),
        (f"redis://[{SECRET}", "cannot be read"),
    ],
)
def test_a_url_that_is_none_is_refused_without_being_repeated(url: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as refused:
        RedisStore.from_url(url, owner="a")
    assert SECRET not in str(refused.value)
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


def test_a_store_shows_its_place_alone() -> None:
    store = RedisStore.from_url(f"redis://ann:{SECRET}@store:7000/3", owner="replica-a")
    assert "'redis://store:7000/3', owner='replica-a." in repr(store)
    assert SECRET not in repr(store)
    assert "ann" not in repr(store)


def test_two_stores_are_two_owners() -> None:
    first, second = (RedisStore.from_url("redis://store", owner="replica") for _ in range(2))
    assert repr(first) != repr(second)
