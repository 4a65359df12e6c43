"""Facts about sessions, owned by identity."""

from typing import Any, ClassVar, Literal
from uuid import UUID

from common.events.base import SELDOM, Fact, Service


class SessionRevoked(Fact):
    """Tokens ended before their time. A hint to read identity's list now; `sequence` is the row's number."""

    topic: ClassVar[str] = "session.revoked"
    partitions: ClassVar[int] = SELDOM
    owner: ClassVar[Service] = "identity"
    broadcast: ClassVar[tuple[Service, ...]] = ("works", "generation", "billing", "notify")
    audience: ClassVar[Literal["internal", "partner"]] = "internal"
    retention_hours: ClassVar[int] = 1
    example: ClassVar[dict[str, Any]] = {
        "sequence": 7,
        "user_id": "0198c3a0-0000-7000-8000-000000000002",
        "session_id": None,
        "reason": "disabled",
    }

    user_id: UUID
    session_id: UUID | None = None
    reason: Literal["logout", "changed", "disabled", "password", "reuse"]

    @property
    def subject(self) -> str:
        return f"user/{self.user_id}"
