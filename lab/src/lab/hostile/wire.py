"""Bytes straight to the gateway, where no client library would send them."""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

from lab.hostile.verdict import Answer

READ_SECONDS = 20.0


async def talk(url: str, pieces: Sequence[bytes], *, pause_seconds: float = 0.0, read_seconds: float = READ_SECONDS) -> list[Answer]:
    """Send the pieces, then read until the server closes or says no more; the answers that came, none when it only closed.

    TimeoutError when the connection neither answers nor closes.
    """
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    began = time.monotonic()
    try:
        reading = asyncio.create_task(_read(reader, read_seconds), name="answers")
        try:
            with contextlib.suppress(ConnectionError):
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    if pause_seconds:
                        await asyncio.wait([reading], timeout=pause_seconds)
            return _parse(await reading, time.monotonic() - began)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def _read(reader: asyncio.StreamReader, seconds: float) -> bytes:
    """Everything until the end; a connection kept open after an answer ends the reading half a second later."""
    read = b""
    with contextlib.suppress(ConnectionError):
        while True:
            try:
                async with asyncio.timeout(0.5 if _is_whole(read) else seconds):
                    more = await reader.read(65536)
            except TimeoutError:
                if read:
                    return read
                raise
            if not more:
                return read
            read += more
    return read


def _is_whole(read: bytes) -> bool:
    head, found, body = read.partition(b"\r\n\r\n")
    return bool(found) and len(body) >= int(_headers(head).get("content-length", "0"))


def _parse(read: bytes, seconds: float) -> list[Answer]:
    found: list[Answer] = []
    while read:
        head, ended, rest = read.partition(b"\r\n\r\n")
        words = head.split(b" ", 2)
        if not ended or len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
            raise ValueError(f"not HTTP: {read[:200]!r}")
        headers = _headers(head)
        length = 0 if words[1] in (b"100", b"204", b"304") else int(headers.get("content-length", len(rest)))
        if words[1] != b"100":
            found.append(Answer(int(words[1]), headers, rest[:length], seconds))
        read = rest[length:]
    return found


def _headers(head: bytes) -> dict[str, str]:
    lines = (line.partition(b":") for line in head.split(b"\r\n")[1:])
    return {name.decode("latin-1").lower(): value.strip().decode("latin-1") for name, _, value in lines}
