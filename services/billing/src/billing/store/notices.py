"""What payment providers told us, and the money that bought nothing."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from billing.domain import Fault, Payment
from common.ids import derived_id

ALERTS_SHOWN_MAX = 50
_ALERT = "alert_id, fault, provider, order_no, transaction_id, amount_minor, currency, at"


class Alert(NamedTuple):
    """Money that arrived and bought nothing."""

    alert_id: UUID
    fault: str
    provider: str
    order_no: str
    transaction_id: str
    amount_minor: int
    currency: str
    at: datetime


class RawNotice(NamedTuple):
    """A message as it came."""

    provider: str
    event_id: str
    order_no: str
    body: bytes
    headers: dict[str, Any]


async def insert_notice(conn: asyncpg.Connection, now: datetime, notice: RawNotice) -> None:
    """Keep a message; one that came before stays as it is."""
    await conn.execute(
        "INSERT INTO payment_notice (provider, event_id, order_no, body, headers, received_at) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
        *notice, now,
    )  # fmt: skip


async def mark_handled(conn: asyncpg.Connection, now: datetime, payments: Sequence[tuple[str, str]]) -> None:
    """These messages had their effect."""
    await conn.execute(
        """
        UPDATE payment_notice SET handled_at = $3 FROM unnest($1::text[], $2::text[]) AS h (provider, event_id)
        WHERE payment_notice.provider = h.provider AND payment_notice.event_id = h.event_id AND handled_at IS NULL
        """,
        [provider for provider, _ in payments], [event_id for _, event_id in payments], now,
    )  # fmt: skip


async def list_unhandled(conn: asyncpg.Connection, before: datetime, limit: int) -> list[RawNotice]:
    """Messages that were kept and then forgotten, because the process died."""
    rows = await conn.fetch(
        """
        SELECT provider, event_id, order_no, body, headers FROM payment_notice WHERE handled_at IS NULL AND received_at < $1
        ORDER BY received_at LIMIT $2
        """,
        before, limit,
    )  # fmt: skip
    return [RawNotice(*row) for row in rows]


async def insert_alerts(conn: asyncpg.Connection, now: datetime, faults: Sequence[tuple[Payment, Fault]]) -> None:
    """Write down what somebody has to look at, each message and fault once."""
    await conn.executemany(
        f"INSERT INTO payment_alert ({_ALERT}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
        [
            (
                derived_id("payment alert", payment.provider, payment.event_id, fault), fault, payment.provider, payment.order_no, payment.transaction_id,
                payment.amount_minor, payment.currency, now,
            )
            for payment, fault in faults
        ],
    )  # fmt: skip


async def list_alerts(conn: asyncpg.Connection) -> tuple[list[Alert], int]:
    """The latest that nobody has closed, and how many there are."""
    rows = await conn.fetch(f"SELECT {_ALERT} FROM payment_alert WHERE closed_at IS NULL ORDER BY at DESC LIMIT $1", ALERTS_SHOWN_MAX)
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
