"""What workflows call back with."""

from typing import Any

from pydantic import Field

from common.web import Model


class TaskComplete(Model):
    """A workflow is done. `batch_index` of an image counts from 0 within the batch that was asked for."""

    task_id: str = Field(min_length=1, max_length=64)
    attempt_token: str = Field(default="", max_length=255)
    images: list[dict[str, Any]] = Field(default_factory=list, max_length=200)
    ai_description: str | None = None


class TaskFailed(Model):
    """A workflow gave up. Only one that says `retryable` is started again."""

    task_id: str = Field(min_length=1, max_length=64)
    attempt_token: str = Field(default="", max_length=255)
    error: Any = None
    retryable: bool = False
