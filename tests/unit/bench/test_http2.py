import struct
from collections.abc import Sequence

import pytest

from bench.http2 import (
    END_STREAM,
    PREFACE,
    Frame,
    FrameReader,
    FrameType,
    MessageReader,
    ProtocolError,
    write_frame,
    write_headers,
    write_message,
    write_opening,
    write_window,
)

# What a server sends first: SETTINGS (one setting), an acknowledgement, and a WINDOW_UPDATE of 10.
RECORDED = bytes.fromhex("000006040000000000000400003fff000000040100000000000004080000000000" + "0000000a")


def _pieces(data: bytes, size: int) -> Sequence[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@pytest.mark.parametrize("size", [1, 2, 8, 9, 10, 100])
def test_frames_come_out_whole_however_they_arrive(size: int) -> None:
    reader = FrameReader()

    frames = [frame for piece in _pieces(RECORDED, size) for frame in reader.feed(piece)]

    assert frames == [
        Frame(FrameType.SETTINGS, 0, 0, struct.pack(">HI", 4, 16_383)),
        Frame(FrameType.SETTINGS, 1, 0, b""),
        Frame(FrameType.WINDOW_UPDATE, 0, 0, struct.pack(">I", 10)),
    ]


def test_a_long_frame_keeps_its_three_bytes_of_length_and_loses_the_reserved_bit() -> None:
    written = bytearray(write_frame(FrameType.DATA, END_STREAM, 7, b"x" * 70_000))
    written[5] |= 0x80

    (frame,) = FrameReader().feed(bytes(written))

    assert frame == Frame(FrameType.DATA, END_STREAM, 7, b"x" * 70_000)


@pytest.mark.parametrize("size", [1, 4, 5, 6, 11, 1000])
def test_messages_may_be_split_over_frames_or_share_one(size: int) -> None:
    messages = [b"first", b"", b"third" * 50]
    reader = MessageReader()

    found = [m for piece in _pieces(b"".join(map(write_message, messages)), size) for m in reader.feed(piece)]

    assert found == messages
    assert reader.is_empty


def test_a_message_that_broke_off_is_seen() -> None:
    reader = MessageReader()

    assert list(reader.feed(write_message(b"whole") + write_message(b"broken")[:-1])) == [b"whole"]
    assert not reader.is_empty


def test_a_compressed_message_is_refused() -> None:
    with pytest.raises(ProtocolError, match="compressed"):
        list(MessageReader().feed(b"\x01\x00\x00\x00\x01x"))


def test_a_connection_opens_with_the_preface_settings_and_a_window() -> None:
    opening = write_opening()

    settings, window = FrameReader().feed(opening.removeprefix(PREFACE))

    assert opening.startswith(PREFACE)
    assert (settings.kind, len(settings.payload) % 6) == (FrameType.SETTINGS, 0)
    assert window == Frame(FrameType.WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**31 - 65_536))
    assert len(write_window(1)) == 13


def test_headers_are_literals_without_tables() -> None:
    block = write_headers("host:1", "/a/B")

    assert block.startswith(b"\x83\x86\x01\x06host:1\x04\x04/a/B")
    assert block.endswith(b"\x02te\x08trailers")


def test_a_header_too_long_for_one_byte_of_length_is_refused() -> None:
    with pytest.raises(ValueError, match="longer length"):
        write_headers("h" * 127, "/a/B")
