"""Sums of the ledger: days that are over are summed up once, today is counted."""

from datetime import datetime
from typing import NamedTuple

import asyncpg

from billing.domain import Asset

# A transaction's moment is when it began; a day is summed up only when nothing of it can still be under way.
_SETTLED_MINUTES = 10

_SUMS = """
    SELECT asset, kind, (at AT TIME ZONE 'UTC')::date AS day, sum(CASE WHEN credit > 0 THEN amount ELSE -amount END)::bigint AS amount
    FROM entry WHERE at >= $1 AND at < $2 GROUP BY 1, 2, 3"""


class LedgerSums(NamedTuple):
    """Of one asset: what people have (held credits too), what was bought and not given back, what was spent."""

    posted: int
    recharged: int
    consumed: int


async def close_days(conn: asyncpg.Connection, now: datetime) -> None:
    """Sum up the days that are over. Safe twice, and by several at once: a day is written once."""
    await conn.execute("SELECT pg_advisory_xact_lock(hashtext('ledger_day'))")
    since = await conn.fetchval(
        """
        SELECT coalesce((SELECT max(day) + 1 FROM ledger_day), (SELECT (min(at) AT TIME ZONE 'UTC')::date FROM entry))::timestamp AT TIME ZONE 'UTC'
        """
    )
    until = await conn.fetchval(
        f"SELECT date_trunc('day', ($1::timestamptz - interval '{_SETTLED_MINUTES} minutes') AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'", now
    )
    if since is not None and since < until:
        await conn.execute(
            f"INSERT INTO ledger_day (asset, kind, day, amount) SELECT s.asset, s.kind, s.day, s.amount FROM ({_SUMS}) AS s ON CONFLICT DO NOTHING",
            since,
            until,
        )


async def sum_ledger(conn: asyncpg.Connection, now: datetime, asset: Asset) -> LedgerSums:
    """Everything there ever was."""
    row = await conn.fetchrow(
        """
        WITH closed AS (SELECT coalesce(max(day) + 1, '1970-01-01')::timestamp AT TIME ZONE 'UTC' AS until FROM ledger_day),
        every AS (
            SELECT kind, amount FROM ledger_day WHERE asset = $1
            UNION ALL
            SELECT kind, CASE WHEN credit > 0 THEN amount ELSE -amount END FROM entry WHERE asset = $1 AND at >= (SELECT until FROM closed)
        )
        SELECT coalesce(sum(amount), 0)::bigint, coalesce(sum(amount) FILTER (WHERE kind IN ('purchase', 'claw_back', 'refund')), 0)::bigint,
            coalesce(-sum(amount) FILTER (WHERE kind IN ('capture', 'late_capture')), 0)::bigint
        FROM every
        """,
        asset,
    )
    return LedgerSums(*row)
