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
    """A page of the records that match, newest first, and how many match in all. Both are found in the index alone; only the page's rows are read."""
    given: list[object] = [account_id]
    where = "account_id = $1"
    for condition, value in (("kind =", wanted.kind), ("at >=", wanted.since), ("at <", wanted.before)):
        if value is not None:
            given.append(value)
            where += f" AND {condition} ${len(given)}"
    total = await conn.fetchval(f"SELECT count(*) FROM record WHERE {where}", *given)
    if offset >= total:
        return [], total
    page = f"SELECT number FROM record WHERE {where} ORDER BY number DESC OFFSET ${len(given) + 1} LIMIT ${len(given) + 2}"
    rows = await conn.fetch(f"SELECT {_COLUMNS} FROM record WHERE account_id = $1 AND number = ANY(ARRAY({page})) ORDER BY number DESC", *given, offset, limit)
    return [Record(*row) for row in rows], total
