"""What somebody owns, as one hash per table: whether anybody else's asking changed it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg

from suite.members import WITH_DATA

_TABLES = """
    SELECT c.relname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE a.attname = 'user_id' AND a.atttypid = 'uuid'::regtype AND c.relkind IN ('r', 'p') AND n.nspname = 'public' AND NOT c.relispartition
"""


@asynccontextmanager
async def every_database(environment: Mapping[str, str]) -> AsyncIterator[dict[str, asyncpg.Connection]]:
    """A connection to the database of each service of a running suite."""
    async with AsyncExitStack() as stack:
        opened: dict[str, asyncpg.Connection] = {}
        for service in WITH_DATA:
            opened[service] = await asyncpg.connect(environment[f"{service.upper()}_DATABASE_URL"])
            stack.push_async_callback(opened[service].close)
        yield opened


async def fingerprints(connections: Mapping[str, asyncpg.Connection], user_id: str) -> dict[str, str]:
    """Every row of every database that belongs to somebody: how many, and a hash, by `service.table`."""
    found: dict[str, str] = {}
    for service, conn in connections.items():
        for (table,) in await conn.fetch(_TABLES):
            query = f"SELECT count(*) || ' ' || coalesce(md5(string_agg(t::text, ',' ORDER BY t::text)), '') FROM {table} t WHERE user_id = $1"
            found[f"{service}.{table}"] = await conn.fetchval(query, user_id)
    return found
