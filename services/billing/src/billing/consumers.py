"""What billing hears: the ends of tasks."""

from collections import Counter
from collections.abc import Sequence
from functools import partial

from billing import commands
from billing.deps import Deps
from billing.domain import CaptureHold, Hold
from billing.numbers import Numbers
from common.bus.consumer import Subscriptions
from common.db import Tx
from common.errors import NotFound, ServiceError
from common.events import Event, SessionRevoked, TaskCancelled, TaskCompleted, TaskEnded, TaskFailed
from common.log import get_logger
from common.revocations import on_session_revoked

log = get_logger()

subscriptions = Subscriptions(group="billing")
subscriptions.overhear(SessionRevoked)(on_session_revoked)


@subscriptions.hear(TaskCompleted, TaskFailed, TaskCancelled)
async def on_task_ended(deps: Deps, tx: Tx, events: Sequence[Event[TaskEnded]]) -> None:
    """Capture what was delivered, release the rest. Safe twice: a resolved hold resolves to itself.

    An end without a hold, and one that contradicts how the hold was resolved, are outcomes of the domain: logged and counted, never retried.
    """
    asks = [CaptureHold(event.fact.task_id, event.fact.delivered) for event in events]
    outcomes = await commands.capture_holds(tx, asks)
    tx.after_commit(partial(_tell, deps.numbers, asks, outcomes))


def _tell(numbers: Numbers, asks: Sequence[CaptureHold], outcomes: Sequence[Hold | ServiceError]) -> None:
    ends: Counter[str] = Counter()
    for ask, outcome in zip(asks, outcomes, strict=True):
        if isinstance(outcome, Hold):
            ends[outcome.state] += 1
            if outcome.written_off_amount:
                numbers.written_off.inc()
                log.error("hold.written_off", task_id=ask.task_id, amount=outcome.written_off_amount)
        else:
            what = "unknown" if isinstance(outcome, NotFound) else "conflict"
            ends[what] += 1
            log.warning(f"hold.{what}", task_id=ask.task_id, delivered=ask.delivered, reason=outcome.detail)
    for what, count in ends.items():
        numbers.ends.labels(what).inc(count)
