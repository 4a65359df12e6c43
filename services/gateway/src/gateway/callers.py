"""On whose budget a request counts: the address it came from, and the user its token names."""

import asyncio
import contextlib
from collections.abc import Sequence
from hashlib import blake2b
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from common.auth import Authenticator
from common.errors import Unauthorized, Unavailable

_NETWORK_BITS = 64
_ASKED_MAX = 256
_ADDRESSES_MAX = 20_000
_BAD_MAX = 10_000


class Addresses:
    """From a connection to the key of its client. Whoever may speak for others (a proxy of ours) is named in the settings."""

    def __init__(self, proxies: Sequence[str] = ()) -> None:
        self._proxies: list[IPv4Network | IPv6Network] = [ip_network(one, strict=False) for one in proxies]
        self._keys: dict[str, str] = {}
        self.asks_forwarded = bool(proxies)
        """Whether X-Forwarded-For can matter at all."""

    def key(self, peer: str, forwarded: str = "") -> str:
        """The client's address; of IPv6 the /64, because one customer has that many."""
        if self.asks_forwarded and forwarded:
            peer = self._client(peer, forwarded)
        known = self._keys.get(peer)
        if known is None:
            if len(self._keys) >= _ADDRESSES_MAX:
                self._keys.clear()
            known = self._keys[peer] = _key_of(peer)
        return known

    def _client(self, peer: str, forwarded: str) -> str:
        """The nearest address that no proxy of ours vouches for: what is left of it, the client may have made up."""
        hops = [peer, *(one.strip() for one in reversed(forwarded.split(",")))]
        for at, hop in enumerate(hops):
            try:
                address = _plain(hop)
            except ValueError:
                return hops[at - 1]
            if not any(address in network for network in self._proxies):
                return hop
        return hops[-1]


def _plain(text: str) -> "IPv4Network | IPv6Network | object":
    address = ip_address(text.partition("%")[0])
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def _key_of(peer: str) -> str:
    try:
        address = _plain(peer)
    except ValueError:
        return peer
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, _NETWORK_BITS), strict=False))
    return str(address)


class Users:
    """From a token to the key of its user.

    A token counts as itself until it was verified, so that nobody can use up another's budget with a token they made up. Verifying is
    done aside: no request waits for it.
    """

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator
        self._asked: asyncio.Queue[str] = asyncio.Queue(_ASKED_MAX)
        self._bad: dict[bytes, None] = {}

    def key(self, token: str) -> str:
        """The user's id once it is known, until then something that only this token has."""
        with contextlib.suppress(Unauthorized):
            principal = self._authenticator.known(token)
            if principal is not None:
                return principal.name
        digest = _digest(token)
        if digest not in self._bad:
            with contextlib.suppress(asyncio.QueueFull):
                self._asked.put_nowait(token)
        return digest.hex()

    async def run(self, draining: asyncio.Event) -> None:
        """Verify the tokens that were asked for, until draining."""
        async with asyncio.TaskGroup() as group:
            verifying = group.create_task(self._verify_for_ever(), name="tokens verified")
            await draining.wait()
            verifying.cancel()

    async def _verify_for_ever(self) -> None:
        while True:
            await self._verify(await self._asked.get())

    async def _verify(self, token: str) -> None:
        try:
            if self._authenticator.known(token) is None:
                await self._authenticator.principal_of(token)
        except Unauthorized:
            if len(self._bad) >= _BAD_MAX:
                self._bad.clear()
            self._bad[_digest(token)] = None
        except Unavailable:
            pass


def _digest(token: str) -> bytes:
    return blake2b(token.encode("utf-8", "replace"), digest_size=12).digest()
