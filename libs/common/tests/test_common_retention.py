"""What is past keeping goes, the rest stays, and looking for it costs little however much is kept."""

from collections.abc import AsyncIterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest

from common.bus import inbox
from common.db import Database
from common.testing.explained import Explained
from common.testing.flat import connected

DAY = timedelta(days=1)
MANY = 100_000
BLOCKS_MAX = 100
HEARD = """
INSERT INTO inbox (event_id, group_name, heard_at)
SELECT gen_random_uuid(), 'g', now() - $1::interval + n * interval '1 ms' FROM generate_series(1, $2::int) AS n
"""


@pytest.fixture
async def conn(service_database: Any, superuser_url: Any) -> AsyncIterator[asyncpg.Connection]:
    await service_database("common")
    async with connected(await superuser_url("common"), "inbox") as conn:
        yield conn


async def test_marks_past_any_replay_go_a_batch_at_a_time(service_database: Any, conn: asyncpg.Connection) -> None:
    db: Database = await service_database("common")
    await conn.execute(HEARD, 22 * DAY, 5)
    await conn.execute(HEARD, 20 * DAY, 3)
    assert await inbox.delete_old(db, 21 * DAY, limit=4) == 4
    assert await inbox.delete_old(db, 21 * DAY, limit=4) == 1
    assert await inbox.delete_old(db, 21 * DAY, limit=4) == 0
    assert await db.fetchval("SELECT count(*) FROM inbox") == 3


async def test_finding_that_nothing_is_old_costs_a_few_pages(service_database: Any, conn: asyncpg.Connection) -> None:
    db: Database = await service_database("common")
    await conn.execute(HEARD, DAY, MANY)
    await conn.execute("VACUUM ANALYZE inbox")
    explained = Explained(conn)
    asked: Any = SimpleNamespace(clock=db.clock, fetch=explained.fetch)
    assert await inbox.delete_old(asked, 21 * DAY) == 0
    assert explained.blocks <= BLOCKS_MAX
