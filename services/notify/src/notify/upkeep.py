"""Loops of notify: pings and expiries by one timer, heads compared for hints that were lost, old notices forgotten."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from uuid import UUID

import asyncpg
import structlog

from common.errors import Unavailable
from common.service import Loop
from notify import commands, store
from notify.deps import Deps

log = structlog.get_logger()

_BATCH = 2000


async def watch_sockets(deps: Deps) -> None:
    """Ping everybody; close who did not answer and whose token ran out."""
    now, moment = time.monotonic(), time.time()
    for connection in deps.hub.connections():
        if connection.expires_at <= moment:
            deps.hub.close_later(connection, 4005, b"the token expired")
        elif now - connection.heard_at > deps.settings.pong_seconds:
            deps.hub.close_later(connection, 4012, b"no pong")
        elif now - connection.heard_at > deps.settings.ping_seconds:
            connection.ping()


async def compare_heads(deps: Deps) -> None:
    """One query for all connected users: whatever a lost hint would have said."""
    users = deps.hub.users()
    for start in range(0, len(users), _BATCH):
        deps.hub.push_heads(await store.list_heads(deps.db, users[start : start + _BATCH]))


async def forget_old_notices(deps: Deps) -> None:
    """Retention, in small batches."""
    kept = timedelta(days=deps.settings.feed_kept_days)
    while await store.delete_old_notices(deps.db, older_than=kept, limit=_BATCH) == _BATCH:
        await asyncio.sleep(0.1)


async def spread_announcements(deps: Deps) -> None:
    """Bring what operators said into the feeds, a batch of people at a time."""
    there_was_one = True
    while there_was_one:
        async with deps.db.transaction() as tx:
            there_was_one, notices = await commands.spread_announcement(tx, origin=deps.hub.origin)
            tx.after_commit(partial(deps.hub.push_notices, notices))


def whenever(wake: asyncio.Event, seconds: float, step: Callable[[], Awaitable[None]]) -> Loop:
    """Run a step when somebody in this process asks for it, and now and then for what others left."""

    async def loop(draining: asyncio.Event) -> None:
        while not draining.is_set():
            try:
                await step()
            except Unavailable as error:
                log.warning("loop.waits", error=str(error)[:200])
            except Exception as error:
                log.error("loop.failed", exc_info=error)
            waits = [asyncio.create_task(one.wait(), name="whenever") for one in (wake, draining)]
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            for one in waits:
                one.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
            wake.clear()

    return loop


def listen_for_hints(deps: Deps) -> Loop:
    """Hear which feeds other replicas wrote to. Hints may be lost; `compare_heads` is the net."""

    async def loop(draining: asyncio.Event) -> None:
        while not draining.is_set():
            try:
                await _listen(deps, draining)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("hints.unavailable", error=type(error).__name__)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1):
                        await draining.wait()

    return loop


async def _listen(deps: Deps, draining: asyncio.Event) -> None:
    conn = await asyncpg.connect(deps.settings.database_url, timeout=5)
    hinted: set[UUID] = set()
    wake = asyncio.Event()
    mine = deps.hub

    def hear(_conn: object, pid: int, _channel: str, payload: str) -> None:
        origin, _, users = payload.partition(":")
        if origin != mine.origin:
            hinted.update(user for user in map(UUID, users.split(",")) if mine.is_connected(user))
        if hinted:
            wake.set()

    try:
        await conn.add_listener("feed", hear)
        conn.add_termination_listener(lambda _conn: wake.set())
        while not draining.is_set() and not conn.is_closed():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await wake.wait()
            wake.clear()
            if hinted:
                users = list(hinted)
                hinted.clear()
                with contextlib.suppress(Unavailable):
                    mine.push_heads(await store.list_heads(deps.db, users))
    finally:
        await conn.close(timeout=2)
