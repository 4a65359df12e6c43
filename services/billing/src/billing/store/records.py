"""Reading the history people see."""

from datetime import datetime
from typing import NamedTuple

import asyncpg

from billing.domain import Record, RecordKind

_COLUMNS = "account_id, number, kind, amount, available_after, ref_id, description, at"


class RecordFilter(NamedTuple):
    """Which records are wanted: of one kind, from a moment on, before a moment. None is no limit."""

    kind: RecordKind | None = None
    since: datetime | None = None
    before: datetime | None = None


async def list_latest(conn: asyncpg.Connection, account_id: int, total: int, *, offset: int, limit: int) -> list[Record]:
    """A page of all records, newest first: a range of numbers, so a deep page costs what the first one does."""
    rows = await conn.fetch(
        f"SELECT {_COLUMNS} FROM record WHERE account_id = $1 AND number <= $2 AND number > $3 ORDER BY number DESC",
        account_id, total - offset, total - offset - limit,
    )  # fmt: skip
    return [Record(*row) for row in rows]


async def list_matching(conn: asyncpg.Connection, account_id: int, wanted: RecordFilter, *, offset: int, limit: int) -> tuple[list[Record], int]:
    """A page of the records that match, newest first, and how many match in all."""
    where = """account_id = $1 AND ($2::text IS NULL OR kind = $2) AND ($3::timestamptz IS NULL OR at >= $3)
        AND ($4::timestamptz IS NULL OR at < $4)"""
    total = await conn.fetchval(f"SELECT count(*) FROM record WHERE {where}", account_id, *wanted)
    rows = await conn.fetch(f"SELECT {_COLUMNS} FROM record WHERE {where} ORDER BY number DESC OFFSET $5 LIMIT $6", account_id, *wanted, offset, limit)
    return [Record(*row) for row in rows], total
