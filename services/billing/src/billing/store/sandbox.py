"""What the sandbox payment provider keeps: the other side's books."""

from datetime import datetime
from typing import Literal, NamedTuple
from uuid import UUID

import asyncpg

IntentState = Literal["open", "paid", "declined", "closed", "refunded"]
_INTENT = "intent_id, order_no, description, amount_minor, currency, state, refunds_refused, transaction_id, refund_id"


class SandboxIntent(NamedTuple):
    """One thing to be paid for."""

    intent_id: str
    order_no: str
    description: str
    amount_minor: int
    currency: str
    state: IntentState
    refunds_refused: bool
    transaction_id: str | None
    refund_id: UUID | None


async def make_intent(conn: asyncpg.Connection, now: datetime, intent: SandboxIntent) -> SandboxIntent:
    """Open an intent, or answer the one its order has."""
    await conn.execute(
        f"INSERT INTO sandbox_intent ({_INTENT}, created_at, changed_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10) ON CONFLICT DO NOTHING",
        *intent, now,
    )  # fmt: skip
    found = await find_intent_of(conn, intent.order_no)
    assert found is not None
    return found


async def find_intent(conn: asyncpg.Connection, intent_id: str) -> SandboxIntent | None:
    row = await conn.fetchrow(f"SELECT {_INTENT} FROM sandbox_intent WHERE intent_id = $1", intent_id)
    return None if row is None else SandboxIntent(*row)


async def find_intent_of(conn: asyncpg.Connection, order_no: str) -> SandboxIntent | None:
    row = await conn.fetchrow(f"SELECT {_INTENT} FROM sandbox_intent WHERE order_no = $1", order_no)
    return None if row is None else SandboxIntent(*row)


async def pay_intent(conn: asyncpg.Connection, now: datetime, intent_id: str, *, refunds_refused: bool) -> SandboxIntent | None:
    """The person pays. A closed intent takes no money, a paid one no second time; answers what it is now."""
    await conn.execute(
        """
        UPDATE sandbox_intent SET state = 'paid', transaction_id = 'sbx_' || replace(gen_random_uuid()::text, '-', ''), refunds_refused = $3, changed_at = $2
        WHERE intent_id = $1 AND state IN ('open', 'declined')
        """,
        intent_id, now, refunds_refused,
    )  # fmt: skip
    return await find_intent(conn, intent_id)


async def decline_intent(conn: asyncpg.Connection, now: datetime, intent_id: str) -> SandboxIntent | None:
    await conn.execute("UPDATE sandbox_intent SET state = 'declined', changed_at = $2 WHERE intent_id = $1 AND state = 'open'", intent_id, now)
    return await find_intent(conn, intent_id)


async def close_intent(conn: asyncpg.Connection, now: datetime, order_no: str) -> SandboxIntent | None:
    """Nobody can pay it from now on, unless somebody has; answers what it is now."""
    await conn.execute("UPDATE sandbox_intent SET state = 'closed', changed_at = $2 WHERE order_no = $1 AND state IN ('open', 'declined')", order_no, now)
    return await find_intent_of(conn, order_no)


async def refund_intent(conn: asyncpg.Connection, now: datetime, order_no: str, refund_id: UUID) -> bool:
    """Give the money back; False when that is refused. The same refund again is the same refund."""
    await conn.execute(
        "UPDATE sandbox_intent SET state = 'refunded', refund_id = $3, changed_at = $2 WHERE order_no = $1 AND state = 'paid' AND NOT refunds_refused",
        order_no, now, refund_id,
    )  # fmt: skip
    found = await find_intent_of(conn, order_no)
    return found is not None and found.state == "refunded" and found.refund_id == refund_id
