"""Changes with credits in them: noted first, then asked of billing, then made. None is half made, and none is forgotten."""

import asyncio
import math
from dataclasses import replace

import structlog

from common.errors import NotAsked, ServiceError, Unavailable
from identity import clients, commands, store
from identity.deps import Deps
from identity.domain import INTENT_LEASE, Intent, Person, PersonChange, PersonChanged

_TWINS_WAIT_SECONDS = 3.0
_LOOK_AGAIN_SECONDS = 0.1

log = structlog.get_logger()


async def change_person(deps: Deps, change: PersonChange) -> PersonChanged:
    """Make what an operator asks for, whole or not at all; a twin waits for the first.

    Raises what refuses it: then nothing has changed. Raises Unavailable: billing was not there (nothing has changed either), or its answer
    was lost, and then upkeep goes on asking until there is one.
    """
    until = asyncio.get_running_loop().time() + _TWINS_WAIT_SECONDS
    while True:
        async with deps.db.transaction() as tx:
            [begun] = await commands.begin_changes(tx, [change])
            tx.after_commit(deps.revocations.hint)
        if isinstance(begun, ServiceError):
            raise begun
        if isinstance(begun, PersonChanged):
            return begun
        if begun.claimed:
            return PersonChanged(await see_through(deps, begun), replayed=False)
        if asyncio.get_running_loop().time() >= until:
            wait_seconds = (begun.leased_until - deps.db.clock.now()).total_seconds()
            raise Unavailable("billing has not answered yet", retry_after_seconds=max(1, math.ceil(wait_seconds)))
        change = replace(change, action_id=begun.change.action_id)
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)


async def see_through(deps: Deps, intent: Intent) -> Person:
    """Ask billing under the action's id, so that asking again moves nothing again, and make the change it agreed to."""
    change = intent.change
    try:
        await clients.adjust_credits(
            deps.billing,
            adjustment_id=change.action_id,
            user_id=change.user_id,
            amount=change.credits_adjustment,
            reason=change.reason,
            by=change.admin_id,
        )
    except ServiceError as error:
        # Nobody there says nothing about a question that was asked before and whose answer was lost.
        if error.status < 500 or (isinstance(error, NotAsked) and intent.claim_no == 1):
            async with deps.db.transaction() as tx:
                await store.give_up_intent(tx.conn, intent)
            raise
        log.warning("adjustment.open", action_id=str(change.action_id), user_id=str(change.user_id), error=str(error)[:200])
        raise Unavailable("billing has not answered; the change is noted and will be made", retry_after_seconds=int(INTENT_LEASE.total_seconds())) from error
    async with deps.db.transaction() as tx:
        [outcome] = await commands.change_people(tx, [change])
        tx.after_commit(deps.revocations.hint)
    if isinstance(outcome, ServiceError):
        raise outcome
    return outcome
