"""Facts about what is sent to people outside, owned by identity, who alone knows their addresses."""

from typing import Any, ClassVar, Literal
from uuid import UUID

from common.events.base import SELDOM, Fact, Service


class DeliveryRequested(Fact):
    """A message is due. No address and no link: who sends it asks identity for both when it writes it."""

    topic: ClassVar[str] = "delivery.requested"
    partitions: ClassVar[int] = SELDOM
    owner: ClassVar[Service] = "identity"
    groups: ClassVar[tuple[Service, ...]] = ("notify",)
    audience: ClassVar[Literal["internal", "partner"]] = "internal"
    example: ClassVar[dict[str, Any]] = {
        "sequence": 1,
        "user_id": "0198c3a0-0000-7000-8000-000000000002",
        "template": "password_reset",
        "ref": "0198c3a0-0000-7000-8000-000000000004",
    }

    user_id: UUID
    template: Literal["email_verification", "password_reset", "refresh_reused"]
    ref: str

    @property
    def subject(self) -> str:
        return f"delivery/{self.ref}"
