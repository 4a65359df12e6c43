"""Sends cases, a few at a time, and collects what is wrong with the answers."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Self

import aiohttp
from yarl import URL

from lab.hostile.verdict import Answer, Case, judge

AT_ONCE = 12
_ATTEMPTS = 4


class Attacker:
    """Somebody with a client that sends whatever it is told."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.sent = 0
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=AT_ONCE * 2)
        self._http = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60), cookie_jar=aiohttp.DummyCookieJar())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._http is not None:
            await self._http.close()

    async def ask(self, case: Case) -> Answer:
        """One request; what is answered with "come back later" comes back, so that a busy machine is no defect."""
        for attempt in range(_ATTEMPTS):
            answer = await self._send(case)
            if answer.status != 503 or "retry-after" not in answer.headers:
                break
            await asyncio.sleep(0.5 * (attempt + 1))
        return answer

    async def wrongs(self, cases: Iterable[Case], *, look: Callable[[Case, Answer], Iterable[str]] = judge) -> list[str]:
        """All cases, and one sentence per thing that is wrong."""
        free = asyncio.Semaphore(AT_ONCE)

        async def one(case: Case) -> list[str]:
            async with free:
                try:
                    return list(look(case, await self.ask(case)))
                except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
                    return [f"{case}: no answer ({error!r})"]

        found = await asyncio.gather(*(one(case) for case in cases))
        return [sentence for sentences in found for sentence in sentences]

    async def _send(self, case: Case) -> Answer:
        assert self._http is not None
        self.sent += 1
        began = time.monotonic()
        url = URL(self.url + case.target, encoded=True)
        options: Mapping[str, object] = {"headers": case.headers, "data": case.body, "allow_redirects": False, "skip_auto_headers": ("Content-Type",)}
        async with self._http.request(case.method, url, **options) as response:  # type: ignore[arg-type]
            body = await response.read()
            return Answer(response.status, {name.lower(): value for name, value in response.headers.items()}, body, time.monotonic() - began)
