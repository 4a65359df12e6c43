"""For other services only."""

from common.web import Answer, Request, Route
from generation.deps import Deps
from generation.schemas import internal as shapes
from generation.store import tasks


async def list_standings(request: Request[Deps]) -> Answer:
    """How tasks stand, for billing's upkeep."""
    ask: shapes.TaskIds = request.body
    async with request.deps.db.read() as conn:
        standings = await tasks.list_standings(conn, ask.task_ids)
    found = [
        shapes.TaskStanding(task_id=one.task_id, state=one.state, delivered=one.delivered, asked=one.asked, deadline_at=one.deadline_at) for one in standings
    ]
    return Answer(shapes.TaskStandings(tasks=found))


ROUTES = (
    Route("POST", "/internal/tasks/list", list_standings, auth="service", body=shapes.TaskIds, answers={200: shapes.TaskStandings}, summary="How tasks stand"),
)
