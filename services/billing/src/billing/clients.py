"""The service billing asks: generation, what became of the tasks of holds that are open for long."""

from collections.abc import Sequence
from uuid import UUID

from pydantic import BaseModel

from common.client import ServiceClient

ENDED = frozenset({"completed", "failed", "cancelled"})


class TaskIds(BaseModel):
    task_ids: list[UUID]


class TaskView(BaseModel):
    """A task as generation describes it to us."""

    task_id: UUID
    state: str
    delivered: int

    @property
    def is_ended(self) -> bool:
        return self.state in ENDED


class TaskViews(BaseModel):
    tasks: list[TaskView]


class Generation:
    """Generation, as billing knows it."""

    def __init__(self, client: ServiceClient, *, call_seconds: float) -> None:
        self._client = client
        self._call_seconds = call_seconds

    async def list_tasks(self, task_ids: Sequence[UUID]) -> dict[UUID, TaskView]:
        """Those of these tasks that generation knows. Raises Unavailable."""
        ask = TaskIds(task_ids=list(task_ids))
        answer = await self._client.post("/internal/tasks/list", ask, TaskViews, deadline_seconds=self._call_seconds)
        return {task.task_id: task for task in answer.tasks}
