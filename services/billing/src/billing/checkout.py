"""What an order goes through with its payment provider. Every call over a network stands between transactions."""

import hashlib
import secrets
import string
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal, NamedTuple
from uuid import UUID

import orjson

from billing import commands, lanes
from billing.commands import AskRefund, RefundEnd, Settled
from billing.deps import Deps
from billing.domain import Method, Order, Package, Payment, Refund, hidden
from billing.domain.hidden import OpenedIntent
from billing.store import notices, orders
from billing.store.notices import SealedNotice
from common.errors import NotFound, PurchaseFailed, RefundFailed, ServiceError, Unavailable
from common.log import get_logger

log = get_logger()

_LETTERS = string.ascii_uppercase + string.digits


class Wish(NamedTuple):
    """Somebody wants to buy a package. `order_id` is the same when the same wish is sent again with its key."""

    order_id: UUID
    user_id: UUID
    package: Package
    method: Method
    description: str


def order_no_of(now: datetime) -> str:
    """ORDER, 13 digits of milliseconds, six letters or digits: 24 characters, which every provider takes."""
    return f"ORDER{int(now.timestamp() * 1000):013d}{''.join(secrets.choice(_LETTERS) for _ in range(6))}"


async def place_order(deps: Deps, wish: Wish) -> tuple[Order, bool]:
    """Open an order and its provider's intent; also says whether it was there before. Raises what keeps it from being opened.

    Should we die in between, the same wish again finds the order and opens what is missing.
    """
    provider = deps.payments.of_method(wish.method)
    asked = _order_of(deps, wish, provider.name)
    async with deps.db.transaction() as tx:
        [order] = await commands.open_orders(tx, [asked], pending_max=deps.order_terms.pending_max)
    if isinstance(order, ServiceError):
        raise order
    if order.state == "pending" and not order.has_intent:
        intent = await provider.create_intent(order, wish.description)
        order.merchant_id = intent.merchant_id
        order.intent_sealed = hidden.seal_intent(deps.vault, order.order_id, OpenedIntent(intent.intent_id, intent.params))
        async with deps.db.transaction() as tx:
            await orders.save_intent(tx.conn, order.order_id, merchant_id=intent.merchant_id, intent_sealed=order.intent_sealed)
    return order, order is not asked


def _order_of(deps: Deps, wish: Wish, provider: str) -> Order:
    package, now, terms = wish.package, deps.db.clock.now(), deps.order_terms
    body_hash = hashlib.sha256(orjson.dumps([package.package_id, wish.method])).digest()
    return Order(
        order_id=wish.order_id, order_no=order_no_of(now), user_id=wish.user_id, package_id=package.package_id, asset=package.asset, amount=package.amount,
        membership_days=package.membership_days, price_minor=package.price_minor, currency=package.currency, method=wish.method, provider=provider,
        body_hash=body_hash, created_at=now, expires_at=now + timedelta(seconds=terms.expiry_seconds), look_at=now + timedelta(seconds=terms.query_seconds),
    )  # fmt: skip


# Notices


async def hear_notice(deps: Deps, headers: Mapping[str, str], body: bytes) -> None:
    """Verify a provider's message, keep it as it came, and let it have its effect, however often it comes.

    Raises Unauthorized for what nobody signed, PurchaseFailed for money that buys nothing.
    """
    provider = deps.payments.of_notice(headers)
    now = deps.db.clock.now()
    provider.verify(headers, body, now)
    notice = provider.read(body)
    family = f"{provider.signature_header.partition('-')[0]}-".lower()
    # A header may hold bytes that are no text, and is kept as a text that shows them.
    kept = {str(name): value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") for name, value in headers.items()
            if name.lower().startswith(family)}  # fmt: skip
    event_hash = hidden.event_hash(deps.vault, provider.name, notice.event_id)
    sealed = SealedNotice(provider.name, event_hash, notice.order_no, hidden.seal_notice(deps.vault, provider.name, event_hash, kept, body))
    async with deps.db.transaction() as tx:
        await notices.insert_notice(tx.conn, tx.now, sealed)
    if notice.payment is None:
        await cancel(deps, provider.name, event_hash, notice.order_no)
        return
    [settled] = await settle(deps, [notice.payment])
    if settled.fault is not None:
        raise PurchaseFailed("this payment does not fit its order", data={"fault": settled.fault})


async def settle(deps: Deps, payments: Sequence[Payment]) -> list[Settled]:
    """Let payments have their effect, by whatever way we learnt of them."""
    outcomes = await lanes.change_opened(deps.db, deps.signup, lambda tx: commands.pay_orders(tx, payments, deps.vault))
    for payment, outcome in zip(payments, outcomes, strict=True):
        deps.numbers.payments.labels(outcome.fault or ("repeated" if outcome.repeated else "paid")).inc()
        if outcome.fault is not None:
            log.error("payment.does_not_fit", fault=outcome.fault, order_no=payment.order_no, provider=payment.provider)
        elif not outcome.repeated:
            log.info("order.paid", order_no=payment.order_no, provider=payment.provider)
    if any(outcome.fault is not None for outcome in outcomes):
        await count_alerts(deps)
    return outcomes


async def cancel(deps: Deps, provider: str, event_hash: str, order_no: str) -> None:
    """The person declined, says the message of this hash."""
    await end(deps, [order_no], "cancelled")
    async with deps.db.transaction() as tx:
        await notices.mark_handled(tx.conn, tx.now, [(provider, event_hash)])


async def end(deps: Deps, order_nos: Sequence[str], state: Literal["cancelled", "expired"]) -> None:
    """Nobody will pay these."""
    await lanes.change_opened(deps.db, deps.signup, lambda tx: commands.end_orders(tx, order_nos, state))


async def count_alerts(deps: Deps) -> int:
    """How much somebody has to look at; keeps the gauge of it."""
    async with deps.db.read() as conn:
        found = await notices.count_alerts(conn)
    deps.numbers.payment_alerts.set(found)
    return found


# Refunds


async def refund_order(deps: Deps, ask: AskRefund) -> tuple[Order, Refund]:
    """Take back what a payment gave, then give the money back. Raises RefundFailed when the provider refuses: then everything is as it was.

    Unavailable means that the provider could not be asked; upkeep goes on asking, and so does whoever asks again.
    """
    [refund] = await lanes.change_opened(deps.db, deps.signup, lambda tx: commands.begin_refunds(tx, [ask]))
    if isinstance(refund, ServiceError):
        raise refund
    if refund.state == "clawed_back":
        refund = await carry_refund(deps, refund)
    if refund.state == "refused":
        raise RefundFailed("the payment provider refused", data={"order_no": ask.order_no})
    return await order_of(deps, ask.order_no), refund


async def carry_refund(deps: Deps, refund: Refund) -> Refund:
    """Ask the provider for the money, and write down what it said. Raises Unavailable."""
    order = await order_of(deps, refund.order_no)
    provider = deps.payments.named(order.provider)
    if provider is None:
        raise Unavailable(f"no provider is called {order.provider} here")
    given = await provider.refund(order, refund.refund_id)
    [ended] = await lanes.change_opened(deps.db, deps.signup, lambda tx: commands.finish_refunds(tx, [RefundEnd(refund, refused=not given)]))
    log.info("order.refund_ended", order_no=refund.order_no, state=ended.state, owed=ended.owed)
    return ended


async def order_of(deps: Deps, order_no: str) -> Order:
    """Raises NotFound."""
    async with deps.db.read() as conn:
        order = await orders.find_order_by_no(conn, order_no)
    if order is None:
        raise NotFound("there is no such order")
    return order
