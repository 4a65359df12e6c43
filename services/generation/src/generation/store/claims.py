"""Claiming: one statement that is as quick when much waits as when little does."""

from datetime import datetime, timedelta
from typing import Any

from asyncpg import Connection

from generation.domain import RANKS, Claim, Claimed, Fairness
from generation.store.rows import unpack_brief, unpack_trace

_CLAIMED = "user_id, work_id, kind, version, claim_no, asked, scene_id, deadline_at, brief, trace"
SPARE = 3
"""How many tasks of one user are looked at beyond an equal share: a better rank may take that many more at once."""
MANY = 64
"""From so many places on nobody looks for more than an equal share: it is over in a moment, and then they are looked at again."""
BEHIND = 32
"""How many turns more are looked at once where somebody has as many running as they may: so many of them together keep no place empty."""
_AT_WORK = """($10::timestamptz IS NULL OR due_at < deadline_at OR NOT EXISTS (
                        SELECT FROM attempt
                        WHERE attempt.task_id = task.task_id AND attempt.state IN ('submitting', 'submitted', 'unknown') AND attempt.created_at <= $10
                    ))"""
"""Whether somebody is at work on a running task. Due at its deadline only: it waits to be called back for, and its attempt says since when."""


async def claim_tasks(
    conn: Connection, *, songs: bool, now: datetime, lease: timedelta, limit: int, provider: str | None, fairness: Fairness, running_max: int | None,
    silent_since: datetime | None,
) -> Claimed:  # fmt: skip
    """Take tasks whose claim lapsed, then waiting ones, turn by turn; whoever had them is fenced off. With a provider, the first attempt of a fresh task is
    journaled too.

    Users' turns are locked past those that somebody else has in hand, and a turn that changed since the statement began is left for the next one: so what
    is counted of a user is true, and a turn is only taken away while nothing waits for it. Each user of equal rank gets one task before anybody gets a second.
    As many turns are locked as there are places, so that others find the next ones; more only behind users who have enough, whose turn is passed over.

    Of what runs, tasks whose engine has been silent since then or longer are not counted, neither in all nor of their user.
    """
    rows = await conn.fetch(
        f"""
        WITH terms AS (
            SELECT * FROM unnest($6::text[], $7::interval[], $8::integer[]) AS t (rank, handicap, running_max)
        ), lapsed AS MATERIALIZED (
            SELECT task_id, row_number() OVER () - $4::integer AS place FROM (
                SELECT task_id FROM task WHERE (kind = 'song') = (SELECT $1::boolean) AND state = 'running' AND due_at <= $2 AND deadline_at > $2
                ORDER BY due_at LIMIT $4 FOR UPDATE SKIP LOCKED
            ) AS found
        ), room AS MATERIALIZED (
            SELECT greatest(least(
                $4::integer - (SELECT count(*) FROM lapsed),
                CASE WHEN $9::integer IS NOT NULL THEN $9 - (
                    SELECT count(*) FROM task WHERE (kind = 'song') = (SELECT $1::boolean) AND state = 'running' AND {_AT_WORK}
                ) END
            ), 0) AS places
        ), heads AS MATERIALIZED (
            SELECT user_id, rank, turn_at, version FROM turn WHERE songs = $1 ORDER BY turn_at LIMIT (SELECT places FROM room) FOR UPDATE SKIP LOCKED
        ), front AS MATERIALIZED ({_looked_at("heads")}
        ), behind AS MATERIALIZED (
            SELECT user_id, rank, turn_at, version FROM turn
            WHERE songs = $1 AND turn_at >= (SELECT max(turn_at) FROM front) AND user_id <> ALL(ARRAY(SELECT user_id FROM heads))
            ORDER BY turn_at LIMIT (SELECT CASE WHEN count(*) > 0 THEN count(*) + {BEHIND} ELSE 0 END FROM front WHERE fits = 0) FOR UPDATE SKIP LOCKED
        ), mine AS MATERIALIZED (
            SELECT * FROM front UNION ALL {_looked_at("behind")}
        ), most AS MATERIALIZED (
            SELECT least(
                places,
                ceil(places::float8 / greatest((SELECT count(*) FROM mine WHERE coalesce(fits, 1) > 0), 1)) + CASE WHEN places < {MANY} THEN {SPARE} ELSE 0 END
            )::bigint AS each FROM room
        ), waiting AS MATERIALIZED (
            SELECT user_id, task_id, place, CASE place WHEN 1 THEN turn_at ELSE $2 + handicap END AS turn_at,
                   place <= least(each, fits) AS may
            FROM most, mine, LATERAL (
                SELECT task_id, row_number() OVER () AS place FROM (
                    SELECT task_id FROM task
                    WHERE task.user_id = mine.user_id AND (kind = 'song') = (SELECT $1::boolean) AND state = 'queued' AND start_by > $2 AND deadline_at > $2
                    ORDER BY due_at LIMIT least(each, fits) + 1
                ) AS ones
            ) AS theirs
        ), chosen AS MATERIALIZED (
            SELECT task_id, row_number() OVER () AS place FROM (
                SELECT task_id FROM waiting WHERE may ORDER BY turn_at, place LIMIT (SELECT places FROM room)
            ) AS first
        ), free AS MATERIALIZED (
            SELECT task_id, place FROM chosen JOIN task USING (task_id) WHERE state = 'queued' FOR UPDATE OF task SKIP LOCKED
        ), claimed AS (
            UPDATE task SET state = 'running', claim_no = claim_no + 1, version = version + begins::integer,
                            started_at = coalesce(started_at, $2), due_at = least($2::timestamptz + $3::interval, deadline_at)
            FROM (SELECT task_id, place, false AS begins FROM lapsed UNION ALL SELECT task_id, place, true FROM free) AS due
            WHERE task.task_id = due.task_id
            RETURNING task.task_id, {_CLAIMED}, begins, place
        ), remembered AS (
            INSERT INTO history (task_id, version, at, from_state, to_state)
            SELECT task_id, version, $2, 'queued', 'running' FROM claimed WHERE begins
        ), journaled AS (
            INSERT INTO attempt (task_id, attempt_no, claim_no, created_at, provider)
            SELECT task_id, 1, 1, $2, $5 FROM claimed WHERE claim_no = 1 AND $5::text IS NOT NULL
        ), served AS MATERIALIZED (
            SELECT user_id, sum(had) = sum(got) AS is_over, sum(got) > 0 OR min(fits) = 0 AS had_turn, min(fits) = 0 AS has_enough
            FROM (
                SELECT user_id, 0 AS had, 0 AS got, fits FROM mine UNION ALL SELECT user_id, 1, 0, NULL FROM waiting
                UNION ALL SELECT user_id, 0, 1, NULL FROM claimed WHERE begins
            ) AS said GROUP BY user_id
        ), moved AS (
            UPDATE turn SET turn_at = $2 + (SELECT handicap FROM terms WHERE terms.rank = turn.rank), version = version + 1
            WHERE songs = $1 AND user_id = ANY(ARRAY(SELECT user_id FROM served WHERE had_turn AND NOT is_over))
        ), over AS (
            DELETE FROM turn WHERE songs = $1 AND user_id = ANY(ARRAY(SELECT user_id FROM served WHERE is_over))
        )
        SELECT task_id, {_CLAIMED} FROM (
            SELECT task_id, {_CLAIMED}, place FROM claimed
            UNION ALL SELECT NULL, user_id{", NULL" * (_CLAIMED.count(",") + 1)} FROM served WHERE has_enough AND NOT is_over
        ) AS said ORDER BY place
        """,
        songs, now, lease, limit, provider, list(RANKS), [fairness.handicaps[rank] for rank in RANKS], [fairness.running_max[rank] for rank in RANKS],
        running_max, silent_since,
    )  # fmt: skip
    claims = [_claim_of(*row) for row in rows if row[0] is not None]
    return Claimed(claims, frozenset(row[1] for row in rows[len(claims) :]))


def _looked_at(heads: str) -> str:
    """Of users whose turns are locked and have not changed: how many of their tasks may still begin; NULL is any number."""
    return f"""
            SELECT user_id, {heads}.turn_at, handicap, CASE WHEN running_max IS NOT NULL THEN greatest(running_max - (
                SELECT count(*) FROM task WHERE task.user_id = {heads}.user_id AND (kind = 'song') = (SELECT $1::boolean) AND state = 'running'
                    AND {_AT_WORK}
            ), 0) END AS fits
            FROM {heads} JOIN terms USING (rank), LATERAL (SELECT version FROM turn WHERE songs = $1 AND turn.user_id = {heads}.user_id LIMIT 1) AS seen
            WHERE seen.version = {heads}.version"""


def _claim_of(*row: Any) -> Claim:
    columns: list[Any] = [*row[:-2], unpack_brief(row[-2]), unpack_trace(row[-1])]
    return Claim(*columns)
