"""Lists stay flat: how many rows are compared, how much more a page may cost, and what a deep one may."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import asyncpg
import orjson

from common.testing.explained import Look, best_ms_of, blocks_of

FEW, MANY = 20_000, 200_000
SOME, OWNED = 1_000, 25_000
"""What the owner of the compared pages has, and the owner of the deep ones."""
PAGE = 20
DEEP = 999 * PAGE
RATIO_MAX = 1.5
DEEP_BLOCKS_MAX = 1_000
"""Found in an index alone; walking the rows of 1 000 pages would read every one of them."""
DEEP_MS_MAX = 20


@asynccontextmanager
async def connected(url: str, *tables: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection set like services set theirs; these tables are empty afterwards."""
    conn = await asyncpg.connect(url)
    try:
        await conn.set_type_codec("jsonb", schema="pg_catalog", encoder=lambda value: orjson.dumps(value).decode(), decoder=orjson.loads)
        await conn.execute("SET jit = off")
        yield conn
        await conn.execute(f"TRUNCATE {', '.join(tables)}")
    finally:
        await conn.close()


async def costs_of(conn: asyncpg.Connection, looks: Mapping[str, Look]) -> dict[str, int]:
    """How many blocks each page costs."""
    return {name: await blocks_of(conn, look, rows=PAGE) for name, look in looks.items()}


def check_same(few: Mapping[str, int], many: Mapping[str, int]) -> None:
    """No page costs more in a large table than in a small one."""
    grown = {name: (few[name], many[name]) for name in few if many[name] > few[name] * RATIO_MAX}
    assert not grown, grown


async def check_deep(conn: asyncpg.Connection, looks: Mapping[str, Look], *, in_time: Mapping[str, Look] | None = None) -> None:
    """No deep page costs much; those `in_time` (all, unless told) take no longer than they may."""
    blocks = await costs_of(conn, looks)
    assert max(blocks.values()) <= DEEP_BLOCKS_MAX, blocks
    took = {name: await best_ms_of(conn, look, enough_ms=DEEP_MS_MAX) for name, look in (in_time or looks).items()}
    assert max(took.values()) <= DEEP_MS_MAX, took
