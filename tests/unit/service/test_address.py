import pytest

from unrolled_service.address import is_loopback, split_address


@pytest.mark.parametrize(
    "address", ["", "host", ":1", "host:", "host:x", "host:65536", "host:-1", "host:1.5", "::1:9464"]
)
def test_an_address_is_host_and_port(address: str) -> None:
    with pytest.raises(ValueError, match="is not HOST:PORT"):
        split_address(address)


def test_an_ipv6_host_stands_in_brackets() -> None:
    assert split_address("[::1]:50051") == ("[::1]", 50051)
    assert split_address("localhost:0") == ("localhost", 0)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.255.0.9", "localhost", "LocalHost", "[::1]", "::1"])
def test_loopback_is_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        *("0.0.0.0", "[::]", "::", "10.0.0.1", "192.168.0.1", "[2001:db8::1]", "example.com", "*", "0", "127.1", ""),
        *("localhost.example.com", "127.0.0.1.example.com", "2130706433", "[::ffff:10.0.0.1]", "unix"),
    ],
)
def test_anything_else_may_be_others(host: str) -> None:
    assert not is_loopback(host)
