"""The whole service as its composition root builds it: HTTP in, facts out, with the local engine and with the instant one."""

import asyncio
import io
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import orjson
from aiohttp import web
from PIL import Image

from common.bus import MemoryBus
from common.ids import UserId, new_id
from common.objects import FolderObjects, UrlSigner
from common.testing.doors import Passes, open_identity
from generation.app import open_service, open_worker
from generation.settings import GenerationSettings


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def a_photo() -> bytes:
    written = io.BytesIO()
    picture = Image.new("RGB", (96, 64), (230, 140, 60))
    picture.paste((40, 60, 150), (0, 0, 96, 24))
    picture.save(written, "WEBP")
    return written.getvalue()


@dataclass
class Running:
    """A service that serves, and a client of it."""

    http: aiohttp.ClientSession
    settings: GenerationSettings
    passes: Passes
    facts: list[tuple[str, dict[str, Any]]]

    async def call(self, method: str, path: str, user_id: UUID, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {self.passes.user(UserId(user_id))}", "Content-Type": "application/json"}
        url = f"http://127.0.0.1:{self.settings.port}{path}"
        async with self.http.request(method, url, data=orjson.dumps(body) if body is not None else None, headers=headers) as answer:
            return await answer.json(content_type=None)

    async def photo_of(self, user_id: UUID) -> str:
        key = f"uploads/{user_id}/{'ef' * 32}.webp"
        async with FolderObjects(Path(self.settings.shared.objects_url.removeprefix("file://"))) as objects:
            await objects.put(key, a_photo(), "image/webp")
        return key


class _Listening(MemoryBus):
    """The bus in memory, keeping what was said."""

    def __init__(self, facts: list[tuple[str, dict[str, Any]]]) -> None:
        super().__init__()
        self._facts = facts

    async def publish(self, records: Any, receipts: Any) -> None:
        self._facts.extend((record.topic, orjson.loads(record.value)) for record in records)
        await super().publish(records, receipts)


@asynccontextmanager
async def serving(passes: Passes, neighbours: Any, databases: Any, folder: Path, opener: Any = open_service, **env: str) -> AsyncIterator[Running]:
    database = await databases.get("generation")
    await databases.clean("generation")
    billing_url, works_url, _ = neighbours.url.split(" ")
    async with open_identity(passes) as identity:
        settings = passes.settings(GenerationSettings, "generation", folder, {
            "GENERATION_DATABASE_URL": database.role_url, "GENERATION_PORT": str(free_port()), "GENERATION_ADMIN_PORT": str(free_port()),
            "BILLING_URL": billing_url, "WORKS_URL": works_url, "IDENTITY_URL": identity.url, "GENERATION_NOT_READY_SECONDS": "0",
            "GENERATION_RECORD_SECONDS": "2", "GENERATION_HTTP_DRAIN_SECONDS": "1", **env,
        })  # fmt: skip
        facts: list[tuple[str, dict[str, Any]]] = []
        bus = _Listening(facts)
        await bus.start()
        stop, ready = asyncio.Event(), asyncio.Event()
        async with opener(settings, bus) as service, aiohttp.ClientSession() as http, asyncio.TaskGroup() as group:
            group.create_task(service.run(stop, on_ready=ready.set))
            await ready.wait()
            try:
                yield Running(http, settings, passes, facts)
            finally:
                stop.set()
        await bus.stop()


async def until_ended(running: Running, path: str, user_id: UUID) -> Any:
    async with asyncio.timeout(90):
        while True:
            body = await running.call("GET", path, user_id)
            status = body["status"] if "taskId" in body else body["data"]["task"]["status"]
            if status in ("completed", "failed", "cancelled", "SUCCESS", "FAILED"):
                return body
            await asyncio.sleep(0.05)


async def test_a_photo_becomes_pictures_and_a_song(passes: Passes, neighbours: Any, service_databases: Any, tmp_path: Path) -> None:
    user, photo_work = new_id(), new_id()
    async with serving(passes, neighbours, service_databases, tmp_path, GENERATION_PICTURE_SLOTS="1", GENERATION_SONG_SLOTS="1") as running:
        key = await running.photo_of(user)
        neighbours.works[photo_work] = {
            "work_id": str(photo_work), "user_id": str(user), "image_key": key, "title": "", "is_favorite": False, "is_public": False,
        }  # fmt: skip
        signer = UrlSigner.of_settings(running.settings.shared)
        ask = {"type": "travel", "batch_count": 2, "images": [signer.sign(key, now=datetime.now(UTC))], "scene_id": "beach-sunset"}
        created = await running.call("POST", "/api/tasks/create", user, ask)
        song = await running.call("POST", "/music/tasks", user, {"workId": str(photo_work)})
        ended = await until_ended(running, f"/api/tasks/{created['data']['task_id']}", user)
        sung = await until_ended(running, f"/music/tasks/{song['taskId']}", user)
    work = ended["data"]["work"]
    assert ended["data"]["task"]["status"] == "completed"
    folder = Path(running.settings.shared.objects_url.removeprefix("file://"))
    for image in work["images"]:
        with Image.open(folder / str(signer.key_of(image["url"]))) as made:
            assert made.size == (image["width"], image["height"])
    assert (sung["status"], sung["work"]["objectId"]) == ("SUCCESS", str(photo_work))
    assert sung["work"]["title"]
    assert sung["work"]["duration"] > 10
    assert {topic for topic, _ in running.facts} == {"task.created", "task.completed"}


async def test_the_instant_engine_serves_many_at_once(passes: Passes, neighbours: Any, service_databases: Any, tmp_path: Path) -> None:
    users = [new_id() for _ in range(5)]
    async with serving(passes, neighbours, service_databases, tmp_path, GENERATION_PROVIDER="instant", DARKROOM_PROFILE="roomy") as running:
        signer = UrlSigner.of_settings(running.settings.shared)
        link = signer.sign(f"uploads/x/{'ab' * 32}.webp", now=datetime.now(UTC))
        asks = [running.call("POST", "/api/tasks/create", users[place % 5], {"type": "fitting", "images": [link]}) for place in range(200)]
        created = await asyncio.gather(*asks)
        for place, one in enumerate(created):
            ended = await until_ended(running, f"/api/tasks/{one['data']['task_id']}", users[place % 5])
            assert ended["data"]["task"]["status"] == "completed"
    topics = [topic for topic, _ in running.facts]
    assert (topics.count("task.created"), topics.count("task.completed")) == (200, 200)


async def test_a_worker_alone_answers_nothing_and_works(passes: Passes, neighbours: Any, service_databases: Any, tmp_path: Path) -> None:
    user = new_id()
    seeing = {"GENERATION_WORKER": "false", "GENERATION_PROVIDER": "instant"}
    (tmp_path / "front").mkdir()
    async with serving(passes, neighbours, service_databases, tmp_path / "front", **seeing) as front:
        link = UrlSigner.of_settings(front.settings.shared).sign(f"uploads/x/{'ab' * 32}.webp", now=datetime.now(UTC))
        created = await front.call("POST", "/api/tasks/create", user, {"type": "fitting", "images": [link]})
        await asyncio.sleep(0.1)
        path = f"/api/tasks/{created['data']['task_id']}"
        assert (await front.call("GET", path, user))["data"]["task"]["status"] == "pending"
        database = await service_databases.get("generation")
        settings = front.settings.model_copy(update={"port": free_port(), "admin_port": free_port(), "database_url": database.role_url})
        bus, stop, ready = MemoryBus(), asyncio.Event(), asyncio.Event()
        await bus.start()
        async with open_worker(settings, bus) as service, asyncio.TaskGroup() as group:
            group.create_task(service.run(stop, on_ready=ready.set))
            await ready.wait()
            assert (await until_ended(front, path, user))["data"]["task"]["status"] == "completed"
            async with front.http.get(f"http://127.0.0.1:{settings.port}{path}") as answer:
                assert answer.status == 404
            stop.set()
        await bus.stop()


async def test_what_operators_set_reaches_the_outside_provider_within_seconds(passes: Passes, neighbours: Any, service_databases: Any, tmp_path: Path) -> None:
    asked: list[dict[str, Any]] = []

    async def webhook(http: web.Request) -> web.Response:
        asked.append(orjson.loads(await http.read()))
        return web.json_response({"message": "Workflow was started"})

    async def reached(count: int, *, seconds: float) -> None:
        async with asyncio.timeout(seconds):
            while len(asked) < count:
                await asyncio.sleep(0.02)

    application = web.Application()
    application.router.add_post("/webhook/{name}", webhook)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    n8n = {
        "GENERATION_PROVIDER": "n8n",
        "GENERATION_N8N_URL": f"http://127.0.0.1:{runner.addresses[0][1]}/webhook",
        "GENERATION_N8N_SECRET": secrets.token_hex(32),
    }
    operator = new_id()
    try:
        async with serving(passes, neighbours, service_databases, tmp_path, **n8n) as running:

            async def put(key: str, value: object) -> None:
                token = passes.user(UserId(operator), role="admin")
                url = f"http://127.0.0.1:{running.settings.port}/internal/admin/config/{key}"
                async with running.http.put(url, json={"config_value": value}, headers={"Authorization": f"Bearer {token}"}) as answer:
                    assert answer.status == 200, await answer.text()

            await put("queue_concurrency", 2)
            signer = UrlSigner.of_settings(running.settings.shared)
            for user in [new_id() for _ in range(5)]:
                ask = {"type": "travel", "images": [signer.sign(await running.photo_of(user), now=datetime.now(UTC))]}
                assert (await running.call("POST", "/api/tasks/create", user, ask))["success"]
            await reached(2, seconds=60)
            await asyncio.sleep(0.7)
            assert len(asked) == 2, "no more are given than may be"
            assert asked[0]["model"] == {"api_url": "", "temperature": 1.0, "top_k": 40, "top_p": 0.95}
            wishes = {"ai_api_url": "https://model.example/v1", "default_temperature": 0.3, "default_topk": 7, "default_topp": 0.5}
            for key, value in wishes.items():
                await put(key, value)
            await put("queue_concurrency", 4)
            await reached(4, seconds=60)
            await asyncio.sleep(0.7)
            assert len(asked) == 4
            assert [one["model"] for one in asked[2:]] == [{"api_url": "https://model.example/v1", "temperature": 0.3, "top_k": 7, "top_p": 0.5}] * 2
            # One that comes back makes room for the last.
            body = {"task_id": asked[0]["task_id"], "attempt_token": asked[0]["attempt_token"], "error": "no"}
            async with running.http.post(
                f"http://127.0.0.1:{running.settings.port}/api/callback/task-failed", json=body, headers={"X-Darkroom-Secret": n8n["GENERATION_N8N_SECRET"]}
            ) as answer:
                assert answer.status == 200
            await reached(5, seconds=60)
    finally:
        await runner.cleanup()
