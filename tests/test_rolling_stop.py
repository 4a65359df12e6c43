"""SIGTERM to one process of each service and SIGINT to the other, under load: a client that retries idempotent calls once sees no failure."""

import asyncio
import contextlib
import os
import signal
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from common.ids import new_id
from lab.hostile import bodies
from lab.hostile.pictures import png
from lab.invariants import check_when_settled, places_of
from lab.people import Person
from lab.rig import Rig, rig_running
from suite.embedded.parts import is_alive

SERVICES = ("gateway", "identity", "works", "generation", "billing", "notify")
GONE_SECONDS_MAX = 25


class OnceRetrying:
    """Asks one gateway, and when that fails the other one, once. Every call carries a key or reads only."""

    def __init__(self, person: Person, urls: list[str]) -> None:
        self._person = person
        self._urls = urls
        self._turn: Iterator[int] = count()
        self.calls = 0
        self.retries = 0
        self.failures: list[str] = []

    async def load(self, round_: "Round", stop: asyncio.Event) -> None:
        """One round after another, until told to stop."""
        while not stop.is_set():
            await round_(self)
            await asyncio.sleep(0.02)

    async def pictures(self) -> None:
        """Create, look, list."""
        body = {"type": "travel", "batch_count": 1, "images": [self._person.photo_url]}
        created = await self._call("POST", "/api/tasks/create", json=body)
        if created is not None:
            await self._call("GET", f"/api/tasks/{created['data']['task_id']}")
        await self._call("GET", "/api/credits/balance")
        await self._call("GET", "/api/works?pageSize=5")
        await self._call("GET", "/api/auth/me")

    async def songs(self) -> None:
        """The same in the song dialect."""
        created = await self._call("POST", "/music/tasks", json={"title": "Rain", "prompt": "a walk in the rain"})
        if created is not None:
            await self._call("GET", f"/music/tasks/{created['taskId']}")
        kept = await self._call("POST", "/works", json={"title": "kept", "image": self._person.photo_url})
        if kept is not None:
            await self._call("GET", f"/works/{kept['objectId']}")
        await self._call("GET", "/works?limit=5")
        await self._call("GET", "/points/history")

    async def uploads(self) -> None:
        """A picture of a form, and one of a task that brings it along."""
        form = bodies.form([bodies.picture_part("file", png(20 + self.calls % 40))])
        await self._call("POST", "/api/upload/single", data=form, headers=bodies.FORM_HEADERS)
        photo = f"data:image/png;base64,{b64encode(png(20 + self.calls % 40)).decode()}"
        await self._call("POST", "/api/tasks/create", json={"type": "travel", "images": [photo]})

    async def _call(self, method: str, path: str, **more: Any) -> dict[str, Any] | None:
        self.calls += 1
        first = next(self._turn)
        headers = {"Authorization": f"Bearer {self._person.token}", **more.pop("headers", {})}
        if method == "POST":
            headers["Idempotency-Key"] = str(new_id())
        said = ""
        for attempt in range(2):
            url = self._urls[(first + attempt) % len(self._urls)]
            try:
                async with self._person.http.request(method, url + path, headers=headers, **more) as answer:
                    if answer.status in (200, 201):
                        found: dict[str, Any] = await answer.json(content_type=None)
                        self.retries += attempt
                        return found
                    said = f"{answer.status} {(await answer.text())[:200]}"
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                said = f"{type(error).__name__}: {error}"
            await asyncio.sleep(0.1)
        self.failures.append(f"{method} {path}: {said}")
        return None


Round = Callable[[OnceRetrying], Awaitable[None]]
ROUNDS: tuple[Round, ...] = (*[OnceRetrying.pictures] * 5, OnceRetrying.songs, OnceRetrying.uploads)
"""What each client does, over and over."""


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    replicas = [option for service in SERVICES for option in ("--replicas", f"{service}=2")]
    options = ["--separate", "--provider", "instant", *replicas]
    async with rig_running(tmp_path, *options, env={"DARKROOM_LOG_LEVEL": "warning"}) as running:
        yield running


@pytest.mark.crash
@pytest.mark.kafka
async def test_no_request_fails_while_one_of_two_processes_stops(rig: Rig) -> None:
    urls = rig.environment["GATEWAY_URL"].split(",")
    async with Person(lambda: urls[0]) as person:
        await person.sign_up()
        await rig.grant(person.user_id, 100_000)
        await rig.grant(person.user_id, 1_000_000, asset="point")
        await person.upload()
        stop = asyncio.Event()
        clients = [OnceRetrying(person, urls) for _ in ROUNDS]
        loads = [asyncio.create_task(client.load(round_, stop)) for client, round_ in zip(clients, ROUNDS, strict=True)]
        try:
            for place, number in enumerate((signal.SIGTERM, signal.SIGINT)):
                for service in SERVICES:
                    await back(rig, service)
                    await stop_one(rig, service, place, number, person)
                    if service == "gateway":  # a client's second try is for this one alone
                        await back(rig, service)
        finally:
            stop.set()
            await asyncio.gather(*loads)
        assert [failure for client in clients for failure in client.failures] == []
        assert sum(client.calls for client in clients) > 200
        assert min(client.calls for client in clients) > 2 * len(SERVICES)
    assert await check_when_settled(places_of(rig.environment)) == []


async def stop_one(rig: Rig, service: str, place: int, number: signal.Signals, person: Person) -> None:
    """Signal one of the two; it must be gone in time, its sockets told with 1001; wait until it is being started again."""
    victim = rig.pids()[service][place]
    sockets = await open_sockets(rig, service, place, person)
    began = time.monotonic()
    os.kill(victim, number)
    while is_alive(victim):
        assert time.monotonic() - began < GONE_SECONDS_MAX, f"{service} does not go"
        await asyncio.sleep(0.05)
    for ws in sockets:
        message = await ws.receive(timeout=5)
        while message.type == aiohttp.WSMsgType.TEXT:
            message = await ws.receive(timeout=5)
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1001), f"{service}: {message}"
    async with asyncio.timeout(60):
        while victim in rig.pids()[service]:
            await asyncio.sleep(0.1)


async def back(rig: Rig, service: str) -> None:
    """Wait until both processes of a service are ready."""
    async with asyncio.timeout(60):
        while not await is_ready(rig, service):
            await asyncio.sleep(0.1)


async def open_sockets(rig: Rig, service: str, place: int, person: Person) -> list[aiohttp.ClientWebSocketResponse]:
    """Sockets on the process that will be stopped; only two services have any."""
    if service not in ("gateway", "notify"):
        return []
    url = rig.environment[f"{service.upper()}_URL"].split(",")[place].replace("http", "ws", 1) + "/ws"
    sockets = []
    for _ in range(3):
        ws = await person.http.ws_connect(url)
        await ws.send_json({"type": "auth", "token": person.token})
        assert (await ws.receive_json(timeout=5))["type"] == "auth_success"
        sockets.append(ws)
    return sockets


async def is_ready(rig: Rig, service: str) -> bool:
    """Whether every process of a service says so."""
    for url in rig.home.running_state().admin_urls[service]:
        with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as http, http.get(url + "/readyz") as answer:
                if answer.status == 200:
                    continue
        return False
    return True
