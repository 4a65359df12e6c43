"""What owners and operators change about works: marks, deletions, plays and likes; and that numbers never drift."""

import asyncio
from typing import Any
from uuid import UUID

import orjson
import pytest

from common.db import Database
from common.events import UserUpdated
from common.ids import new_id


async def kept(works: Any, facts: Any, user: UUID, **more: Any) -> UUID:
    """A finished work."""
    task_id = new_id()
    await works.tell(facts.created(task_id, user, **more), facts.completed(task_id, user, **more))
    return task_id


async def shelves(db: Database) -> dict[tuple[str, str], tuple[int, ...]]:
    rows = await db.fetch("SELECT * FROM shelf")
    return {(str(row["user_id"]), row["kind"]): tuple(row[name] for name in ("created", "completed", "failed", "cancelled", "public")) for row in rows}


async def said(db: Database, topic: str) -> list[Any]:
    import orjson

    return [orjson.loads(row["payload"]) for row in await db.fetch("SELECT payload FROM outbox_fact WHERE topic = $1 ORDER BY position, place", topic)]


async def test_marks_change_what_is_named_and_nothing_else(works: Any, facts: Any) -> None:
    user = new_id()
    work_id = await kept(works, facts, user)
    path = f"/api/works/{work_id}"
    status, _, body = await works.ask("PUT", path, user=user, json={"is_favorite": True, "tags": ["sea", "sun"]})
    shown = body["data"]["work"]
    assert (status, shown["is_favorite"], shown["is_public"], shown["tags"]) == (200, True, False, ["sea", "sun"])
    status, _, body = await works.ask("PUT", path, user=user, json={"is_public": True})
    assert (body["data"]["work"]["tags"], body["data"]["work"]["is_favorite"]) == (["sea", "sun"], True)
    assert (await works.ask("GET", path))[0] == 200, "everybody sees it now"
    assert [fact["public"] for fact in await said(works.db, "work.updated")] == [False, True]
    assert [fact["sequence"] for fact in await said(works.db, "work.updated")] == [2, 3]


async def test_what_was_changed_since_is_refused(works: Any, facts: Any) -> None:
    user = new_id()
    path = f"/api/works/{await kept(works, facts, user)}"
    etag = (await works.ask("GET", path, user=user))[1]["ETag"]
    assert (await works.ask("PUT", path, user=user, json={"is_favorite": True}, headers={"If-Match": etag}))[0] == 200
    status, headers, _ = await works.ask("PUT", path, user=user, json={"is_favorite": False}, headers={"If-Match": etag})
    assert (status, headers["X-Error-Code"]) == (409, "30002")
    assert (await works.ask("PUT", path, user=user, json={"is_favorite": False}, headers={"If-Match": "soon"}))[0] == 400


async def test_what_is_on_its_way_is_neither_changed_nor_deleted(works: Any, facts: Any) -> None:
    user, task_id = new_id(), new_id()
    await works.tell(facts.created(task_id, user))
    status, headers, _ = await works.ask("PUT", f"/api/works/{task_id}", user=user, json={"is_favorite": True})
    assert (status, headers["X-Error-Code"]) == (409, "30002")
    status, headers, _ = await works.ask("DELETE", f"/api/works/{task_id}", user=user)
    assert (status, headers["X-Error-Code"]) == (409, "30003")


async def test_another_persons_work_is_answered_like_an_unknown_one(works: Any, facts: Any) -> None:
    owner, other = new_id(), new_id()
    work_id = await kept(works, facts, owner)
    for target in (work_id, new_id(), "nonsense"):
        for method, json in (("PUT", {"is_public": True}), ("DELETE", None)):
            status, headers, _ = await works.ask(method, f"/api/works/{target}", user=other, **({"json": json} if json else {}))
            assert (status, headers["X-Error-Code"]) == (404, "30000"), (method, target)
    assert (await works.ask("GET", f"/api/works/{work_id}", user=owner))[0] == 200


async def test_a_batch_is_deleted_whole_or_not_at_all(works: Any, facts: Any) -> None:
    owner, other = new_id(), new_id()
    mine = [await kept(works, facts, owner) for _ in range(3)]
    theirs = await kept(works, facts, other)
    before = await shelves(works.db)
    for batch in ([*mine, theirs], [*mine, new_id()]):
        status, headers, _ = await works.ask("POST", "/api/works/batch/delete", user=owner, json={"work_ids": [str(one) for one in batch]})
        assert (status, headers["X-Error-Code"]) == (403, "10003")
    assert await shelves(works.db) == before
    status, _, _ = await works.ask("POST", "/api/works/batch/delete", user=owner, json={"work_ids": [str(one) for one in (*mine, mine[0])]})
    assert status == 200
    _, _, body = await works.ask("GET", "/api/works", user=owner)
    assert (body["data"]["works"], body["data"]["pagination"]["total"]) == ([], 0)
    assert (await shelves(works.db))[(str(owner), "travel")] == (0, 0, 0, 0, 0)
    assert len(await said(works.db, "work.deleted")) == 3


@pytest.mark.parametrize("wrong", [{}, {"work_ids": []}, {"work_ids": "all"}, {"work_ids": ["nonsense"]}, {"work_ids": [None]}])
async def test_broken_batches_are_refused(works: Any, wrong: Any) -> None:
    status, headers, _ = await works.ask("POST", "/api/works/batch/delete", user=new_id(), json=wrong)
    assert (status, headers["X-Error-Code"]) == (400, "10001")


async def test_what_is_heard_late_brings_nothing_back(works: Any, facts: Any) -> None:
    user, task_id = new_id(), new_id()
    end, creation = facts.completed(task_id, user), facts.created(task_id, user)
    await works.tell(end)
    assert (await works.ask("DELETE", f"/api/works/{task_id}", user=user))[0] == 200
    await works.tell(creation)
    await works.tell(end)
    assert (await works.ask("GET", f"/api/works/{task_id}", user=user))[0] == 404
    _, _, body = await works.ask("GET", "/api/works?status=processing", user=user)
    assert body["data"]["works"] == []


async def test_public_numbers_follow_marks_and_deletions(works: Any, facts: Any) -> None:
    user = new_id()
    ids = [await kept(works, facts, user) for _ in range(4)]
    for work_id in ids:
        await works.ask("PUT", f"/api/works/{work_id}", user=user, json={"is_public": True})
    await works.ask("PUT", f"/api/works/{ids[0]}", user=user, json={"is_public": False})
    await works.ask("DELETE", f"/api/works/{ids[1]}", user=user)
    _, _, body = await works.ask("GET", "/api/works")
    assert (len(body["data"]["works"]), body["data"]["pagination"]["total"]) == (2, 2)


async def test_likes_and_plays_count_people_and_hours_also_at_once(works: Any, facts: Any) -> None:
    owner = new_id()
    work_id = await kept(works, facts, owner)
    await works.ask("PUT", f"/api/works/{work_id}", user=owner, json={"is_public": True})
    fans = [new_id() for _ in range(5)]
    asks = [works.ask("PUT", f"/v1/works/{work_id}/like", user=fan) for fan in fans for _ in range(3)]
    asks += [works.ask("POST", f"/v1/works/{work_id}/plays", user=fan) for fan in fans for _ in range(3)]
    assert {status for status, _, _ in await asyncio.gather(*asks)} == {200}
    await asyncio.gather(*(works.ask("DELETE", f"/v1/works/{work_id}/like", user=fans[0]) for _ in range(3)))
    _, _, body = await works.ask("GET", f"/works/{work_id}")
    assert (body["likes"], body["plays"]) == (4, 5)
    works.clock.move(seconds=3601)
    await works.ask("POST", f"/v1/works/{work_id}/plays", user=fans[0])
    _, _, body = await works.ask("GET", f"/works/{work_id}")
    assert body["plays"] == 6
    assert (await works.ask("POST", f"/v1/works/{new_id()}/plays", user=owner))[0] == 404
    assert (await works.ask("PUT", f"/v1/works/{await kept(works, facts, owner)}/like", user=fans[0]))[0] == 404, "a private one"


async def test_what_is_told_of_a_work_begins_with_its_creation_though_its_owner_liked_it_before(works: Any, facts: Any) -> None:
    owner, work_id = new_id(), new_id()
    await works.tell(facts.created(work_id, owner))
    assert (await works.ask("PUT", f"/v1/works/{work_id}/like", user=owner))[0] == 404
    await works.tell(facts.completed(work_id, owner))
    assert (await works.ask("PUT", f"/v1/works/{work_id}/like", user=owner))[0] == 200
    said = await works.db.fetch("SELECT topic, payload FROM outbox_fact")
    assert sorted((orjson.loads(row["payload"])["sequence"], row["topic"]) for row in said) == [(1, "work.created"), (2, "work.liked")]


async def test_operators_see_and_delete_everything(works: Any, facts: Any) -> None:
    people, admin = [new_id() for _ in range(3)], new_id()
    ids = [await kept(works, facts, user) for user in people]
    status, _, body = await works.ask("GET", "/api/admin/works?type=&status=&user_id=", user=admin, role="admin")
    assert (status, {row["user_id"] for row in body["data"]["works"]}) == (200, {str(user) for user in people})
    assert {"nickname", "avatar_url"} <= set(body["data"]["works"][0])
    assert (await works.ask("DELETE", f"/api/admin/works/{ids[0]}", user=admin, role="admin"))[0] == 200
    assert [str(row["work_id"]) for row in await works.db.fetch("SELECT work_id FROM admin_action")] == [str(ids[0])]
    _, _, body = await works.ask("GET", "/internal/admin/overview", user=admin, role="admin")
    assert body["works"] == {"total_works": 2, "today_works": 2, "completed_works": 2, "failed_works": 0}
    for method, path in (("GET", "/api/admin/works"), ("DELETE", f"/api/admin/works/{ids[1]}"), ("GET", "/internal/admin/overview")):
        assert (await works.ask(method, path, user=people[0]))[0] == 403


async def test_a_changed_name_is_shown(works: Any, facts: Any) -> None:
    from works import commands

    user = new_id()
    work_id = await kept(works, facts, user)
    for sequence, name in ((3, "newest"), (2, "older")):
        fact = UserUpdated(sequence=sequence, user_id=user, name=name, role="user", status="active")
        async with works.db.transaction() as tx:
            await commands.keep_names(tx, [facts.event(fact)])
    _, _, body = await works.ask("GET", f"/works/{work_id}", user=user)
    assert body["creator"]["username"] == "newest"


async def test_the_gallery_shows_public_works_only(works: Any, facts: Any) -> None:
    owner = new_id()
    public, _private = await kept(works, facts, owner), await kept(works, facts, owner)
    await works.ask("PUT", f"/api/works/{public}", user=owner, json={"is_public": True})
    _, _, body = await works.ask("GET", "/v1/gallery", user=owner)
    assert [work["objectId"] for work in body["works"]] == [str(public)]
