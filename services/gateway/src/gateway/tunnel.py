"""A websocket passed through byte for byte; the gateway only knows where the service's frames end, to say goodbye between two of them."""

import asyncio
import random
from collections.abc import Callable

GOING_AWAY, PROTOCOL_ERROR = 1001, 1002
_RETRY_MILLISECONDS_MAX = 3000


class FrameEnds:
    """Follows the frames of one direction; `at_end` when the bytes seen so far end with a whole frame, `masked` while all of them were."""

    __slots__ = ("_head", "_left", "masked")

    def __init__(self) -> None:
        self._left = 0
        self._head = b""
        self.masked = True

    @property
    def at_end(self) -> bool:
        return not self._left and not self._head

    def feed(self, data: bytes) -> None:
        """The next bytes of this direction."""
        if self._head:
            data, self._head = self._head + data, b""
        at, size = self._left, len(data)
        while at < size:
            end = _frame_end(data, at, size)
            if not end:
                self._head = data[at:]
                at = size
            else:
                self.masked = self.masked and data[at + 1] >= 128
                at = end
        self._left = at - size


def _frame_end(data: bytes, at: int, size: int) -> int:
    """Where the frame that begins at `at` ends, which may be behind the data; 0 when its head is not all there."""
    if size - at < 2:
        return 0
    second = data[at + 1]
    length = second & 127
    begin = at + (6 if second & 128 else 2)
    if length == 126:
        begin += 2
        return begin + int.from_bytes(data[at + 2 : at + 4], "big") if begin <= size else 0
    if length == 127:
        begin += 8
        return begin + int.from_bytes(data[at + 2 : at + 10], "big") if begin <= size else 0
    return begin + length if begin <= size else 0


class Side(asyncio.Protocol):
    """One end of a tunnel; what it reads it writes to the other, no faster than that one takes it."""

    __slots__ = ("_gone", "ends", "other", "transport")

    def __init__(self, transport: asyncio.Transport, *, gone: Callable[[], None]) -> None:
        self.transport = transport
        self.other: Side
        self.ends = FrameEnds()
        self._gone = gone

    def data_received(self, data: bytes) -> None:
        self.ends.feed(data)
        self.other.transport.write(data)

    def pause_writing(self) -> None:
        if not self.other.transport.is_closing():
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if not self.other.transport.is_closing():
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.other.transport.is_closing():
            self.other.transport.close()
        self._gone()


class ClientSide(Side):
    """The client's end: what it says is masked, or it is no client to listen to (RFC 6455 5.1)."""

    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        self.ends.feed(data)
        service = self.other
        if self.ends.masked:
            service.transport.write(data)
            return
        service.transport.abort()
        if service.ends.at_end:
            self.transport.write(_close_frame(PROTOCOL_ERROR, "a client masks its frames"))
        self.transport.close()


class Farewell(asyncio.Protocol):
    """A client that was told goodbye: whatever it says now is its own goodbye."""

    __slots__ = ("_gone", "_transport")

    def __init__(self, transport: asyncio.Transport, *, gone: Callable[[], None]) -> None:
        self._transport = transport
        self._gone = gone

    def data_received(self, data: bytes) -> None:
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone()


class Tunnel:
    """Two sides joined: the client's connection and the service's."""

    def __init__(self, client: asyncio.Transport, service: asyncio.Transport, *, closed: Callable[["Tunnel"], None]) -> None:
        self._closed = closed
        self._sides_left = 2
        self._client = ClientSide(client, gone=self._side_lost)
        self._service = Side(service, gone=self._side_lost)
        self._client.other, self._service.other = self._service, self._client

    def join(self, to_client: bytes, to_service: bytes) -> None:
        """Take both connections over, beginning with what was read of them already."""
        self._client.transport.set_protocol(self._client)
        self._service.transport.set_protocol(self._service)
        if to_client:
            self._service.data_received(to_client)
        if to_service:
            self._client.data_received(to_service)

    def say_goodbye(self) -> None:
        """Close with 1001 and a hint when to come back; in the middle of a frame there is nothing to say."""
        client = self._client.transport
        if client.is_closing():
            return
        client.set_protocol(Farewell(client, gone=self._side_lost))
        self._service.transport.abort()
        if self._service.ends.at_end:
            # Spread over a few seconds, so that all who are sent away do not come back in the same moment.
            client.write(_close_frame(GOING_AWAY, f"restarting, retry in {random.randrange(200, _RETRY_MILLISECONDS_MAX)} ms"))
        else:
            client.close()

    def cut(self) -> None:
        """No more waiting for the client's own goodbye."""
        self._client.transport.abort()
        self._service.transport.abort()

    def _side_lost(self) -> None:
        self._sides_left -= 1
        if not self._sides_left:
            self._closed(self)


def _close_frame(code: int, reason: str) -> bytes:
    payload = code.to_bytes(2, "big") + reason.encode()
    return bytes((0x88, len(payload))) + payload
