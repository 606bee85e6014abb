"""One HTTP/2 connection to a gRPC server, on a socket that never blocks.

Carries any number of calls. Opens its windows so wide that the server never waits for them, keeps to the server's
window for the connection, and answers settings and pings.
"""

import socket
import struct
import time
from collections import deque
from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

from bench.http2 import (
    ACK,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    LARGEST_FRAME,
    PADDED,
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

_RECEIVE_BYTES = 1 << 18
_WINDOW_STEP = 1 << 24
_CONNECT_LIMIT_S = 10.0


class Receiver(Protocol):
    """Who made a call."""

    def take(self, message: bytes, now: float) -> None:
        """Take a message that arrived at this ``perf_counter`` time."""

    def end(self, now: float, fault: str) -> None:
        """Note that the call is over; ``fault`` says what went wrong below messages, or nothing."""


class Connection:
    """A connection.

    Args:
        target: ``host:port``.
        metadata: of every call.
    """

    def __init__(self, target: str, metadata: Mapping[str, str] = MappingProxyType({})) -> None:
        self._metadata = metadata
        host, _, port = target.rpartition(":")
        self._target = target
        self._socket = socket.create_connection((host, int(port)), _CONNECT_LIMIT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)
        self._frames = FrameReader()
        self._calls: dict[int, tuple[Receiver, MessageReader]] = {}
        self._headers: dict[str, bytes] = {}
        self._next_stream = 1
        self._window = DEFAULT_WINDOW
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._taken = 0
        self._unsent = bytearray(write_opening())
        self.flush()

    def fileno(self) -> int:
        """Return the socket's descriptor, for a selector."""
        return self._socket.fileno()

    @property
    def wants_to_write(self) -> bool:
        """Return whether the socket would not take everything at once."""
        return bool(self._unsent)

    def close(self) -> None:
        """Close the socket; the server cancels what still runs."""
        self._socket.close()

    def call(self, path: str, message: bytes, receiver: Receiver) -> None:
        """Begin a call with its one request; it leaves with the next ``flush``."""
        if path not in self._headers:
            self._headers[path] = write_headers(self._target, path, self._metadata)
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        self._calls[stream] = receiver, MessageReader()
        self._unsent += write_frame(FrameType.HEADERS, END_HEADERS, stream, self._headers[path])
        framed = write_message(message)
        if len(framed) > LARGEST_FRAME:
            raise ValueError(f"a request of {len(framed)} bytes does not fit a frame")
        self._waiting.append((stream, framed))
        self._send_waiting()

    def flush(self) -> None:
        """Write as much as the socket takes.

        Raises:
            ProtocolError: the server closed the connection.
        """
        while self._unsent:
            try:
                sent = self._socket.send(self._unsent)
            except BlockingIOError:
                return
            except ConnectionError as error:
                raise _closed(error) from error
            del self._unsent[:sent]

    def receive(self) -> None:
        """Read what is there and hand it to the calls.

        Raises:
            ProtocolError: the server closed the connection or sent nonsense.
        """
        try:
            data = self._socket.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return
        except ConnectionError as error:
            raise _closed(error) from error
        now = time.perf_counter()
        if not data:
            raise ProtocolError("the server closed the connection")
        for frame in self._frames.feed(data):
            if frame.kind == FrameType.DATA:
                self._take_data(frame, now)
            elif frame.kind == FrameType.HEADERS:
                if frame.flags & END_STREAM:
                    self._end(frame.stream, now, "")
            else:
                self._control(frame, now)

    def _take_data(self, frame: Frame, now: float) -> None:
        if frame.flags & PADDED:
            raise ProtocolError("a frame is padded")
        self._taken += len(frame.payload)
        if self._taken >= _WINDOW_STEP:
            self._unsent += write_window(self._taken)
            self._taken = 0
        call = self._calls.get(frame.stream)
        if call is None:
            return
        receiver, messages = call
        for message in messages.feed(frame.payload):
            receiver.take(message, now)
        if frame.flags & END_STREAM:
            self._end(frame.stream, now, "no trailers")

    def _control(self, frame: Frame, now: float) -> None:
        if frame.kind == FrameType.PING and not frame.flags & ACK:
            self._unsent += write_frame(FrameType.PING, ACK, 0, frame.payload)
        elif frame.kind == FrameType.SETTINGS and not frame.flags & ACK:
            self._unsent += write_frame(FrameType.SETTINGS, ACK, 0, b"")
        elif frame.kind == FrameType.WINDOW_UPDATE and frame.stream == 0:
            self._window += struct.unpack(">I", frame.payload)[0]
            self._send_waiting()
        elif frame.kind == FrameType.RST_STREAM:
            self._end(frame.stream, now, "reset by the server")
        elif frame.kind == FrameType.GOAWAY:
            raise ProtocolError(f"the server ends the connection: {frame.payload[8:].decode(errors='replace')}")

    def _end(self, stream: int, now: float, fault: str) -> None:
        call = self._calls.pop(stream, None)
        if call is None:
            return
        receiver, messages = call
        receiver.end(now, fault or ("" if messages.is_empty else "a message broke off"))

    def _send_waiting(self) -> None:
        while self._waiting and len(self._waiting[0][1]) <= self._window:
            stream, framed = self._waiting.popleft()
            self._window -= len(framed)
            self._unsent += write_frame(FrameType.DATA, END_STREAM, stream, framed)


def _closed(error: ConnectionError) -> ProtocolError:
    return ProtocolError(f"the server closed the connection: {error.strerror}")
