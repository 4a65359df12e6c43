"""Pictures from addresses that others name: https, no private address, no redirect, within limits, and looked at before they are taken."""

import asyncio
import ipaddress
import socket
import ssl as tls
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from generation.photos import is_picture

URL_LENGTH_MAX = 2048
BYTES_MAX = 25 * 1024 * 1024
SECONDS_MAX = 20.0
TRIES_MAX = 3
AT_ONCE_MAX = 16
_CHUNK_BYTES = 64 * 1024
_START_BYTES = 16
"""What a picture is can be told by so much."""
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

LookUp = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a name."""


class Unfetchable(Exception):
    """It will not be had from there, now or later."""


class _Passing(Exception):
    """It was not to be had this time."""


def is_public(address: str) -> bool:
    """Whether an address is somebody's on the internet; an IPv6 address that stands for an IPv4 one is judged as that."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if inner is None and found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if found.is_site_local:
            return False
    return found.is_global and not (found.is_multicast or found.is_reserved or found.is_unspecified)


async def look_up(host: str, port: int) -> Sequence[str]:
    """As the system resolves names."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class _Resolver(AbstractResolver):
    """Answers only when every address of a name is allowed; the connection goes to what was looked at."""

    def __init__(self, look_up: LookUp, is_allowed: Callable[[str], bool]) -> None:
        self._look_up = look_up
        self._is_allowed = is_allowed

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        addresses = list(dict.fromkeys(await self._look_up(host, port)))
        if not addresses:
            raise OSError("the name has no address")
        if not all(self._is_allowed(address) for address in addresses):
            raise Unfetchable("its name leads to a private address")
        return [
            ResolveResult(
                hostname=host, host=address, port=port, family=socket.AF_INET6 if ":" in address else socket.AF_INET, proto=0, flags=socket.AI_NUMERICHOST
            )
            for address in addresses
        ]

    async def close(self) -> None:
        """Nothing is kept."""


class Fetcher:
    """`async with Fetcher() as fetch: body = await fetch(url)`. Tests bring addresses and certificates of their own."""

    def __init__(
        self, *, bytes_max: int = BYTES_MAX, seconds_max: float = SECONDS_MAX, pause_seconds: float = 1.0, look_up: LookUp = look_up,
        is_allowed: Callable[[str], bool] = is_public, ssl: tls.SSLContext | None = None, at_once_max: int = AT_ONCE_MAX,
    ) -> None:  # fmt: skip
        self._bytes_max = bytes_max
        self._seconds_max = seconds_max
        self._pause_seconds = pause_seconds
        self._look_up = look_up
        self._is_allowed = is_allowed
        self._ssl = ssl
        self._slots = asyncio.Semaphore(at_once_max)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Fetcher":
        connector = aiohttp.TCPConnector(
            resolver=_Resolver(self._look_up, self._is_allowed), use_dns_cache=False, ssl=self._ssl or tls.create_default_context(), force_close=True, limit=0
        )
        self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False, trust_env=False)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._session is not None:
            await self._session.close()

    async def __call__(self, url: str) -> bytes:
        """A picture, as it lies there. Raises Unfetchable; what may pass is tried three times."""
        target = self._parsed(url)
        for number in range(1, TRIES_MAX + 1):
            try:
                # The time of one address is not spent by waiting for others.
                async with self._slots, asyncio.timeout(self._seconds_max):
                    return await self._get(target)
            except aiohttp.InvalidURL as error:
                raise Unfetchable("its address cannot be read") from error
            except (_Passing, TimeoutError, OSError, aiohttp.ClientError) as fault:
                if number == TRIES_MAX:
                    raise Unfetchable(f"it was not to be had: {fault if isinstance(fault, _Passing) else type(fault).__name__}") from fault
            await asyncio.sleep(self._pause_seconds * number)
        raise AssertionError("unreachable")

    def _parsed(self, url: str) -> URL:
        """Parsed once; what is judged is what is connected to."""
        if len(url) > URL_LENGTH_MAX:
            raise Unfetchable("its address is too long")
        try:
            target = URL(url)
            host, port = target.raw_host, target.port
        except ValueError as error:
            raise Unfetchable("its address cannot be read") from error
        if target.scheme != "https" or not host or not port:
            raise Unfetchable("its address is not one of https")
        if target.raw_user is not None or target.raw_password is not None:
            raise Unfetchable("its address names a user")
        # A resolver is not asked for addresses in numbers.
        if _is_numeric(host) and not self._is_allowed(host):
            raise Unfetchable("its address is a private one")
        return target

    async def _get(self, target: URL) -> bytes:
        assert self._session is not None, "opened with `async with`"
        headers = {"Accept": "image/webp, image/png, image/jpeg", "Accept-Encoding": "identity", "User-Agent": "Darkroom"}
        more: dict[str, Any] = {"allow_redirects": False, "headers": headers, "timeout": aiohttp.ClientTimeout(total=None)}
        async with self._session.get(target, **more) as answer:
            if answer.status >= 500 or answer.status in (408, 425, 429):
                raise _Passing(f"it was answered {answer.status}")
            if answer.status != 200:
                raise Unfetchable(f"it was answered {answer.status}")
            if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
                raise Unfetchable("it is compressed")
            if (answer.content_length or 0) > self._bytes_max:
                raise Unfetchable("it is too large")
            body = bytearray()
            async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
                body += chunk
                if len(body) >= _START_BYTES and not is_picture(bytes(body[:_START_BYTES])):
                    raise Unfetchable("it is no JPEG, PNG or WebP picture")
                if len(body) > self._bytes_max:
                    raise Unfetchable("it is too large")
            if len(body) < _START_BYTES:
                raise Unfetchable("it is no picture, there is nothing in it")
            return bytes(body)


def _is_numeric(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
