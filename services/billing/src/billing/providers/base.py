"""What every payment provider promises: an intent to pay, signed notices, a query, a refund, a close."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple, Protocol
from uuid import UUID

from billing.domain import Method, Order, Payment
from common.errors import PurchaseFailed, Unauthorized

NOTICE_BYTES_MAX = 64 * 1024


class Intent(NamedTuple):
    """Where an order is paid. `params` goes to the client as it is; `merchant_id` is what a notice must name."""

    intent_id: str
    merchant_id: str
    params: dict[str, Any]


class Notice(NamedTuple):
    """A message of a provider whose signature held. `event_id` is the same each time the same thing is told."""

    event_id: str
    order_no: str
    payment: Payment | None
    """None when it says that nobody will pay."""


class Standing(NamedTuple):
    """How an order stands with its provider."""

    state: Literal["open", "paid", "declined", "closed", "absent"]
    payment: Payment | None = None


class PaymentProvider(Protocol):
    """One way to take money. Every call over a network may raise Unavailable: then nothing is known, and it is asked again."""

    name: str
    signature_header: str
    """The header that tells this provider's notices from others'."""

    async def create_intent(self, order: Order, description: str) -> Intent:
        """Open an intent; the same order again gets the same intent."""
        ...

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> None:
        """Raises Unauthorized unless this very body was signed by the provider a short time ago."""
        ...

    def read(self, body: bytes) -> Notice:
        """What a verified body says. Raises InvalidParameter."""
        ...

    async def query(self, order: Order) -> Standing:
        """How it stands."""
        ...

    async def close(self, order: Order) -> Standing:
        """See to it that nobody can pay any more, unless somebody has; how it stands after that."""
        ...

    async def refund(self, order: Order, refund_id: UUID) -> bool:
        """Give the money back; False when that is refused for good. The same refund again is the same refund."""
        ...


@dataclass(frozen=True, slots=True)
class Payments:
    """The providers there are, by the way of paying a client names."""

    by_method: Mapping[Method, PaymentProvider]

    def of_method(self, method: Method) -> PaymentProvider:
        """Raises PurchaseFailed when nobody takes money this way here."""
        provider = self.by_method.get(method)
        if provider is None:
            raise PurchaseFailed(f"nothing can be paid by {method} here")
        return provider

    def named(self, name: str) -> PaymentProvider | None:
        return next((provider for provider in self.by_method.values() if provider.name == name), None)

    @property
    def names(self) -> list[str]:
        return sorted({provider.name for provider in self.by_method.values()})

    def of_notice(self, headers: Mapping[str, str]) -> PaymentProvider:
        """Whose notice this claims to be. Raises Unauthorized for one without a signature."""
        for provider in self.by_method.values():
            if provider.signature_header in headers:
                return provider
        raise Unauthorized("a notice needs its provider's signature")
