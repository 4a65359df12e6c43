"""Facts about credits and points, owned by billing."""

from typing import Any, ClassVar, Literal
from uuid import UUID

from common.events.base import Fact, Service

Asset = Literal["credit", "point"]


class CreditsChanged(Fact):
    """An account's numbers changed; `available` and `held` are those after the change."""

    topic: ClassVar[str] = "credits.changed"
    owner: ClassVar[Service] = "billing"
    broadcast: ClassVar[tuple[Service, ...]] = ("notify",)
    example: ClassVar[dict[str, Any]] = {
        "sequence": 2,
        "user_id": "0198c3a0-0000-7000-8000-000000000002",
        "asset": "credit",
        "kind": "held",
        "amount": 4,
        "available": 6,
        "held": 4,
        "task_id": "0198c3a0-0000-7000-8000-000000000001",
    }

    user_id: UUID
    asset: Asset
    kind: Literal["granted", "held", "captured", "released", "expired", "refunded", "clawed_back", "adjusted"]
    amount: int
    available: int
    held: int
    task_id: UUID | None = None
    order_no: str | None = None

    @property
    def subject(self) -> str:
        return f"account/{self.user_id}/{self.asset}"

    @property
    def key(self) -> str:
        return str(self.user_id)
