"""The bus's promise: nothing that was committed stays untold, nothing that was told stays unheard."""

import asyncpg

from lab.invariants.places import say


async def check_bus(service: str, conn: asyncpg.Connection) -> list[str]:
    """The outbox is empty and no record was given up."""
    waiting = await conn.fetch("SELECT topic, count(*) AS rows, bool_or(parked_at IS NOT NULL) AS parked, max(error) AS error FROM outbox_fact GROUP BY topic")
    found = say(
        f"{service}'s outbox still has", [f"{row['rows']} of {row['topic']}" + (f" (parked: {row['error']})" if row["parked"] else "") for row in waiting]
    )
    dead = await conn.fetch("SELECT topic, count(*) AS rows, max(cause) AS cause FROM dead_letter WHERE replayed_at IS NULL GROUP BY topic")
    return found + say(f"{service} gave up on", [f"{row['rows']} of {row['topic']} ({row['cause'][:200]})" for row in dead])
