"""What other services ask of generation."""

from datetime import datetime
from uuid import UUID

from pydantic import Field

from common.web import Model
from generation.domain import State

IDS_MAX = 1000


class TaskIds(Model):
    """Which tasks; unknown ones are absent from the answer."""

    task_ids: list[UUID] = Field(min_length=1, max_length=IDS_MAX)


class TaskStanding(Model):
    """How a task stands; `delivered` counts what arrived so far."""

    task_id: UUID
    state: State
    delivered: int
    asked: int
    deadline_at: datetime


class TaskStandings(Model):
    """In no particular order."""

    tasks: list[TaskStanding]
