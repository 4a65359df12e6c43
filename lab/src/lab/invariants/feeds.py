"""Notify's promise: every end and every new work is told its owner once, in a feed without gaps."""

from collections.abc import Mapping
from uuid import UUID

import asyncpg

from lab.invariants.places import say
from lab.invariants.tasks import ENDED, Task

NOTICE_OF = {"completed": "task_complete", "failed": "task_failed", "cancelled": "task_cancelled"}


async def check_feeds(notify: asyncpg.Connection) -> list[str]:
    """Numbers run from 1 to the head; nothing older than the retention is expected to be gone in a run we check."""
    rows = await notify.fetch(
        """
        SELECT user_id FROM feed FULL JOIN notice USING (user_id) GROUP BY user_id, feed.seq
        HAVING feed.seq IS NULL OR count(notice.seq) <> feed.seq OR coalesce(max(notice.seq), 0) <> feed.seq
        """
    )
    return say("feeds with gaps, or whose head is not their last notice", [row[0] for row in rows])


async def check_ends_told(notify: asyncpg.Connection, tasks: Mapping[UUID, Task]) -> list[str]:
    """One notice per ended task, of the right kind, to its owner; none about other tasks."""
    rows = await notify.fetch(
        """
        SELECT (payload::jsonb ->> 'task_id')::uuid AS task_id, array_agg(type) AS types, array_agg(user_id) AS users
        FROM notice WHERE type = ANY($1::text[]) GROUP BY 1
        """,
        list(NOTICE_OF.values()),
    )
    told = {row["task_id"]: row for row in rows}
    ended = {task_id: task for task_id, task in tasks.items() if task.state in ENDED}
    found = say("ended tasks whose owner was not told", [task_id for task_id in ended if task_id not in told])
    found += say("ends told that did not happen", [task_id for task_id in told if task_id not in ended])
    both = [(task, told[task_id]) for task_id, task in ended.items() if task_id in told]
    found += say("ends told more than once", [task.task_id for task, row in both if len(row["types"]) > 1])
    found += say("ends told to somebody else", [task.task_id for task, row in both if set(row["users"]) != {task.user_id}])
    found += say("ends told as another end", [f"{task.task_id} ({task.state})" for task, row in both if set(row["types"]) != {NOTICE_OF[task.state]}])
    return found


async def check_works_told(notify: asyncpg.Connection, works: asyncpg.Connection) -> list[str]:
    """One notice per work that is there to see, or was until its owner deleted it, to its owner."""
    rows = await works.fetch("SELECT work_id, user_id, status FROM work WHERE status IN ('created', 'completed', 'deleted')")
    there = {row["work_id"]: row["user_id"] for row in rows}
    kept = [row["work_id"] for row in rows if row["status"] != "deleted"]
    rows = await notify.fetch(
        "SELECT (payload::jsonb ->> 'work_id')::uuid AS work_id, array_agg(user_id) AS users FROM notice WHERE type = 'work_created' GROUP BY 1"
    )
    told = {row["work_id"]: row["users"] for row in rows}
    found = say("works whose owner was not told", [work_id for work_id in kept if work_id not in told])
    found += say("works told that are not there", [work_id for work_id in told if work_id not in there])
    found += say(
        "works told more than once or to somebody else", [work_id for work_id, user_id in there.items() if work_id in told and told[work_id] != [user_id]]
    )
    return found
