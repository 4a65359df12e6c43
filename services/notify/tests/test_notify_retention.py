"""Notices past retention go, the rest stays, and looking for them costs little however many are kept."""

from collections.abc import AsyncIterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest

from common.db import Database
from common.testing.explained import Explained
from common.testing.flat import connected
from notify import store

DAY = timedelta(days=1)
MANY = 50_000
BLOCKS_MAX = 200
TOLD = """
INSERT INTO notice (user_id, seq, event_id, type, payload, created_at)
SELECT md5((n % 500)::text)::uuid, $3::int + n, gen_random_uuid(), 'notice', repeat('a warm evening ', 20), now() - $1::interval + n * interval '1 ms'
FROM generate_series(1, $2::int) AS n
"""


@pytest.fixture
async def conn(service_database: Any, superuser_url: Any) -> AsyncIterator[asyncpg.Connection]:
    await service_database("notify")
    async with connected(await superuser_url("notify"), "notice") as conn:
        yield conn


async def test_old_notices_go_a_batch_at_a_time(service_database: Any, conn: asyncpg.Connection) -> None:
    db: Database = await service_database("notify")
    await conn.execute(TOLD, 31 * DAY, 5, 0)
    await conn.execute(TOLD, 29 * DAY, 3, 10)
    assert await store.delete_old_notices(db, older_than=30 * DAY, limit=4) == 4
    assert await store.delete_old_notices(db, older_than=30 * DAY, limit=4) == 1
    assert await store.delete_old_notices(db, older_than=30 * DAY, limit=4) == 0
    assert await db.fetchval("SELECT count(*) FROM notice") == 3


async def test_finding_that_no_notice_is_old_costs_a_few_pages(service_database: Any, conn: asyncpg.Connection) -> None:
    db: Database = await service_database("notify")
    await conn.execute(TOLD, DAY, MANY, 0)
    await conn.execute("VACUUM ANALYZE notice")
    explained = Explained(conn)
    asked: Any = SimpleNamespace(clock=db.clock, fetch=explained.fetch)
    assert await store.delete_old_notices(asked, older_than=30 * DAY, limit=1000) == 0
    assert explained.blocks <= BLOCKS_MAX
