"""Facts about tasks, owned by generation."""

from typing import Any, ClassVar, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from common.events.base import Fact, Service

Kind = Literal["fitting", "photography", "travel", "song"]
FailureReason = Literal["provider_error", "provider_unknown", "timeout", "moderation_rejected", "invalid_output", "refused", "internal"]

_TASK = "0198c3a0-0000-7000-8000-000000000001"
_USER = "0198c3a0-0000-7000-8000-000000000002"


class Item(BaseModel):
    """One delivered picture or song."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    index: int = Field(ge=0, le=49, description="place in the batch, from 0")
    key: str = Field(description="object key; ends in the sha256 of the bytes")
    sha256: str
    size_bytes: int
    content_type: str
    width: int | None = Field(default=None, description="pixels")
    height: int | None = Field(default=None, description="pixels")
    duration_seconds: float | None = None
    cover_key: str | None = Field(default=None, description="object key of a song's cover")


class TaskFact(Fact):
    """What every fact about a task carries."""

    owner: ClassVar[Service] = "generation"

    task_id: UUID
    user_id: UUID
    kind: Kind

    @property
    def subject(self) -> str:
        return f"task/{self.task_id}"

    @property
    def key(self) -> str:
        return str(self.task_id)


class TaskCreated(TaskFact):
    """A user's ask was accepted; its credits are held."""

    topic: ClassVar[str] = "task.created"
    groups: ClassVar[tuple[Service, ...]] = ("works",)
    broadcast: ClassVar[tuple[Service, ...]] = ("generation",)
    example: ClassVar[dict[str, Any]] = {
        "sequence": 1,
        "task_id": _TASK,
        "user_id": _USER,
        "kind": "travel",
        "asked": 4,
        "price": 4,
        "scene": "beach-sunset",
        "title": "",
        "work_id": _TASK,
    }

    asked: int = Field(ge=1, le=50, description="items asked for")
    price: int = Field(ge=0, description="credits or points held in all")
    scene: str | None = None
    title: str = ""
    work_id: UUID


class TaskProgressed(TaskFact):
    """How far a running task is. May be lost; ordered by (claim_no, n)."""

    topic: ClassVar[str] = "task.progressed"
    broadcast: ClassVar[tuple[Service, ...]] = ("notify",)
    audience: ClassVar[Literal["internal", "partner"]] = "internal"
    outboxed: ClassVar[bool] = False
    retention_hours: ClassVar[int] = 1
    example: ClassVar[dict[str, Any]] = {
        "sequence": 2,
        "task_id": _TASK,
        "user_id": _USER,
        "kind": "travel",
        "claim_no": 1,
        "n": 3,
        "progress": 40,
        "stage": "running",
        "message": "grading",
    }

    claim_no: int
    n: int
    progress: int = Field(ge=0, le=100, description="percent")
    stage: str
    message: str


class TaskEnded(TaskFact):
    """What every end of a task carries: enough without having heard of its creation."""

    groups: ClassVar[tuple[Service, ...]] = ("billing", "works", "notify")

    title: str = ""
    scene: str | None = None
    work_id: UUID
    asked: int
    delivered: int
    items: tuple[Item, ...] = ()


class TaskCompleted(TaskEnded):
    """At least one item arrived."""

    topic: ClassVar[str] = "task.completed"
    example: ClassVar[dict[str, Any]] = {
        "sequence": 3,
        "task_id": _TASK,
        "user_id": _USER,
        "kind": "travel",
        "title": "",
        "scene": "beach-sunset",
        "work_id": _TASK,
        "asked": 1,
        "delivered": 1,
        "items": [{"index": 0, "key": "results/ab/cd.webp", "sha256": "cd", "size_bytes": 1, "content_type": "image/webp", "width": 8, "height": 8}],
        "description": "a warm evening",
        "engine": "local",
        "seed": 7,
        "tags": ["warm"],
        "lyrics": "",
    }

    description: str = ""
    engine: str
    seed: int
    tags: tuple[str, ...] = ()
    lyrics: str = ""


class TaskFailed(TaskEnded):
    """Nothing arrived and nothing will."""

    topic: ClassVar[str] = "task.failed"
    example: ClassVar[dict[str, Any]] = {
        "sequence": 3,
        "task_id": _TASK,
        "user_id": _USER,
        "kind": "song",
        "work_id": _TASK,
        "asked": 1,
        "delivered": 0,
        "reason": "timeout",
        "message": "the deadline passed",
    }

    reason: FailureReason
    message: str


class TaskCancelled(TaskEnded):
    """The owner gave it up; what had arrived before is kept."""

    topic: ClassVar[str] = "task.cancelled"
    example: ClassVar[dict[str, Any]] = {
        "sequence": 3,
        "task_id": _TASK,
        "user_id": _USER,
        "kind": "fitting",
        "work_id": _TASK,
        "asked": 2,
        "delivered": 0,
        "by": "owner",
    }

    by: Literal["owner", "admin"]
