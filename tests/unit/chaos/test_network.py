import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from chaos.network import Impairment, Network

PIECE = bytes(range(250)) * 40
LIMIT_S = 30.0
SHORT_S = 0.2


@pytest.fixture
def echo() -> Iterator[str]:
    """A server that says everything again."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads = [threading.Thread(target=_accept, args=(listener,))]
        threads[0].start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        threads[0].join(LIMIT_S)


def _accept(listener: socket.socket) -> None:
    carriers = []
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            break
        carriers.append(threading.Thread(target=_repeat, args=(connection,)))
        carriers[-1].start()
    for each in carriers:
        each.join(LIMIT_S)


def _repeat(connection: socket.socket) -> None:
    with connection:
        try:
            while piece := connection.recv(65536):
                connection.sendall(piece)
        except OSError:
            pass


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as network:
        yield network


@contextmanager
def dial(address: str) -> Iterator[socket.socket]:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=LIMIT_S) as connection:
        yield connection


def ask(connection: socket.socket, count: int) -> bytes:
    connection.sendall(PIECE[:count])
    return hear(connection, count)


def hear(connection: socket.socket, count: int) -> bytes:
    """Return what comes until so many bytes have come, or the end."""
    heard = b""
    while len(heard) < count:
        piece = connection.recv(count - len(heard))
        if not piece:
            break
        heard += piece
    return heard


def test_a_sound_link_carries_every_byte(network: Network, echo: str) -> None:
    address = network.link("a", "b", echo)
    assert network.link("a", "b", echo) == address

    with dial(address) as first, dial(address) as second:
        assert ask(first, len(PIECE)) == PIECE
        assert ask(second, len(PIECE)) == PIECE


def test_a_delay_holds_each_piece_both_ways(network: Network, echo: str) -> None:
    with dial(network.link("a", "b", echo)) as connection:
        ask(connection, 10)
        network.impair("a", "b", Impairment(delay_s=SHORT_S))
        begun = time.monotonic()
        assert ask(connection, 10) == PIECE[:10]
        assert time.monotonic() - begun >= 2 * SHORT_S


def test_a_slow_link_takes_its_time_for_every_byte(network: Network, echo: str) -> None:
    with dial(network.link("a", "b", echo)) as connection:
        network.impair("a", "b", Impairment(bytes_per_s=1000 / SHORT_S))
        begun = time.monotonic()
        assert ask(connection, 1000) == PIECE[:1000]
        assert time.monotonic() - begun >= 2 * SHORT_S


def test_a_link_that_is_healed_is_slow_no_longer(network: Network, echo: str) -> None:
    with dial(network.link("a", "b", echo)) as connection:
        ask(connection, 10)
        network.impair("a", "b", Impairment(bytes_per_s=0.01, delay_s=1000))
        connection.sendall(PIECE[:1000])
        network.heal("a", "b")
        assert hear(connection, 1000) == PIECE[:1000]


def test_a_silent_link_carries_nothing_until_it_is_healed(network: Network, echo: str) -> None:
    address = network.link("a", "b", echo)
    with dial(address) as before:
        ask(before, 10)
        network.impair("a", "b", Impairment(is_silent=True))
        with dial(address) as later:
            for connection in (before, later):
                connection.sendall(PIECE[:20])
                connection.settimeout(SHORT_S)
                with pytest.raises(TimeoutError):
                    connection.recv(1)
                connection.settimeout(LIMIT_S)
            network.heal("a", "b")
            assert hear(before, 20) == hear(later, 20) == PIECE[:20]


def test_a_reset_link_lets_nobody_in_until_it_is_healed(network: Network, echo: str) -> None:
    address = network.link("a", "b", echo)
    with dial(address) as before:
        ask(before, 10)
        network.impair("a", "b", Impairment(is_reset=True))
        with pytest.raises(ConnectionResetError):
            before.recv(1)
        with pytest.raises(ConnectionError), dial(address) as later:
            ask(later, 10)
            later.recv(1)
    network.heal("a", "b")
    with dial(address) as last:
        assert ask(last, 10) == PIECE[:10]


def test_a_cut_comes_in_the_middle_of_bytes_to_one_connection_after_the_other(network: Network, echo: str) -> None:
    address = network.link("a", "b", echo)
    with dial(address) as before:
        ask(before, 10)
        network.impair("a", "b", Impairment(cuts=[33, 1200]))
        assert ask(before, 100) == PIECE[:33]
    with dial(address) as later:
        assert ask(later, 1200) == PIECE[:1200]
        assert ask(later, 1) == b""
    with dial(address) as last:
        assert ask(last, len(PIECE)) == PIECE
    assert network.cut == 2


def test_only_the_link_that_is_impaired_is_impaired(network: Network, echo: str) -> None:
    network.link("a", "b", echo)
    network.impair("a", "b", Impairment(is_silent=True))
    with dial(network.link("c", "b", echo)) as connection:
        assert ask(connection, 10) == PIECE[:10]


def test_a_link_to_nobody_ends_the_connection(network: Network) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    with dial(network.link("a", "b", address)) as connection:
        assert connection.recv(1) == b""
