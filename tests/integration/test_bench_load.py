import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench.http2 import (
    END_HEADERS,
    END_STREAM,
    PREFACE,
    FrameReader,
    FrameType,
    MessageReader,
    ProtocolError,
    write_frame,
    write_message,
)
from bench.load import LENGTH, PROMPT_LENGTH, Plan, run
from bench.sessions import open_sessions
from bench.wire import write_chunk, write_finish
from tests.support.alphabet import LETTERS, write_bundle
from tests.support.serving import serving
from unrolled.v1.generation_pb2 import GenerateRequest
from unrolled_service.models.bundle import load_bundle


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    bundle = load_bundle(write_bundle(tmp_path_factory.mktemp("bench") / "alphabet"))
    with serving(bundle) as server:
        yield server.address


def test_a_closed_loop_makes_the_generations_it_is_told(target: str) -> None:
    report = run(Plan(target, 4, generations=10, text=LETTERS))

    assert (report.generations, report.faults) == (10, [])
    assert report.chars_per_s > 0
    assert 1 <= report.chars_per_message <= LENGTH


def test_single_characters_can_be_asked_for(target: str) -> None:
    report = run(Plan(target, 1, generations=1, text=LETTERS, max_chunk_tokens=1))

    assert (report.chars_per_message, report.faults) == (1, [])


def test_an_open_loop_makes_them_too(target: str) -> None:
    report = run(Plan(target, rate=1000.0, generations=8, text=LETTERS))

    assert (report.generations, report.faults) == (8, [])


def test_a_window_ends_what_it_began(target: str) -> None:
    report = run(Plan(target, 2, warm_up_s=0.05, seconds=0.2, text=LETTERS))

    assert report.generations >= 2
    assert report.faults == []


def test_refusals_are_faults(target: str) -> None:
    report = run(Plan(target, 2, generations=2, text="?"))

    assert report.faults == ["no finish", "no finish", "2 of 2 generations failed"]


def test_sessions_are_opened(target: str) -> None:
    open_sessions(target, 250)


def test_a_fake_server_that_sends_messages_in_bits_and_pings_is_understood() -> None:
    with _fake_server(cut=7) as address:
        report = run(Plan(address, 1, generations=3))

    assert (report.generations, report.faults) == (3, [])
    assert report.chars_per_message == LENGTH / 2


def test_a_connection_that_breaks_is_an_error() -> None:
    with _fake_server(cut=0) as address, pytest.raises(ProtocolError, match="closed the connection"):
        run(Plan(address, 1, generations=1))


@contextmanager
def _fake_server(cut: int) -> Iterator[str]:
    """Answer every call with two chunks and a finish in DATA frames of ``cut`` bytes; hang up if that is 0."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_serve_one, args=(listener, cut))
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


def _serve_one(listener: socket.socket, cut: int) -> None:
    connection, _ = listener.accept()
    frames, rest = FrameReader(), len(PREFACE)
    with connection:
        connection.sendall(write_frame(FrameType.SETTINGS, 0, 0, struct.pack(">HI", 4, 65_535)))
        while data := connection.recv(65_536):
            skipped, rest = data[rest:], max(0, rest - len(data))
            for frame in frames.feed(skipped):
                if frame.kind == FrameType.DATA:
                    if not cut:
                        return
                    connection.sendall(_answer(frame.stream, frame.payload, cut))


def _answer(stream: int, payload: bytes, cut: int) -> bytes:
    (message,) = MessageReader().feed(payload)
    request = GenerateRequest.FromString(message)
    assert (len(request.prompt), request.max_tokens) == (PROMPT_LENGTH, LENGTH)
    half = "x" * (LENGTH // 2)
    events = (write_chunk(half, PROMPT_LENGTH + 100), write_chunk(half, PROMPT_LENGTH + 200), write_finish(216))
    data = b"".join(map(write_message, events))
    pieces = [data[start : start + cut] for start in range(0, len(data), cut)]
    ping = write_frame(FrameType.PING, 0, 0, b"12345678")
    return (
        write_frame(FrameType.HEADERS, END_HEADERS, stream, b"")
        + b"".join(write_frame(FrameType.DATA, 0, stream, piece) + ping for piece in pieces)
        + write_frame(FrameType.HEADERS, END_HEADERS | END_STREAM, stream, b"")
    )
