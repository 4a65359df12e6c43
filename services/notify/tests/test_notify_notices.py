"""What operators say reaches everybody it is for, once, in order, however many they are."""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast
from uuid import UUID

import aiohttp
import pytest
from aiohttp import web

from common.auth import Authenticator, FixedKeys, TokenSigner, kid_of, make_key
from common.db import Database
from common.errors import IdempotencyKeyReused
from common.ids import UserId, new_id
from common.web import build_application
from notify import commands, store
from notify.api import routes
from notify.deps import Deps
from notify.domain import Announcement, Notice

Ask = Callable[..., Awaitable[tuple[int, dict[str, Any]]]]


@pytest.fixture
async def db(service_database: Any) -> Any:
    return await service_database("notify")


@pytest.fixture
async def say(db: Database) -> AsyncIterator[Ask]:
    """An operator says something: `await say(body, key)` answers (status, JSON)."""
    key = make_key()
    authenticator = Authenticator(FixedKeys({kid_of(key.public_key()): key.public_key()}), name="notify")
    nothing = cast(Any, None)  # no socket is open
    runner = web.AppRunner(build_application(routes, Deps(nothing, db, nothing, nothing, authenticator), name="notify", authenticator=authenticator))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    token = TokenSigner(key).sign_user_token(UserId(new_id()), session_id=new_id(), role="admin")

    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {token}"}) as http:

        async def ask(body: Any, named: str | None = None) -> tuple[int, dict[str, Any]]:
            headers = {"Idempotency-Key": named, "Accept-Language": "en"} if named is not None else {"Accept-Language": "en"}
            async with http.post("/v1/admin/notices", json=body, headers=headers) as answer:
                return answer.status, await answer.json()

        yield ask
    await runner.cleanup()


async def people(db: Database, count: int) -> list[UUID]:
    users = [new_id() for _ in range(count)]
    async with db.transaction() as tx:
        await store.open_feeds(tx.conn, users)
    return sorted(users)


def said(db: Database, title: str, users: list[UUID] | None = None) -> Announcement:
    audience = tuple(sorted(users)) if users is not None else None
    return Announcement(new_id(), title, "content", {"link": "x"}, audience, hashlib.sha256(title.encode()).digest(), new_id(), db.clock.now())


async def announce(db: Database, *wishes: Announcement) -> list[Any]:
    async with db.transaction() as tx:
        return await commands.announce(tx, wishes)


async def spread(db: Database, *, limit: int = 3, rounds_max: int = 100) -> list[Notice]:
    told: list[Notice] = []
    for _ in range(rounds_max):
        async with db.transaction() as tx:
            more, notices = await commands.spread_announcement(tx, origin="here", limit=limit)
        told += notices
        if not more:
            return told
    raise AssertionError("it never ended")


async def test_everybody_is_told_once_also_in_small_batches(db: Database) -> None:
    users = await people(db, 10)
    await announce(db, said(db, "all"))
    told = await spread(db)
    assert sorted(notice.user_id for notice in told) == users
    assert {notice.seq for notice in told} == {1}
    assert {(notice.type, notice.payload["title"], notice.payload["message"]) for notice in told} == {("notification", "all", "content")}


async def test_some_are_told_and_nobody_else_also_without_a_feed(db: Database) -> None:
    users = await people(db, 6)
    newcomer = new_id()
    wish = said(db, "some", [*users[:4], newcomer])
    await announce(db, wish)
    told = await spread(db, limit=2)
    assert sorted(notice.user_id for notice in told) == sorted([*users[:4], newcomer])
    found = await store.find_announcement((await _conn(db)), wish.announcement_id)
    assert found is not None
    assert (found.reached, found.done) == (5, True)


async def test_two_notices_come_in_the_order_they_were_said(db: Database) -> None:
    [user] = await people(db, 1)
    await announce(db, said(db, "first"))
    await announce(db, said(db, "second"))
    await spread(db)
    kept = await store.list_notices(db, user, after_seq=0, limit=10)
    assert [(notice.seq, notice.payload["title"]) for notice in kept] == [(1, "first"), (2, "second")]


async def test_the_same_wish_again_is_the_same_notice_and_another_under_its_id_is_refused(db: Database) -> None:
    await people(db, 2)
    wish = said(db, "once")
    await announce(db, wish)
    [again] = await announce(db, wish)
    assert again.announcement_id == wish.announcement_id
    other = Announcement(wish.announcement_id, "other", "x", {}, None, hashlib.sha256(b"other").digest(), wish.said_by, wish.created_at)
    assert isinstance((await announce(db, other))[0], IdempotencyKeyReused)
    assert len(await spread(db)) == 2


async def test_a_batch_that_did_not_commit_is_told_again_and_only_then(db: Database) -> None:
    await people(db, 5)
    await announce(db, said(db, "all"))
    with pytest.raises(RuntimeError):
        async with db.transaction() as tx:
            await commands.spread_announcement(tx, origin="here", limit=3)
            raise RuntimeError
    told = await spread(db)
    assert len(told) == 5
    assert len({notice.user_id for notice in told}) == 5


SOMEBODY = str(new_id())


@pytest.mark.parametrize(
    ("meant", "field"),
    [
        ({}, "audience"),
        ({"user_ids": None}, "audience"),
        ({"user_id": None}, "audience"),
        ({"audience": None}, "audience"),
        ({"user_ids": []}, "user_ids"),
        ({"userIds": [SOMEBODY]}, "userIds"),
        ({"audience": "all", "userIds": [SOMEBODY]}, "userIds"),
        ({"audience": [SOMEBODY]}, "audience"),
        ({"audience": "everybody"}, "audience"),
        ({"audience": "all", "user_ids": [SOMEBODY]}, "audience"),
        ({"audience": "all", "user_id": SOMEBODY}, "audience"),
    ],
)
async def test_a_notice_for_nobody_or_for_a_misspelled_somebody_goes_to_nobody(say: Ask, db: Database, meant: dict[str, Any], field: str) -> None:
    status, body = await say({"title": "x", "content": "y", **meant})
    assert (status, body["code"], [one["field"] for one in body["errors"]]) == (400, 10001, [field])
    assert await db.fetchval("SELECT count(*) FROM announcement") == 0


@pytest.mark.parametrize(
    ("meant", "audience"),
    [({"audience": "all"}, "all"), ({"audience": "all", "user_ids": None}, "all"), ({"user_ids": [SOMEBODY], "user_id": SOMEBODY}, 1)],
)
async def test_whom_a_notice_is_for_is_said_and_answered(say: Ask, db: Database, meant: dict[str, Any], audience: str | int) -> None:
    status, body = await say({"title": "x", "content": "y", **meant})
    assert (status, body["audience"]) == (201, audience)
    assert await db.fetchval("SELECT user_ids FROM announcement") == (None if audience == "all" else [UUID(SOMEBODY)])


async def test_a_key_said_to_some_is_not_said_to_all(say: Ask, db: Database) -> None:
    assert (await say({"title": "x", "content": "y", "user_ids": [SOMEBODY]}, "k"))[0] == 201
    status, body = await say({"title": "x", "content": "y", "audience": "all"}, "k")
    assert (status, body["code"]) == (422, 10006)
    assert await db.fetchval("SELECT count(*) FROM announcement") == 1


async def _conn(db: Database) -> Any:
    class Through:
        fetchrow = staticmethod(db.fetchrow)

    return Through()
