"""What the sandbox payment provider keeps: the other side's books. It has customers, too: a dump of ours shows no id of theirs."""

from datetime import datetime
from typing import Literal, NamedTuple
from uuid import UUID

import asyncpg

from billing.domain import hidden
from common.ids import new_id
from common.vault import Vault

IntentState = Literal["open", "paid", "declined", "closed", "refunded"]
_SHOWN = ("order_no", "description", "amount_minor", "currency", "state", "refunds_refused", "refund_id")
_INTENT = ", ".join(("intent_id", "intent_sealed", "transaction_id", "transaction_sealed", *_SHOWN))
"""The column `intent_id` holds the hash of the id (`domain.hidden`), or the id itself in a row that a process of the version before wrote."""


class SandboxIntent(NamedTuple):
    """One thing to be paid for."""

    intent_id: str
    transaction_id: str | None
    order_no: str
    description: str
    amount_minor: int
    currency: str
    state: IntentState
    refunds_refused: bool
    refund_id: UUID | None


def _intent(vault: Vault, row: asyncpg.Record | None) -> SandboxIntent | None:
    """What is not sealed yet is read as it stands."""
    if row is None:
        return None
    order_no, intent_id, transaction_id = row["order_no"], row["intent_id"], row["transaction_id"]
    if row["intent_sealed"] is not None:
        intent_id = hidden.open_sandbox_id(vault, order_no, row["intent_sealed"])
    if row["transaction_sealed"] is not None:
        transaction_id = hidden.open_sandbox_id(vault, order_no, row["transaction_sealed"])
    return SandboxIntent(intent_id, transaction_id, *(row[name] for name in _SHOWN))


async def make_intent(conn: asyncpg.Connection, vault: Vault, now: datetime, intent: SandboxIntent) -> SandboxIntent:
    """Open an intent, or answer the one its order has."""
    await conn.execute(
        f"""
        INSERT INTO sandbox_intent (intent_id, intent_sealed, {", ".join(_SHOWN)}, created_at, changed_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10) ON CONFLICT DO NOTHING
        """,
        hidden.intent_hash(vault, intent.intent_id), hidden.seal_sandbox_id(vault, intent.order_no, intent.intent_id), *intent[2:], now,
    )  # fmt: skip
    found = await find_intent_of(conn, vault, intent.order_no)
    assert found is not None
    return found


async def find_intent(conn: asyncpg.Connection, vault: Vault, intent_id: str) -> SandboxIntent | None:
    row = await conn.fetchrow(
        f"SELECT {_INTENT} FROM sandbox_intent WHERE intent_id = $1 OR (intent_id = $2 AND intent_sealed IS NULL)",
        hidden.intent_hash(vault, intent_id), intent_id,
    )  # fmt: skip
    return _intent(vault, row)


async def find_intent_of(conn: asyncpg.Connection, vault: Vault, order_no: str) -> SandboxIntent | None:
    return _intent(vault, await conn.fetchrow(f"SELECT {_INTENT} FROM sandbox_intent WHERE order_no = $1", order_no))


async def pay_intent(conn: asyncpg.Connection, vault: Vault, now: datetime, intent_id: str, *, refunds_refused: bool) -> SandboxIntent | None:
    """The person pays. A closed intent takes no money, a paid one no second time; answers what it is now."""
    found = await find_intent(conn, vault, intent_id)
    if found is None:
        return None
    await conn.execute(
        """
        UPDATE sandbox_intent SET state = 'paid', transaction_sealed = $4, refunds_refused = $3, changed_at = $2
        WHERE order_no = $1 AND state IN ('open', 'declined')
        """,
        found.order_no, now, refunds_refused, hidden.seal_sandbox_id(vault, found.order_no, f"sbx_{new_id().hex}"),
    )  # fmt: skip
    return await find_intent_of(conn, vault, found.order_no)


async def decline_intent(conn: asyncpg.Connection, vault: Vault, now: datetime, intent_id: str) -> SandboxIntent | None:
    found = await find_intent(conn, vault, intent_id)
    if found is None:
        return None
    await conn.execute("UPDATE sandbox_intent SET state = 'declined', changed_at = $2 WHERE order_no = $1 AND state = 'open'", found.order_no, now)
    return await find_intent_of(conn, vault, found.order_no)


async def close_intent(conn: asyncpg.Connection, vault: Vault, now: datetime, order_no: str) -> SandboxIntent | None:
    """Nobody can pay it from now on, unless somebody has; answers what it is now."""
    await conn.execute("UPDATE sandbox_intent SET state = 'closed', changed_at = $2 WHERE order_no = $1 AND state IN ('open', 'declined')", order_no, now)
    return await find_intent_of(conn, vault, order_no)


async def refund_intent(conn: asyncpg.Connection, vault: Vault, now: datetime, order_no: str, refund_id: UUID) -> bool:
    """Give the money back; False when that is refused. The same refund again is the same refund."""
    await conn.execute(
        "UPDATE sandbox_intent SET state = 'refunded', refund_id = $3, changed_at = $2 WHERE order_no = $1 AND state = 'paid' AND NOT refunds_refused",
        order_no, now, refund_id,
    )  # fmt: skip
    found = await find_intent_of(conn, vault, order_no)
    return found is not None and found.state == "refunded" and found.refund_id == refund_id
