"""How the whole is: the gateway lives, and which of the other parts are away."""

import asyncio
import os
import platform
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson


class Health:
    """Asks every replica's `/readyz` when somebody asks for `/health`, at most once per `fresh_seconds`."""

    def __init__(self, ready_urls: Mapping[str, Sequence[str]], *, fresh_seconds: float = 1.0, wait_seconds: float = 1.0) -> None:
        self._ready_urls = ready_urls
        self._fresh_seconds = fresh_seconds
        self._wait_seconds = wait_seconds
        self._started_at = time.monotonic()
        self._asked_at = float("-inf")
        self._parts: dict[str, bool] = {}
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=self._wait_seconds), cookie_jar=aiohttp.DummyCookieJar())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._session.close()

    async def answer(self) -> bytes:
        """The body of `/health`: always an answer, `healthy` or `degraded`."""
        async with self._turn:
            if time.monotonic() - self._asked_at >= self._fresh_seconds:
                self._parts = await self._ask_all()
                self._asked_at = time.monotonic()
        return orjson.dumps(self._render())

    async def _ask_all(self) -> dict[str, bool]:
        answers = await asyncio.gather(*(self._is_ready(urls) for urls in self._ready_urls.values()))
        return dict(zip(self._ready_urls, answers, strict=True))

    async def _is_ready(self, urls: Sequence[str]) -> bool:
        return any(await asyncio.gather(*(self._answers(url) for url in urls)))

    async def _answers(self, url: str) -> bool:
        try:
            async with self._session.get(url) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False

    def _render(self) -> dict[str, Any]:
        away = sorted(name for name, ready in self._parts.items() if not ready)
        return {
            "status": "degraded" if away else "healthy",
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "uptime": round(time.monotonic() - self._started_at, 3),
            "parts": {"gateway": "up", **{name: "up" if ready else "away" for name, ready in self._parts.items()}},
            "away": away,
            "system": {"platform": sys.platform, "machine": platform.machine(), "cpus": os.cpu_count(), "load": [round(one, 2) for one in os.getloadavg()]},
            "performance": _performance(),
        }


def _performance() -> dict[str, Any]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    scale = 1 if sys.platform == "darwin" else 1024
    return {"memory": {"peak_bytes": used.ru_maxrss * scale}, "cpu": {"user_seconds": round(used.ru_utime, 3), "system_seconds": round(used.ru_stime, 3)}}
