"""How many tasks ended how: appended per batch, folded by upkeep."""

from asyncpg import Connection

from common.events.tasks import Kind
from generation.domain import State


async def sum_tallies(conn: Connection) -> dict[tuple[Kind, State], int]:
    """(kind, state) -> how many, ever."""
    rows = await conn.fetch("SELECT kind, state, sum(amount)::bigint FROM tally GROUP BY kind, state")
    return {(row[0], row[1]): row[2] for row in rows}


async def fold_tallies(conn: Connection, *, rows_min: int) -> int:
    """Make few rows of many; answers how many rows went. Rows of open transactions are not seen and wait for the next time."""
    folded: int = await conn.fetchval(
        """
        WITH gone AS (
            DELETE FROM tally WHERE (SELECT count(*) FROM tally) >= $1 RETURNING kind, state, amount
        ), folded AS (
            INSERT INTO tally (kind, state, amount) SELECT kind, state, sum(amount) FROM gone GROUP BY kind, state
        )
        SELECT count(*) FROM gone
        """,
        rows_min,
    )
    return folded
