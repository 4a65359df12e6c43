"""Orders: what is bought, what a payment must say to be taken for one, and how an order ends."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple
from uuid import UUID

from billing.domain.entry import Asset

OrderState = Literal["pending", "paid", "refunded", "cancelled", "expired"]
Method = Literal["wechat", "alipay", "stripe", "sandbox"]
Fault = Literal["unknown_order", "provider", "merchant", "currency", "amount", "intent", "paid_twice", "unreadable"]
"""Why money that arrived buys nothing, or may have arrived and nobody can tell: somebody has to look at it."""

_LATEST_YEAR = 9000


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderTerms:
    """How long an order waits for its payment, and how often its provider is asked."""

    expiry_seconds: float = 1800
    query_seconds: float = 60
    pending_max: int = 20


@dataclass(slots=True, kw_only=True)
class Order:
    """Something somebody wants to buy, at the price it had then. `version` counts its facts. `was` is the state it was loaded in.

    What is sealed is opened by `domain.hidden`; what is not sealed yet, because a process of the version before wrote it, stands beside it.
    """

    order_id: UUID
    order_no: str
    user_id: UUID
    package_id: str
    asset: Asset
    amount: int
    membership_days: int
    price_minor: int
    currency: str
    method: Method
    provider: str
    body_hash: bytes
    created_at: datetime
    expires_at: datetime
    look_at: datetime
    state: OrderState = "pending"
    version: int = 0
    merchant_id: str | None = None
    intent_sealed: bytes | None = None
    transaction_sealed: bytes | None = None
    intent_id: str | None = None
    params: dict[str, Any] | None = None
    transaction_id: str | None = None
    lot_number: int | None = None
    paid_at: datetime | None = None
    ended_at: datetime | None = None
    was: OrderState = field(init=False)

    def __post_init__(self) -> None:
        self.was = self.state

    @property
    def has_intent(self) -> bool:
        """Whether it is known where it is paid."""
        return self.intent_sealed is not None or self.intent_id is not None

    @property
    def owner(self) -> tuple[UUID, Asset]:
        """Whose account it goes to; that account's lock guards the order."""
        return self.user_id, self.asset

    def say(self) -> int:
        """The number of the next fact about it."""
        self.version += 1
        return self.version


class Payment(NamedTuple):
    """Money that a provider says has arrived. `event_id` names the message that said so."""

    provider: str
    event_id: str
    order_no: str
    merchant_id: str
    intent_id: str | None
    transaction_id: str
    amount_minor: int
    currency: str


def fault_of(order: Order, payment: Payment, *, intent_id: str | None, transaction_id: str | None) -> Fault | None:
    """What keeps a payment from being this order's, whose ids are these; None when nothing does."""
    if payment.provider != order.provider:
        return "provider"
    if payment.merchant_id != order.merchant_id:
        return "merchant"
    if payment.currency != order.currency:
        return "currency"
    if payment.amount_minor != order.price_minor:
        return "amount"
    if payment.intent_id is not None and payment.intent_id != intent_id:
        return "intent"
    if order.state in ("paid", "refunded") and payment.transaction_id != transaction_id:
        return "paid_twice"
    return None


class Period(NamedTuple):
    """A time of membership."""

    starts_at: datetime
    ends_at: datetime


def extend(active_until: datetime | None, now: datetime, days: int) -> Period | None:
    """The period that follows what somebody has; None when they are members for as long as a calendar goes."""
    starts_at = active_until if active_until is not None and active_until > now else now
    latest = datetime(_LATEST_YEAR, 1, 1, tzinfo=now.tzinfo)
    if starts_at >= latest or days <= 0:
        return None
    return Period(starts_at, latest if (latest - starts_at).days <= days else starts_at + timedelta(days=days))


RefundState = Literal["clawed_back", "finished", "refused"]


@dataclass(slots=True, kw_only=True)
class Refund:
    """One attempt to give a payment back. `owed` is what had been spent of it, `cut_seconds` the membership that was taken back."""

    refund_id: UUID
    order_no: str
    attempt: int
    reason: str
    asked_by: UUID
    state: RefundState = "clawed_back"
    owed: int = 0
    cut_seconds: int = 0
    created_at: datetime
    look_at: datetime
    ended_at: datetime | None = None
