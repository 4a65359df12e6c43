"""Loops beside the requests: mails for forgotten passwords, and what is over is forgotten in small batches."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import asyncpg
import structlog

from common.db import Database
from common.errors import ServiceError, Unavailable
from common.service import Loop
from identity import adjustments, commands, store
from identity.deps import Deps
from identity.domain import INTENT_LEASE

log = structlog.get_logger()

_BATCH = 2000
_RESETS_BATCH = 100
_RESETS_SECONDS = 5
_INTENTS_BATCH = 20
_LINKS_KEPT = timedelta(days=30)


async def forget_what_is_over(db: Database) -> None:
    """Revocations whose tokens have expired by themselves, sessions of which nothing is good, old links, guesses and places."""
    for delete in (_revocations, _sessions, _links, _guesses):
        while await _delete(db, delete) >= _BATCH:
            await asyncio.sleep(0.1)


async def see_adjustments_through(deps: Deps) -> None:
    """Changes with credits in them whose process died, or whose answer from billing was lost: asked again, until it says yes or no."""
    async with deps.db.transaction() as tx:
        intents = await store.claim_intents(tx.conn, now=tx.now, leased_until=tx.now + INTENT_LEASE, limit=_INTENTS_BATCH)
    for intent in intents:
        try:
            await adjustments.see_through(deps, intent)
        except Unavailable:
            return  # those that are left wait for their leases
        except ServiceError as error:
            log.warning("adjustment.refused", action_id=str(intent.change.action_id), user_id=str(intent.change.user_id), error=str(error)[:200])


def answer_resets(db: Database, asked: asyncio.Event) -> Loop:
    """Mails for those who forgot their password: at once for what this replica was asked, soon for what others left."""

    async def loop(draining: asyncio.Event) -> None:
        while not draining.is_set():
            asked.clear()
            try:
                await _answer_resets(db)
            except Unavailable as error:
                log.warning("loop.waits", error=str(error)[:200])
            except Exception as error:
                log.error("loop.failed", exc_info=error)
            await _either(asked, draining, seconds=_RESETS_SECONDS)

    return loop


async def _answer_resets(db: Database) -> None:
    while True:
        async with db.transaction() as tx:
            answered = await commands.answer_reset_requests(tx, _RESETS_BATCH)
        if answered < _RESETS_BATCH:
            return


async def _either(one: asyncio.Event, other: asyncio.Event, *, seconds: float) -> None:
    waits = [asyncio.create_task(event.wait(), name="upkeep") for event in (one, other)]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


async def _delete(db: Database, delete: Callable[[asyncpg.Connection, datetime], Awaitable[int]]) -> int:
    async with db.transaction() as tx:
        return await delete(tx.conn, tx.now)


async def _revocations(conn: asyncpg.Connection, now: datetime) -> int:
    return await store.delete_old_revocations(conn, now=now, limit=_BATCH)


async def _sessions(conn: asyncpg.Connection, now: datetime) -> int:
    return await store.delete_old_sessions(conn, now=now, limit=_BATCH)


async def _links(conn: asyncpg.Connection, now: datetime) -> int:
    return await store.delete_old_links(conn, before=now - _LINKS_KEPT, limit=_BATCH)


async def _guesses(conn: asyncpg.Connection, now: datetime) -> int:
    return await store.delete_old_guesses(conn, now=now, limit=_BATCH)
