"""The statements of the hot path go by the keys, whatever the tables have grown to and whether they were analysed or not."""

import re

import pytest

from billing import commands
from billing.domain import CaptureHold
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
