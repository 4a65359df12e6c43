"""Orders, their refunds and the days' sums."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from billing.domain import Order, OrderState, Refund

_FIELDS = (
    "order_id", "order_no", "user_id", "package_id", "asset", "amount", "membership_days", "price_minor", "currency", "method", "provider", "body_hash",
    "created_at", "expires_at", "look_at", "state", "version", "merchant_id", "intent_sealed", "transaction_sealed", "lot_number", "paid_at", "ended_at",
    "intent_id", "params", "transaction_id",
)  # fmt: skip
_ORDER = ", ".join(_FIELDS)
_NEW = _FIELDS[:15]
_new = attrgetter(*_NEW)
_PENDING = "(SELECT count(*) FROM payment_order WHERE state = 'pending')"
_KEPT_NUMBERS: Mapping[OrderState | None, str] = {
    None: "coalesce(sum(created), 0)",
    "pending": _PENDING,
    "paid": "coalesce(sum(paid - refunded), 0)",
    "refunded": "coalesce(sum(refunded), 0)",
    "cancelled": "coalesce(sum(cancelled), 0)",
    "expired": f"coalesce(sum(created - paid - cancelled), 0) - {_PENDING}",
}
"""How many orders of everybody there are in a state: kept sums, for no list may count a table that grows for ever. Those that wait are few."""
_REFUND = "refund_id, order_no, attempt, reason, asked_by, state, owed, cut_seconds, created_at, look_at, ended_at"


class OrderFilter(NamedTuple):
    """Which orders are wanted; None is no limit."""

    user_id: UUID | None = None
    state: OrderState | None = None


class DaySums(NamedTuple):
    """What was sold in one currency: ever, and today."""

    currency: str
    created: int
    paid: int
    revenue_minor: int
    today_minor: int


def _order(row: Any) -> Order:
    return Order(**dict(row))


async def insert_order(conn: asyncpg.Connection, order: Order) -> bool:
    """Write a new order down and count it; False when it is there already."""
    holes = ", ".join(f"${number}" for number in range(1, len(_NEW) + 1))
    made = await conn.fetchval(f"INSERT INTO payment_order ({', '.join(_NEW)}) VALUES ({holes}) ON CONFLICT DO NOTHING RETURNING order_id", *_new(order))
    if made is not None:
        await _count(conn, order.created_at, order.currency, created=1)
    return made is not None


async def save_intent(conn: asyncpg.Connection, order_id: UUID, *, merchant_id: str, intent_sealed: bytes) -> None:
    """Remember where the order is paid; the first one stays."""
    await conn.execute(
        "UPDATE payment_order SET merchant_id = $2, intent_sealed = $3 WHERE order_id = $1 AND intent_sealed IS NULL AND intent_id IS NULL",
        order_id, merchant_id, intent_sealed,
    )  # fmt: skip


async def find_order(conn: asyncpg.Connection, order_id: UUID) -> Order | None:
    row = await conn.fetchrow(f"SELECT {_ORDER} FROM payment_order WHERE order_id = $1", order_id)
    return None if row is None else _order(row)


async def find_order_by_no(conn: asyncpg.Connection, order_no: str) -> Order | None:
    row = await conn.fetchrow(f"SELECT {_ORDER} FROM payment_order WHERE order_no = $1", order_no)
    return None if row is None else _order(row)


async def list_orders_by_no(conn: asyncpg.Connection, order_nos: Sequence[str]) -> dict[str, Order]:
    """Those of these orders that exist, by number. To change them, lock their accounts first and read them after that."""
    rows = await conn.fetch(f"SELECT {_ORDER} FROM payment_order WHERE order_no = ANY($1::text[])", order_nos)
    return {row["order_no"]: _order(row) for row in rows}


async def list_order_nos(conn: asyncpg.Connection, order_ids: Sequence[UUID]) -> dict[UUID, str]:
    """The numbers of those of these ids that are orders."""
    rows = await conn.fetch("SELECT order_id, order_no FROM payment_order WHERE order_id = ANY($1::uuid[])", order_ids)
    return {row["order_id"]: row["order_no"] for row in rows}


async def list_orders(conn: asyncpg.Connection, wanted: OrderFilter, *, offset: int, limit: int) -> tuple[list[Order], int]:
    """A page of orders, newest first, and how many there are. Only what is asked for is in the statement, so that each has an index of its own."""
    filters = [(name, value) for name, value in zip(("user_id", "state"), wanted, strict=True) if value is not None]
    where = " AND ".join(f"{name} = ${number}" for number, (name, _) in enumerate(filters, 1)) or "true"
    given = [value for _, value in filters]
    if wanted.user_id is None:
        total = await conn.fetchval(f"SELECT ({_KEPT_NUMBERS[wanted.state]})::bigint FROM order_day")
    else:
        total = await conn.fetchval(f"SELECT count(*) FROM payment_order WHERE {where}", *given)
    if offset >= total:
        return [], total
    # The ids of the page come out of the index alone, however deep it lies; only its own rows are read.
    place = f"ORDER BY created_at DESC, order_id DESC OFFSET ${len(given) + 1} LIMIT ${len(given) + 2}"
    rows = await conn.fetch(
        f"""
        SELECT {_ORDER} FROM payment_order WHERE order_id = ANY(ARRAY(SELECT order_id FROM payment_order WHERE {where} {place}))
        ORDER BY created_at DESC, order_id DESC
        """,
        *given, offset, limit,
    )  # fmt: skip
    return [_order(row) for row in rows], total


async def lock_buyers(conn: asyncpg.Connection, user_ids: Collection[UUID]) -> None:
    """One transaction at a time goes on for each of these users, sorted: what they have open is counted, and no row stands for it."""
    await conn.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('payment_order ' || u, 0)) FROM (SELECT u FROM unnest($1::uuid[]) AS u ORDER BY u) AS sorted",
        list(user_ids),
    )


async def count_pending(conn: asyncpg.Connection, user_id: UUID, limit: int) -> int:
    """How many orders of this user wait for their payment; counts no further than the limit."""
    found: int = await conn.fetchval(
        "SELECT count(*) FROM (SELECT FROM payment_order WHERE user_id = $1 AND state = 'pending' LIMIT $2) AS pending", user_id, limit
    )
    return found


async def list_due_orders(conn: asyncpg.Connection, now: datetime, *, since: datetime, limit: int) -> list[Order]:
    """Orders that upkeep should have a look at, the longest waiting first: those that wait, and cancelled ones placed since then, who may be paid yet."""
    rows = await conn.fetch(
        f"""
        SELECT {_ORDER} FROM payment_order WHERE order_id = ANY(ARRAY(
            (SELECT order_id FROM payment_order WHERE state = 'pending' AND look_at <= $1 ORDER BY look_at LIMIT $3)
            UNION ALL
            (SELECT order_id FROM payment_order WHERE state = 'cancelled' AND created_at >= $2 AND look_at <= $1 ORDER BY look_at LIMIT $3)
        ))
        ORDER BY look_at LIMIT $3
        """,
        now, since, limit,
    )  # fmt: skip
    return [_order(row) for row in rows]


async def look_later(conn: asyncpg.Connection, order_ids: Sequence[UUID], look_at: datetime) -> None:
    await conn.execute("UPDATE payment_order SET look_at = $2 WHERE order_id = ANY($1::uuid[]) AND state IN ('pending', 'cancelled')", order_ids, look_at)


async def save_orders(conn: asyncpg.Connection, now: datetime, orders: Iterable[Order]) -> None:
    """Write down what became of these orders, each from the state it was loaded in, and add it to the day's sums.

    Upkeep seals rows without the lock of their account, so an id may have been sealed since its order was loaded: that one stays.
    """
    changed = sorted(orders, key=lambda order: order.order_id)
    if not changed:
        return
    saved = await conn.fetch(
        """
        UPDATE payment_order SET state = c.state, version = c.version, lot_number = c.lot_number, paid_at = c.paid_at, ended_at = c.ended_at,
            transaction_sealed = coalesce(c.transaction_sealed, payment_order.transaction_sealed)
        FROM unnest($1::uuid[], $2::text[], $3::text[], $4::int[], $5::bytea[], $6::bigint[], $7::timestamptz[], $8::timestamptz[])
            AS c (order_id, was, state, version, transaction_sealed, lot_number, paid_at, ended_at)
        WHERE payment_order.order_id = c.order_id AND payment_order.state = c.was RETURNING payment_order.order_id
        """,
        *[[getattr(order, name) for order in changed] for name in
          ("order_id", "was", "state", "version", "transaction_sealed", "lot_number", "paid_at", "ended_at")],
    )  # fmt: skip
    if len(saved) != len(changed):
        raise RuntimeError("an order was changed past the lock of its account")
    # The days' rows are locked last and in one order, so that nobody waits for them in a ring.
    for order in sorted(changed, key=lambda order: order.currency):
        if order.state == order.was:
            continue
        reopened = -1 if order.was == "cancelled" else 0
        if order.state == "paid":
            await _count(conn, now, order.currency, paid=1, paid_minor=order.price_minor, cancelled=reopened)
        elif order.state == "refunded":
            await _count(conn, now, order.currency, refunded=1, refunded_minor=order.price_minor)
        elif order.state == "cancelled":
            await _count(conn, now, order.currency, cancelled=1)


async def _count(conn: asyncpg.Connection, at: datetime, currency: str, **moves: int) -> None:
    """Add to the day's sums, by their columns' names."""
    columns = ", ".join(moves)
    added = ", ".join(f"{name} = d.{name} + excluded.{name}" for name in moves)
    holes = ", ".join(f"${number}" for number in range(3, len(moves) + 3))
    await conn.execute(
        f"""
        INSERT INTO order_day AS d (day, currency, {columns}) VALUES (($1::timestamptz AT TIME ZONE 'UTC')::date, $2, {holes})
        ON CONFLICT (day, currency) DO UPDATE SET {added}
        """,
        at, currency, *moves.values(),
    )  # fmt: skip


async def sum_days(conn: asyncpg.Connection, now: datetime) -> list[DaySums]:
    """Sales by currency: ever and today, what was refunded taken off the day it was refunded on."""
    rows = await conn.fetch(
        """
        SELECT currency, sum(created)::bigint, sum(paid)::bigint, sum(paid_minor - refunded_minor)::bigint,
            coalesce(sum(paid_minor - refunded_minor) FILTER (WHERE day = ($1::timestamptz AT TIME ZONE 'UTC')::date), 0)::bigint
        FROM order_day GROUP BY currency ORDER BY currency
        """,
        now,
    )
    return [DaySums(*row) for row in rows]


# Refunds


async def list_refunds(conn: asyncpg.Connection, order_no: str) -> list[Refund]:
    """The attempts to give a payment back, oldest first."""
    rows = await conn.fetch(f"SELECT {_REFUND} FROM order_refund WHERE order_no = $1 ORDER BY attempt", order_no)
    return [Refund(**dict(row)) for row in rows]


async def list_due_refunds(conn: asyncpg.Connection, now: datetime, limit: int) -> list[Refund]:
    rows = await conn.fetch(f"SELECT {_REFUND} FROM order_refund WHERE state = 'clawed_back' AND look_at <= $1 ORDER BY look_at LIMIT $2", now, limit)
    return [Refund(**dict(row)) for row in rows]


async def find_oldest_refund(conn: asyncpg.Connection) -> datetime | None:
    """Since when the longest waiting refund waits."""
    found: datetime | None = await conn.fetchval("SELECT min(created_at) FROM order_refund WHERE state = 'clawed_back'")
    return found


async def insert_refund(conn: asyncpg.Connection, refund: Refund) -> None:
    await conn.execute(
        f"INSERT INTO order_refund ({_REFUND}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        *[getattr(refund, name) for name in _REFUND.split(", ")],
    )


async def save_refund(conn: asyncpg.Connection, refund: Refund) -> None:
    """How it ended, once."""
    await conn.execute(
        "UPDATE order_refund SET state = $2, ended_at = $3 WHERE refund_id = $1 AND state = 'clawed_back'", refund.refund_id, refund.state, refund.ended_at
    )


async def look_at_refund_later(conn: asyncpg.Connection, refund_id: UUID, look_at: datetime) -> None:
    await conn.execute("UPDATE order_refund SET look_at = $2 WHERE refund_id = $1 AND state = 'clawed_back'", refund_id, look_at)
