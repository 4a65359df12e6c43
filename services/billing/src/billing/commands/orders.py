"""Changes to orders: opened, paid, ended, given back. An order is changed under the lock of the account it goes to."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Literal, NamedTuple
from uuid import UUID

from billing.commands.books import NotOpened
from billing.domain import Account, Book, Fault, Order, Payment, Refund, hidden
from billing.domain.order import extend, fault_of
from billing.store import books, memberships, notices, orders
from billing.store.notices import Alert, SealedNotice
from common.db import Tx
from common.errors import Conflict, IdempotencyKeyReused, NotFound, RateLimited, ServiceError
from common.events import Fact, MembershipChanged, OrderExpired, OrderPaid, OrderRefunded
from common.ids import derived_id
from common.vault import Vault

REFUND_LOOK_AFTER = timedelta(seconds=60)
_RETRY_SECONDS = 60


class Settled(NamedTuple):
    """What became of a payment: its order is paid, perhaps by an earlier message, or there is a fault in it."""

    order: Order | None
    fault: Fault | None
    repeated: bool = False


class AskRefund(NamedTuple):
    """An admin wants a payment given back."""

    order_no: str
    reason: str
    by: UUID


class RefundEnd(NamedTuple):
    """What the provider said to a refund."""

    refund: Refund
    refused: bool


async def open_orders(tx: Tx, asks: Sequence[Order], *, pending_max: int) -> list[Order | ServiceError]:
    """Write orders down. Safe twice: the same order again is the one there is, however it stands."""
    await orders.lock_buyers(tx.conn, {ask.user_id for ask in asks})
    return [await _open(tx, ask, pending_max) for ask in asks]


async def _open(tx: Tx, ask: Order, pending_max: int) -> Order | ServiceError:
    known = await orders.find_order(tx.conn, ask.order_id)
    if known is None:
        if await orders.count_pending(tx.conn, ask.user_id, pending_max) >= pending_max:
            return RateLimited("pay or let expire what you ordered before", retry_after_seconds=_RETRY_SECONDS)
        if await orders.insert_order(tx.conn, ask):
            return ask
        known = await orders.find_order(tx.conn, ask.order_id)
    if known is None:
        return Conflict("this order number was given away a moment ago: ask again")
    return known if known.body_hash == ask.body_hash else IdempotencyKeyReused("this key was used for another order")


async def pay_orders(tx: Tx, payments: Sequence[Payment], vault: Vault) -> list[Settled]:
    """Grant what was paid for, or write down why not. Safe twice: a paid order stays paid, and its entry is unique. Raises NotOpened."""
    book, found = await _lock(tx, [payment.order_no for payment in payments])
    members = [order.user_id for order in found.values() if order.membership_days]
    for user_id, ends_at in (await memberships.list_ends(tx.conn, members)).items() if members else ():
        book.owners[user_id, "point"].active_until = ends_at
    outcomes: list[Settled] = []
    changed: list[Order] = []
    for payment in payments:
        order = found.get(payment.order_no)
        fault: Fault | None = "unknown_order" if order is None else _fault_of(order, payment, vault)
        repeated = order is not None and order.state in ("paid", "refunded")
        outcomes.append(Settled(order, fault, repeated))
        if order is not None and fault is None and not repeated:
            changed.append(order)
            await _pay(tx, book, order, payment, vault)
    alerts = [_alert(tx, payment, end.fault, vault) for payment, end in zip(payments, outcomes, strict=True) if end.fault is not None]
    await notices.insert_alerts(tx.conn, alerts)
    handled = [(payment.provider, hidden.event_hash(vault, payment.provider, payment.event_id)) for payment in payments]
    await notices.mark_handled(tx.conn, tx.now, handled)
    await _save(tx, book, changed)
    return outcomes


def _fault_of(order: Order, payment: Payment, vault: Vault) -> Fault | None:
    intent = hidden.open_intent(vault, order)
    return fault_of(order, payment, intent_id=None if intent is None else intent.intent_id, transaction_id=hidden.transaction_of(vault, order))


def _alert(tx: Tx, payment: Payment, fault: Fault, vault: Vault) -> Alert:
    """The same message and fault are the same alert."""
    alert_id = derived_id("payment alert", payment.provider, payment.event_id, fault)
    sealed = hidden.seal_transaction(vault, alert_id, payment.transaction_id)
    return Alert(alert_id, fault, payment.provider, payment.order_no, sealed, payment.amount_minor, payment.currency, tx.now)


async def set_aside(tx: Tx, notice: SealedNotice, vault: Vault) -> None:
    """A message that is kept and cannot be read: whether there is money in it is for somebody to find out. Safe twice."""
    alert_id = derived_id("payment alert", notice.provider, notice.event_hash, "unreadable")
    fault: Fault = "unreadable"
    alert = Alert(alert_id, fault, notice.provider, notice.order_no, hidden.seal_transaction(vault, alert_id, ""), 0, "", tx.now)
    await notices.insert_alerts(tx.conn, [alert])
    await notices.mark_handled(tx.conn, tx.now, [(notice.provider, notice.event_hash)])


async def _pay(tx: Tx, book: Book, order: Order, payment: Payment, vault: Vault) -> None:
    account = book.owners[order.owner]
    order.state, order.paid_at, order.ended_at = "paid", tx.now, None
    order.transaction_sealed = hidden.seal_transaction(vault, order.order_id, payment.transaction_id)
    order.lot_number = book.recharge(account, order)
    tx.emit(OrderPaid(sequence=order.say(), method=order.method, membership_days=order.membership_days, **_said(order)))
    if order.membership_days:
        await _extend(tx, account, order, order.order_no, order.membership_days)


async def _extend(tx: Tx, account: Account, order: Order, source: str, days: int) -> None:
    period = extend(account.active_until, tx.now, days)
    if period is not None:
        await memberships.insert_period(tx.conn, order.user_id, "order", source, period)
        account.active_until = period.ends_at
        account.memberships += 1
        tx.emit(
            MembershipChanged(
                sequence=account.memberships, user_id=order.user_id, kind="extended", active_until=period.ends_at, order_no=order.order_no
            )
        )  # fmt: skip


async def end_orders(tx: Tx, order_nos: Sequence[str], state: Literal["cancelled", "expired"]) -> list[Order]:
    """Nobody will pay these; answers those that were still waiting. Safe twice: what ended stays as it ended. Raises NotOpened."""
    book, found = await _lock(tx, order_nos)
    ended = [order for order in found.values() if order.state == "pending"]
    for order in ended:
        order.state, order.ended_at = state, tx.now
        if state == "expired":
            tx.emit(OrderExpired(sequence=order.say(), **_said(order)))
    await _save(tx, book, ended)
    return ended


async def begin_refunds(tx: Tx, asks: Sequence[AskRefund]) -> list[Refund | ServiceError]:
    """Write refunds down and take back what the payments gave; the provider is asked after that.

    Safe twice: a refund that is under way or done is answered as it stands. Raises NotOpened.
    """
    book, found = await _lock(tx, [ask.order_no for ask in asks])
    outcomes = [await _begin(tx, book, found.get(ask.order_no), ask) for ask in asks]
    await _save(tx, book, [])
    return outcomes


async def _begin(tx: Tx, book: Book, order: Order | None, ask: AskRefund) -> Refund | ServiceError:
    if order is None:
        return NotFound("there is no such order")
    before = await orders.list_refunds(tx.conn, order.order_no)
    if before and before[-1].state != "refused":
        return before[-1]
    if order.state != "paid":
        return Conflict(f"the order is {order.state}", data={"state": order.state})
    refund = Refund(
        refund_id=derived_id("refund", order.order_no, len(before)), order_no=order.order_no, attempt=len(before), reason=ask.reason, asked_by=ask.by,
        created_at=tx.now, look_at=tx.now + REFUND_LOOK_AFTER,
    )  # fmt: skip
    account = book.owners[order.owner]
    refund.owed = book.claw_back(account, order, str(refund.refund_id))
    if order.membership_days:
        refund.cut_seconds = await _cut(tx, account, order, before)
    await orders.insert_refund(tx.conn, refund)
    return refund


async def _cut(tx: Tx, account: Account, order: Order, before: Sequence[Refund]) -> int:
    cut = timedelta(0)
    for source in (order.order_no, *(str(refund.refund_id) for refund in before)):
        cut += await memberships.cut_period(tx.conn, tx.now, order.user_id, source)
    if cut:
        active_until = (await memberships.list_ends(tx.conn, [order.user_id])).get(order.user_id, tx.now)
        account.memberships += 1
        tx.emit(
            MembershipChanged(sequence=account.memberships, user_id=order.user_id, kind="cut", active_until=active_until, order_no=order.order_no)
        )  # fmt: skip
    return int(cut.total_seconds())


async def finish_refunds(tx: Tx, ends: Sequence[RefundEnd]) -> list[Refund]:
    """The provider gave the money back, or refused: then what was taken back returns. Safe twice: a refund ends once. Raises NotOpened."""
    book, found = await _lock(tx, [end.refund.order_no for end in ends])
    changed: list[Order] = []
    outcomes: list[Refund] = []
    for end in ends:
        order = found[end.refund.order_no]
        refund = next(one for one in await orders.list_refunds(tx.conn, order.order_no) if one.refund_id == end.refund.refund_id)
        outcomes.append(refund)
        if refund.state == "clawed_back":
            changed.append(order)
            await _finish(tx, book, order, refund, end.refused)
    await _save(tx, book, changed)
    return outcomes


async def _finish(tx: Tx, book: Book, order: Order, refund: Refund, refused: bool) -> None:
    refund.state, refund.ended_at = "refused" if refused else "finished", tx.now
    if refused:
        account = book.owners[order.owner]
        order.lot_number = book.return_clawed(account, order, str(refund.refund_id))
        await _give_back_membership(tx, account, order, refund)
    else:
        order.state, order.ended_at = "refunded", tx.now
        tx.emit(OrderRefunded(sequence=order.say(), owed=refund.owed, **_said(order)))
    await orders.save_refund(tx.conn, refund)


async def _give_back_membership(tx: Tx, account: Account, order: Order, refund: Refund) -> None:
    # Whole days, rounded up: nobody loses by a refund that did not happen.
    days = -(-refund.cut_seconds // 86_400)
    if days:
        account.active_until = (await memberships.list_ends(tx.conn, [order.user_id])).get(order.user_id)
        await _extend(tx, account, order, str(refund.refund_id), days)


async def _lock(tx: Tx, order_nos: Sequence[str]) -> tuple[Book, dict[str, Order]]:
    """Lock the accounts of these orders, then read the orders by a second statement, whose snapshot is younger than the locks."""
    known = await orders.list_orders_by_no(tx.conn, order_nos)
    owners = {order.owner for order in known.values()}
    book = await books.lock_book_of_owners(tx.conn, tx.now, owners)
    missing = {user_id for user_id, asset in owners if (user_id, asset) not in book.owners}
    if missing:
        raise NotOpened(missing)
    return book, await orders.list_orders_by_no(tx.conn, list(known)) if known else {}


async def _save(tx: Tx, book: Book, changed: Sequence[Order]) -> None:
    await books.save_book(tx.conn, book)
    await orders.save_orders(tx.conn, tx.now, changed)
    facts: Sequence[Fact] = book.facts
    tx.emit(*facts)


def _said(order: Order) -> dict[str, object]:
    return {
        "order_no": order.order_no, "user_id": order.user_id, "package_id": order.package_id, "asset": order.asset, "granted": order.amount,
        "price_minor": order.price_minor, "currency": order.currency,
    }  # fmt: skip
