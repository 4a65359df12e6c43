"""People who use a suite through its door: they sign up, upload, create with a key, retry, and follow their feed across reconnects."""

import asyncio
import contextlib
import io
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from PIL import Image

from common.ids import new_id

_PASSING = {502, 503, 504, 429}


@dataclass
class Feed:
    """What one person's socket told, across every reconnect."""

    stored: list[dict[str, Any]] = field(default_factory=list)
    volatile: int = 0
    connects: int = 0
    closes: list[int] = field(default_factory=list)
    not_recovered: int = 0

    @property
    def seqs(self) -> list[int]:
        return [frame["seq"] for frame in self.stored]

    def ended(self) -> set[str]:
        """Tasks whose end was told."""
        return {frame["task_id"] for frame in self.stored if frame["type"] in ("task_complete", "task_failed", "task_cancelled")}


class Person:
    """One user. `url` is asked for at every call, because a suite may move."""

    def __init__(self, url: Callable[[], str], *, name: str = "") -> None:
        self._url = url
        self.name = name or f"p{new_id().hex[-10:]}"
        self.token = ""
        self.user_id = ""
        self.feed = Feed()
        self.photo_url = ""
        self._http: aiohttp.ClientSession | None = None
        self._listening: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Person":
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60))
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        if self._http is not None:
            await self._http.close()

    @property
    def http(self) -> aiohttp.ClientSession:
        assert self._http is not None
        return self._http

    async def call(
        self, method: str, path: str, *, key: str | None = None, patient: bool = True, attempts_max: int = 400, **more: Any
    ) -> tuple[int, dict[str, Any]]:
        """One request; a patient person repeats it with the same key while the suite is away. Answers (status, body)."""
        headers = {**({"Authorization": f"Bearer {self.token}"} if self.token else {}), **({"Idempotency-Key": key} if key else {}), **more.pop("headers", {})}
        for _ in range(attempts_max):
            try:
                async with self.http.request(method, self._url() + path, headers=headers, **more) as answer:
                    body = await answer.json(content_type=None)
                    if answer.status not in _PASSING or not patient:
                        return answer.status, body or {}
            except Exception as error:
                if not patient or not _is_weather(error):
                    raise
            await asyncio.sleep(random.uniform(0.1, 0.3))
        raise TimeoutError(f"{method} {path}: no answer after {attempts_max} attempts")

    async def sign_up(self) -> None:
        """An account of one's own."""
        body = {"username": self.name, "email": f"{self.name}@people.example", "password": "correct horse battery"}
        status, user = await self.call("POST", "/users", json=body, key=self.name)
        assert status == 201, (status, user)
        self.token, self.user_id = user["sessionToken"], user["objectId"]

    async def upload(self) -> str:
        """A small photo; answers its signed address."""
        picture = Image.new("RGB", (160, 120))
        picture.putdata([(x % 256, (x // 160) * 2 % 256, (x * 7) % 256) for x in range(160 * 120)])
        stored = io.BytesIO()
        picture.save(stored, "JPEG", quality=85)
        form = aiohttp.FormData()
        form.add_field("file", stored.getvalue(), filename="photo.jpg", content_type="image/jpeg")
        async with self.http.post(self._url() + "/api/upload/single", data=form, headers={"Authorization": f"Bearer {self.token}"}) as answer:
            body = await answer.json()
            assert answer.status == 200, (answer.status, body)
        self.photo_url = body["data"]["file_url"]
        return self.photo_url

    async def create(
        self, *, kind: str = "travel", count: int = 1, key: str | None = None, scene: str = "beach-sunset", patient: bool = True
    ) -> tuple[int, dict[str, Any]]:
        """Ask for pictures."""
        body = {"type": kind, "batch_count": count, "images": [self.photo_url], "scene_id": scene}
        return await self.call("POST", "/api/tasks/create", json=body, key=key or str(new_id()), patient=patient)

    async def create_song(self, *, key: str | None = None) -> tuple[int, dict[str, Any]]:
        """Ask for a song."""
        return await self.call("POST", "/music/tasks", json={"title": "Rain", "prompt": "a walk in the rain"}, key=key or str(new_id()))

    async def balance(self) -> int:
        """What is available, in credits."""
        _, body = await self.call("GET", "/api/credits/balance")
        return int(body["data"]["credits"])

    def listen(self) -> None:
        """Follow the feed until the person leaves, resuming after every cut."""
        self._listening = asyncio.create_task(self._follow(), name=f"{self.name} listens")

    async def heard(self, task_ids: set[str], *, seconds: float) -> None:
        """Wait until the ends of these tasks were told; TimeoutError names how many are missing."""
        until = asyncio.get_running_loop().time() + seconds
        while not task_ids <= self.feed.ended():
            if asyncio.get_running_loop().time() > until:
                raise TimeoutError(f"{self.name} never heard of {len(task_ids - self.feed.ended())} tasks")
            await asyncio.sleep(0.1)

    async def _follow(self) -> None:
        resume: dict[str, Any] | None = {"epoch": None, "seq": 0}
        while True:
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError, ValueError, RuntimeError):
                async with self.http.ws_connect(self._url().replace("http", "ws", 1) + "/ws", timeout=aiohttp.ClientWSTimeout(ws_close=2)) as ws:
                    await ws.send_json({"type": "auth", "token": self.token, **({"resume": resume} if resume else {})})
                    self.feed.connects += 1
                    async for message in ws:
                        if message.type != aiohttp.WSMsgType.TEXT:
                            continue
                        frame = message.json()
                        if frame["type"] == "auth_success":
                            self.feed.not_recovered += not frame["recovered"]
                        elif "seq" in frame:
                            self.feed.stored.append(frame)
                            resume = {"epoch": frame["epoch"], "seq": frame["seq"]}
                        elif frame.get("volatile"):
                            self.feed.volatile += 1
                    self.feed.closes.append(ws.close_code or 0)
            await asyncio.sleep(random.uniform(0.1, 0.4))


def _is_weather(error: Exception) -> bool:
    """A suite that is away, also while its addresses cannot be read."""
    from suite.home import SuiteError

    return isinstance(error, (aiohttp.ClientError, OSError, TimeoutError, ValueError, SuiteError))
