"""Somebody who uses Darkroom from outside, over HTTP, as an app would."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp

from suite.home import SuiteError

ASK_SECONDS = 60


@dataclass(frozen=True)
class Money:
    """What a person has."""

    credits: int
    points: int


class Visitor:
    """One person: signs up, uploads, orders, asks, downloads. Raises SuiteError with what was answered instead."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.user_id = ""
        self.name = f"visitor-{secrets.token_hex(3)}"
        self.token = ""
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=ASK_SECONDS), cookie_jar=aiohttp.DummyCookieJar(), headers={"Accept-Language": "en"}
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._session.close()

    async def sign_up(self) -> None:
        person = {"username": self.name, "email": f"{self.name}@darkroom.example", "password": secrets.token_urlsafe(12)}
        answer = await self._ask("POST", "/users", json=person)
        self.user_id, self.token = answer["objectId"], answer["sessionToken"]

    async def money(self) -> Money:
        """Credits and points that can be spent now."""
        credits = (await self._ask("GET", "/api/credits/balance"))["data"]["credits"]
        points = (await self._ask("GET", "/points/history"))["results"][0]["balance"]
        return Money(credits, points)

    async def credit_records(self) -> list[dict[str, Any]]:
        """Every change of credits, newest first."""
        records: list[dict[str, Any]] = (await self._ask("GET", "/api/credits/records", params={"pageSize": "100"}))["data"]["records"]
        return records

    async def points_history(self) -> list[dict[str, Any]]:
        """Every change of points, newest first."""
        results: list[dict[str, Any]] = (await self._ask("GET", "/points/history", params={"limit": "100"}))["results"]
        return results

    async def upload(self, photo: bytes) -> dict[str, Any]:
        """Answers the upload: file_url, file_size, ..."""
        form = aiohttp.FormData()
        form.add_field("file", photo, filename="lake.jpg", content_type="image/jpeg")
        uploaded: dict[str, Any] = (await self._ask("POST", "/api/upload/single", data=form))["data"]
        return uploaded

    async def order_pictures(self, photo_url: str, *, count: int) -> dict[str, Any]:
        destination = {"name": "The lake", "country": "Nowhere", "prompt": "an evening between the mountains"}
        order = {"type": "travel", "batch_count": count, "images": [photo_url], "destination": destination}
        task: dict[str, Any] = (await self._ask("POST", "/api/tasks/create", json=order, headers=_key()))["data"]
        return task

    async def keep_photo(self, photo_url: str) -> str:
        """Make a work of the photo, so that a song can be made from it; answers its id."""
        work = {"title": "An evening on the lake", "image": photo_url, "style": "ambient", "tags": ["lake", "evening"]}
        return str((await self._ask("POST", "/works", json=work, headers=_key()))["objectId"])

    async def order_song(self, work_id: str) -> dict[str, Any]:
        """From the photo alone: no words are given, Darkroom looks at the picture."""
        return await self._ask("POST", "/music/tasks", json={"workId": work_id}, headers=_key())

    async def picture_task(self, task_id: str) -> dict[str, Any]:
        task: dict[str, Any] = (await self._ask("GET", f"/api/tasks/{task_id}"))["data"]
        return task

    async def song_task(self, task_id: str) -> dict[str, Any]:
        return await self._ask("GET", f"/music/tasks/{task_id}")

    async def download(self, url: str) -> tuple[bytes, str]:
        """A signed file: (bytes, content type)."""
        async with self._session.get(url) as answer:
            if answer.status != 200:
                raise SuiteError(f"A file could not be downloaded: {answer.status} for {url.partition('?')[0]}.")
            return await answer.read(), answer.content_type

    def open_socket(self) -> Any:
        """A WebSocket on /ws, not yet authenticated."""
        return self._session.ws_connect(f"{self.url.replace('http', 'ws', 1)}/ws", max_msg_size=1024 * 1024)

    async def _ask(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        headers = {**options.pop("headers", {}), **({"Authorization": f"Bearer {self.token}"} if self.token else {})}
        try:
            async with self._session.request(method, self.url + path, headers=headers, **options) as answer:
                body: dict[str, Any] = await answer.json(content_type=None) or {}
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise SuiteError(f"{method} {path} got no answer ({type(error).__name__}: {error}).") from error
        if answer.status not in (200, 201):
            raise SuiteError(f"{method} {path} was answered {answer.status}: {body.get('message') or body.get('detail') or body}")
        return body


def _key() -> dict[str, str]:
    return {"Idempotency-Key": secrets.token_hex(16)}
