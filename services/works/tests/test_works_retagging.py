"""Beside a process of the version before, which keeps no tags of one's own: what it did is found, shown and counted as the works say."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg

from common.ids import new_id
from common.migrate import every_migration, migrate
from works import upkeep
from works.app import MIGRATIONS
from works.domain import RETAG_FOR


async def kept(works: Any, facts: Any, user: UUID, *, is_public: bool = False) -> UUID:
    task_id = new_id()
    await works.tell(facts.created(task_id, user, kind="song"), facts.completed(task_id, user, kind="song", tags=("sea",)))
    if is_public:
        assert (await works.ask("PUT", f"/api/works/{task_id}", user=user, json={"is_public": True}))[0] == 200
    return task_id


async def found(works: Any, tag: str, *, creator: UUID, user: UUID | None) -> tuple[set[str], int]:
    status, _, body = await works.ask("GET", "/works", user=user, params={"creator": str(creator), "tag": tag})
    assert status == 200, body
    return {work["objectId"] for work in body["results"]}, body["total"]


async def begin(works: Any) -> None:
    """As the migration does, a minute ago: what tests told is told in the past of their clock."""
    now = works.clock.now()
    await works.db.fetch("UPDATE work SET updated_at = $1", now)
    await works.db.fetch("DELETE FROM retagging")
    query = "INSERT INTO retagging (since, began_at, after_id, look_at) VALUES ($1, $1, $2, $1)"
    await works.db.fetch(query, now - timedelta(minutes=1), UUID(int=0))


async def test_what_a_process_of_the_version_before_did_is_found_again(works: Any, facts: Any) -> None:
    user, stranger = new_id(), new_id()
    lost, renamed, hidden, deleted, plain = [await kept(works, facts, user, is_public=True) for _ in range(5)]
    await works.db.fetch("DELETE FROM own_tag WHERE work_id = $1", lost)
    tagged = "UPDATE work SET body = jsonb_set(body, '{tags}', '[\"sun\"]') WHERE work_id = $1"
    await works.db.fetch(tagged, renamed)
    await works.db.fetch("UPDATE work SET is_public = false WHERE work_id = $1", hidden)
    await works.db.fetch("UPDATE work SET status = 'deleted', body = '{}', is_public = false WHERE work_id = $1", deleted)
    await works.db.fetch("DELETE FROM public_tag WHERE work_id = ANY($1::uuid[])", [renamed, hidden, deleted])
    await works.db.fetch("INSERT INTO public_tag (work_id, tag, created_at) SELECT work_id, 'sun', created_at FROM work WHERE work_id = $1", renamed)

    assert (await found(works, "sea", creator=user, user=stranger))[0] == {str(plain)}, "what is hidden, deleted or called otherwise is shown to nobody"
    assert (await found(works, "sea", creator=user, user=user))[0] == {str(plain), str(hidden)}

    await begin(works)
    await upkeep.retag_works(works.deps, batch=2)
    assert await found(works, "sea", creator=user, user=stranger) == ({str(plain), str(lost)}, 2)
    assert await found(works, "sea", creator=user, user=user) == ({str(plain), str(lost), str(hidden)}, 3)
    assert await found(works, "sun", creator=user, user=stranger) == ({str(renamed)}, 1)


async def test_works_are_walked_again_ever_later_until_no_such_process_can_be_left(works: Any, facts: Any) -> None:
    user = new_id()
    work_id = await kept(works, facts, user)
    await begin(works)
    walks, began_at = 0, works.clock.now()
    while await works.db.fetchval("SELECT count(*) FROM retagging"):
        await works.db.fetch("DELETE FROM own_tag")
        await upkeep.retag_works(works.deps)
        assert await found(works, "sea", creator=user, user=user) == ({str(work_id)}, 1)
        await works.db.fetch("DELETE FROM own_tag")
        await upkeep.retag_works(works.deps)
        assert await works.db.fetchval("SELECT count(*) FROM own_tag") == 0, "not at once"
        walks += 1
        look_at = await works.db.fetchval("SELECT look_at FROM retagging")
        if look_at is not None:
            works.clock.move(seconds=(look_at - works.clock.now()).total_seconds())
    assert walks in range(8, 14)
    assert works.clock.now() - began_at >= RETAG_FOR


async def test_works_from_before_the_update_are_left_alone(works: Any, facts: Any) -> None:
    user = new_id()
    await kept(works, facts, user)
    await begin(works)
    await works.db.fetch("UPDATE work SET updated_at = $1", works.clock.now() - timedelta(minutes=2))
    await works.db.fetch("DELETE FROM own_tag")
    await upkeep.retag_works(works.deps)
    assert await works.db.fetchval("SELECT count(*) FROM own_tag") == 0


async def test_the_update_begins_the_walk(make_database: Any) -> None:
    database = await make_database("works")
    files = every_migration(MIGRATIONS)
    await migrate(database.owner_url, files, service_role=database.name)
    conn = await asyncpg.connect(database.owner_url)
    try:
        [row] = await conn.fetch("SELECT *, now() AS now FROM retagging")
    finally:
        await conn.close()
    assert timedelta(minutes=10) <= row["now"] - row["since"] <= timedelta(minutes=11)
    assert row["look_at"] <= row["now"]
