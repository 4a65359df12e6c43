"""What statements cost, as PostgreSQL says it: for tests that a list stays flat while its table grows."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import orjson

_SETTLE_TRIES = 50


@dataclass
class Explained:
    """Stands in for a connection, runs each read and adds up what it cost: pages of tables and indexes touched, and the database's
    time, statement by statement.

    `generic` asks for the plan that a connection settles on after a few runs, made without knowing the arguments.
    """

    conn: asyncpg.Connection
    generic: bool = False
    blocks: int = 0
    ms: list[float] = field(default_factory=list)

    async def fetch(self, sql: str, *args: object) -> list[Any]:
        await self._explain(sql, args)
        rows: list[Any] = await self.conn.fetch(sql, *args)
        return rows

    async def fetchrow(self, sql: str, *args: object) -> Any:
        await self._explain(sql, args)
        return await self.conn.fetchrow(sql, *args)

    async def fetchval(self, sql: str, *args: object) -> Any:
        await self._explain(sql, args)
        return await self.conn.fetchval(sql, *args)

    async def _explain(self, sql: str, args: tuple[object, ...]) -> None:
        await self.conn.execute(f"SET plan_cache_mode = force_{'generic' if self.generic else 'custom'}_plan")
        await self.conn.execute(f"PREPARE explained AS {sql}")
        try:
            given = f"({', '.join(map(_literal, args))})" if args else ""
            before_ms = _busy_ms(self.conn)
            said = await self.conn.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) EXECUTE explained{given}")
            busy_ms = _busy_ms(self.conn) - before_ms
        finally:
            await self.conn.execute("DEALLOCATE explained; RESET plan_cache_mode")
        [plan] = orjson.loads(said) if isinstance(said, str) else said
        self.blocks += plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]
        self.ms.append(min(plan["Execution Time"], busy_ms or plan["Execution Time"]))


Look = Callable[[Any], Awaitable[int]]
"""Reads a page over what stands in for a connection; answers how many rows came."""


async def blocks_of(conn: asyncpg.Connection, look: Look, *, rows: int) -> int:
    """How many blocks a page costs, with the dearer of its two plans. The page must have as many rows."""
    costs = []
    for generic in (False, True):
        explained = Explained(conn, generic)
        found = await look(explained)
        assert found == rows, (found, rows)
        costs.append(explained.blocks)
    return max(costs)


async def best_ms_of(conn: asyncpg.Connection, look: Look, *, enough_ms: float, runs_max: int = 15) -> float:
    """The database's time for a page with the dearer of its two plans: each statement's best of some runs, for other work on the machine only adds.

    It is tried again until it is good enough, or was tried often.
    """
    sums = []
    for generic in (False, True):
        best: list[float] = []
        for _ in range(runs_max):
            explained = Explained(conn, generic)
            await look(explained)
            best = [min(times) for times in zip(best or explained.ms, explained.ms, strict=True)]
            if sum(best) <= enough_ms:
                break
        sums.append(sum(best))
    return max(sums)


@asynccontextmanager
async def filled(conn: asyncpg.Connection, *tables: str) -> AsyncIterator[None]:
    """Tables take many rows inside; their indexes but the keys' are made again at the end, which is several times as fast, and statistics are taken."""
    async with conn.transaction():
        indexes = await conn.fetch(
            """
            SELECT indexrelid::regclass::text AS name, pg_get_indexdef(indexrelid) AS said FROM pg_index
            WHERE indrelid = ANY($1::text[]::regclass[]) AND NOT indisunique
            """,
            tables,
        )
        for index in indexes:
            await conn.execute(f"DROP INDEX {index['name']}")
        yield
        for index in indexes:
            await conn.execute(index["said"])
    for table in tables:
        await _settle(conn, table)


async def _settle(conn: asyncpg.Connection, table: str) -> None:
    """Statistics, and every page known as visible to all: not so where somebody's snapshot of this database is from before the rows were there."""
    for _ in range(_SETTLE_TRIES):
        await conn.execute(f"VACUUM (ANALYZE, INDEX_CLEANUP ON) {table}")
        if await conn.fetchval("SELECT relallvisible >= relpages FROM pg_class WHERE oid = $1::text::regclass", table):
            return
        await asyncio.sleep(0.2)
    raise TimeoutError(f"{table} holds rows that not everybody may see yet")


def _busy_ms(conn: asyncpg.Connection) -> float:
    """How long the connection's server process has been on a processor, where the system tells: what others take from it is not its time."""
    try:
        return int(Path(f"/proc/{conn.get_server_pid()}/schedstat").read_text().split()[0]) / 1e6
    except (OSError, ValueError, IndexError):
        return 0.0


def _literal(value: object) -> str:
    """An argument as text that its parameter's type reads back."""
    if value is None:
        return "NULL"
    if isinstance(value, (list, tuple)):
        text = "{" + ",".join("NULL" if one is None else '"' + _text(one).replace("\\", "\\\\").replace('"', '\\"') + '"' for one in value) + "}"
    else:
        text = _text(value)
    return "'" + text.replace("'", "''") + "'"


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return f"{value.total_seconds()} seconds"
    if isinstance(value, (str, int, UUID)):
        return str(value)
    raise TypeError(f"no literal for {type(value).__name__}")
