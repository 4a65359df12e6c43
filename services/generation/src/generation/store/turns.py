"""Whose turn it is: one row per user of whom something waits, pictures and songs apart."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from uuid import UUID

from asyncpg import Connection

from generation.domain import Rank
from generation.store.columns import words


async def give_turns(conn: Connection, wishes: Mapping[UUID, tuple[Rank, datetime]], *, songs: bool) -> None:
    """Users of whom something waits since now get a turn, by their rank as it is known now; one they have stays where it is or moves ahead.

    Written in the order of ids. The version tells a claim under way that there is more than it saw.
    """
    users = sorted(wishes)
    await conn.execute(
        """
        INSERT INTO turn (songs, user_id, rank, turn_at)
        SELECT $1, n.user_id, n.rank, n.turn_at
        FROM unnest($2::uuid[], $3::text::text[], $4::timestamptz[]) WITH ORDINALITY AS n (user_id, rank, turn_at, place) ORDER BY n.place
        ON CONFLICT (songs, user_id) DO UPDATE
        SET rank = excluded.rank, turn_at = least(turn.turn_at, excluded.turn_at), version = turn.version + 1
        """,
        songs, users, words([wishes[user_id][0] for user_id in users]), [wishes[user_id][1] for user_id in users],
    )  # fmt: skip


async def lock_queue(conn: Connection, *, songs: bool) -> None:
    """Until the transaction ends, nobody else who asks for this lock claims from this queue."""
    await conn.execute("SELECT pg_advisory_xact_lock(hashtext('turn'), $1::boolean::integer)", songs)


async def has_turns(conn: Connection, *, songs: bool) -> bool:
    """Whether anything waits, or did a moment ago."""
    found: bool = await conn.fetchval("SELECT EXISTS (SELECT FROM turn WHERE songs = $1)", songs)
    return found


async def list_members(conn: Connection, user_ids: Collection[UUID]) -> set[UUID]:
    """Those of these users who were members when they asked for what waits."""
    rows = await conn.fetch("SELECT user_id FROM turn WHERE songs IN (true, false) AND user_id = ANY($1::uuid[]) AND rank = 'member'", list(user_ids))
    return {row[0] for row in rows}


async def restore_turns(conn: Connection, *, now: datetime, handicap: timedelta) -> int:
    """Turns for users of whom something waits and who have none, as a process of an older version leaves them; answers how many."""
    rows = await conn.fetch(
        """
        INSERT INTO turn (songs, user_id, rank, turn_at)
        SELECT kind = 'song', user_id, 'normal', min(due_at) + $2::interval FROM task
        WHERE state = 'queued' AND start_by > $1 AND NOT EXISTS (SELECT FROM turn WHERE turn.songs = (task.kind = 'song') AND turn.user_id = task.user_id)
        GROUP BY kind = 'song', user_id ORDER BY kind = 'song', user_id
        ON CONFLICT (songs, user_id) DO NOTHING RETURNING user_id
        """,
        now, handicap,
    )  # fmt: skip
    return len(rows)
