"""Lists stay flat: a page of one owner costs the same whatever else is in the table, a deep one is still cheap, and no total is a scan."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from common.ids import new_id
from common.migrate import every_migration, migrate
from common.testing.explained import Look, filled
from common.testing.flat import DEEP, FEW, MANY, OWNED, PAGE, SOME, check_deep, check_same, connected, costs_of
from works import store
from works.app import MIGRATIONS
from works.domain import EVERYBODYS_ROWS_MAX, PICTURE_KINDS, Everybodys, Place, Reach, Wanted

# Nine of ten of an owner's rows match each filter, so that a filtered list has a page 1 000 too. Of everybody's one of ten did not come to be.
WORKS = """
INSERT INTO work (work_id, user_id, kind, status, is_public, is_favorite, body, created_at, updated_at)
SELECT (lpad(to_hex($3::int + n), 12, '0') || '7000' || substr(md5(n::text || $3::text), 1, 16))::uuid, coalesce($1::uuid, md5((n % 500)::text)::uuid),
    CASE WHEN $1 IS NULL THEN (ARRAY['travel', 'fitting', 'photography', 'song'])[1 + n % 4] ELSE 'travel' END,
    CASE WHEN $1 IS NULL AND n % 10 = 5 THEN 'failed' ELSE 'completed' END, n % 10 <> 0, n % 10 <> 1,
    jsonb_build_object('tags', jsonb_build_array(CASE WHEN n % 10 <> 2 AND ($1 IS NOT NULL OR n % 4 > 0) THEN 'sea' ELSE 'sun' END),
        'description', CASE WHEN $1 IS NULL THEN '' ELSE repeat('a warm evening ', 20) END), t, t
FROM generate_series(1, $2::int) AS n, LATERAL (SELECT timestamptz '2026-01-01' + ($3::int + n) * interval '1 second') AS x (t)
"""
# What the commands keep beside the rows.
NUMBERS = """
TRUNCATE shelf, tally;
INSERT INTO shelf (user_id, kind, completed, failed, public)
    SELECT user_id, kind, count(*) FILTER (WHERE status = 'completed'), count(*) FILTER (WHERE status = 'failed'),
        count(*) FILTER (WHERE is_public AND status = 'completed') FROM work GROUP BY 1, 2;
INSERT INTO tally (stripe, kind, completed, failed) SELECT 0, kind, sum(completed), sum(failed) FROM shelf GROUP BY kind;
INSERT INTO shelf (user_id, kind, public) SELECT '00000000-0000-0000-0000-000000000000', kind, sum(public) FROM shelf GROUP BY kind;
"""
TAGS = """
WITH own AS (
    INSERT INTO own_tag (work_id, tag, user_id, is_public, created_at)
    SELECT work_id, body -> 'tags' ->> 0, user_id, is_public, created_at FROM work
    WHERE status = 'completed' AND created_at > timestamptz '2026-01-01' + $1::int * interval '1 second'
    RETURNING work_id, tag, created_at, is_public
)
INSERT INTO public_tag (work_id, tag, created_at) SELECT work_id, tag, created_at FROM own WHERE is_public
"""


@pytest.fixture
async def conn(service_database: Any, superuser_url: Any) -> AsyncIterator[asyncpg.Connection]:
    """Works' database, set like the service sets it."""
    await service_database("works")
    async with connected(await superuser_url("works"), "work", "shelf", "tally", "own_tag", "public_tag") as conn:
        yield conn


async def look_at_works(conn: Any, wanted: Wanted) -> int:
    total = await store.count_works(conn, wanted)
    assert total > wanted.offset, (total, wanted)
    return len(await store.list_works(conn, wanted))


async def look_at_everybodys(conn: Any, wanted: Everybodys) -> int:
    total = await store.count_everybodys(conn, wanted)
    assert total > wanted.offset, (total, wanted)
    return len(await store.list_everybodys(conn, wanted))


async def look_at_gallery(conn: Any, wanted: Wanted) -> int:
    """The gallery has no total."""
    return len(await store.list_works(conn, wanted))


def one_owners(owner: UUID) -> dict[str, Wanted]:
    mine, shown = (Reach(owner),), (Reach(owner, is_public=True),)
    return {
        "mine": Wanted(reaches=mine, kinds=PICTURE_KINDS, limit=PAGE),
        "mine, completed": Wanted(reaches=mine, kinds=PICTURE_KINDS, status="completed", limit=PAGE),
        "mine, of a kind": Wanted(reaches=mine, kinds=("travel",), limit=PAGE),
        "mine, favourites": Wanted(reaches=mine, kinds=PICTURE_KINDS, is_favorite=True, limit=PAGE),
        "mine, public": Wanted(reaches=shown, kinds=PICTURE_KINDS, limit=PAGE),
        "mine, with a tag": Wanted(reaches=mine, tag="sea", limit=PAGE),
        "a creator's": Wanted(reaches=shown, limit=PAGE),
        "a creator's, with a tag": Wanted(reaches=shown, tag="sea", limit=PAGE),
    }


def everybodys(viewer: UUID) -> dict[str, Wanted]:
    public, mine = Reach(None, is_public=True), Reach(viewer, is_public=False)
    return {
        "public": Wanted(reaches=(public,), limit=PAGE),
        "public, of a kind": Wanted(reaches=(public,), kinds=PICTURE_KINDS, limit=PAGE),
        "public, with a tag": Wanted(reaches=(public,), tag="sea", limit=PAGE),
        "public and mine": Wanted(reaches=(public, mine), limit=PAGE),
        "public and mine, with a tag": Wanted(reaches=(public, mine), tag="sea", limit=PAGE),
    }


def gallery() -> dict[str, Wanted]:
    public, place = (Reach(None, is_public=True),), Place(datetime(2026, 1, 1, 2, tzinfo=UTC), UUID(int=0))
    return {
        "gallery": Wanted(reaches=public, after=place, limit=PAGE),
        "gallery, with a tag": Wanted(reaches=public, tag="sea", after=place, limit=PAGE),
    }


def operators(owner: UUID) -> dict[str, Everybodys]:
    return {
        "operators": Everybodys(limit=PAGE, offset=0),
        "operators, failed": Everybodys(statuses=("failed",), limit=PAGE, offset=0),
        "operators, of a kind": Everybodys(kinds=("song",), limit=PAGE, offset=0),
        "operators, of a user": Everybodys(user_id=owner, limit=PAGE, offset=0),
    }


async def fill(conn: asyncpg.Connection, owner: UUID | None, works: int, *, first: int) -> None:
    async with filled(conn, "work", "own_tag", "public_tag"):
        await conn.execute(WORKS, owner, works, first)
        await conn.execute(TAGS, first)
        await conn.execute(NUMBERS)


async def test_a_page_of_works_costs_the_same_in_any_table_and_page_1000_little(conn: Any) -> None:
    owner, large = new_id(), new_id()
    looks: dict[str, Look] = {
        **{name: partial(look_at_works, wanted=wanted) for name, wanted in (one_owners(owner) | everybodys(owner)).items()},
        **{name: partial(look_at_gallery, wanted=wanted) for name, wanted in gallery().items()},
        **{name: partial(look_at_everybodys, wanted=wanted) for name, wanted in operators(owner).items()},
    }
    await fill(conn, owner, SOME, first=0)
    costs = []
    for others, first in ((FEW, SOME), (MANY - FEW, SOME + FEW)):
        await fill(conn, None, others, first=first)
        costs.append(await costs_of(conn, looks))
    check_same(*costs)

    await fill(conn, large, OWNED, first=SOME + MANY)
    end = EVERYBODYS_ROWS_MAX - PAGE
    deep: dict[str, Look] = {
        **{name: partial(look_at_works, wanted=replace(wanted, offset=DEEP)) for name, wanted in one_owners(large).items()},
        "operators, of a user": partial(look_at_everybodys, wanted=Everybodys(user_id=large, limit=PAGE, offset=DEEP)),
    }
    last: dict[str, Look] = {
        **{name: partial(look_at_works, wanted=replace(wanted, offset=end)) for name, wanted in everybodys(large).items()},
        "operators": partial(look_at_everybodys, wanted=Everybodys(limit=PAGE, offset=end)),
    }
    await check_deep(conn, deep | last, in_time=deep)


async def test_works_from_before_tags_were_kept_are_found_by_them(make_database: Any) -> None:
    database = await make_database("works")
    files = every_migration(MIGRATIONS)
    kept = next(place for place, file in enumerate(files) if file.name == "0006_create_own_tag.sql")
    await migrate(database.owner_url, files[:kept], service_role=database.name)
    conn = await asyncpg.connect(database.owner_url)
    try:
        owner = new_id()
        await conn.execute(WORKS, owner, 100, 0)
        await migrate(database.owner_url, files, service_role=database.name)
        totals = [await store.count_works(conn, Wanted(reaches=(Reach(owner, is_public),), tag="sea", limit=1)) for is_public in (None, True, False)]
        assert totals == [90, 80, 10]
    finally:
        await conn.close()
