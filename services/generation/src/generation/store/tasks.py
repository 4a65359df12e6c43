"""Tasks: written, claimed, renewed, ended, listed."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from asyncpg import Connection

from common.events.tasks import Kind
from generation.domain import STATES, AttemptState, EndRow, ItemRow, Known, Outcome, Standing, Task, View
from generation.store.columns import numbers, words
from generation.store.rows import (
    TASK,
    item_columns,
    item_of,
    pack_brief,
    pack_outcome,
    pack_trace,
    saved_items,
    task_of,
)

_NEW = """
    FROM ROWS FROM (
        unnest($4::uuid[], $5::uuid[], $6::uuid[], $7::text::integer[], $8::text::smallint[], $9::text::text[], $10::text::text[], $11::text::text[],
               $12::text::text[]),
        jsonb_array_elements($13::jsonb)
    ) AS n (task_id, user_id, work_id, price, asked, kind, scene_id, trace, body_hash, brief)"""
_NEW_COLUMNS = "user_id, work_id, price, asked, kind, scene_id, trace, brief"


async def insert_tasks(conn: Connection, tasks: Sequence[Task], body_hashes: Sequence[bytes]) -> set[UUID]:
    """Write new tasks of one moment and with the same deadlines; answers the ids that are new, whose users must be given turns."""
    rows = await conn.fetch(
        f"""
        INSERT INTO task (task_id, body_hash, created_at, due_at, start_by, deadline_at, {_NEW_COLUMNS})
        SELECT n.task_id, decode(n.body_hash, 'hex'), $1::timestamptz, $1, $2::timestamptz, $3::timestamptz, n.{_NEW_COLUMNS.replace(", ", ", n.")} {_NEW}
        ON CONFLICT (task_id) DO NOTHING RETURNING task_id
        """,
        *_new_columns(tasks, body_hashes),
    )
    return {row[0] for row in rows}


async def insert_claimed_tasks(conn: Connection, tasks: Sequence[Task], body_hashes: Sequence[bytes], *, lease: timedelta, provider: str) -> set[UUID]:
    """Write such tasks that a worker of this process has from the start, and the journal of their first attempt; answers the ids that are new."""
    rows = await conn.fetch(
        f"""
        WITH born AS (
            INSERT INTO task (task_id, body_hash, created_at, started_at, due_at, start_by, deadline_at, state, version, claim_no, {_NEW_COLUMNS})
            SELECT n.task_id, decode(n.body_hash, 'hex'), $1::timestamptz, $1, least($1 + $14::interval, $3), $2::timestamptz, $3::timestamptz, 'running', 2, 1,
                   n.{_NEW_COLUMNS.replace(", ", ", n.")} {_NEW}
            ON CONFLICT (task_id) DO NOTHING RETURNING task_id
        ), remembered AS (
            INSERT INTO history (task_id, version, at, from_state, to_state) SELECT task_id, 2, $1, 'queued', 'running' FROM born
        ), journaled AS (
            INSERT INTO attempt (task_id, attempt_no, claim_no, created_at, provider) SELECT task_id, 1, 1, $1, $15::text FROM born
        )
        SELECT task_id FROM born
        """,
        *_new_columns(tasks, body_hashes), lease, provider,
    )  # fmt: skip
    return {row[0] for row in rows}


def _new_columns(tasks: Sequence[Task], body_hashes: Sequence[bytes]) -> tuple[object, ...]:
    first = tasks[0]
    return (
        first.created_at, first.start_by, first.deadline_at,
        [task.task_id for task in tasks], [task.user_id for task in tasks], [task.work_id for task in tasks],
        numbers([task.price for task in tasks]), numbers([task.asked for task in tasks]), words([task.kind for task in tasks]),
        words([task.scene_id for task in tasks]), words([pack_trace(task.trace) for task in tasks]), words([one.hex() for one in body_hashes]),
        [pack_brief(task.brief) for task in tasks],
    )  # fmt: skip


async def list_known(conn: Connection, task_ids: Collection[UUID]) -> dict[UUID, Known]:
    """Those of these tasks that exist."""
    rows = await conn.fetch(f"SELECT {TASK}, body_hash FROM task WHERE task_id = ANY($1::uuid[])", list(task_ids))
    return {row["task_id"]: Known(task_of(row), row["body_hash"]) for row in rows}


async def list_owned(conn: Connection, user_id: UUID, task_ids: Collection[UUID]) -> set[UUID]:
    """Those of these tasks that are this user's."""
    rows = await conn.fetch("SELECT task_id FROM task WHERE task_id = ANY($1::uuid[]) AND user_id = $2", list(task_ids), user_id)
    return {row[0] for row in rows}


async def count_waiting(conn: Connection, user_ids: Collection[UUID]) -> dict[UUID, int]:
    """Queued tasks per user."""
    rows = await conn.fetch("SELECT user_id, count(*) FROM task WHERE user_id = ANY($1::uuid[]) AND state = 'queued' GROUP BY user_id", list(user_ids))
    return {row[0]: row[1] for row in rows}


async def renew_leases(conn: Connection, claims: Mapping[UUID, int], *, now: datetime, lease: timedelta) -> set[UUID]:
    """A heartbeat for all claims of a worker; answers those it still has."""
    rows = await conn.fetch(
        """
        WITH mine AS MATERIALIZED (
            SELECT task.task_id FROM task JOIN unnest($1::uuid[], $2::integer[]) AS c (task_id, claim_no) USING (task_id)
            WHERE task.task_id = ANY($1::uuid[]) AND task.claim_no = c.claim_no AND task.state = 'running' ORDER BY task.task_id FOR UPDATE OF task
        )
        UPDATE task SET due_at = least($3::timestamptz + $4::interval, deadline_at) FROM mine WHERE task.task_id = mine.task_id RETURNING task.task_id
        """,
        list(claims), list(claims.values()), now, lease,
    )  # fmt: skip
    return {row[0] for row in rows}


async def give_back(conn: Connection, task_id: UUID, claim_no: int, due_at: datetime) -> bool:
    """Let another claim it from then on, fencing this claim off; False when this claim has it no more."""
    found = await conn.fetchval(
        """
        UPDATE task SET due_at = least($3, deadline_at), claim_no = claim_no + 1
        WHERE task_id = $1 AND state = 'running' AND claim_no = $2 RETURNING true
        """,
        task_id, claim_no, due_at,
    )  # fmt: skip
    return found is not None


async def finish_tasks(conn: Connection, ends: Sequence[EndRow], items: Sequence[ItemRow], *, now: datetime) -> dict[int, int]:
    """End running tasks that their claim still has, save what arrived with the end and close their open attempts.

    Answers the new versions by place in `ends`. Rows are locked in the order of their ids before anything is changed. Attempts that are `unknown` stay so.
    """
    rows = await conn.fetch(
        f"""
        WITH asked AS MATERIALIZED (
            SELECT * FROM ROWS FROM (
                unnest($2::uuid[], $3::text::integer[], $4::text::text[], $5::text::smallint[]), jsonb_array_elements($6::jsonb)
            ) WITH ORDINALITY AS a (task_id, claim_no, state, delivered, outcome, place)
        ), mine AS MATERIALIZED (
            SELECT task_id FROM task WHERE task_id = ANY($2::uuid[]) AND state = 'running' ORDER BY task_id FOR UPDATE
        ), ended AS (
            UPDATE task SET state = asked.state, version = version + 1, ended_at = $1, delivered = asked.delivered, outcome = asked.outcome
            FROM mine JOIN asked USING (task_id) WHERE task.task_id = mine.task_id AND task.state = 'running' AND task.claim_no = asked.claim_no
            RETURNING task.task_id, task.version, task.state, task.kind, asked.outcome ->> 'reason' AS reason, asked.place
        ), remembered AS (
            INSERT INTO history (task_id, version, at, from_state, to_state, reason)
            SELECT task_id, version, $1, 'running', state, reason FROM ended
        ), saved AS ({saved_items(7, only="JOIN ended ON ended.task_id = r.task_id")}
        ), closed AS (
            UPDATE attempt SET state = CASE ended.state WHEN 'completed' THEN 'succeeded' ELSE 'failed' END, ended_at = $1
            FROM ended WHERE attempt.task_id = ended.task_id AND attempt.state IN ('submitting', 'submitted')
        ), counted AS (
            INSERT INTO tally (kind, state, amount) SELECT kind, state, count(*) FROM ended GROUP BY kind, state
        )
        SELECT place, version FROM ended
        """,
        now, [end.task_id for end in ends], numbers([end.claim_no for end in ends]), words([end.state for end in ends]),
        numbers([end.delivered for end in ends]), [pack_outcome(end.outcome) for end in ends], *item_columns(items),
    )  # fmt: skip
    return {row[0] - 1: row[1] for row in rows}


async def lock_tasks(conn: Connection, task_ids: Collection[UUID]) -> dict[UUID, Task]:
    """Lock these tasks in the order of their ids."""
    rows = await conn.fetch(f"SELECT {TASK} FROM task WHERE task_id = ANY($1::uuid[]) ORDER BY task_id FOR UPDATE", list(task_ids))
    return {row["task_id"]: task_of(row) for row in rows}


async def lock_overdue(conn: Connection, *, now: datetime, limit: int) -> dict[UUID, Task]:
    """Lock tasks whose time is up, past those somebody is changing right now. No lease outlives a deadline, so all that run so long are due."""
    rows = await conn.fetch(
        f"""
        SELECT {TASK} FROM task WHERE ended_at IS NULL AND task_id = ANY(ARRAY(
            SELECT theirs.task_id FROM unnest(ARRAY[true, false]) AS songs, LATERAL (
                SELECT task_id FROM task WHERE (kind = 'song') = songs AND state = 'running' AND due_at <= $1 AND deadline_at <= $1 ORDER BY due_at LIMIT $2
            ) AS theirs
            UNION ALL (SELECT task_id FROM task WHERE state = 'queued' AND start_by <= $1 ORDER BY start_by LIMIT $2)
        ))
        ORDER BY task_id LIMIT $2 FOR UPDATE SKIP LOCKED
        """,
        now, limit,
    )  # fmt: skip
    return {row["task_id"]: task_of(row) for row in rows}


async def save_ends(conn: Connection, ended: Sequence[tuple[Task, Task]], *, attempt_state: AttemptState) -> None:
    """Save how locked tasks ended: (as they were, as they are now). Their open attempts end with them; those that are `unknown` stay so."""
    befores, afters = [before for before, _ in ended], [after for _, after in ended]
    saved = await conn.fetch(
        """
        WITH ended AS (
            UPDATE task SET state = n.state, version = n.version, ended_at = n.ended_at, delivered = n.delivered, outcome = n.outcome
            FROM unnest($1::uuid[], $2::text[], $3::text[], $4::integer[], $5::timestamptz[], $6::smallint[], $7::jsonb[])
                 AS n (task_id, was, state, version, ended_at, delivered, outcome)
            WHERE task.task_id = n.task_id AND task.state = n.was AND task.version = n.version - 1
            RETURNING task.task_id, task.version, n.was, task.state, task.ended_at, task.kind, task.outcome
        ), remembered AS (
            INSERT INTO history (task_id, version, at, from_state, to_state, reason)
            SELECT task_id, version, ended_at, was, state, coalesce(outcome ->> 'reason', outcome ->> 'by') FROM ended
        ), closed AS (
            UPDATE attempt SET state = $8, ended_at = ended.ended_at
            FROM ended WHERE attempt.task_id = ended.task_id AND attempt.state IN ('submitting', 'submitted')
        ), counted AS (
            INSERT INTO tally (kind, state, amount) SELECT kind, state, count(*) FROM ended GROUP BY kind, state
        )
        SELECT task_id FROM ended
        """,
        [task.task_id for task in afters], [task.state for task in befores], [task.state for task in afters], [task.version for task in afters],
        [task.ended_at for task in afters], [task.delivered for task in afters], [pack_outcome(task.outcome or Outcome()) for task in afters], attempt_state,
    )  # fmt: skip
    if len(saved) != len(afters):
        raise RuntimeError("a locked task changed under its lock")


async def list_views(conn: Connection, task_ids: Collection[UUID]) -> dict[UUID, View]:
    """Tasks with what they delivered so far, in one statement."""
    rows = await conn.fetch(
        f"""
        SELECT {TASK}, (
            SELECT jsonb_agg(jsonb_build_array(index, key, size_bytes, content_type, width, height, duration_seconds, cover_key) ORDER BY index)
            FROM item WHERE item.task_id = task.task_id AND item.state = 'delivered'
        ) AS items
        FROM task WHERE task_id = ANY($1::uuid[])
        """,
        list(task_ids),
    )
    return {row["task_id"]: View(task_of(row), tuple(item_of(item) for item in row["items"] or ())) for row in rows}


async def list_owner_tasks(conn: Connection, user_id: UUID, *, kinds: Sequence[Kind], states: Sequence[str], limit: int, offset: int) -> list[Task]:
    """A page of one owner's tasks, newest first. Where every state will do, the page is found in the index alone and only its own rows are read."""
    rows = await conn.fetch(
        f"""
        SELECT {TASK} FROM task WHERE task_id IN (
            SELECT task_id FROM task WHERE user_id = $1 AND kind = ANY($2::text[]) {_in_states(states)}
            ORDER BY created_at DESC, task_id DESC LIMIT $3 OFFSET $4
        )
        ORDER BY created_at DESC, task_id DESC
        """,
        user_id, list(kinds), limit, offset, *_states_asked(states),
    )  # fmt: skip
    return [task_of(row) for row in rows]


async def count_owner_tasks(conn: Connection, user_id: UUID, *, kinds: Sequence[Kind], states: Sequence[str]) -> int:
    """How many such tasks one owner has."""
    total: int = await conn.fetchval(
        f"SELECT count(*) FROM task WHERE user_id = $1 AND kind = ANY($2::text[]) {_in_states(states, place=3)}",
        user_id, list(kinds), *_states_asked(states),
    )  # fmt: skip
    return total


def _in_states(states: Sequence[str], *, place: int = 5) -> str:
    return "" if set(states) == set(STATES) else f"AND state = ANY(${place}::text[])"


def _states_asked(states: Sequence[str]) -> list[list[str]]:
    return [] if set(states) == set(STATES) else [list(states)]


async def list_all_tasks(conn: Connection, *, kinds: Sequence[Kind], states: Sequence[str], limit: int, offset: int) -> list[Task]:
    """A page of everybody's tasks, newest first."""
    rows = await conn.fetch(
        f"SELECT {TASK} FROM task WHERE kind = ANY($1::text[]) AND state = ANY($2::text[]) ORDER BY created_at DESC, task_id DESC LIMIT $3 OFFSET $4",
        list(kinds), list(states), limit, offset,
    )  # fmt: skip
    return [task_of(row) for row in rows]


async def count_all_tasks(conn: Connection, *, kinds: Sequence[Kind], states: Sequence[str]) -> int:
    """How many such tasks there are: what ended is kept in tallies, only what is open is counted."""
    total: int = await conn.fetchval(
        """
        SELECT (SELECT coalesce(sum(amount), 0) FROM tally WHERE kind = ANY($1::text[]) AND state = ANY($2::text[]))::bigint
            + (SELECT count(*) FROM task WHERE state = 'queued' AND 'queued' = ANY($2::text[]) AND kind = ANY($1::text[]))
            + (SELECT count(*) FROM task WHERE state = 'running' AND 'running' = ANY($2::text[]) AND kind = ANY($1::text[]))
        """,
        list(kinds), list(states),
    )  # fmt: skip
    return total


async def list_standings(conn: Connection, task_ids: Collection[UUID]) -> list[Standing]:
    """How these tasks stand; unknown ones are left out."""
    rows = await conn.fetch(
        """
        SELECT task_id, state,
            CASE WHEN ended_at IS NULL THEN (SELECT count(*) FROM item WHERE item.task_id = task.task_id AND item.state = 'delivered') ELSE delivered END,
            asked, deadline_at
        FROM task WHERE task_id = ANY($1::uuid[])
        """,
        list(task_ids),
    )
    return [Standing(*row) for row in rows]


async def count_open(conn: Connection) -> dict[Kind, tuple[int, int, int]]:
    """Per kind: tasks that wait for their start, that run, and that wait for a repeated attempt."""
    rows = await conn.fetch(
        """
        SELECT kind, count(*) FILTER (WHERE state = 'queued'), count(*) FILTER (WHERE state = 'running' AND NOT rests), count(*) FILTER (WHERE rests)
        FROM (
            SELECT kind, state, false AS rests FROM task WHERE state = 'queued'
            UNION ALL
            SELECT kind, state, EXISTS (SELECT FROM attempt WHERE attempt.task_id = task.task_id)
                AND NOT EXISTS (SELECT FROM attempt WHERE attempt.task_id = task.task_id AND attempt.state IN ('submitting', 'submitted'))
            FROM task WHERE state = 'running'
        ) AS open
        GROUP BY kind
        """
    )
    return {row[0]: (row[1], row[2], row[3]) for row in rows}
