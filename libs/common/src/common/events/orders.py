"""Facts about orders and memberships, owned by billing."""

from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from pydantic import PlainSerializer

from common.events.base import SELDOM, Fact, Service
from common.events.credits import Asset

_At = Annotated[datetime, PlainSerializer(datetime.isoformat, return_type=str, when_used="json")]
"""A moment, written as the envelope's quick writer writes it."""

_EXAMPLE: dict[str, Any] = {
    "sequence": 1,
    "order_no": "ORDER1767225600000A1B2C3",
    "user_id": "0198c3a0-0000-7000-8000-000000000002",
    "package_id": "member-30d",
    "asset": "point",
    "granted": 2000,
    "price_minor": 500,
    "currency": "USD",
}


class _OrderFact(Fact):
    """What every fact about an order says: whose it is, what it gives and what it costs, in the currency's minor unit."""

    owner: ClassVar[Service] = "billing"

    order_no: str
    user_id: UUID
    package_id: str
    asset: Asset
    granted: int
    price_minor: int
    currency: str

    @property
    def subject(self) -> str:
        return f"order/{self.order_no}"

    @property
    def key(self) -> str:
        return str(self.user_id)


class OrderPaid(_OrderFact):
    """The payment arrived and what was bought is there. It may come after order.expired: a payment that was late."""

    topic: ClassVar[str] = "order.paid"
    partitions: ClassVar[int] = SELDOM
    groups: ClassVar[tuple[Service, ...]] = ("notify",)
    example: ClassVar[dict[str, Any]] = {**_EXAMPLE, "method": "wechat", "membership_days": 30}

    method: str
    membership_days: int = 0


class OrderRefunded(_OrderFact):
    """The payment was given back. `owed` is what had been spent of it already."""

    topic: ClassVar[str] = "order.refunded"
    partitions: ClassVar[int] = SELDOM
    example: ClassVar[dict[str, Any]] = {**_EXAMPLE, "sequence": 2, "owed": 300}

    owed: int = 0


class OrderExpired(_OrderFact):
    """Nobody paid in time."""

    topic: ClassVar[str] = "order.expired"
    partitions: ClassVar[int] = SELDOM
    example: ClassVar[dict[str, Any]] = _EXAMPLE


class MembershipChanged(Fact):
    """Somebody is a member until another time than before; the day that comes with signing up is not told."""

    topic: ClassVar[str] = "membership.changed"
    partitions: ClassVar[int] = SELDOM
    owner: ClassVar[Service] = "billing"
    groups: ClassVar[tuple[Service, ...]] = ("notify",)
    example: ClassVar[dict[str, Any]] = {
        "sequence": 1,
        "user_id": "0198c3a0-0000-7000-8000-000000000002",
        "kind": "extended",
        "active_until": "2026-02-01T00:00:00+00:00",
        "order_no": "ORDER1767225600000A1B2C3",
    }

    user_id: UUID
    kind: Literal["extended", "cut"]
    active_until: _At
    order_no: str | None = None

    @property
    def subject(self) -> str:
        return f"membership/{self.user_id}"
