"""The messages of GenerationService as bytes: requests made once, responses read by a walk over their fields.

A generated parser would be right too, but it would be a good part of what the load generator does.
"""

from typing import NamedTuple

from bench.http2 import ProtocolError

GENERATE = "/unrolled.v1.GenerationService/Generate"
CREATE_SESSION = "/unrolled.v1.SessionService/CreateSession"
_BYTES, _VARINT = 2, 0


class Event(NamedTuple):
    """One response.

    Attributes:
        characters: of the text that it carries.
        position: tokens in the history once it is taken; 0 for a finish.
        is_finish: it is the last one.
    """

    characters: int
    position: int
    is_finish: bool


def write_request(prompt: str, max_tokens: int, seed: int, *, model: str = "", max_chunk_tokens: int = 0) -> bytes:
    """Return a GenerateRequest."""
    named = _write_bytes(1, model.encode()) if model else b""
    asked = _write_bytes(3, prompt.encode()) + _write_number(4, max_tokens) + _write_number(7, seed)
    return named + asked + (_write_number(11, max_chunk_tokens) if max_chunk_tokens else b"")


def write_chunk(text: str, position: int) -> bytes:
    """Return a GenerateResponse with a chunk."""
    return _write_bytes(1, _write_bytes(1, text.encode()) + _write_number(2, position))


def write_finish(position: int) -> bytes:
    """Return a GenerateResponse with a finish for its length."""
    return _write_bytes(2, _write_number(1, 1) + _write_number(5, position))


def read_response(message: bytes) -> Event:
    """Return what a GenerateResponse says.

    Raises:
        ProtocolError: it is none.
    """
    try:
        size, start = _read_varint(message, 1)
        if start + size != len(message):
            raise ProtocolError("a response has more than an event")
        if message[0] == 2 << 3 | _BYTES:
            return Event(0, 0, True)
        if message[0] == 1 << 3 | _BYTES:
            return _read_chunk(message, start)
    except IndexError:
        raise ProtocolError("a response breaks off") from None
    raise ProtocolError(f"a response has a field with tag {message[0]}")


def _read_chunk(message: bytes, place: int) -> Event:
    characters = position = 0
    while place < len(message):
        tag, place = _read_varint(message, place)
        value, place = _read_varint(message, place)
        if tag & 7 == _BYTES:
            if tag >> 3 == 1:
                characters = len(message[place : place + value].decode())
            place += value
        elif tag & 7 == _VARINT:
            position = value
        else:
            raise ProtocolError(f"a chunk has a field with tag {tag}")
    if place != len(message):
        raise ProtocolError("a chunk breaks off")
    return Event(characters, position, False)


def _read_varint(data: bytes, place: int) -> tuple[int, int]:
    value = data[place]
    place += 1
    if value < 0x80:
        return value, place
    value, shift = value & 0x7F, 7
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7


def _write_varint(value: int) -> bytes:
    written = bytearray()
    while value >= 0x80:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


def _write_bytes(field: int, content: bytes) -> bytes:
    return _write_varint(field << 3 | _BYTES) + _write_varint(len(content)) + content


def _write_number(field: int, value: int) -> bytes:
    return _write_varint(field << 3 | _VARINT) + _write_varint(value)
