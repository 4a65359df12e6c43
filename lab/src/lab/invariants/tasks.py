"""Generation's promise: every task ends exactly once, along the graph, with as many items as it says."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from lab.invariants.places import say

ENDED = ("completed", "failed", "cancelled")
GRAPH = [("queued", "running"), *((state, end) for state in ("queued", "running") for end in ENDED)]
"""The creation, version 1, has no row in the history."""


@dataclass(frozen=True)
class Task:
    """What others must agree with."""

    task_id: UUID
    user_id: UUID
    work_id: UUID
    kind: str
    state: str
    version: int
    asked: int
    delivered: int
    price: int

    @property
    def outcome(self) -> str:
        """What its work and its owner's feed call its end: what was delivered before an end is kept."""
        if self.delivered:
            return "completed"
        return "cancelled" if self.state == "cancelled" else "failed"


async def load_tasks(generation: asyncpg.Connection) -> dict[UUID, Task]:
    """All of them."""
    rows = await generation.fetch("SELECT task_id, user_id, work_id, kind, state, version, asked, delivered, price FROM task")
    return {row["task_id"]: Task(**row) for row in rows}


def check_promised(tasks: Mapping[UUID, Task], accepted: Collection[UUID]) -> list[str]:
    """What a client was promised is there."""
    return say("tasks were accepted but are not stored", [task_id for task_id in accepted if task_id not in tasks])


async def check_tasks(generation: asyncpg.Connection, tasks: Mapping[UUID, Task]) -> list[str]:
    """States, histories and items."""
    found = say("tasks have not ended", [f"{task.task_id} ({task.state})" for task in tasks.values() if task.state not in ENDED])
    found += say("completed tasks delivered nothing", [task.task_id for task in tasks.values() if task.state == "completed" and not task.delivered])
    found += say("failed tasks delivered something", [task.task_id for task in tasks.values() if task.state == "failed" and task.delivered])
    for what, query in _RULES.items():
        found += say(what, [row[0] for row in await generation.fetch(query)])
    return found + await _check_graph(generation)


async def _check_graph(generation: asyncpg.Connection) -> list[str]:
    rows = await generation.fetch(
        """
        SELECT format('%s (%s to %s)', task_id, from_state, to_state) FROM history
        WHERE (from_state, to_state) NOT IN (SELECT * FROM unnest($1::text[], $2::text[]))
        """,
        [before for before, _ in GRAPH],
        [after for _, after in GRAPH],
    )
    return say("histories take a step that does not exist", [row[0] for row in rows])


_RULES = {
    "histories have gaps, repeats or more than the task's versions": """
        SELECT task_id FROM task LEFT JOIN history USING (task_id) GROUP BY task.task_id
        HAVING count(history.version) <> task.version - 1 OR (task.version > 1 AND (min(history.version) <> 2 OR max(history.version) <> task.version))
    """,
    "histories do not continue from the state before": """
        SELECT DISTINCT task_id FROM (
            SELECT task_id, from_state, lag(to_state, 1, 'queued') OVER (PARTITION BY task_id ORDER BY version) AS before FROM history
        ) AS step WHERE from_state <> before
    """,
    "histories end in another state than their task": """
        SELECT task_id FROM task JOIN history USING (task_id, version) WHERE history.to_state <> task.state
    """,
    "tasks ended more than once": """
        SELECT task_id FROM history WHERE to_state IN ('completed', 'failed', 'cancelled') GROUP BY task_id HAVING count(*) > 1
    """,
    "histories without a task": "SELECT DISTINCT task_id FROM history WHERE NOT EXISTS (SELECT FROM task WHERE task.task_id = history.task_id)",
    "ended tasks whose delivered items are not as many as they say": """
        SELECT task.task_id FROM task LEFT JOIN item ON item.task_id = task.task_id AND item.state = 'delivered'
        WHERE task.ended_at IS NOT NULL GROUP BY task.task_id HAVING count(item.index) <> task.delivered
    """,
    "items that nobody asked for": "SELECT task_id FROM item LEFT JOIN task USING (task_id) WHERE task.task_id IS NULL OR item.index >= task.asked",
    "attempts left open by tasks that ended": """
        SELECT DISTINCT task_id FROM attempt JOIN task USING (task_id) WHERE task.ended_at IS NOT NULL AND attempt.state IN ('submitting', 'submitted')
    """,
    "tallies that are not the number of ended tasks": """
        SELECT format('%s %s', kind, state) FROM (SELECT kind, state, sum(amount) AS amount FROM tally GROUP BY 1, 2) AS told
        FULL JOIN (SELECT kind, state, count(*) AS amount FROM task WHERE ended_at IS NOT NULL GROUP BY 1, 2) AS counted USING (kind, state)
        WHERE told.amount IS DISTINCT FROM counted.amount
    """,
}
