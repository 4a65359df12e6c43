"""Lists stay flat: a page of one owner costs the same whatever else is in the table, a deep one is still cheap, and no total is a scan."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from billing.app import MIGRATIONS
from billing.domain import Order, OrderState
from billing.store import orders, records
from billing.store.orders import OrderFilter
from billing.store.records import RecordFilter
from common.ids import new_id
from common.migrate import every_migration, migrate
from common.testing.explained import Look, filled
from common.testing.flat import DEEP, FEW, MANY, OWNED, PAGE, SOME, check_deep, check_same, connected, costs_of

START = datetime(2026, 1, 1, tzinfo=UTC)
ACCOUNT, LARGE_ACCOUNT = 7, 8

# One in ten is of each of the rarer kinds and states, so that a filter leaves a deep list as well.
RECORDS = """
INSERT INTO record (account_id, number, kind, amount, available_after, ref_id, description, at)
SELECT coalesce($1::bigint, 1000 + n % 500), $3::bigint + n, CASE WHEN n % 10 = 0 THEN 'recharge' ELSE 'consume' END, 1, 1, gen_random_uuid(), 'a task',
    $4::timestamptz + n * interval '1 second'
FROM generate_series(1, $2::int) AS n
"""
ORDERS = """
INSERT INTO payment_order (order_id, order_no, user_id, package_id, asset, amount, membership_days, price_minor, currency, method, provider, body_hash,
    created_at, expires_at, look_at, state, paid_at, ended_at)
SELECT (lpad(to_hex($3::int + n), 12, '0') || '7000' || substr(md5(n::text || $3::text), 1, 16))::uuid, 'O' || lpad(($3::int + n)::text, 12, '0'),
    coalesce($1::uuid, md5((n % 500)::text)::uuid), 'basic', 'credit', 1, 0, 1, 'CNY', 'wechat', 'sandbox',
    '\\x00', t, t, t, s, CASE WHEN s IN ('paid', 'refunded') THEN t END, CASE WHEN s <> 'paid' THEN t END
FROM generate_series(1, $2::int) AS n, LATERAL (SELECT timestamptz '2026-01-01' + ($3::int + n) * interval '1 second',
    CASE n % 20 WHEN 0 THEN 'refunded' WHEN 1 THEN 'cancelled' WHEN 2 THEN 'expired' ELSE 'paid' END) AS x (t, s)
"""
COUNTED = """
INSERT INTO order_day (day, currency, created, paid, refunded, cancelled)
SELECT created_at::date, 'CNY', count(*), count(*) FILTER (WHERE state IN ('paid', 'refunded')), count(*) FILTER (WHERE state = 'refunded'),
    count(*) FILTER (WHERE state = 'cancelled') FROM payment_order GROUP BY 1
ON CONFLICT (day, currency) DO UPDATE SET created = excluded.created, paid = excluded.paid, refunded = excluded.refunded, cancelled = excluded.cancelled
"""


@pytest.fixture
async def conn(service_database: Any, superuser_url: Any) -> AsyncIterator[asyncpg.Connection]:
    """Billing's database, set like the service sets it."""
    await service_database("billing")
    async with connected(await superuser_url("billing"), "record", "payment_order", "order_day") as conn:
        yield conn


async def look_at_history(conn: Any, account: int, total: int, offset: int = 0) -> int:
    return len(await records.list_latest(conn, account, total, offset=offset, limit=PAGE))


async def look_at_records(conn: Any, account: int, wanted: RecordFilter, offset: int = 0) -> int:
    found, total = await records.list_matching(conn, account, wanted, offset=offset, limit=PAGE)
    assert total > offset
    return len(found)


async def look_at_orders(conn: Any, wanted: OrderFilter, offset: int = 0) -> int:
    found, total = await orders.list_orders(conn, wanted, offset=offset, limit=PAGE)
    assert total > offset
    return len(found)


async def test_a_page_of_ones_history_costs_the_same_in_any_table_and_page_1000_little(conn: Any) -> None:
    shallow: dict[str, Look] = {
        "history": partial(look_at_history, account=ACCOUNT, total=SOME),
        "one kind": partial(look_at_records, account=ACCOUNT, wanted=RecordFilter(kind="recharge")),
        "since": partial(look_at_records, account=ACCOUNT, wanted=RecordFilter(since=START + timedelta(minutes=5))),
    }
    await conn.execute(RECORDS, ACCOUNT, SOME, 0, START)
    costs = []
    for others, first in ((FEW, 0), (MANY - FEW, FEW)):
        async with filled(conn, "record"):
            await conn.execute(RECORDS, None, others, first, START)
        costs.append(await costs_of(conn, shallow))
    check_same(*costs)
    async with filled(conn, "record"):
        await conn.execute(RECORDS, LARGE_ACCOUNT, OWNED, 0, START)
    deep: dict[str, Look] = {
        "history": partial(look_at_history, account=LARGE_ACCOUNT, total=OWNED, offset=DEEP),
        "one kind": partial(look_at_records, account=LARGE_ACCOUNT, wanted=RecordFilter(kind="consume"), offset=DEEP),
        "dates": partial(look_at_records, account=LARGE_ACCOUNT, wanted=RecordFilter(since=START, before=START + timedelta(days=1)), offset=DEEP),
    }
    await check_deep(conn, deep)


async def test_a_page_of_orders_costs_the_same_in_any_table_and_page_1000_little(conn: Any) -> None:
    owner, large = new_id(), new_id()
    shallow: dict[str, Look] = {
        "mine": partial(look_at_orders, wanted=OrderFilter(owner)),
        "mine, refunded": partial(look_at_orders, wanted=OrderFilter(owner, "refunded")),
        "everybody's": partial(look_at_orders, wanted=OrderFilter()),
        "everybody's, paid": partial(look_at_orders, wanted=OrderFilter(None, "paid")),
        "everybody's, expired": partial(look_at_orders, wanted=OrderFilter(None, "expired")),
    }
    await conn.execute(ORDERS, owner, SOME, 0)
    costs = []
    for others, first in ((FEW, SOME), (MANY - FEW, SOME + FEW)):
        async with filled(conn, "payment_order"):
            await conn.execute(ORDERS, None, others, first)
            await conn.execute(COUNTED)
        costs.append(await costs_of(conn, shallow))
    check_same(*costs)
    async with filled(conn, "payment_order"):
        await conn.execute(ORDERS, large, OWNED, SOME + MANY)
        await conn.execute(COUNTED)
    wanted = (OrderFilter(large), OrderFilter(large, "paid"), OrderFilter(), OrderFilter(None, "paid"))
    await check_deep(conn, {str(one): partial(look_at_orders, wanted=one, offset=DEEP) for one in wanted})
    await check_numbers(conn)


async def check_numbers(conn: Any) -> None:
    """The kept numbers are those of the rows."""
    states: tuple[OrderState, ...] = ("pending", "paid", "refunded", "cancelled", "expired")
    for state in states:
        counted = await conn.fetchval("SELECT count(*) FROM payment_order WHERE state = $1", state)
        assert (await orders.list_orders(conn, OrderFilter(None, state), offset=0, limit=1))[1] == counted, state


async def test_numbers_of_orders_follow_what_becomes_of_them(bank: Any, user_id: UUID) -> None:
    ways: tuple[tuple[OrderState, ...], ...] = (
        (), ("paid",), ("paid", "refunded"), ("cancelled",), ("expired",), ("cancelled", "paid"), ("expired", "paid"), ("cancelled", "paid", "refunded"),
    )  # fmt: skip
    for way in ways:
        order = Order(
            order_id=new_id(), order_no=str(new_id()), user_id=user_id, package_id="basic", asset="credit", amount=1, membership_days=0, price_minor=1,
            currency="CNY", method="wechat", provider="sandbox", body_hash=b"", created_at=START, expires_at=START, look_at=START,
        )  # fmt: skip
        async with bank.db.transaction() as tx:
            assert await orders.insert_order(tx.conn, order)
        for days, state in enumerate(way, 1):
            order.state, order.paid_at = state, START if state in ("paid", "refunded") else None
            async with bank.db.transaction() as tx:
                await orders.save_orders(tx.conn, START + timedelta(days=days), [order])
            order.was = state
            async with bank.db.read() as conn:
                await check_numbers(conn)
    async with bank.db.read() as conn:
        _, total = await orders.list_orders(conn, OrderFilter(), offset=0, limit=1)
        found, beyond = await orders.list_orders(conn, OrderFilter(None, "paid"), offset=3, limit=5)
    assert (total, len(found), beyond) == (len(ways), 0, 3)


async def test_orders_from_before_they_were_counted_are_counted(make_database: Any) -> None:
    database = await make_database("billing")
    files = every_migration(MIGRATIONS)
    counted = next(place for place, file in enumerate(files) if file.name == "0015_count_orders.sql")
    await migrate(database.owner_url, files[:counted], service_role=database.name)
    conn = await asyncpg.connect(database.owner_url)
    try:
        await conn.execute(ORDERS, None, 100, 0)
        await conn.execute(
            """
            INSERT INTO order_day (day, currency, created, paid, refunded)
            SELECT '2026-01-01', 'CNY', count(*), count(paid_at), count(*) FILTER (WHERE state = 'refunded') FROM payment_order
            """
        )
        await migrate(database.owner_url, files, service_role=database.name)
        await check_numbers(conn)
    finally:
        await conn.close()
