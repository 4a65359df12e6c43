"""The feed and its sockets, over real HTTP and a real database."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, cast, get_args
from uuid import UUID

import aiohttp
import pytest
from aiohttp import web

from common.auth import Authenticator, FixedKeys, TokenSigner, kid_of, make_key
from common.db import Database
from common.errors import AccountDisabled, Unauthorized
from common.events import CreditsChanged, Event, Item, TaskCancelled, TaskCompleted, TaskFailed, TaskProgressed, WorkCreated
from common.events.tasks import FailureReason
from common.ids import UserId, new_id
from common.messages import failure_slug, text
from common.objects import UrlSigner
from common.revocations import Revocation
from common.web import build_application
from notify import store
from notify.api import routes
from notify.consumers import on_credits_changed, on_news, on_task_progressed
from notify.deps import Deps
from notify.settings import NotifySettings
from notify.sockets import Hub
from notify.upkeep import compare_heads


@dataclass
class Notify:
    deps: Deps
    url: str
    signer: TokenSigner
    http: aiohttp.ClientSession

    def token(self, user_id: UUID) -> str:
        return self.signer.sign_user_token(UserId(user_id), session_id=new_id())

    async def tell(self, *events: Event[Any]) -> None:
        async with self.deps.db.transaction() as tx:
            await on_news(self.deps, tx, events)

    async def connect(self, user_id: UUID, *, accept_language: str = "", **extra: Any) -> tuple[aiohttp.ClientWebSocketResponse, dict[str, Any]]:
        ws = await self.http.ws_connect(self.url + "/ws", headers={"Accept-Language": accept_language})
        await ws.send_json({"type": "auth", "token": self.token(user_id), **extra})
        return ws, await ws.receive_json(timeout=5)


@pytest.fixture
async def db(service_database: Any) -> Database:
    return await service_database("notify")


@pytest.fixture
async def notify(db: Database, tmp_path: Any) -> AsyncIterator[Notify]:
    key = make_key()
    signer = TokenSigner(key)
    authenticator = Authenticator(FixedKeys({kid_of(key.public_key()): key.public_key()}), name="notify")
    settings = NotifySettings.model_construct(
        shared=_Shared(), origins="https://app.example", frames_per_second_max=50, auth_seconds=0.5, sockets_per_user_max=3, frame_bytes_max=65536
    )
    urls = UrlSigner(b"k" * 32, "http://files")
    hub = Hub(
        list_notices=partial(store.list_notices, db),
        sign=lambda key: urls.sign(key, now=db.clock.now()),
        frames_waiting_max=256,
        send_seconds=1,
        progress_every_seconds=0.2,
        sockets_per_user_max=3,
    )
    deps = Deps(settings, db, hub, urls, authenticator)
    runner = web.AppRunner(build_application(routes, deps, name="notify", authenticator=authenticator), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    async with aiohttp.ClientSession() as http:
        yield Notify(deps, f"http://127.0.0.1:{port}", signer, http)
        await hub.close_all()
    await runner.cleanup()


class _Shared:
    public_url = "http://files"


def envelope(fact: Any) -> Event[Any]:
    return Event(new_id(), fact, datetime.now(UTC))


def completed(user_id: UUID, task_id: UUID | None = None, **more: Any) -> Event[TaskCompleted]:
    task_id = task_id or new_id()
    item = Item(index=0, key=f"results/{task_id}/0-ab.webp", sha256="ab", size_bytes=1, content_type="image/webp", width=8, height=8)
    facts = {
        "sequence": 3,
        "task_id": task_id,
        "user_id": user_id,
        "kind": "travel",
        "work_id": task_id,
        "asked": 2,
        "delivered": 1,
        "items": (item,),
        "engine": "local",
        "seed": 1,
    }
    return envelope(TaskCompleted(**{**facts, **more}))


async def test_a_completed_task_reaches_the_owner_with_signed_urls_and_a_number(notify: Notify) -> None:
    user = new_id()
    ws, hello = await notify.connect(user)
    assert hello["type"] == "auth_success"
    event = completed(user)
    await notify.tell(event)
    frame = await ws.receive_json(timeout=5)
    assert frame["type"] == "task_complete"
    assert frame["task_id"] == str(event.fact.task_id)
    assert frame["seq"] == 1
    assert frame["epoch"] == hello["epoch"]
    assert frame["failed_count"] == 1
    assert frame["result"]["images"][0]["url"].startswith("http://files/files/results/")
    assert isinstance(frame["timestamp"], int)


async def test_numbers_are_gapless_per_user_whatever_the_batches_are(notify: Notify, db: Database) -> None:
    users = [new_id() for _ in range(5)]
    events = [completed(users[number % 5]) for number in range(100)]

    async def tell(part: list[Event[Any]]) -> None:
        await notify.tell(*part)

    await asyncio.gather(*(tell(events[start : start + 20]) for start in range(0, 100, 20)))
    for user in users:
        notices = await store.list_notices(db, user, after_seq=0, limit=100)
        assert [notice.seq for notice in notices] == list(range(1, 21))


async def test_a_client_that_comes_back_gets_what_it_missed_in_order(notify: Notify) -> None:
    user = new_id()
    ws, hello = await notify.connect(user)
    await notify.tell(completed(user))
    first = await ws.receive_json(timeout=5)
    await ws.close()
    missed = [completed(user) for _ in range(450)]
    await notify.tell(*missed)
    ws, hello = await notify.connect(user, resume={"epoch": first["epoch"], "seq": first["seq"]})
    assert (hello["recovered"], hello["missed"], hello["seq"]) == (True, 450, 451)
    frames = [await ws.receive_json(timeout=5) for _ in range(450)]
    assert [frame["task_id"] for frame in frames] == [str(event.fact.task_id) for event in missed]
    assert [frame["seq"] for frame in frames] == list(range(2, 452))


async def test_what_arrives_while_a_client_catches_up_is_neither_lost_nor_doubled(notify: Notify) -> None:
    user = new_id()
    await notify.tell(*[completed(user) for _ in range(300)])
    ws, _hello = await notify.connect(user, resume={"epoch": None, "seq": 0})
    for _ in range(30):
        await notify.tell(completed(user))
    seqs = [(await ws.receive_json(timeout=5))["seq"] for _ in range(330)]
    assert seqs == list(range(1, 331))


@pytest.mark.parametrize("kept", [0, 1])
async def test_a_client_whose_next_notice_was_forgotten_is_sent_to_begin_anew(notify: Notify, db: Database, kept: int) -> None:
    user = new_id()
    ws, _ = await notify.connect(user)
    await db.fetch("UPDATE feed SET seq = 3 WHERE user_id = $1", user)
    if kept:
        await db.fetch("INSERT INTO notice (user_id, seq, event_id, type, payload, created_at) VALUES ($1, 3, $1, 'order_paid', '{}', now())", user)
    await compare_heads(notify.deps)
    message = await ws.receive(timeout=5)
    assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 4010)
    _, hello = await notify.connect(user, resume={"seq": 0})
    assert (hello["recovered"], hello["seq"]) == (False, 3)


async def test_what_is_stored_while_rows_are_read_is_no_gap(notify: Notify, monkeypatch: pytest.MonkeyPatch) -> None:
    user, hub = new_id(), notify.deps.hub
    reading = hub.list_notices

    async def slow(user_id: UUID, *, after_seq: int, limit: int) -> list[Any]:
        found = await reading(user_id, after_seq=after_seq, limit=limit)
        if after_seq == 0:
            await notify.tell(completed(user))
        return found

    monkeypatch.setattr(hub, "list_notices", slow)
    ws, _ = await notify.connect(user)
    assert (await ws.receive_json(timeout=5))["seq"] == 1


async def test_another_epoch_or_a_number_from_the_future_is_not_recovered(notify: Notify) -> None:
    user = new_id()
    await notify.tell(completed(user))
    _, hello = await notify.connect(user, resume={"epoch": str(new_id()), "seq": 0})
    assert hello["recovered"] is False
    _, hello = await notify.connect(user, resume={"epoch": None, "seq": 7})
    assert hello["recovered"] is False


async def test_every_type_of_news_has_its_frame(notify: Notify) -> None:
    user = new_id()
    ws, _ = await notify.connect(user)
    ids = {"task_id": new_id(), "user_id": user, "work_id": new_id()}
    song = Item(
        index=0, key="results/a/0-ab.ogg", sha256="ab", size_bytes=1, content_type="audio/ogg", duration_seconds=21.5, cover_key="results/a/cover-ab.webp"
    )
    await notify.tell(
        envelope(TaskFailed(sequence=3, kind="song", asked=1, delivered=0, reason="timeout", message="the deadline passed", **ids)),
        envelope(TaskCancelled(sequence=3, kind="travel", asked=1, delivered=0, by="owner", **ids)),
        envelope(WorkCreated(sequence=2, kind="travel", public=False, work_id=ids["work_id"], user_id=user)),
        completed(user, kind="song", title="Amber", items=(song,), lyrics="la"),
    )
    failed, cancelled, work, song_frame = [await ws.receive_json(timeout=5) for _ in range(4)]
    assert (failed["type"], failed["error"], failed["reason"]) == ("task_failed", "任务超时", "timeout")
    assert cancelled["type"] == "task_cancelled"
    assert (work["type"], work["work_id"]) == ("work_created", str(ids["work_id"]))
    result = song_frame["result"]
    assert (result["title"], result["lyrics"], result["duration"]) == ("Amber", "la", 21.5)
    assert "/files/results/a/0-ab.ogg" in result["audioUrl"]
    assert result["audioUrls"] == [result["audioUrl"]]
    assert "cover-ab.webp" in result["imageUrl"]


@pytest.mark.parametrize("reason", get_args(FailureReason))
async def test_a_failure_is_told_by_its_reasons_sentence_and_never_by_what_an_engine_said(notify: Notify, reason: FailureReason) -> None:
    user = new_id()
    ids = {"task_id": new_id(), "user_id": user, "work_id": new_id()}
    ws, _ = await notify.connect(user)
    await notify.tell(envelope(TaskFailed(sequence=3, kind="song", asked=1, delivered=0, reason=reason, message="a secret of the engine", **ids)))
    assert (await ws.receive_json(timeout=60))["error"] == text(failure_slug(reason), "zh")


async def test_a_socket_speaks_the_language_of_its_handshake_and_chinese_without_one(notify: Notify) -> None:
    user = new_id()
    sockets = [(await notify.connect(user, accept_language=wish), lang) for wish, lang in (("", "zh"), ("en-GB, zh;q=0.5", "en"), ("fr", "zh"))]
    ids = {"task_id": new_id(), "user_id": user}
    step = {"sequence": 2, "kind": "song", "claim_no": 1, "stage": "running", "progress": 10}
    await on_task_progressed(notify.deps, [envelope(TaskProgressed(n=1, message="melody", **step, **ids))])
    for (ws, hello), lang in sockets:
        assert hello["message"] == {"zh": "认证成功", "en": "authenticated"}[lang]
        assert (await ws.receive_json(timeout=60))["message"] == {"zh": "旋律", "en": "melody"}[lang]
    failed = TaskFailed(sequence=3, kind="song", asked=1, delivered=0, reason="timeout", message="x", work_id=ids["task_id"], **ids)
    await notify.tell(envelope(failed))
    for (ws, _), lang in sockets:
        assert (await ws.receive_json(timeout=60))["error"] == {"zh": "任务超时", "en": "The task took too long."}[lang]
        await ws.send_json({"type": "nonsense"})
        assert (await ws.receive_json(timeout=60))["message"] == {"zh": "未知的帧类型", "en": "This type of frame is not known."}[lang]
        await ws.receive(timeout=60)
        assert ws.close_code == 4501


async def test_a_frame_stored_before_is_read_in_the_language_of_who_comes_back(notify: Notify) -> None:
    user = new_id()
    ids = {"task_id": new_id(), "user_id": user, "work_id": new_id()}
    await notify.tell(envelope(TaskFailed(sequence=3, kind="song", asked=1, delivered=0, reason="moderation_rejected", message="x", **ids)))
    for wish, sentence in (("en", "The content was rejected by moderation."), ("", "内容未通过审核")):
        ws, _ = await notify.connect(user, accept_language=wish, resume={"seq": 0})
        assert (await ws.receive_json(timeout=60))["error"] == sentence


async def test_a_step_that_no_catalogue_knows_says_itself(notify: Notify) -> None:
    user = new_id()
    ws, _ = await notify.connect(user)
    step = TaskProgressed(sequence=2, task_id=new_id(), user_id=user, kind="travel", claim_no=1, n=1, progress=5, stage="running", message="of tomorrow")
    await on_task_progressed(notify.deps, [envelope(step)])
    assert (await ws.receive_json(timeout=60))["message"] == "of tomorrow"


async def test_progress_only_rises_is_merged_and_stops_at_the_end(notify: Notify) -> None:
    user, task = new_id(), new_id()
    ws, _ = await notify.connect(user)

    def progress(n: int, percent: int, claim_no: int = 1) -> Event[TaskProgressed]:
        return envelope(
            TaskProgressed(sequence=2, task_id=task, user_id=user, kind="travel", claim_no=claim_no, n=n, progress=percent, stage="running", message="")
        )

    await on_task_progressed(notify.deps, [progress(1, 10), progress(2, 20), progress(1, 10)])
    frame = await ws.receive_json(timeout=5)
    assert (frame["type"], frame["progress"], frame["volatile"]) == ("task_progress", 20, True)
    await on_task_progressed(notify.deps, [progress(3, 30)])
    await on_task_progressed(notify.deps, [progress(4, 40)])
    assert (await ws.receive_json(timeout=5))["progress"] == 40
    await on_task_progressed(notify.deps, [progress(5, 90)])
    await notify.tell(completed(user, task))
    await on_task_progressed(notify.deps, [progress(6, 95)])
    assert (await ws.receive_json(timeout=5))["type"] == "task_complete"
    with pytest.raises(asyncio.TimeoutError):
        await ws.receive_json(timeout=0.6)


async def test_a_task_that_ends_at_once_shows_a_step_before_its_end_and_the_balance_comes_once(notify: Notify, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notify.sockets._HINT_SECONDS", 60)  # only what is written at once takes hints along
    user, task = new_id(), new_id()
    ws, _ = await notify.connect(user)
    step = TaskProgressed(sequence=2, task_id=task, user_id=user, kind="travel", claim_no=1, n=1, progress=5, stage="running", message="")
    held, captured = (
        envelope(CreditsChanged(sequence=number, user_id=user, asset="credit", kind="held", amount=1, available=9, held=held))
        for number, held in ((2, 1), (3, 0))
    )
    await on_credits_changed(notify.deps, [held])
    await on_task_progressed(notify.deps, [envelope(step)])
    await on_credits_changed(notify.deps, [captured])
    await notify.tell(completed(user, task))
    frames = [await ws.receive_json(timeout=5) for _ in range(3)]
    assert [frame["type"] for frame in frames] == ["task_progress", "task_complete", "credits_changed"]
    assert frames[2]["held"] == 0
    with pytest.raises(asyncio.TimeoutError):
        await ws.receive_json(timeout=0.2)


async def test_that_a_work_is_there_waits_for_company_in_its_order(notify: Notify, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notify.sockets._HINT_SECONDS", 60)  # only what is written at once takes it along
    user = new_id()
    ws, _ = await notify.connect(user)
    await notify.tell(envelope(WorkCreated(sequence=1, work_id=new_id(), user_id=user, kind="travel", public=False)))
    with pytest.raises(asyncio.TimeoutError):
        await ws.receive_json(timeout=0.2)
    await notify.tell(completed(user))
    assert [(await ws.receive_json(timeout=5))["type"] for _ in range(2)] == ["work_created", "task_complete"]


async def test_a_balance_that_was_overtaken_is_not_shown(notify: Notify) -> None:
    user = new_id()
    ws, _ = await notify.connect(user)

    def credits(version: int, available: int) -> Event[CreditsChanged]:
        return envelope(CreditsChanged(sequence=version, user_id=user, asset="credit", kind="held", amount=1, available=available, held=1))

    await on_credits_changed(notify.deps, [credits(3, 7), credits(2, 8)])
    assert (await ws.receive_json(timeout=5))["available"] == 7


async def test_a_second_replica_learns_of_what_the_first_stored(notify: Notify, db: Database) -> None:
    user = new_id()
    ws, _ = await notify.connect(user)
    async with db.transaction() as tx:  # stored by somebody else: nothing is pushed from memory
        from notify.commands import store_notices
        from notify.domain import News

        await store_notices(tx, [News(user, new_id(), "work_created", {"work_id": "w"})])
    from notify.upkeep import compare_heads

    await compare_heads(notify.deps)
    assert (await ws.receive_json(timeout=5))["seq"] == 1


async def test_nothing_is_said_before_the_welcome(notify: Notify) -> None:
    user = new_id()
    telling = True

    async def chatter() -> None:
        version = 0
        while telling:
            version += 1
            await on_credits_changed(
                notify.deps, [envelope(CreditsChanged(sequence=version, user_id=user, asset="credit", kind="held", amount=1, available=1, held=1))]
            )
            await asyncio.sleep(0)

    chatting = asyncio.create_task(chatter())
    firsts = [await notify.connect(user) for _ in range(3)]
    telling = False
    await chatting
    assert [hello["type"] for _, hello in firsts] == ["auth_success"] * 3


@pytest.mark.parametrize(
    ("first", "code"),
    [
        ({"type": "auth", "token": "nonsense"}, 4500),
        ({"type": "auth"}, 4501),
        ({"type": "subscribe", "task_id": "1"}, 4501),
        ([1], 4501),
        ({"type": "auth", "token": "x", "resume": {"seq": -1}}, 4501),
        ({"type": "auth", "token": "x", "resume": {"seq": True}}, 4501),
        ({"type": "auth", "token": 5}, 4501),
    ],
)
async def test_a_bad_first_frame_is_told_why_and_closed(notify: Notify, first: Any, code: int) -> None:
    ws = await notify.http.ws_connect(notify.url + "/ws")
    await ws.send_str(json.dumps(first))
    said = await ws.receive_json(timeout=5)
    assert said["type"] == "error"
    assert not said["message"].isascii()
    message = await ws.receive(timeout=5)
    assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, code)


@pytest.mark.parametrize(
    "frame", ['{"type":"ping","type":"ack","seq":1}', '{"type":"ack","seq":1,"seq":2}', '{"type":"ping","n":%s}' % 10**20, '{"type":"ping"', "NaN"]
)
async def test_a_frame_is_read_by_the_eyes_that_read_bodies(notify: Notify, db: Database, frame: str) -> None:
    user = new_id()
    await notify.tell(completed(user), completed(user))
    ws, _ = await notify.connect(user)
    await ws.send_str(frame)
    assert (await ws.receive_json(timeout=5))["type"] == "error"
    assert (await ws.receive(timeout=5)).data == 4501
    assert await db.fetchval("SELECT read_seq FROM feed WHERE user_id = $1", user) == 0


async def test_sockets_that_misbehave_are_closed_with_their_code(notify: Notify) -> None:
    silent = await notify.http.ws_connect(notify.url + "/ws")
    assert (await silent.receive(timeout=5)).type == aiohttp.WSMsgType.TEXT
    assert (await silent.receive(timeout=5)).data == 4502
    ws, _ = await notify.connect(new_id())
    await ws.send_bytes(b"x")
    assert (await ws.receive(timeout=5)).type == aiohttp.WSMsgType.TEXT
    assert (await ws.receive(timeout=5)).data == 4501
    ws, _ = await notify.connect(new_id())
    await ws.send_str("x" * 70_000)
    closed = await ws.receive(timeout=5)
    assert closed.type == aiohttp.WSMsgType.CLOSE
    for flood in ((await notify.connect(new_id()))[0], await notify.http.ws_connect(notify.url + "/ws")):
        for _ in range(60):
            await flood.send_json({"type": "ping"})
        codes = [await flood.receive(timeout=5) for _ in range(52)]
        assert any(message.type == aiohttp.WSMsgType.CLOSE and message.data == 4013 for message in codes)


async def test_one_user_may_have_only_so_many_sockets(notify: Notify) -> None:
    user = new_id()
    held = [await notify.connect(user) for _ in range(3)]
    assert [answer["type"] for _, answer in held] == ["auth_success"] * 3
    ws, answer = await notify.connect(user)
    assert answer["type"] == "error"
    assert (await ws.receive(timeout=5)).data == 4504


async def test_a_foreign_origin_and_a_token_in_the_address_are_refused(notify: Notify) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await notify.http.ws_connect(notify.url + "/ws", headers={"Origin": "https://evil.example"})
    assert refused.value.status == 403
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await notify.http.ws_connect(notify.url + "/ws?token=abc")
    assert refused.value.status == 400
    ws = await notify.http.ws_connect(notify.url + "/ws", headers={"Origin": "https://app.example"})
    await ws.close()
    async with notify.http.get(notify.url + "/ws") as answer:
        assert answer.status == 400


async def test_ping_is_answered_and_ack_moves_the_read_mark_forward_only(notify: Notify, db: Database) -> None:
    user = new_id()
    await notify.tell(completed(user), completed(user), completed(user))
    ws, _ = await notify.connect(user)
    await ws.send_json({"type": "ack", "seq": 2})
    await ws.send_json({"type": "ack", "seq": 1})
    await ws.send_json({"type": "ping"})
    assert (await ws.receive_json(timeout=5))["type"] == "pong"
    assert await db.fetchval("SELECT read_seq FROM feed WHERE user_id = $1", user) == 2


async def test_an_ack_of_true_moves_nothing_and_closes(notify: Notify, db: Database) -> None:
    user = new_id()
    await notify.tell(completed(user))
    ws, _ = await notify.connect(user)
    await ws.send_json({"type": "ack", "seq": True})
    assert (await ws.receive_json(timeout=5))["type"] == "error"
    assert (await ws.receive(timeout=5)).data == 4501
    assert await db.fetchval("SELECT read_seq FROM feed WHERE user_id = $1", user) == 0


async def test_a_stopping_process_says_when_to_come_back(notify: Notify) -> None:
    ws, _ = await notify.connect(new_id())
    await notify.deps.hub.close_all()
    message = await ws.receive(timeout=5)
    assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1001)
    assert json.loads(message.extra or "{}")["retry_after_ms"] >= 200


async def test_more_at_once_than_may_wait_reaches_a_client_that_reads(notify: Notify) -> None:
    user = new_id()
    ws, _ = await notify.connect(user)
    [connection] = notify.deps.hub.connections()
    async with asyncio.timeout(60):
        while not connection.live:
            await asyncio.sleep(0.01)
    await notify.tell(*[completed(user) for _ in range(300)])
    seqs = [(await ws.receive_json(timeout=60))["seq"] for _ in range(300)]
    assert seqs == list(range(1, 301))
    await ws.send_json({"type": "ping"})
    assert (await ws.receive_json(timeout=60))["type"] == "pong"


async def test_a_client_that_never_reads_is_cut_and_others_are_not_held_up(notify: Notify) -> None:
    slow_user, user = new_id(), new_id()
    slow, _ = await notify.connect(slow_user)
    ws, _ = await notify.connect(user)
    long = "x" * 20_000
    connection = notify.deps.hub._by_user[slow_user.int][0]
    slow._conn.transport.pause_reading()  # type: ignore[union-attr]
    for _ in range(30):
        await notify.tell(*[completed(slow_user, description=long) for _ in range(40)])
    await notify.tell(completed(user))
    assert (await ws.receive_json(timeout=5))["type"] == "task_complete"
    async with asyncio.timeout(60):
        while not connection._closed:
            await asyncio.sleep(0.05)


class Ended:
    """Revocations as told."""

    def __init__(self, refusal: Exception | None) -> None:
        self.refusal = refusal

    def refusal_of(self, _user_id: UUID, _session_id: str | None, _number: int) -> Exception | None:
        return self.refusal


@pytest.mark.parametrize(("refusal", "code"), [(AccountDisabled(), 4507), (Unauthorized(), 4500)])
async def test_a_socket_whose_token_ended_is_closed_at_once_and_others_stay(notify: Notify, refusal: Exception, code: int) -> None:
    user, other = new_id(), new_id()
    ws, _ = await notify.connect(user)
    theirs, _ = await notify.connect(other)
    row = Revocation(number=1, user_id=user, reason="disabled", expires_at=datetime.now(UTC))
    notify.deps.hub.end_revoked(cast(Any, Ended(refusal)), [row])
    message = await ws.receive(timeout=5)
    assert (message.type, ws.close_code) == (aiohttp.WSMsgType.CLOSE, code)
    await notify.tell(completed(other))
    assert (await theirs.receive_json(timeout=5))["type"] == "task_complete"


async def test_a_row_that_does_not_touch_a_token_closes_nothing(notify: Notify) -> None:
    user = new_id()
    ws, _ = await notify.connect(user)
    notify.deps.hub.end_revoked(cast(Any, Ended(None)), [Revocation(number=1, user_id=user, reason="logout", expires_at=datetime.now(UTC))])
    await notify.tell(completed(user))
    assert (await ws.receive_json(timeout=5))["type"] == "task_complete"
