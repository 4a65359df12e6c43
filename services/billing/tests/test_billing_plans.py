"""The statements of the hot path go by the keys, whatever the tables have grown to and whether they were analysed or not."""

import re
from datetime import timedelta

import pytest

from billing import commands
from billing.domain import CaptureHold, Payment
from billing.store import orders
from billing.store.orders import OrderFilter
from common.ids import new_id

GROW = """
    INSERT INTO account (user_id, asset, head, opened_at) SELECT gen_random_uuid(), 'credit', '', now() FROM generate_series(1, 5000);
    INSERT INTO hold (task_id, account_id, placed_at, renewed_at, expires_at, look_at, price, items, body_hash, draws, state)
    SELECT gen_random_uuid(), 1, now(), now(), now(), now(), 1, 1, '', '[]', CASE WHEN n % 4 = 0 THEN 'open' ELSE 'captured' END
    FROM generate_series(1, 20000) AS n;
"""


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("analysed", [True, False])
async def test_no_batch_reads_a_whole_table(bank, mode: str, analysed: bool) -> None:
    users = [new_id() for _ in range(50)]
    await bank.open(*users)
    await bank.plant(GROW + ("ANALYZE" if analysed else ""))
    asks = [bank.ask(user_id) for user_id in users]
    ends = [CaptureHold(ask.task_id, 1) for ask in asks]
    for change in (lambda tx: commands.place_holds(tx, asks, bank.terms), lambda tx: commands.capture_holds(tx, ends)):
        async with bank.db.transaction() as tx:
            await tx.conn.execute(f"SET LOCAL plan_cache_mode = {mode}")
            said: list[tuple[str, tuple[object, ...]]] = []
            with tx.conn.query_logger(lambda query, said=said: said.append((query.query, query.args))):
                await change(tx)
            for sql, args in said:
                plan = "\n".join(row[0] for row in await tx.conn.fetch(f"EXPLAIN {sql}", *args))
                assert not re.search(r"Seq Scan on (account|hold)\b|hold_open", plan), plan


GROW_ORDERS = """
    INSERT INTO payment_order (order_id, order_no, user_id, package_id, asset, amount, membership_days, price_minor, currency, method, provider, body_hash,
        created_at, expires_at, look_at, state, paid_at)
    SELECT gen_random_uuid(), 'ORDER' || n, ('00000000-0000-7000-8000-' || lpad((n % 1000)::text, 12, '0'))::uuid, 'basic', 'credit', 100, 0, 990, 'CNY',
        'wechat', 'sandbox', '', now() - n * interval '1 minute', now(), now(), CASE n % 50 WHEN 0 THEN 'pending' WHEN 1 THEN 'cancelled' ELSE 'paid' END,
        CASE WHEN n % 50 < 2 THEN NULL ELSE now() END
    FROM generate_series(1, 20000) AS n;
    INSERT INTO payment_notice (provider, event_id, order_no, said_sealed, received_at, handled_at)
    SELECT 'sandbox', 'e' || n, 'ORDER' || n, '', now(), now() FROM generate_series(1, 20000) AS n;
    INSERT INTO membership_period (user_id, kind, source, starts_at, ends_at)
    SELECT gen_random_uuid(), 'signup', n::text, now(), now() + interval '1 day' FROM generate_series(1, 20000) AS n;
"""


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
async def test_no_question_about_orders_reads_a_whole_table(bank, user_id, mode: str) -> None:
    await bank.open(user_id)
    await bank.plant(GROW_ORDERS + "ANALYZE")
    payment = Payment("sandbox", "e1", "ORDER1", "shop", None, "t", 1, "CNY")
    async with bank.db.transaction() as tx:
        await tx.conn.execute(f"SET LOCAL plan_cache_mode = {mode}")
        said: list[tuple[str, tuple[object, ...]]] = []
        with tx.conn.query_logger(lambda query: said.append((query.query, query.args))):
            await orders.list_orders(tx.conn, OrderFilter(user_id), offset=0, limit=20)
            await orders.list_orders(tx.conn, OrderFilter(user_id, "paid"), offset=0, limit=20)
            await orders.list_orders(tx.conn, OrderFilter(), offset=0, limit=20)
            await orders.list_due_orders(tx.conn, tx.now, since=tx.now - timedelta(days=1), limit=20)
            await orders.count_pending(tx.conn, user_id, 20)
            await orders.list_due_refunds(tx.conn, tx.now, 20)
            with pytest.raises(commands.NotOpened):
                await commands.pay_orders(tx, [payment], bank.vault)
        for sql, args in said:
            plan = "\n".join(row[0] for row in await tx.conn.fetch(f"EXPLAIN {sql}", *args))
            assert not re.search(r"Seq Scan on (payment_order|payment_notice|membership_period)\b", plan), plan
