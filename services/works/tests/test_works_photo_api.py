"""Works in the photo dialect: mine, public ones, pages, totals."""

from typing import Any
from uuid import UUID

import pytest

from common.ids import new_id
from common.objects import thumbnail_key


async def with_works(works: Any, facts: Any, user: UUID, count: int, *, kind: str = "travel", status: str = "completed") -> list[UUID]:
    """Works of a user, the oldest first."""
    tasks = [new_id() for _ in range(count)]
    events = [facts.created(task, user, kind=kind, minutes=minute) for minute, task in enumerate(tasks)]
    if status != "processing":
        events += [getattr(facts, status)(task, user, kind=kind, minutes=minute + 0.5) for minute, task in enumerate(tasks)]
    await works.tell(*events)
    return tasks


async def publish(works: Any, *work_ids: UUID) -> None:
    """As a later route will: the flag and the kept numbers in one go."""
    await works.db.fetch("UPDATE work SET is_public = true WHERE work_id = ANY($1::uuid[])", list(work_ids))
    for owner in ("user_id", "'00000000-0000-0000-0000-000000000000'::uuid"):
        await works.db.fetch(
            f"INSERT INTO shelf (user_id, kind, public) SELECT {owner}, kind, count(*) FROM work WHERE work_id = ANY($1::uuid[]) GROUP BY 1, 2"
            " ON CONFLICT (user_id, kind) DO UPDATE SET public = shelf.public + excluded.public",
            list(work_ids),
        )


async def listed(works: Any, query: str = "", **who: Any) -> tuple[list[str], dict[str, int]]:
    status, _, body = await works.ask("GET", f"/api/works{query}", **who)
    assert status == 200, body
    return [work["work_id"] for work in body["data"]["works"]], body["data"]["pagination"]


async def test_a_work_in_the_words_of_the_dialect(works: Any, facts: Any) -> None:
    user, task = new_id(), new_id()
    await works.tell(facts.created(task, user, asked=3), facts.completed(task, user, asked=3, delivered=2, description="warm", tags=("sea",)))
    status, _, body = await works.ask("GET", f"/api/works/{task}", user=user)
    assert (status, body["success"]) == (200, True)
    work = body["data"]["work"]
    assert works.deps.signer.key_of(work.pop("thumbnail_url")) == thumbnail_key(facts.picture(task, 0).key)
    images = work.pop("images")
    assert work == {
        "work_id": str(task), "user_id": str(user), "task_id": str(task), "type": "travel", "status": "completed", "title": "A trip", "audio_url": None,
        "scene_id": None, "ai_description": "warm", "tags": ["sea"], "batch_count": 3, "failed_count": 1,
        "error": None, "is_favorite": False, "is_public": False, "plays": 0, "likes": 0,
        "created_at": "2026-01-01T00:00:00.000Z", "updated_at": "2026-01-01T01:00:00.000Z",
    }  # fmt: skip
    assert [(image["format"], image["batch_index"], image["width"], image["height"]) for image in images] == [("webp", 0, 8, 6), ("webp", 1, 8, 6)]
    assert works.deps.signer.key_of(images[0]["url"]) == facts.picture(task, 0).key


@pytest.mark.parametrize(("wish", "sentence"), [({}, "任务超时"), ({"Accept-Language": "en"}, "The task took too long.")])
async def test_a_failed_work_says_why_in_the_callers_language(works: Any, facts: Any, wish: dict[str, str], sentence: str) -> None:
    user = new_id()
    (task,) = await with_works(works, facts, user, 1, status="failed")
    _, _, body = await works.ask("GET", f"/api/works/{task}", user=user, headers=wish)
    assert (body["data"]["work"]["status"], body["data"]["work"]["error"]) == ("failed", sentence)
    assert body["data"]["work"]["failed_count"] == body["data"]["work"]["batch_count"]


async def test_my_list_shows_what_is_completed_the_newest_first(works: Any, facts: Any) -> None:
    user = new_id()
    done = await with_works(works, facts, user, 3)
    await with_works(works, facts, user, 2, status="processing")
    await with_works(works, facts, user, 2, status="failed")
    await with_works(works, facts, user, 2, kind="song")
    await with_works(works, facts, new_id(), 2)
    found, page = await listed(works, user=user)
    assert found == [str(task) for task in reversed(done)]
    assert page == {"page": 1, "pageSize": 20, "total": 3, "totalPages": 1}


@pytest.mark.parametrize(("query", "total"), [
    ("?status=processing", 2), ("?status=failed", 1), ("?status=cancelled", 0), ("?type=fitting", 1), ("?type=travel", 3), ("?type=song", 1),
    ("?type=&status=&is_public=&is_favorite=&user_id=", 4), ("?is_public=false", 3), ("?is_public=true", 1), ("?is_favorite=true", 1),
    ("?is_favorite=false&type=travel", 2), ("?is_public=true&is_favorite=true", 0),
])  # fmt: skip
async def test_filters_and_their_totals(works: Any, facts: Any, query: str, total: int) -> None:
    user = new_id()
    travels = await with_works(works, facts, user, 3)
    await with_works(works, facts, user, 1, kind="fitting")
    await with_works(works, facts, user, 1, kind="song")
    await with_works(works, facts, user, 2, status="processing")
    await with_works(works, facts, user, 1, status="failed", kind="photography")
    await publish(works, travels[0])
    await works.db.fetch("UPDATE work SET is_favorite = true WHERE work_id = $1", travels[1])
    found, page = await listed(works, query, user=user)
    assert (len(found), page["total"]) == (total, total)


async def test_pages_are_disjoint_and_complete(works: Any, facts: Any) -> None:
    user = new_id()
    tasks = await with_works(works, facts, user, 45)
    found: list[str] = []
    for number in range(1, 6):
        works_of_page, page = await listed(works, f"?page={number}&pageSize=10", user=user)
        assert page == {"page": number, "pageSize": 10, "total": 45, "totalPages": 5}
        found += works_of_page
    assert found == [str(task) for task in reversed(tasks)]
    assert (await listed(works, "?page=6&pageSize=10", user=user))[0] == []
    assert (await listed(works, "?page=1000000&pageSize=100", user=user))[0] == []


@pytest.mark.parametrize("query", [
    "page=0", "page=-1", "page=1.5", "page=1000000000", "page=x", "pageSize=0", "pageSize=-1", "pageSize=101", "pageSize=1000000000", "pageSize=1.5",
    "type=landscape", "status=done", "is_public=maybe", "user_id=1", "page=" + "9" * 5000, "page=٣x", "status=%00", "type=%FF",
])  # fmt: skip
async def test_a_broken_question_is_refused_by_name(works: Any, query: str) -> None:
    status, headers, body = await works.ask("GET", f"/api/works?{query}", user=new_id())
    assert (status, headers["X-Error-Code"], body["success"]) == (400, "10001", False)


async def test_nobody_sees_public_works_only(works: Any, facts: Any) -> None:
    one, other = new_id(), new_id()
    mine, theirs = await with_works(works, facts, one, 2), await with_works(works, facts, other, 2)
    await publish(works, mine[0], theirs[1])
    found, page = await listed(works)
    assert (set(found), page["total"]) == ({str(mine[0]), str(theirs[1])}, 2)
    assert (await listed(works, f"?user_id={one}"))[0] == [str(mine[0])]
    assert (await listed(works, "?is_public=false"))[0] == []
    assert (await listed(works, "?status=failed"))[0] == []
    status, _, body = await works.ask("GET", f"/api/works/{mine[0]}")
    assert (status, body["data"]["work"]["work_id"]) == (200, str(mine[0]))


async def test_the_list_of_everybody_has_an_end(works: Any) -> None:
    assert (await works.ask("GET", "/api/works?page=101&pageSize=100"))[0] == 400
    assert (await works.ask("GET", "/api/works?page=100&pageSize=100"))[0] == 200


async def test_anothers_work_is_like_an_unknown_one(works: Any, facts: Any) -> None:
    owner, stranger = new_id(), new_id()
    (task,) = await with_works(works, facts, owner, 1)
    answers = [await works.ask("GET", f"/api/works/{work_id}", user=stranger) for work_id in (task, new_id(), "nonsense", "x" * 36)]
    answers.append(await works.ask("GET", f"/api/works/{task}"))
    assert {(status, headers["X-Error-Code"]) for status, headers, _ in answers} == {(404, "30000")}
    assert len({str(body) for _, _, body in answers}) == 1
    assert (await listed(works, f"?user_id={owner}", user=stranger))[0] == []


async def test_what_is_public_but_not_there_yet_is_nobodys_business(works: Any, facts: Any) -> None:
    (task,) = await with_works(works, facts, new_id(), 1, status="processing")
    await works.db.fetch("UPDATE work SET is_public = true")
    assert (await works.ask("GET", f"/api/works/{task}", user=new_id()))[0] == 404
    assert (await listed(works, "?status=processing"))[0] == []


async def test_an_admin_sees_everything(works: Any, facts: Any) -> None:
    owner, admin = new_id(), new_id()
    (task,) = await with_works(works, facts, owner, 1, status="failed")
    assert (await works.ask("GET", f"/api/works/{task}", user=admin, role="admin"))[0] == 200
    assert (await listed(works, f"?user_id={owner}&status=failed", user=admin, role="admin"))[0] == [str(task)]


async def test_links_of_the_owner_live_longer_than_those_of_others(works: Any, facts: Any) -> None:
    owner = new_id()
    (task,) = await with_works(works, facts, owner, 1)
    await publish(works, task)

    async def ends(**who: Any) -> float:
        _, _, body = await works.ask("GET", f"/api/works/{task}", **who)
        expires = int(body["data"]["work"]["images"][0]["url"].partition("exp=")[2].partition("&")[0])
        return expires - float(works.clock.now().timestamp())

    assert await ends(user=owner) > 3000
    assert await ends(user=new_id()) <= 300
    assert await ends() <= 300


async def test_a_work_made_public_while_it_was_made_counts_as_public_once_it_is_there(works: Any, facts: Any) -> None:
    user = new_id()
    (task,) = await with_works(works, facts, user, 1, status="processing")
    await works.db.fetch("UPDATE work SET is_public = true")
    await works.tell(facts.completed(task, user))
    found, page = await listed(works)
    assert (found, page["total"]) == ([str(task)], 1)


async def test_the_lists_walk_their_indexes(works: Any, facts: Any) -> None:
    """A plan that sorts or scans the table would be slow only once the table is large, so it is looked at while it is small."""
    from works import store
    from works.domain import PICTURE_KINDS, Reach, Wanted

    plans = []
    async with works.db.read() as conn:
        await conn.execute("SET enable_seqscan = off")

        class Explaining:
            async def fetch(self, sql: str, *args: object) -> list[Any]:
                plans.append("\n".join(row[0] for row in await conn.fetch(f"EXPLAIN {sql}", *args)))
                return []

        user = new_id()
        for wanted, index in (
            (Wanted(reaches=(Reach(user),), kinds=PICTURE_KINDS, status="completed", limit=20, offset=0), "work_seen"),
            (Wanted(reaches=(Reach(user),), status="processing", limit=20, offset=0), "work_unseen"),
            (Wanted(reaches=(Reach(None, is_public=True),), limit=20, offset=0), "work_public"),
            (Wanted(reaches=(Reach(None, is_public=True),), tag="sea", limit=20, offset=0), "public_tag_by_age"),
            (Wanted(reaches=(Reach(user),), tag="sea", limit=20, offset=0), "own_tag_by_age"),
        ):
            await store.list_works(Explaining(), wanted)
            assert index in plans[-1], plans[-1]
        await conn.execute("RESET enable_seqscan")
