"""Lists stay flat: a page of one owner costs the same whatever else is in the table, and a deep one is still cheap."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from common.events.tasks import Kind
from common.ids import new_id
from generation.domain import STATES
from generation.store import tasks

FEW, MANY, OWNED = 20_000, 200_000, 25_000
PAGE = 20
RATIO_MAX = 1.5
DEEP_BLOCKS_MAX = 1_000
"""Found in an index alone; walking the rows of 1 000 pages would read every one of them."""

TASKS = """
INSERT INTO task (task_id, user_id, work_id, created_at, due_at, start_by, deadline_at, ended_at, price, asked, delivered, kind, state, body_hash, brief)
SELECT gen_random_uuid(), coalesce($1::uuid, md5((n % 500)::text)::uuid), gen_random_uuid(), t, t, t, t, t, 1, 1, 1, 'travel', 'completed', '\\x00', '{}'
FROM generate_series(1, $2::int) AS n, LATERAL (SELECT timestamptz '2026-01-01' + n * interval '1 second') AS x (t)
"""


@dataclass
class Explaining:
    """A connection that lets PostgreSQL say what each read cost."""

    conn: asyncpg.Connection
    blocks: int = 0
    ms: float = 0.0
    statements: list[str] = field(default_factory=list)

    async def fetch(self, sql: str, *args: object) -> list[Any]:
        await self._explain(sql, args)
        rows: list[Any] = await self.conn.fetch(sql, *args)
        return rows

    async def fetchval(self, sql: str, *args: object) -> Any:
        await self._explain(sql, args)
        return await self.conn.fetchval(sql, *args)

    async def _explain(self, sql: str, args: tuple[object, ...]) -> None:
        said = await self.conn.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {sql}", *args)
        [plan] = orjson.loads(said) if isinstance(said, str) else said
        self.blocks += plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]
        self.ms += plan["Execution Time"]
        self.statements.append(sql)


async def look_at_tasks(conn: Any, owner: UUID, offset: int) -> int:
    kinds: tuple[Kind, ...] = ("fitting", "photography", "travel")
    await tasks.count_owner_tasks(conn, owner, kinds=kinds, states=STATES)
    return len(await tasks.list_owner_tasks(conn, owner, kinds=kinds, states=STATES, limit=PAGE, offset=offset))


async def test_a_page_of_ones_tasks_costs_the_same_in_a_table_ten_times_as_large(service_database: Any, superuser_url: Any) -> None:
    await service_database("generation")
    conn = await asyncpg.connect(await superuser_url("generation"))
    try:
        await conn.set_type_codec("jsonb", schema="pg_catalog", encoder=lambda value: orjson.dumps(value).decode(), decoder=orjson.loads)
        await conn.execute("SET jit = off")
        owner = new_id()
        await conn.execute(TASKS, owner, OWNED)
        costs = []
        for others in (FEW, MANY - FEW):
            await conn.execute(TASKS, None, others)
            await conn.execute("VACUUM ANALYZE task")
            first = Explaining(conn)
            assert await look_at_tasks(first, owner, 0) == PAGE
            costs.append(first.blocks)
        assert costs[1] <= costs[0] * RATIO_MAX, costs
        deep = Explaining(conn)
        assert await look_at_tasks(deep, owner, 999 * PAGE) == PAGE
        assert deep.blocks <= DEEP_BLOCKS_MAX, (deep.blocks, deep.ms)
    finally:
        await conn.close()
