"""Loops that repair: bytes in the object store that nothing names, plays that count again."""

import structlog

from common.objects import thumbnail_key
from works import commands, store
from works.deps import Deps
from works.domain import PLAY_COUNTS_AFTER

log = structlog.get_logger()

_BATCH = 100
_PLAYS_BATCH = 1000


async def remove_loose_objects(deps: Deps) -> None:
    """Look at what is due, remove what nothing names; batches until nothing is due.

    The bytes go while the transaction holds the key's row: whoever wants to store the same picture again meanwhile waits, and then really stores it.
    """
    while True:
        async with deps.db.read() as conn:
            due = await store.list_due_objects(conn, deps.db.clock.now(), _BATCH)
        for key in due:
            async with deps.db.transaction() as tx:
                if await commands.claim_unnamed(tx, key):
                    await deps.objects.delete(key)
                    small = thumbnail_key(key)
                    if small is not None:
                        await deps.objects.delete(small)
                    log.info("object.removed", key=key)
        if len(due) < _BATCH:
            return


async def forget_plays(deps: Deps) -> None:
    """Who played a work so long ago that it counts again needs no row."""
    while True:
        async with deps.db.read() as conn:
            forgotten = await store.delete_plays(conn, deps.db.clock.now() - PLAY_COUNTS_AFTER, _PLAYS_BATCH)
        if forgotten < _PLAYS_BATCH:
            return
