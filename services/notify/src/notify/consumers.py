"""What notify hears: ends of tasks and new works become notices, progress and balances become hints."""

import time
from collections.abc import Sequence
from typing import Any

from common.bus.consumer import Subscriptions
from common.db import Tx
from common.events import (
    CreditsChanged,
    DeliveryRequested,
    Event,
    Fact,
    MembershipChanged,
    OrderPaid,
    SessionRevoked,
    TaskCancelled,
    TaskCompleted,
    TaskEnded,
    TaskFailed,
    TaskProgressed,
    UserRegistered,
    WorkCreated,
)
from common.revocations import on_session_revoked
from notify import commands, store
from notify.deps import Deps
from notify.domain import Bought, Delivery, News
from notify.schemas.frames import render_credits

subscriptions = Subscriptions(group="notify")
subscriptions.overhear(SessionRevoked)(on_session_revoked)


@subscriptions.hear(TaskCompleted, TaskFailed, TaskCancelled, WorkCreated, MembershipChanged)
async def on_news(deps: Deps, tx: Tx, events: Sequence[Event[Fact]]) -> None:
    """A row in each owner's feed, then a push. Safe twice: the inbox and the feed's unique event id keep one row per fact."""
    notices = await commands.store_notices(tx, [_news(event) for event in events], origin=deps.hub.origin)
    tx.after_commit(lambda: deps.hub.push_notices(notices))


@subscriptions.hear(OrderPaid)
async def on_order_paid(deps: Deps, tx: Tx, events: Sequence[Event[OrderPaid]]) -> None:
    """A notice and a receipt by mail; both carry the fact's own id, so they are made once."""
    await on_news(deps, tx, events)
    receipts = [Delivery(event.event_id, event.fact.user_id, "order_paid", event.fact.order_no, bought=_bought(event.fact)) for event in events]
    await commands.keep_deliveries(tx, receipts)
    tx.after_commit(deps.mail_asked.set)


@subscriptions.hear(DeliveryRequested)
async def on_delivery_requested(deps: Deps, tx: Tx, events: Sequence[Event[DeliveryRequested]]) -> None:
    """A mail that identity wants sent. Safe twice: it carries the fact's own id."""
    await commands.keep_deliveries(tx, [Delivery(event.event_id, event.fact.user_id, event.fact.template, event.fact.ref) for event in events])
    tx.after_commit(deps.mail_asked.set)


@subscriptions.hear(UserRegistered)
async def on_user_registered(deps: Deps, tx: Tx, events: Sequence[Event[UserRegistered]]) -> None:
    """A feed for everybody, so that what is said to all reaches them. Safe twice: a feed that is there stays."""
    await store.open_feeds(tx.conn, [event.fact.user_id for event in events])


@subscriptions.overhear(TaskProgressed)
async def on_task_progressed(deps: Deps, events: Sequence[Event[TaskProgressed]]) -> None:
    """A hint to whoever looks on; the last one of a task wins."""
    hub, now_ms = deps.hub, int(time.time() * 1000)
    for event in events:
        fact = event.fact
        if hub.is_connected(fact.user_id) and hub.moves_on(task_id := str(fact.task_id), (fact.claim_no, fact.n)):
            hub.push_progress(fact, task_id, now_ms)


@subscriptions.overhear(CreditsChanged)
async def on_credits_changed(deps: Deps, events: Sequence[Event[CreditsChanged]]) -> None:
    """A hint to the account's owner; the newest version of an account wins."""
    hub, now_ms = deps.hub, int(time.time() * 1000)
    for event in events:
        fact = event.fact
        if hub.is_connected(fact.user_id):
            hub.push_credits(fact.user_id, fact.asset, fact.sequence, render_credits(fact, now_ms))


def _bought(fact: OrderPaid) -> Bought:
    return Bought(fact.asset, fact.granted, fact.membership_days, fact.price_minor, fact.currency)


def _news(event: Event[Fact]) -> News:
    fact = event.fact
    # What comes most often first: an instance of exactly this class is known at once, any other is asked about in Python.
    if isinstance(fact, TaskCompleted):
        return News(fact.user_id, event.event_id, "task_complete", _ended(fact) | {"description": fact.description, "lyrics": fact.lyrics})
    if isinstance(fact, WorkCreated):
        work = {"work_id": fact.work_id, "task_id": fact.task_id, "kind": fact.kind, "title": fact.title, "public": fact.public}
        return News(fact.user_id, event.event_id, "work_created", work)
    if isinstance(fact, TaskFailed):
        return News(fact.user_id, event.event_id, "task_failed", _ended(fact) | {"reason": fact.reason, "message": fact.message})
    if isinstance(fact, TaskCancelled):
        return News(fact.user_id, event.event_id, "task_cancelled", _ended(fact))
    if isinstance(fact, OrderPaid):
        order = {
            "order_no": fact.order_no,
            "package_id": fact.package_id,
            "asset": fact.asset,
            "granted": fact.granted,
            "membership_days": fact.membership_days,
        }
        return News(fact.user_id, event.event_id, "order_paid", order)
    assert isinstance(fact, MembershipChanged)
    membership = {"change": fact.kind, "active_until": fact.active_until.isoformat(), "order_no": fact.order_no}
    return News(fact.user_id, event.event_id, "membership_changed", membership)


def _ended(fact: TaskEnded) -> dict[str, Any]:
    return {
        "task_id": str(fact.task_id),
        "kind": fact.kind,
        "title": fact.title,
        "work_id": fact.work_id,
        "asked": fact.asked,
        "delivered": fact.delivered,
        "items": [item.__dict__ for item in fact.items],
    }
