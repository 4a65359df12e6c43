"""Facts about works, owned by works."""

from typing import Any, ClassVar
from uuid import UUID

from common.events.base import SELDOM, Fact, Service


class WorkFact(Fact):
    """What every fact about a work carries: which one and whose."""

    owner: ClassVar[Service] = "works"

    work_id: UUID
    user_id: UUID

    @property
    def subject(self) -> str:
        return f"work/{self.work_id}"

    @property
    def key(self) -> str:
        return str(self.work_id)


class WorkCreated(WorkFact):
    """A work is there for its owner to see."""

    topic: ClassVar[str] = "work.created"
    groups: ClassVar[tuple[Service, ...]] = ("notify",)
    example: ClassVar[dict[str, Any]] = {
        "sequence": 2,
        "work_id": "0198c3a0-0000-7000-8000-000000000001",
        "user_id": "0198c3a0-0000-7000-8000-000000000002",
        "kind": "travel",
        "public": False,
        "task_id": "0198c3a0-0000-7000-8000-000000000001",
        "title": "",
    }

    kind: str
    public: bool
    task_id: UUID | None = None
    title: str = ""


class WorkUpdated(WorkFact):
    """Its owner changed what a work says or who may see it."""

    topic: ClassVar[str] = "work.updated"
    partitions: ClassVar[int] = SELDOM
    broadcast: ClassVar[tuple[Service, ...]] = ("works",)
    example: ClassVar[dict[str, Any]] = {
        "sequence": 3,
        "work_id": "0198c3a0-0000-7000-8000-000000000001",
        "user_id": "0198c3a0-0000-7000-8000-000000000002",
        "kind": "travel",
        "public": True,
    }

    kind: str
    public: bool


class WorkDeleted(WorkFact):
    """A work is gone."""

    topic: ClassVar[str] = "work.deleted"
    partitions: ClassVar[int] = SELDOM
    broadcast: ClassVar[tuple[Service, ...]] = ("works",)
    example: ClassVar[dict[str, Any]] = {
        "sequence": 4,
        "work_id": "0198c3a0-0000-7000-8000-000000000001",
        "user_id": "0198c3a0-0000-7000-8000-000000000002",
        "kind": "travel",
    }

    kind: str


class WorkPlayed(WorkFact):
    """Somebody played a work; `plays` is how often it was played by now, `user_id` whose work it is."""

    topic: ClassVar[str] = "work.played"
    partitions: ClassVar[int] = SELDOM
    broadcast: ClassVar[tuple[Service, ...]] = ("works",)
    example: ClassVar[dict[str, Any]] = {
        "sequence": 5,
        "work_id": "0198c3a0-0000-7000-8000-000000000001",
        "user_id": "0198c3a0-0000-7000-8000-000000000002",
        "plays": 12,
    }

    plays: int


class WorkLiked(WorkFact):
    """Somebody likes a work, or does not any more; `likes` is by how many it is liked by now, `user_id` whose work it is."""

    topic: ClassVar[str] = "work.liked"
    partitions: ClassVar[int] = SELDOM
    broadcast: ClassVar[tuple[Service, ...]] = ("works",)
    example: ClassVar[dict[str, Any]] = {
        "sequence": 6,
        "work_id": "0198c3a0-0000-7000-8000-000000000001",
        "user_id": "0198c3a0-0000-7000-8000-000000000002",
        "likes": 3,
    }

    likes: int
