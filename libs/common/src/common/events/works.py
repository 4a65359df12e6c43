"""Facts about works, owned by works."""

from typing import Any, ClassVar
from uuid import UUID

from common.events.base import Fact, Service


class WorkCreated(Fact):
    """A work is there for its owner to see."""

    topic: ClassVar[str] = "work.created"
    owner: ClassVar[Service] = "works"
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

    work_id: UUID
    user_id: UUID
    kind: str
    public: bool
    task_id: UUID | None = None
    title: str = ""

    @property
    def subject(self) -> str:
        return f"work/{self.work_id}"
