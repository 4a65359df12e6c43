"""Loops that repair: holds open for long, grants that ran out, orders whose notice never came, refunds without an answer."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from asyncpg import Connection

from billing import checkout, commands
from billing.deps import Deps
from billing.domain import Finding, Order, Payment, hidden
from billing.domain.entry import microseconds
from billing.domain.hidden import OpenedIntent
from billing.store import accounts, holds, notices, orders, plain
from billing.store.notices import SealedNotice
from common.db import Database
from common.errors import Internal, InvalidParameter, ServiceError, Unavailable
from common.log import get_logger
from common.vault import Unopenable, Vault

log = get_logger()

_LOTS_BATCH = 200
_NOTICE_AFTER = timedelta(seconds=30)
_NOTICES_BATCH = 100
_REFUNDS_BATCH = 20
_PROVIDER_ASKS = 5
_CLOSED_WITHIN = timedelta(days=1)
"""How long a provider is asked to close a cancelled order whose time is over."""
_NEVER = datetime.max.replace(tzinfo=UTC)
_SEAL_BATCH = 200


async def look_at_open_holds(deps: Deps, *, batch_max: int) -> None:
    """Ask generation about the holds that are due for a look and decide each by its answer; batches until nothing is due."""
    while True:
        asked_at = deps.db.clock.now()
        async with deps.db.read() as conn:
            due = await holds.list_due_holds(conn, asked_at, batch_max)
        if due:
            await _look(deps, due, asked_at)
        if len(due) < batch_max:
            return


async def _look(deps: Deps, task_ids: Sequence[UUID], asked_at: datetime) -> None:
    findings = await _find(deps, task_ids, asked_at)
    async with deps.db.transaction() as tx:
        decided = await commands.look_at_holds(tx, findings, deps.hold_terms)
    for hold in decided:
        if hold.state in ("released", "expired"):
            log.warning(f"hold.{hold.state}_by_upkeep", task_id=hold.task_id, amount=hold.amount, extensions=hold.extensions)


async def _find(deps: Deps, task_ids: Sequence[UUID], asked_at: datetime) -> list[Finding]:
    try:
        tasks = await deps.generation.list_tasks(task_ids)
    except (Unavailable, Internal) as error:
        log.warning("holds.nobody_answered", holds=len(task_ids), error=str(error)[:200])
        return [Finding(task_id, "unreachable", asked_at) for task_id in task_ids]
    findings = []
    for task_id in task_ids:
        task = tasks.get(task_id)
        if task is None:
            findings.append(Finding(task_id, "unknown", asked_at))
        else:
            findings.append(Finding(task_id, "ended" if task.is_ended else "running", asked_at, task.delivered))
    return findings


async def expire_lots(deps: Deps) -> None:
    """Take out of the accounts what has run out, a batch at a time."""
    while True:
        async with deps.db.read() as conn:
            due = await accounts.list_expiring_accounts(conn, microseconds(deps.db.clock.now()), _LOTS_BATCH)
        if due:
            async with deps.db.transaction() as tx:
                await commands.expire_lots(tx, due)
        if len(due) < _LOTS_BATCH:
            return


async def count_open_holds(deps: Deps) -> None:
    """Keep the gauges of open holds."""
    async with deps.db.read() as conn:
        open_holds, oldest_at = await accounts.sum_open_holds(conn)
    deps.numbers.open_holds.set(open_holds)
    deps.numbers.oldest_hold_seconds.set((deps.db.clock.now() - oldest_at).total_seconds() if oldest_at else 0)


async def look_at_notices(deps: Deps) -> None:
    """Let messages have their effect that were kept just before a process died. Their signature was verified when they came."""
    async with deps.db.read() as conn:
        forgotten = await notices.list_unhandled(conn, deps.db.clock.now() - _NOTICE_AFTER, deps.payments.names, _NOTICES_BATCH)
    for one in forgotten:
        try:
            await _look_at_notice(deps, one)
        except (InvalidParameter, Unopenable) as error:
            # It would be no more readable the next time, and those behind it must not wait for it: operators are told.
            log.error("notice.unreadable", provider=one.provider, order_no=one.order_no, error=str(error)[:200])
            async with deps.db.transaction() as tx:
                await commands.set_aside(tx, one, deps.vault)


async def _look_at_notice(deps: Deps, one: SealedNotice) -> None:
    """Raises InvalidParameter and Unopenable when it cannot be read, or its order cannot."""
    provider = deps.payments.named(one.provider)
    if provider is None:
        return
    notice = provider.read(hidden.open_notice(deps.vault, one.provider, one.event_hash, one.said_sealed))
    if notice.payment is not None:
        await checkout.settle(deps, [notice.payment])
    else:
        await checkout.cancel(deps, one.provider, one.event_hash, one.order_no)


async def look_at_orders(deps: Deps, *, batch_max: int) -> None:
    """Ask the providers about orders nobody has told us of; one whose time is over is closed there first, then here.

    Who declined may still pay until then, so a cancelled order is asked about like one that waits.
    """
    now = deps.db.clock.now()
    since = now - timedelta(seconds=deps.order_terms.expiry_seconds) - _CLOSED_WITHIN
    async with deps.db.read() as conn:
        due = await orders.list_due_orders(conn, now, since=since, limit=batch_max)
    asks = asyncio.Semaphore(_PROVIDER_ASKS)

    async def look(order: Order) -> None:
        async with asks:
            await _look_at_order(deps, order)

    async with asyncio.TaskGroup() as group:
        for order in due:
            group.create_task(look(order))


async def _look_at_order(deps: Deps, order: Order) -> None:
    now = deps.db.clock.now()
    provider = deps.payments.named(order.provider)
    late = now >= order.expires_at
    look_at = now + timedelta(seconds=deps.order_terms.query_seconds)
    payment: Payment | None = None
    try:
        if provider is None:
            raise Unavailable(f"no provider is called {order.provider} here")
        standing = await (provider.close(order) if late else provider.query(order))
        payment = standing.payment if standing.state == "paid" else None
        if payment is not None:
            log.warning("order.notice_never_came", order_no=order.order_no)
            await checkout.settle(deps, [payment])
        elif late and standing.state in ("closed", "absent", "declined"):
            await checkout.end(deps, [order.order_no], "expired")
            look_at = _NEVER
    except (ServiceError, Unopenable) as error:
        log.warning("order.nobody_answered", order_no=order.order_no, error=str(error)[:200])
    except Exception as error:
        # Whatever it is about this one, the others are looked at.
        log.error("order.failed", order_no=order.order_no, exc_info=error)
    async with deps.db.read() as conn:
        await orders.look_later(conn, [order.order_id], look_at)


async def count_payment_alerts(deps: Deps) -> None:
    """Keep the gauge of payments that bought nothing, whichever process heard of them."""
    await checkout.count_alerts(deps)


async def look_at_refunds(deps: Deps) -> None:
    """Ask again for money whose giving back nobody has confirmed."""
    now = deps.db.clock.now()
    async with deps.db.read() as conn:
        due = await orders.list_due_refunds(conn, now, _REFUNDS_BATCH)
    for refund in due:
        try:
            await checkout.carry_refund(deps, refund)
        except (ServiceError, Unopenable) as error:
            log.warning("refund.nobody_answered", order_no=refund.order_no, error=str(error)[:200])
            async with deps.db.read() as conn:
                await orders.look_at_refund_later(conn, refund.refund_id, now + commands.REFUND_LOOK_AFTER)
    async with deps.db.read() as conn:
        oldest_at = await orders.find_oldest_refund(conn)
    deps.numbers.oldest_refund_seconds.set((now - oldest_at).total_seconds() if oldest_at else 0)


async def seal_old_rows(db: Database, vault: Vault) -> None:
    """What was kept of payments before their ids were sealed, and what a process of the version before may still write."""
    for seal in (_seal_orders, _seal_notices, _seal_alerts, _seal_intents):
        left = _SEAL_BATCH
        while left == _SEAL_BATCH:
            async with db.transaction() as tx:
                left = await seal(tx.conn, vault, _SEAL_BATCH)


async def _seal_orders(conn: Connection, vault: Vault, limit: int) -> int:
    found = await plain.lock_orders(conn, limit)
    sealed = []
    for one in found:
        intent = None if one.intent_id is None else hidden.seal_intent(vault, one.order_id, OpenedIntent(one.intent_id, one.params or {}))
        sealed.append((one.order_id, intent, None if one.transaction_id is None else hidden.seal_transaction(vault, one.order_id, one.transaction_id)))
    await plain.seal_orders(conn, sealed)
    return len(found)


async def _seal_notices(conn: Connection, vault: Vault, limit: int) -> int:
    found = await plain.lock_notices(conn, limit)
    sealed = []
    for one in found:
        event_hash = hidden.event_hash(vault, one.provider, one.event_id)
        sealed.append((one.provider, one.event_id, event_hash, hidden.seal_notice(vault, one.provider, event_hash, one.headers, one.body)))
    await plain.seal_notices(conn, sealed)
    return len(found)


async def _seal_alerts(conn: Connection, vault: Vault, limit: int) -> int:
    found = await plain.lock_alerts(conn, limit)
    await plain.seal_alerts(conn, [(alert_id, hidden.seal_transaction(vault, alert_id, transaction_id)) for alert_id, transaction_id in found])
    return len(found)


async def _seal_intents(conn: Connection, vault: Vault, limit: int) -> int:
    found = await plain.lock_intents(conn, limit)
    sealed = []
    for one in found:
        transaction = None if one.transaction_id is None else hidden.seal_sandbox_id(vault, one.order_no, one.transaction_id)
        sealed.append((one.intent_id, hidden.intent_hash(vault, one.intent_id), hidden.seal_sandbox_id(vault, one.order_no, one.intent_id), transaction))
    await plain.seal_intents(conn, sealed)
    return len(found)
