"""What payment providers told us, and the money that bought nothing."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg

ALERTS_SHOWN_MAX = 50
_ALERT = "alert_id, fault, provider, order_no, transaction_sealed, amount_minor, currency, at"


class Alert(NamedTuple):
    """Money that arrived and bought nothing."""

    alert_id: UUID
    fault: str
    provider: str
    order_no: str
    transaction_sealed: bytes
    amount_minor: int
    currency: str
    at: datetime


class SealedNotice(NamedTuple):
    """A message as it came. `event_hash` stands for its id (`domain.hidden`), also in the column `event_id`."""

    provider: str
    event_hash: str
    order_no: str
    said_sealed: bytes


async def insert_notice(conn: asyncpg.Connection, now: datetime, notice: SealedNotice) -> None:
    """Keep a message; one that came before stays as it is."""
    await conn.execute(
        "INSERT INTO payment_notice (provider, event_id, order_no, said_sealed, received_at) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
        *notice, now,
    )  # fmt: skip


async def mark_handled(conn: asyncpg.Connection, now: datetime, handled: Sequence[tuple[str, str]]) -> None:
    """These messages, by provider and hash, had their effect."""
    await conn.execute(
        """
        UPDATE payment_notice SET handled_at = $3 FROM unnest($1::text[], $2::text[]) AS h (provider, event_hash)
        WHERE payment_notice.provider = h.provider AND payment_notice.event_id = h.event_hash AND handled_at IS NULL
        """,
        [provider for provider, _ in handled], [event_hash for _, event_hash in handled], now,
    )  # fmt: skip


async def list_unhandled(conn: asyncpg.Connection, before: datetime, providers: Sequence[str], limit: int) -> list[SealedNotice]:
    """Messages of these providers that were kept and then forgotten, because the process died."""
    rows = await conn.fetch(
        """
        SELECT provider, event_id, order_no, said_sealed FROM payment_notice
        WHERE handled_at IS NULL AND received_at < $1 AND said_sealed IS NOT NULL AND provider = ANY($2::text[]) ORDER BY received_at LIMIT $3
        """,
        before, providers, limit,
    )  # fmt: skip
    return [SealedNotice(*row) for row in rows]


async def insert_alerts(conn: asyncpg.Connection, alerts: Sequence[Alert]) -> None:
    """Write down what somebody has to look at, each once."""
    await conn.executemany(f"INSERT INTO payment_alert ({_ALERT}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING", alerts)


async def list_alerts(conn: asyncpg.Connection) -> tuple[list[Alert], int]:
    """The latest that nobody has closed, and how many there are."""
    rows = await conn.fetch(
        f"SELECT {_ALERT} FROM payment_alert WHERE closed_at IS NULL AND transaction_sealed IS NOT NULL ORDER BY at DESC LIMIT $1", ALERTS_SHOWN_MAX
    )
    return [Alert(*row) for row in rows], await count_alerts(conn)


async def list_faults(conn: asyncpg.Connection, order_nos: Sequence[str]) -> dict[str, list[str]]:
    """What is open about these orders."""
    rows = await conn.fetch(
        "SELECT order_no, array_agg(DISTINCT fault) AS faults FROM payment_alert WHERE order_no = ANY($1::text[]) AND closed_at IS NULL GROUP BY order_no",
        order_nos,
    )
    return {row["order_no"]: row["faults"] for row in rows}


async def count_alerts(conn: asyncpg.Connection) -> int:
    found: int = await conn.fetchval("SELECT count(*) FROM payment_alert WHERE closed_at IS NULL")
    return found


async def close_alert(conn: asyncpg.Connection, now: datetime, alert_id: UUID, by: UUID) -> bool:
    """Somebody has looked at it; False when there is no such alert. Closing it again keeps who closed it first."""
    tag = await conn.execute(
        "UPDATE payment_alert SET closed_at = coalesce(closed_at, $2), closed_by = coalesce(closed_by, $3) WHERE alert_id = $1", alert_id, now, by
    )
    return bool(tag == "UPDATE 1")
