"""The services billing asks: generation, what became of the tasks of holds that are open for long; identity, what people are called."""

from collections.abc import Sequence
from uuid import UUID

from pydantic import BaseModel

from common.client import ServiceClient
from common.errors import Internal, Unavailable
from common.log import get_logger

log = get_logger()

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


class UserIds(BaseModel):
    user_ids: list[UUID]


class PersonView(BaseModel):
    """Somebody as identity describes them to us."""

    user_id: UUID
    username: str = ""


class PersonViews(BaseModel):
    users: list[PersonView]


class People:
    """Identity, as billing knows it."""

    def __init__(self, client: ServiceClient, *, call_seconds: float) -> None:
        self._client = client
        self._call_seconds = call_seconds

    async def list_names(self, user_ids: Sequence[UUID]) -> dict[UUID, str]:
        """What these people are called; nobody is called anything while identity is away."""
        if not user_ids:
            return {}
        try:
            ask = UserIds(user_ids=list(set(user_ids)))
            answer = await self._client.post("/internal/users/list", ask, PersonViews, deadline_seconds=self._call_seconds)
        except (Unavailable, Internal) as error:
            log.warning("people.nobody_answered", error=str(error)[:200])
            return {}
        return {person.user_id: person.username for person in answer.users}
