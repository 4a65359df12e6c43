"""Rows from before the ids of payments were sealed: read in small batches, written back sealed, each once whoever else does the same."""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg


class PlainOrder(NamedTuple):
    order_id: UUID
    intent_id: str | None
    params: dict[str, Any] | None
    transaction_id: str | None


class PlainNotice(NamedTuple):
    provider: str
    event_id: str
    body: bytes
    headers: dict[str, Any]


class PlainIntent(NamedTuple):
    """One of the sandbox's."""

    intent_id: str
    order_no: str
    transaction_id: str | None


async def lock_orders(conn: asyncpg.Connection, limit: int) -> list[PlainOrder]:
    rows = await conn.fetch(
        """
        SELECT order_id, intent_id, params, transaction_id FROM payment_order WHERE intent_id IS NOT NULL OR transaction_id IS NOT NULL
        ORDER BY order_id LIMIT $1 FOR UPDATE SKIP LOCKED
        """,
        limit,
    )  # fmt: skip
    return [PlainOrder(*row) for row in rows]


async def seal_orders(conn: asyncpg.Connection, sealed: Sequence[tuple[UUID, bytes | None, bytes | None]]) -> None:
    """By order: its intent and its transaction. What was sealed meanwhile is newer and stays."""
    await conn.executemany(
        """
        UPDATE payment_order SET intent_sealed = coalesce(intent_sealed, $2), transaction_sealed = coalesce(transaction_sealed, $3),
            intent_id = NULL, params = NULL, transaction_id = NULL
        WHERE order_id = $1
        """,
        sealed,
    )  # fmt: skip


async def lock_notices(conn: asyncpg.Connection, limit: int) -> list[PlainNotice]:
    rows = await conn.fetch(
        """
        SELECT provider, event_id, body, headers FROM payment_notice WHERE said_sealed IS NULL
        ORDER BY provider, event_id LIMIT $1 FOR UPDATE SKIP LOCKED
        """,
        limit,
    )  # fmt: skip
    return [PlainNotice(*row) for row in rows]


async def seal_notices(conn: asyncpg.Connection, sealed: Sequence[tuple[str, str, str, bytes]]) -> None:
    """By provider and event: the hash that names it from now on, and what it said. One that came again meanwhile has its new row."""
    for provider, event_id, event_hash, said in sealed:
        if await conn.fetchval("SELECT true FROM payment_notice WHERE provider = $1 AND event_id = $2", provider, event_hash):
            await conn.execute("DELETE FROM payment_notice WHERE provider = $1 AND event_id = $2", provider, event_id)
        else:
            await conn.execute(
                "UPDATE payment_notice SET event_id = $3, said_sealed = $4, body = NULL, headers = NULL WHERE provider = $1 AND event_id = $2",
                provider, event_id, event_hash, said,
            )  # fmt: skip


async def lock_alerts(conn: asyncpg.Connection, limit: int) -> list[tuple[UUID, str]]:
    rows = await conn.fetch(
        "SELECT alert_id, transaction_id FROM payment_alert WHERE transaction_id IS NOT NULL ORDER BY alert_id LIMIT $1 FOR UPDATE SKIP LOCKED", limit
    )
    return [(row["alert_id"], row["transaction_id"]) for row in rows]


async def seal_alerts(conn: asyncpg.Connection, sealed: Sequence[tuple[UUID, bytes]]) -> None:
    await conn.executemany("UPDATE payment_alert SET transaction_sealed = coalesce(transaction_sealed, $2), transaction_id = NULL WHERE alert_id = $1", sealed)


async def lock_intents(conn: asyncpg.Connection, limit: int) -> list[PlainIntent]:
    rows = await conn.fetch(
        "SELECT intent_id, order_no, transaction_id FROM sandbox_intent WHERE intent_sealed IS NULL ORDER BY intent_id LIMIT $1 FOR UPDATE SKIP LOCKED", limit
    )
    return [PlainIntent(*row) for row in rows]


async def seal_intents(conn: asyncpg.Connection, sealed: Sequence[tuple[str, str, bytes, bytes | None]]) -> None:
    """By intent: the hash that names it from now on, its id and its transaction. One that was paid meanwhile has its transaction sealed."""
    await conn.executemany(
        """
        UPDATE sandbox_intent SET intent_id = $2, intent_sealed = $3, transaction_sealed = coalesce(transaction_sealed, $4), transaction_id = NULL
        WHERE intent_id = $1
        """,
        sealed,
    )  # fmt: skip
