"""Pictures made by workflows that call back: in time, early, twice, late, forged, or never."""

import asyncio
import base64
import hashlib
import io
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import orjson
import pytest
from aiohttp import web
from PIL import Image

from common.clock import FakeClock
from common.db import Database
from common.errors import Unavailable
from common.ids import new_id
from common.objects import FolderObjects, UrlSigner
from common.settings import SettingsError
from common.testing.doors import Door, Passes, open_door
from generation import commands, queries
from generation.api import callback
from generation.domain import Arrival, AttemptEnd, Brief, Callback, Cancel, Task
from generation.fetching import Fetcher, Unfetchable
from generation.providers import n8n
from generation.providers.base import Attempt, Finished, Lost, NotSent, Refused, Submitted
from generation.providers.labelled import label_picture
from generation.providers.n8n import N8nProvider
from generation.settings import GenerationSettings
from generation.worker import SingleWorker

SECRET = "a-header-secret-of-this-test-only"
SIGNING = "a-signing-secret-of-this-test-only"

ReadTask = Callable[[UUID], Awaitable[Task]]
Said = Callable[[], Awaitable[list[tuple[str, dict[str, Any]]]]]


def a_picture(shade: int = 0, kind: str = "PNG") -> str:
    written = io.BytesIO()
    Image.new("RGB", (9, 7), (shade, 90, 30)).save(written, kind)
    return f"data:image/{kind.lower()};base64," + base64.b64encode(written.getvalue()).decode()


def completion(asked: dict[str, Any], *, count: int | None = None) -> dict[str, Any]:
    """What a workflow that went well sends."""
    images = [{"url": a_picture(place), "format": "png", "batch_index": place} for place in range(asked["batch_count"] if count is None else count)]
    return {"task_id": asked["task_id"], "attempt_token": asked["attempt_token"], "images": images, "ai_description": "a fine day"}


@dataclass
class Webhook:
    """Where n8n would listen."""

    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)
    status: list[int] = field(default_factory=list)
    before_answer: Callable[[dict[str, Any]], Awaitable[None]] | None = None

    async def take(self, http: web.Request) -> web.Response:
        asked = orjson.loads(await http.read())
        self.asked.append(asked)
        self.paths.append(http.path)
        self.secrets.append(http.headers.get("X-Darkroom-Secret", ""))
        if self.before_answer is not None:
            await self.before_answer(asked)
        return web.json_response({"message": "Workflow was started"}, status=self.status.pop(0) if self.status else 200)

    async def next(self, number: int = 1) -> dict[str, Any]:
        """The n-th request, once it is there."""
        async with asyncio.timeout(60):
            while len(self.asked) < number:
                await asyncio.sleep(0.01)
        return self.asked[number - 1]


@dataclass
class Studio:
    """Worker, webhook and door together."""

    webhook: Webhook
    door: Door
    worker: SingleWorker
    deps: Any

    async def say(self, path: str, body: dict[str, Any] | bytes, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        """A call back; with the header secret unless told otherwise."""
        raw = body if isinstance(body, bytes) else orjson.dumps(body)
        given = {"X-Darkroom-Secret": SECRET} if headers is None else headers
        async with self.door.http.post(f"{self.door.url}/api/callback/{path}", data=raw, headers={"Content-Type": "application/json", **given}) as answer:
            return answer.status, await answer.json()

    async def complete(self, asked: dict[str, Any], **more: Any) -> tuple[int, Any]:
        return await self.say("task-complete", completion(asked, **more))


@dataclass
class _Deps:
    settings: GenerationSettings
    db: Database
    workers: Any


class _Workers:
    worker: SingleWorker

    def wake(self, *, songs: bool) -> None:
        self.worker.wake()


@pytest.fixture
def n8n_settings(settings: GenerationSettings) -> GenerationSettings:
    return settings.model_copy(update={
        "n8n_secret": type(settings.n8n_secret)(SECRET), "callback_secret": type(settings.callback_secret)(SIGNING), "back_off_seconds": 0.01,
    })  # fmt: skip


@pytest.fixture
async def webhook() -> AsyncIterator[Webhook]:
    found = Webhook()
    application = web.Application()
    application.router.add_post("/webhook/{name}", found.take)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}/webhook"
    yield found
    await runner.cleanup()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as made:
        yield made


@pytest.fixture
async def fetch() -> AsyncIterator[Fetcher]:
    async with Fetcher() as made:
        yield made


@pytest.fixture
def engine(session: aiohttp.ClientSession, fetch: Fetcher, db: Database, pool: Any, webhook: Webhook, n8n_settings: GenerationSettings) -> N8nProvider:
    return N8nProvider(
        session, partial(queries.read_callback, db), pool, UrlSigner.of_settings(n8n_settings.shared), fetch=fetch, url=webhook.url, secret=SECRET,
        callback_base="https://darkroom.example", wait_seconds=5, now=db.clock.now, model=lambda: {"temperature": 0.4},
    )  # fmt: skip


@pytest.fixture
def open_studio(workshop: Any, engine: N8nProvider, webhook: Webhook, n8n_settings: GenerationSettings, db: Database, passes: Passes) -> Any:
    @asynccontextmanager
    async def opened(*, slots: int = 1, **more: Any) -> AsyncIterator[Studio]:
        workers, draining = _Workers(), asyncio.Event()
        deps = _Deps(n8n_settings, db, workers)
        async with workshop(engine, settings=n8n_settings, **more) as shop, open_door(callback.ROUTES, deps, name="generation", passes=passes) as door:
            workers.worker = SingleWorker(shop.studio, songs=False, slots=slots)
            async with asyncio.TaskGroup() as group:
                group.create_task(workers.worker.run(draining))
                try:
                    yield Studio(webhook, door, workers.worker, deps)
                finally:
                    draining.set()

    return opened


async def until(read_task: ReadTask, task_id: UUID, *states: str) -> Task:
    async with asyncio.timeout(60):
        while (task := await read_task(task_id)).state not in states:
            await asyncio.sleep(0.01)
    return task


async def journal(db: Database, task_id: UUID) -> list[str]:
    return [row[0] for row in await db.fetch("SELECT state FROM attempt WHERE task_id = $1 ORDER BY attempt_no", task_id)]


async def kept(db: Database, task_id: UUID) -> list[tuple[str, str]]:
    rows = await db.fetch("SELECT says, state FROM callback WHERE task_id = $1 ORDER BY callback_id", task_id)
    return [(row[0], row[1]) for row in rows]


async def waits(db: Database, task_id: UUID) -> None:
    """Until the webhook answered and nobody holds the task any more."""
    async with asyncio.timeout(60):
        while not await db.fetchval(
            "SELECT due_at = deadline_at AND EXISTS (SELECT FROM attempt WHERE attempt.task_id = task.task_id AND state IN ('submitted', 'unknown')) "
            "FROM task WHERE task_id = $1", task_id
        ):  # fmt: skip
            await asyncio.sleep(0.01)


def ends(facts: list[tuple[str, dict[str, Any]]]) -> list[tuple[str, int]]:
    return [(topic, data["delivered"]) for topic, data in facts if topic != "task.created"]


async def test_a_workflow_is_told_everything_and_its_pictures_end_the_task(
    db: Database, ask: Any, write: Any, open_studio: Any, read_task: ReadTask, said: Said, tmp_path: Any
) -> None:
    async with open_studio() as studio:
        user_id = new_id()
        brief = Brief(
            photos=(f"uploads/{user_id}/{'ab' * 32}.webp",), parameters={"mood": "calm"}, custom_description="by the sea", destination={"name": "Nice"}
        )
        task = await write(ask(user_id=user_id, asked=2, brief=brief))
        asked = await studio.webhook.next()
        assert (studio.webhook.paths, studio.webhook.secrets) == (["/webhook/photography-batch"], [SECRET])
        token, attempt_id = asked.pop("attempt_token"), asked.pop("attempt_id")
        images = asked.pop("images")
        assert asked.pop("seed") == task.seed
        assert asked == {
            "task_id": str(task.task_id), "user_id": str(user_id), "type": "travel", "parameters": {"mood": "calm"}, "scene_id": "beach-sunset", "prompt": "",
            "custom_description": "by the sea", "batch_count": 2, "destination": {"name": "Nice"}, "model": {"temperature": 0.4},
            "callback_url": "https://darkroom.example/api/callback/task-complete",
            "failed_callback_url": "https://darkroom.example/api/callback/task-failed",
        }  # fmt: skip
        assert len(token) >= 32
        assert UUID(attempt_id)
        assert len(images) == 1
        assert "/uploads/" in images[0]
        await waits(db, task.task_id)
        assert (await read_task(task.task_id)).state == "running"
        assert await studio.complete({**asked, "attempt_token": token}) == (200, {"success": True, "message": "taken"})
        ended = await until(read_task, task.task_id, "completed", "failed")
    assert (ended.state, ended.delivered) == ("completed", 2)
    facts = await said()
    assert ends(facts) == [("task.completed", 2)]
    assert (facts[-1][1]["engine"], facts[-1][1]["description"]) == ("n8n", "a fine day")
    for item in facts[-1][1]["items"]:
        body = (tmp_path / "objects" / item["key"]).read_bytes()
        assert item["key"] == f"results/{task.task_id}/{item['index']}-{hashlib.sha256(body).hexdigest()}.png"
        assert b"TC260:AIGC" in body
    assert await journal(db, task.task_id) == ["succeeded"]
    assert await db.fetchval("SELECT count(*) FROM attempt WHERE token_hash = $1", hashlib.sha256(token.encode()).digest()) == 1


async def test_one_slot_is_enough_for_many_tasks_that_wait(db: Database, ask: Any, write: Any, open_studio: Any, read_task: ReadTask) -> None:
    async with open_studio(slots=1) as studio:
        made = [await write(ask()) for _ in range(5)]
        await studio.webhook.next(5)
        for asked in studio.webhook.asked[::-1]:
            assert (await studio.complete(asked))[0] == 200
        for task in made:
            assert (await until(read_task, task.task_id, "completed", "failed")).delivered == 1
    assert len(studio.webhook.asked) == 5


async def test_a_failed_workflow_fails_the_task_and_nothing_is_delivered(
    db: Database, ask: Any, write: Any, open_studio: Any, read_task: ReadTask, said: Said
) -> None:
    async with open_studio() as studio:
        task = await write(ask(asked=3, kind="fitting"))
        asked = await studio.webhook.next()
        assert studio.webhook.paths == ["/webhook/fitting-batch"]
        told = {"task_id": asked["task_id"], "error": "the model said no"}
        status, _ = await studio.say("task-failed", told, {"X-Darkroom-Secret": SECRET, "X-Darkroom-Attempt-Token": asked["attempt_token"]})
        assert status == 200
        ended = await until(read_task, task.task_id, "completed", "failed")
    assert ended.outcome is not None
    assert (ended.state, ended.outcome.reason, ended.outcome.message) == ("failed", "provider_error", "the model said no")
    assert ends(await said()) == [("task.failed", 0)]
    assert len(studio.webhook.asked) == 1


async def test_a_failure_that_says_so_is_tried_again_and_the_superseded_attempt_counts_no_more(
    db: Database, clock: FakeClock, ask: Any, write: Any, open_studio: Any, read_task: ReadTask, said: Said
) -> None:
    async with open_studio() as studio:
        task = await write(ask())
        first = await studio.webhook.next()
        await studio.say("task-failed", {"task_id": first["task_id"], "attempt_token": first["attempt_token"], "error": "busy", "retryable": True})
        async with asyncio.timeout(60):
            while await journal(db, task.task_id) != ["failed"]:
                await asyncio.sleep(0.01)
        clock.move(seconds=1)
        studio.worker.wake()
        second = await studio.webhook.next(2)
        assert second["attempt_token"] != first["attempt_token"]
        assert second["attempt_id"] != first["attempt_id"]
        assert await studio.complete(first) == (200, {"success": True, "message": "recorded and ignored"})
        await waits(db, task.task_id)
        assert (await read_task(task.task_id)).state == "running"
        await studio.complete(second)
        await until(read_task, task.task_id, "completed")
    assert ends(await said()) == [("task.completed", 1)]
    assert await journal(db, task.task_id) == ["failed", "succeeded"]


async def test_a_call_back_before_the_webhook_answers_counts(db: Database, ask: Any, write: Any, open_studio: Any, read_task: ReadTask, said: Said) -> None:
    async with open_studio() as studio:
        ended = asyncio.Event()

        async def first_call_back(asked: dict[str, Any]) -> None:
            assert (await studio.complete(asked))[0] == 200
            async with asyncio.timeout(60):
                await ended.wait()

        studio.webhook.before_answer = first_call_back
        task = await write(ask(asked=2))
        done = await until(read_task, task.task_id, "completed", "failed")
        ended.set()
        assert (done.state, done.delivered) == ("completed", 2)
    assert ends(await said()) == [("task.completed", 2)]
    assert len(studio.webhook.asked) == 1


@pytest.mark.parametrize("status", [200, 422, 500])
async def test_what_the_webhook_answers_after_a_call_back_changes_nothing(
    status: int, db: Database, ask: Any, write: Any, open_studio: Any, read_task: ReadTask, said: Said
) -> None:
    async with open_studio(slots=2) as studio:

        async def call_back(asked: dict[str, Any]) -> None:
            assert (await studio.complete(asked))[0] == 200

        studio.webhook.before_answer, studio.webhook.status = call_back, [status]
        task = await write(ask(asked=2))
        assert (await until(read_task, task.task_id, "completed", "failed")).delivered == 2
    assert ends(await said()) == [("task.completed", 2)]
    assert len(studio.webhook.asked) == 1


@pytest.mark.parametrize("end", ["succeeded", "failed"])
async def test_who_was_fenced_off_by_a_call_back_leaves_the_attempt_to_whoever_applies_it(
    end: Any, db: Database, clock: FakeClock, ask: Any, write: Any, claim: Any
) -> None:
    task = await write(ask())
    (first,) = await claim()
    token = hashlib.sha256(b"a token").digest()
    attempt = commands.Attempt(
        attempt_no=1, item_index=None, claim_no=first.claim_no, state="submitting", provider="n8n", created_at=clock.now(), token_hash=token,
    )  # fmt: skip
    async with db.transaction() as tx:
        assert await commands.open_attempt(tx, first, attempt)
    async with db.transaction() as tx:
        said = Callback(task.task_id, token, "complete", hashlib.sha256(b"{}").digest(), b"{}")
        assert await commands.take_callbacks(tx, [said]) == ["taken"]
    async with db.transaction() as tx:
        assert await commands.save_arrivals(tx, [Arrival(task.task_id, first.claim_no, [], AttemptEnd(1, end))]) == [False]
    assert await journal(db, task.task_id) == ["submitting"], "an attempt with an end would be followed by another, and the workflow started again"


async def test_the_same_call_twice_and_another_after_it_are_one_end(
    db: Database, ask: Any, write: Any, open_studio: Any, read_task: ReadTask, said: Said
) -> None:
    async with open_studio() as studio:
        task = await write(ask())
        asked = await studio.webhook.next()
        answers = await asyncio.gather(*(studio.complete(asked) for _ in range(4)))
        assert {status for status, _ in answers} == {200}
        assert (await studio.say("task-failed", {"task_id": asked["task_id"], "attempt_token": asked["attempt_token"], "error": "late"}))[0] == 200
        await until(read_task, task.task_id, "completed")
        assert (await studio.complete(asked))[0] == 200
    assert ends(await said()) == [("task.completed", 1)]
    assert await kept(db, task.task_id) == [("complete", "taken"), ("failed", "repeated")]


async def test_a_call_back_after_a_cancel_is_recorded_and_ignored(
    db: Database, ask: Any, write: Any, open_studio: Any, read_task: ReadTask, said: Said
) -> None:
    async with open_studio() as studio:
        task = await write(ask())
        asked = await studio.webhook.next()
        await waits(db, task.task_id)
        async with db.transaction() as tx:
            await commands.cancel_tasks(tx, [Cancel(task.task_id, task.user_id)])
        assert await studio.complete(asked) == (200, {"success": True, "message": "recorded and ignored"})
    assert (await read_task(task.task_id)).state == "cancelled"
    assert ends(await said()) == [("task.cancelled", 0)]
    assert await kept(db, task.task_id) == [("complete", "late")]


def signed(body: bytes, *, secret: str = SIGNING, at: float | None = None) -> dict[str, str]:
    timestamp = str(int(time.time() if at is None else at))
    return {"X-Darkroom-Timestamp": timestamp, "X-Darkroom-Signature": callback.sign_callback(secret, timestamp, body)}


async def test_a_signed_call_counts_and_forged_ones_do_not(
    db: Database, clock: FakeClock, ask: Any, write: Any, open_studio: Any, read_task: ReadTask, said: Said
) -> None:
    async with open_studio() as studio:
        task, other = await write(ask()), await write(ask())
        await studio.webhook.next(2)
        mine, others = sorted(studio.webhook.asked, key=lambda one: one["task_id"] != str(task.task_id))
        body, now = orjson.dumps(completion(mine)), clock.now().timestamp()
        forged: list[tuple[bytes, dict[str, str]]] = [
            (body, {}),
            (body, {"X-Darkroom-Secret": "guessed"}),
            (body, {"X-Darkroom-Secret": ""}),
            (body, {"X-Darkroom-Secret": "\xfc"}),
            (body, signed(body, secret="another-secret-than-the-right-one", at=now)),
            (body + b" ", signed(body, at=now)),
            (body, signed(body, at=now - 400)),
            (body, signed(body, at=now + 400)),
            (body, {**signed(body, at=now), "X-Darkroom-Timestamp": str(int(now) + 1)}),
            (body, {**signed(body, at=now), "X-Darkroom-Timestamp": "NaN"}),
            (orjson.dumps({**completion(mine), "attempt_token": ""}), {"X-Darkroom-Secret": SECRET}),
            (orjson.dumps({**completion(mine), "attempt_token": others["attempt_token"]}), {"X-Darkroom-Secret": SECRET}),
            (orjson.dumps({**completion(mine), "task_id": str(new_id())}), {"X-Darkroom-Secret": SECRET}),
            (orjson.dumps({**completion(mine), "task_id": "17"}), {"X-Darkroom-Secret": SECRET}),
        ]
        for raw, headers in forged:
            status, answer = await studio.say("task-complete", raw, headers)
            assert (status, answer["success"]) == (401, False), headers
        assert await db.fetchval("SELECT count(*) FROM callback") == 0
        assert (await read_task(task.task_id)).state == "running"
        assert (await studio.say("task-complete", body, signed(body, at=now)))[0] == 200
        await until(read_task, task.task_id, "completed")
        assert (await read_task(other.task_id)).state == "running"
    assert ends(await said()) == [("task.completed", 1)]


@pytest.mark.parametrize("header", ["X-Darkroom-Secret", "X-Internal-Secret", "X-Darkroom-Signature", "X-Darkroom-Timestamp", "X-Darkroom-Attempt-Token"])
async def test_a_header_that_is_no_text_proves_nothing(header: str, db: Database, clock: FakeClock, open_studio: Any) -> None:
    body = orjson.dumps({"task_id": str(new_id()), "images": [], "error": "no"})
    said = {"X-Darkroom-Secret": SECRET} if header == "X-Darkroom-Attempt-Token" else {}
    if header in ("X-Darkroom-Signature", "X-Darkroom-Timestamp"):
        said = signed(body, at=clock.now().timestamp())
    lines = "".join(f"{name}: {value}\r\n" for name, value in said.items() if name != header).encode() + header.encode() + b": \xff\xfe\r\n"
    async with open_studio() as studio:
        for path in ("task-complete", "task-failed"):
            head = f"POST /api/callback/{path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
            answer = await studio.door.send_raw(head.encode() + lines + b"\r\n" + body)
            assert answer.startswith(b"HTTP/1.1 401 "), answer[:200]
            assert b"X-Error-Code: 10002" in answer
    assert await db.fetchval("SELECT count(*) FROM callback") == 0


async def test_a_call_without_a_task_or_that_is_no_json_is_bad(open_studio: Any) -> None:
    async with open_studio() as studio:
        for path in ("task-complete", "task-failed"):
            assert (await studio.say(path, b"{}", {"X-Internal-Secret": SECRET}))[0] == 400
            for raw in (b"{}", b'{"task_id": ""}', b"[]", b"nothing", b'{"task_id": 5}'):
                assert (await studio.say(path, raw))[0] == 400
        assert (await studio.say("task-complete", orjson.dumps({"task_id": str(new_id()), "images": "none"})))[0] == 400


async def test_a_workflow_that_never_calls_back_is_ended_by_the_deadline(
    db: Database, clock: FakeClock, ask: Any, write: Any, open_studio: Any, read_task: ReadTask, said: Said
) -> None:
    async with open_studio() as studio:
        task = await write(ask())
        asked = await studio.webhook.next()
        await waits(db, task.task_id)
        clock.move(seconds=(task.deadline_at - clock.now()) / timedelta(seconds=1) + 1)
        assert (await studio.complete(asked))[1]["message"] == "recorded and ignored"
        async with db.transaction() as tx:
            await commands.end_overdue_tasks(tx, limit=10)
    ended = await read_task(task.task_id)
    assert ended.outcome is not None
    assert (ended.state, ended.outcome.reason) == ("failed", "timeout")
    assert ends(await said()) == [("task.failed", 0)]
    assert len(studio.webhook.asked) == 1


async def test_workflows_that_never_call_back_hold_up_nobody_for_long_and_still_count_when_they_do(
    db: Database, clock: FakeClock, ask: Any, write: Any, open_studio: Any, read_task: ReadTask, said: Said
) -> None:
    async with open_studio(running_max=lambda: 2) as studio:
        silent = [await write(ask()) for _ in range(2)]
        await studio.webhook.next(2)
        for task in silent:
            await waits(db, task.task_id)
        other = await write(ask())
        clock.move(seconds=239)
        await asyncio.sleep(0.2)
        assert len(studio.webhook.asked) == 2
        clock.move(seconds=2)
        assert (await studio.webhook.next(3))["task_id"] == str(other.task_id)
        await studio.complete(studio.webhook.asked[2])
        assert (await until(read_task, other.task_id, "completed", "failed")).delivered == 1
        late = studio.webhook.asked[0]
        assert (await studio.complete(late))[1]["message"] == "taken"
        assert (await until(read_task, UUID(late["task_id"]), "completed", "failed")).delivered == 1
        clock.move(seconds=1000)
        async with db.transaction() as tx:
            (lost,) = await commands.end_overdue_tasks(tx, limit=10)
        assert str(lost.task_id) == studio.webhook.asked[1]["task_id"]
    assert sorted(ends(await said())) == [("task.completed", 1), ("task.completed", 1), ("task.failed", 0)]
    assert len(studio.webhook.asked) == 3, "nothing is started twice"


def test_no_silence_lasts_as_long_as_anything_may_wait_for_its_start(settings: GenerationSettings) -> None:
    assert settings.silence == timedelta(seconds=240)
    assert settings.model_copy(update={"picture_start_seconds": 20}).silence == timedelta(seconds=10)


async def test_a_lost_answer_is_not_submitted_again_and_its_call_back_still_counts(
    db: Database, ask: Any, write: Any, open_studio: Any, read_task: ReadTask, said: Said
) -> None:
    async with open_studio() as studio:
        studio.webhook.status = [502]
        task = await write(ask())
        asked = await studio.webhook.next()
        await waits(db, task.task_id)
        assert await journal(db, task.task_id) == ["unknown"]
        await studio.complete(asked)
        await until(read_task, task.task_id, "completed")
    assert await journal(db, task.task_id) == ["succeeded"]
    assert len(studio.webhook.asked) == 1
    assert ends(await said()) == [("task.completed", 1)]


async def test_after_a_crash_the_open_attempt_is_adopted_and_nothing_is_submitted_again(
    db: Database, clock: FakeClock, ask: Any, write: Any, claim: Any, open_studio: Any, read_task: ReadTask, said: Said
) -> None:
    task = await write(ask())
    (first,) = await claim(lease_seconds=1)
    attempt = commands.Attempt(
        attempt_no=1, item_index=None, claim_no=first.claim_no, state="submitting", provider="n8n", created_at=clock.now(),
        token_hash=hashlib.sha256(b"the token of the one that crashed").digest(),
    )  # fmt: skip
    async with db.transaction() as tx:
        assert await commands.open_attempt(tx, first, attempt)
    clock.move(seconds=2)
    async with open_studio() as studio:
        async with asyncio.timeout(60):
            while not await db.fetchval("SELECT due_at = deadline_at FROM task WHERE task_id = $1", task.task_id):
                await asyncio.sleep(0.01)
        assert studio.webhook.asked == []
        await studio.complete({"task_id": str(task.task_id), "attempt_token": "the token of the one that crashed", "batch_count": 1})
        assert (await until(read_task, task.task_id, "completed", "failed")).state == "completed"
        assert studio.webhook.asked == []
    assert ends(await said()) == [("task.completed", 1)]


async def test_what_another_engine_had_begun_is_submitted_as_an_attempt_of_its_own(
    db: Database, clock: FakeClock, ask: Any, write: Any, claim: Any, open_studio: Any, read_task: ReadTask
) -> None:
    """The settings changed the engine while a task was made; what is paid is journaled before it is called, and can be called back for."""
    task = await write(ask(asked=2))
    (old,) = await claim(lease_seconds=1)
    async with db.transaction() as tx:
        for number in (1, 2):
            begun = commands.Attempt(attempt_no=number, item_index=number - 1, claim_no=1, state="submitting", provider="local", created_at=clock.now())
            await commands.open_attempt(tx, old, begun)
    clock.move(seconds=60)
    async with open_studio(repeatable=frozenset({"local"})) as studio:
        asked = await studio.webhook.next()
        await waits(db, task.task_id)
        assert (await studio.complete(asked))[0] == 200
        assert (await until(read_task, task.task_id, "completed", "failed")).delivered == 2
    rows = await db.fetch("SELECT provider, item_index, state FROM attempt WHERE task_id = $1 ORDER BY attempt_no", task.task_id)
    assert [tuple(row) for row in rows] == [("local", 0, "failed"), ("local", 1, "failed"), ("n8n", None, "succeeded")]


async def test_what_came_is_delivered_and_what_is_missing_or_unfit_fails_for_good(
    db: Database, ask: Any, write: Any, open_studio: Any, read_task: ReadTask, said: Said
) -> None:
    async with open_studio() as studio:
        task = await write(ask(asked=6))
        asked = await studio.webhook.next()
        images: list[Any] = [
            {"url": a_picture(1), "batch_index": 0},
            {"url": "https://169.254.169.254/picture.png", "batch_index": 1},
            {"url": "data:image/png;base64,AAAA", "batch_index": 2},
            {"url": a_picture(2, "WEBP"), "batch_index": 4},
            {"url": a_picture(3), "batch_index": 4},
            {"url": a_picture(4), "batch_index": 77},
            {"url": a_picture(5), "batch_index": -1},
            {"url": a_picture(6, "JPEG"), "batch_index": 5},
            {"url": 7, "batch_index": 3},
        ]
        assert (await studio.say("task-complete", {**completion(asked), "images": images}))[0] == 200
        ended = await until(read_task, task.task_id, "completed", "failed")
    assert (ended.state, ended.delivered) == ("completed", 3)
    facts = await said()
    assert [item["index"] for item in facts[-1][1]["items"]] == [0, 4, 5]
    why = {row[0]: row[1] for row in await db.fetch("SELECT index, failure FROM item WHERE task_id = $1 AND state = 'failed'", task.task_id)}
    assert "not fetched" in why[1]
    assert sorted(why) == [1, 2, 3]
    assert len(studio.webhook.asked) == 1


async def test_a_picture_wider_than_a_row_can_say_fails_alone(db: Database, ask: Any, write: Any, open_studio: Any, read_task: ReadTask, said: Said) -> None:
    written = io.BytesIO()
    Image.new("L", (32_768, 1)).save(written, "PNG")
    wide = "data:image/png;base64," + base64.b64encode(written.getvalue()).decode()
    async with open_studio() as studio:
        task = await write(ask(asked=2))
        images = [{"url": wide, "batch_index": 0}, {"url": a_picture(), "batch_index": 1}]
        await studio.say("task-complete", {**completion(await studio.webhook.next()), "images": images})
        assert (await until(read_task, task.task_id, "completed", "failed")).delivered == 1
    assert ends(await said()) == [("task.completed", 1)]


async def test_what_could_not_be_kept_at_first_comes_later_in_its_own_place(
    db: Database, clock: FakeClock, ask: Any, write: Any, open_studio: Any, read_task: ReadTask, said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, refused = FolderObjects.put, [1, 3]

    async def put_later(self: FolderObjects, key: str, body: bytes, content_type: str) -> None:
        if int(key.rpartition("/")[2].partition("-")[0]) in refused:
            raise Unavailable("the store is away")
        await put(self, key, body, content_type)

    monkeypatch.setattr(FolderObjects, "put", put_later)
    async with open_studio() as studio:
        task = await write(ask(asked=4))
        assert (await studio.complete(await studio.webhook.next()))[0] == 200
        async with asyncio.timeout(60):
            while await db.fetchval("SELECT count(*) FROM item WHERE task_id = $1", task.task_id) < 2:
                await asyncio.sleep(0.01)
        refused.clear()
        clock.move(seconds=1)
        studio.worker.wake()
        assert (await until(read_task, task.task_id, "completed", "failed")).delivered == 4
    (told,) = [data for topic, data in await said() if topic == "task.completed"]
    pictures = [Image.open(tmp_path / "objects" / item["key"]).getpixel((0, 0)) for item in told["items"]]
    assert pictures == [(shade, 90, 30) for shade in range(4)]
    assert len(studio.webhook.asked) == 1


async def test_a_picture_that_lies_elsewhere_is_fetched_labelled_and_kept(
    db: Database, ask: Any, write: Any, open_studio: Any, engine: N8nProvider, read_task: ReadTask, said: Said, tmp_path: Any
) -> None:
    fetched: list[str] = []

    async def fetch(url: str) -> bytes:
        fetched.append(url)
        if url.endswith("gone.png"):
            raise Unfetchable("it was answered 404")
        return base64.b64decode(a_picture(5).partition(",")[2])

    engine._fetch = fetch
    async with open_studio() as studio:
        task = await write(ask(asked=2))
        asked = await studio.webhook.next()
        await waits(db, task.task_id)
        images = [{"url": "https://files.example/0.png", "batch_index": 0}, {"url": "https://files.example/gone.png", "batch_index": 1}]
        assert (await studio.say("task-complete", {**completion(asked), "images": images}))[0] == 200
        ended = await until(read_task, task.task_id, "completed", "failed")
    assert (ended.state, ended.delivered) == ("completed", 1)
    [item] = (await said())[-1][1]["items"]
    assert b"TC260:AIGC" in (tmp_path / "objects" / item["key"]).read_bytes()
    assert await db.fetchval("SELECT failure FROM item WHERE index = 1") == "provider_error: the picture was not fetched: it was answered 404"
    assert sorted(fetched) == ["https://files.example/0.png", "https://files.example/gone.png"]


def answered(engine: N8nProvider, *urls: str) -> None:
    """The workflow called back with these pictures."""
    body = orjson.dumps({"images": [{"url": url, "batch_index": place} for place, url in enumerate(urls)]})

    async def find_answer(_task_id: UUID, _attempt_no: int) -> tuple[str, bytes]:
        return "complete", body

    engine._find_answer = find_answer


def an_attempt(items: int, **more: Any) -> Attempt:
    return Attempt(attempt_id=new_id(), task_id=new_id(), kind="travel", items=tuple(range(items)), photos=(), **more)


async def test_what_lies_at_slow_addresses_is_given_up_in_time_and_the_rest_is_kept(engine: N8nProvider, clock: FakeClock) -> None:
    async def fetch(url: str) -> bytes:
        if "slow" in url:
            await asyncio.sleep(60)
        return base64.b64decode(a_picture(5).partition(",")[2])

    engine._fetch = fetch
    slow = [f"https://files.example/slow-{place}.png" for place in range(9)]
    answered(engine, "https://files.example/quick.png", *slow, a_picture(1), "https://files.example/too-late.png")
    async with asyncio.timeout(60):
        answer = await engine.check(an_attempt(12, deadline_at=clock.now() + timedelta(seconds=4)))
    assert isinstance(answer, Finished)
    assert [one.index for one in answer.results] == [0, 10], "fetched for half of what was left"
    assert set(answer.failures.values()) == {"the picture was not fetched: there was no time left for it"}
    assert sorted(answer.failures) == [*range(1, 10), 11]


async def test_nothing_more_is_fetched_once_the_pictures_are_too_large_altogether(engine: N8nProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    picture, fetched = base64.b64decode(a_picture(5).partition(",")[2]), 0

    async def fetch(_url: str) -> bytes:
        nonlocal fetched
        fetched += 1
        await asyncio.sleep(0)
        return picture

    monkeypatch.setattr(n8n, "RESULTS_BYTES_MAX", len(picture) * 2 + 1)
    engine._fetch = fetch
    answered(engine, *(f"https://files.example/{place}.png" for place in range(30)))
    answer = await engine.check(an_attempt(30))
    assert isinstance(answer, Finished)
    assert len(answer.results) == 2
    assert set(answer.failures.values()) == {"the pictures are too large altogether"}
    assert fetched <= 2 + n8n.AT_ONCE_MAX, "those under way, and no other"


async def test_a_picture_that_breaks_off_in_an_odd_place_spoils_no_other_and_a_telephones_is_one(engine: N8nProvider) -> None:
    plain, telephones = base64.b64decode(a_picture(1).partition(",")[2]), io.BytesIO()
    Image.new("RGB", (9, 7)).save(telephones, "MPO", save_all=True, append_images=[Image.new("RGB", (9, 7))])
    end = plain.rindex(b"IEND") - 4
    profile = b"iCCP"
    odd = plain[:end] + bytes(4) + profile + zlib.crc32(profile).to_bytes(4, "big") + plain[end:]
    urls = [f"data:image/{kind};base64,{base64.b64encode(body).decode()}" for kind, body in (("jpeg", telephones.getvalue()), ("png", odd), ("png", plain))]
    answered(engine, *urls)
    answer = await engine.check(an_attempt(3))
    assert isinstance(answer, Finished)
    assert [(one.index, one.content_type) for one in answer.results] == [(0, "image/jpeg"), (2, "image/png")]
    assert answer.failures[1].startswith("the picture does not decode")


@pytest.mark.parametrize(
    ("turned", "size"), [(b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00" + bytes(4), (7, 9)), (b"MM\x00*\xff", (9, 7))]
)
def test_a_picture_is_turned_as_it_says_before_what_says_so_is_stripped(turned: bytes, size: tuple[int, int]) -> None:
    sideways = io.BytesIO()
    Image.new("RGB", (9, 7)).save(sideways, "JPEG", exif=b"Exif\x00\x00" + turned)
    body, _ = label_picture(sideways.getvalue(), produce_id=str(new_id()))
    assert Image.open(io.BytesIO(body)).size == size


async def test_a_fault_nobody_foresaw_leaves_no_fetch_running(engine: N8nProvider) -> None:
    under_way = asyncio.Event()
    stopped: list[str] = []

    async def fetch(url: str) -> bytes:
        if url.endswith("1.png"):
            await under_way.wait()
            raise RuntimeError("nobody foresaw it")
        under_way.set()
        try:
            await asyncio.sleep(60)
        finally:
            stopped.append(url)
        return b""

    engine._fetch = fetch
    answered(engine, "https://files.example/0.png", "https://files.example/1.png")
    with pytest.raises(RuntimeError, match="nobody foresaw it"):
        await engine.check(an_attempt(2))
    assert stopped == ["https://files.example/0.png"]


@pytest.mark.parametrize(("status", "raised"), [(404, NotSent), (429, NotSent), (403, Refused), (400, Refused), (302, Refused), (500, Lost), (504, Lost)])
async def test_what_the_webhook_answers_says_whether_it_began(status: int, raised: type[Exception], engine: N8nProvider, webhook: Webhook) -> None:
    webhook.status = [status]
    with pytest.raises(raised):
        await engine.submit(Attempt(attempt_id=new_id(), task_id=new_id(), kind="fitting", items=(0,), photos=()), lambda *_: None)


async def test_a_connection_that_its_webhook_let_go_is_not_used_again(
    session: aiohttp.ClientSession, fetch: Fetcher, db: Database, pool: Any, n8n_settings: GenerationSettings
) -> None:
    """What is sent into a connection just as its other end lets go is lost, and nobody could say whether it began anything."""

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]))
        closes = b"connection: close" in head.lower()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n%s\r\n" % (b"Connection: close\r\n" if closes else b""))
        await reader.read(1)
        writer.close()

    async with await asyncio.start_server(answer_once, "127.0.0.1", 0) as server:
        engine = N8nProvider(
            session, partial(queries.read_callback, db), pool, UrlSigner.of_settings(n8n_settings.shared), fetch=fetch,
            url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", secret=SECRET, callback_base="", wait_seconds=5, now=db.clock.now,
        )  # fmt: skip
        for _ in range(3):
            assert isinstance(await engine.submit(an_attempt(1), lambda *_: None), Submitted)


async def test_a_webhook_nobody_listens_at_was_not_sent_to(
    session: aiohttp.ClientSession, fetch: Fetcher, db: Database, pool: Any, settings: GenerationSettings
) -> None:
    nowhere = N8nProvider(
        session, partial(queries.read_callback, db), pool, UrlSigner.of_settings(settings.shared), fetch=fetch, url="http://127.0.0.1:9", secret="",
        callback_base="http://127.0.0.1:8080", wait_seconds=2, now=db.clock.now,
    )  # fmt: skip
    with pytest.raises(NotSent):
        await nowhere.submit(Attempt(attempt_id=new_id(), task_id=new_id(), kind="fitting", items=(0,), photos=()), lambda *_: None)


async def test_the_bytes_of_old_calls_are_forgotten_and_their_hashes_kept(
    db: Database, clock: FakeClock, ask: Any, write: Any, open_studio: Any, read_task: ReadTask
) -> None:
    async with open_studio() as studio:
        task = await write(ask())
        await studio.complete(await studio.webhook.next())
        await until(read_task, task.task_id, "completed")
    async with db.transaction() as tx:
        assert await commands.forget_callbacks(tx, before=tx.now - timedelta(days=1), limit=10) == 0
    clock.move(seconds=timedelta(days=2) / timedelta(seconds=1))
    async with db.transaction() as tx:
        assert await commands.forget_callbacks(tx, before=tx.now - timedelta(days=1), limit=10) == 1
    assert len(await db.fetchval("SELECT body_sha256 FROM callback WHERE task_id = $1", task.task_id)) == 32


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({}, "GENERATION_N8N_URL"),
        ({"GENERATION_N8N_URL": "http://n8n.test/webhook"}, "GENERATION_N8N_SECRET or GENERATION_CALLBACK_SECRET"),
        ({"GENERATION_N8N_URL": "http://n8n.test/webhook", "GENERATION_N8N_SECRET": "short"}, "GENERATION_N8N_SECRET is shorter than 32 bytes"),
        (
            {"GENERATION_N8N_URL": "http://n8n.test/webhook", "GENERATION_N8N_SECRET": SECRET, "GENERATION_CALLBACK_SECRET": "short"},
            "GENERATION_CALLBACK_SECRET is shorter than 32 bytes",
        ),
    ],
)
def test_an_engine_that_nobody_could_call_or_anybody_could_call_back_for_is_no_start(tmp_path: Path, given: dict[str, str], fault: str) -> None:
    with pytest.raises(SettingsError, match=fault):
        Passes().settings(GenerationSettings, "generation", tmp_path, {"GENERATION_PROVIDER": "n8n", **given})
