"""The bytes of HTTP/2 (RFC 9113) that a gRPC client reads and writes: frames, and messages in DATA frames.

Knows no sockets and no protobuf. Headers are written without HPACK's tables and never read: whether a call went well
is seen from its last message.
"""

import struct
from collections.abc import Iterator, Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import NamedTuple

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_BYTES = 9
DEFAULT_WINDOW = 65_535
LARGEST_WINDOW = 2**31 - 1
LARGEST_FRAME = 16_384
END_STREAM, END_HEADERS, ACK, PADDED = 0x1, 0x4, 0x1, 0x8
_PREFIX_BYTES = 5
_SETTINGS_ENABLE_PUSH, _SETTINGS_INITIAL_WINDOW_SIZE = 2, 4
_HEADER = struct.Struct(">HBBBI")
_PREFIX = struct.Struct(">BI")


class FrameType(IntEnum):
    """Types of frames."""

    DATA = 0
    HEADERS = 1
    RST_STREAM = 3
    SETTINGS = 4
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class ProtocolError(Exception):
    """The peer sent what this client does not speak."""


class Frame(NamedTuple):
    """One frame; ``kind`` is a number because there may be types that nobody here knows."""

    kind: int
    flags: int
    stream: int
    payload: bytes


class FrameReader:
    """Cuts what arrives into frames."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that are complete with these bytes; to be exhausted before the next call."""
        buffer = self._rest + data if self._rest else data
        start, total = 0, len(buffer)
        while total - start >= HEADER_BYTES:
            high, low, kind, flags, stream = _HEADER.unpack_from(buffer, start)
            end = start + HEADER_BYTES + (high << 8 | low)
            if end > total:
                break
            yield Frame(kind, flags, stream & LARGEST_WINDOW, buffer[start + HEADER_BYTES : end])
            start = end
        self._rest = buffer[start:]


class MessageReader:
    """Cuts the DATA of one stream into gRPC messages, which may be split over frames or share one."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the messages that are complete with these bytes; to be exhausted before the next call.

        Raises:
            ProtocolError: a message is compressed, which nobody asked for.
        """
        buffer = self._rest + data if self._rest else data
        start, total = 0, len(buffer)
        while total - start >= _PREFIX_BYTES:
            is_compressed, size = _PREFIX.unpack_from(buffer, start)
            if is_compressed:
                raise ProtocolError("a message is compressed")
            end = start + _PREFIX_BYTES + size
            if end > total:
                break
            yield buffer[start + _PREFIX_BYTES : end]
            start = end
        self._rest = buffer[start:]

    @property
    def is_empty(self) -> bool:
        """Return whether no message has begun without ending."""
        return not self._rest


def write_frame(kind: FrameType, flags: int, stream: int, payload: bytes) -> bytes:
    """Return the bytes of a frame."""
    return _HEADER.pack(len(payload) >> 8, len(payload) & 0xFF, kind, flags, stream) + payload


def write_message(message: bytes) -> bytes:
    """Return an uncompressed message with its prefix."""
    return _PREFIX.pack(0, len(message)) + message


def write_opening() -> bytes:
    """Return the first bytes of a connection: no push, and windows that never close."""
    settings = struct.pack(">HIHI", _SETTINGS_ENABLE_PUSH, 0, _SETTINGS_INITIAL_WINDOW_SIZE, LARGEST_WINDOW)
    return PREFACE + write_frame(FrameType.SETTINGS, 0, 0, settings) + write_window(LARGEST_WINDOW - DEFAULT_WINDOW)


def write_window(size: int) -> bytes:
    """Return a frame that opens the connection's window by so many bytes."""
    return write_frame(FrameType.WINDOW_UPDATE, 0, 0, struct.pack(">I", size))


def write_headers(authority: str, path: str, metadata: Mapping[str, str] = MappingProxyType({})) -> bytes:
    """Return the header block of a gRPC call: names of the static table, literals without indexing or Huffman."""
    return b"".join(
        (
            b"\x83\x86",  # :method: POST, :scheme: http
            b"\x01" + _literal(authority),
            b"\x04" + _literal(path),
            b"\x0f\x10" + _literal("application/grpc"),  # content-type
            b"\x00" + _literal("te") + _literal("trailers"),
            *(b"\x00" + _literal(name) + _literal(value) for name, value in metadata.items()),
        )
    )


def _literal(text: str) -> bytes:
    content = text.encode()
    if len(content) >= 127:
        raise ValueError(f"{text!r} needs a longer length than this writes")
    return bytes([len(content)]) + content
