"""What a dump of the database must not show of a payment: by which ids its provider knows it, and what the provider said. Opened where it is needed only."""

from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from billing.domain.order import Order
from common.ids import derived_id
from common.vault import Sealed, Vault


class OpenedIntent(NamedTuple):
    """Where an order is paid; `params` is what its client needs for that."""

    intent_id: str
    params: dict[str, Any]


def seal_intent(vault: Vault, order_id: UUID, intent: OpenedIntent) -> bytes:
    return vault.seal(orjson.dumps([*intent]), owner=order_id).packed


def open_intent(vault: Vault, order: Order) -> OpenedIntent | None:
    if order.intent_sealed is not None:
        return OpenedIntent(*orjson.loads(_open(vault, order.intent_sealed, order.order_id)))
    return None if order.intent_id is None else OpenedIntent(order.intent_id, order.params or {})


def params_of(vault: Vault, order: Order) -> dict[str, Any] | None:
    """What a client needs to pay an order."""
    intent = open_intent(vault, order)
    return None if intent is None else intent.params


def seal_transaction(vault: Vault, owner: UUID, transaction_id: str) -> bytes:
    """For an order, or for the alert about a payment that fits none."""
    return vault.seal(transaction_id.encode(), owner=owner).packed


def open_transaction(vault: Vault, owner: UUID, sealed: bytes) -> str:
    return _open(vault, sealed, owner).decode()


def transaction_of(vault: Vault, order: Order) -> str | None:
    """By which an order was paid."""
    return order.transaction_id if order.transaction_sealed is None else open_transaction(vault, order.order_id, order.transaction_sealed)


def event_hash(vault: Vault, provider: str, event_id: str) -> str:
    """What stands for a provider's message: the same each time it comes, and nothing its provider would know."""
    return vault.lookup_hash("payment event", f"{provider}/{event_id}".encode()).hex()


def seal_notice(vault: Vault, provider: str, event_hash: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """A message as it came."""
    return vault.seal(orjson.dumps(dict(headers)) + b"\n" + body, owner=_notice(provider, event_hash)).packed


def open_notice(vault: Vault, provider: str, event_hash: str, sealed: bytes) -> bytes:
    """The body of a message."""
    return _open(vault, sealed, _notice(provider, event_hash)).partition(b"\n")[2]


def intent_hash(vault: Vault, intent_id: str) -> str:
    """What stands for an intent in the sandbox's books."""
    return vault.lookup_hash("sandbox intent", intent_id.encode()).hex()


def seal_sandbox_id(vault: Vault, order_no: str, text: str) -> bytes:
    """For the sandbox's books: the id of an order's intent, or of the transaction that paid it."""
    return vault.seal(text.encode(), owner=_sandbox_intent(order_no)).packed


def open_sandbox_id(vault: Vault, order_no: str, sealed: bytes) -> str:
    return _open(vault, sealed, _sandbox_intent(order_no)).decode()


def _notice(provider: str, event_hash: str) -> UUID:
    return derived_id("payment notice", provider, event_hash)


def _sandbox_intent(order_no: str) -> UUID:
    return derived_id("sandbox intent", order_no)


def _open(vault: Vault, sealed: bytes, owner: UUID) -> bytes:
    return vault.open(Sealed.unpacked(sealed), owner=owner)
