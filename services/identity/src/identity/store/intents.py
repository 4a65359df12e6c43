"""What operators asked for and billing has not answered yet."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from common.ids import UserId
from identity.domain import Intent, PersonChange

_COLUMNS = "action_id, admin_id, user_id, role, status, credits_adjustment, reason, body_hash, claim_no, leased_until"


async def find_action_hash(conn: asyncpg.Connection, action_id: UUID) -> bytes | None:
    """What the request of this action said; empty for those that were noted before that was kept, None when there is no such action."""
    found: bytes | None = await conn.fetchval("SELECT coalesce(body_hash, '') FROM admin_action WHERE action_id = $1", action_id)
    return found


async def find_intent(conn: asyncpg.Connection, change: PersonChange) -> Intent | None:
    """The open intent of this very action; without a key also one of the same admin that says the same of the same person."""
    row = await conn.fetchrow(
        f"""
        SELECT {_COLUMNS} FROM admin_intent
        WHERE user_id = $1 AND (action_id = $2 OR ($3 AND admin_id = $4 AND body_hash = $5))
        ORDER BY action_id = $2 DESC, asked_at LIMIT 1
        """,
        change.user_id, change.action_id, not change.keyed, change.admin_id, change.body_hash,
    )  # fmt: skip
    return _intent_of(row, claimed=False) if row is not None else None


async def insert_intent(conn: asyncpg.Connection, intent: Intent, now: datetime) -> None:
    change = intent.change
    await conn.execute(
        f"INSERT INTO admin_intent ({_COLUMNS}, asked_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        change.action_id, change.admin_id, change.user_id, change.role, change.status, change.credits_adjustment, change.reason, change.body_hash,
        intent.claim_no, intent.leased_until, now,
    )  # fmt: skip


async def claim_intent(conn: asyncpg.Connection, taken: Intent) -> bool:
    """Take an intent over as it is written here; False when somebody else was quicker."""
    row = await conn.fetchrow(
        "UPDATE admin_intent SET claim_no = $2, leased_until = $3 WHERE action_id = $1 AND claim_no = $2 - 1 RETURNING 1",
        taken.change.action_id, taken.claim_no, taken.leased_until,
    )  # fmt: skip
    return row is not None


async def claim_intents(conn: asyncpg.Connection, *, now: datetime, leased_until: datetime, limit: int) -> list[Intent]:
    """Take over what nobody holds any more, the longest waiting first."""
    rows = await conn.fetch(
        f"""
        UPDATE admin_intent SET claim_no = claim_no + 1, leased_until = $2
        WHERE action_id = ANY(ARRAY(
            SELECT action_id FROM admin_intent WHERE leased_until <= $1 ORDER BY leased_until LIMIT $3 FOR UPDATE SKIP LOCKED
        ))
        RETURNING {_COLUMNS}
        """,
        now, leased_until, limit,
    )  # fmt: skip
    return [_intent_of(row, claimed=True) for row in rows]


async def give_up_intent(conn: asyncpg.Connection, intent: Intent) -> None:
    """It will not be made; only whoever claimed it last can say so."""
    await conn.execute("DELETE FROM admin_intent WHERE action_id = $1 AND claim_no = $2", intent.change.action_id, intent.claim_no)


async def delete_intents(conn: asyncpg.Connection, action_ids: Sequence[UUID]) -> None:
    """They are made."""
    await conn.execute("DELETE FROM admin_intent WHERE action_id = ANY($1::uuid[])", list(action_ids))


def _intent_of(row: asyncpg.Record, *, claimed: bool) -> Intent:
    change = PersonChange(
        action_id=row["action_id"],
        admin_id=UserId(row["admin_id"]),
        user_id=UserId(row["user_id"]),
        role=row["role"],
        status=row["status"],
        credits_adjustment=row["credits_adjustment"],
        reason=row["reason"],
        body_hash=row["body_hash"],
        keyed=True,
    )
    return Intent(change, row["claim_no"], row["leased_until"], claimed)
