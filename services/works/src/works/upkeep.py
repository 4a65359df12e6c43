"""Loops that repair: bytes in the object store that nothing names, plays that count again, tags that an earlier version did not keep."""

from datetime import timedelta

import structlog

from common.errors import Unavailable
from common.objects import former_thumbnail_key, thumbnail_key
from works import commands, store
from works.deps import Deps
from works.domain import PLAY_COUNTS_AFTER

log = structlog.get_logger()

_BATCH = 100
_PLAYS_BATCH = 1000
_TAGS_BATCH = 500


async def remove_loose_objects(deps: Deps) -> None:
    """Look at what is due, remove what nothing names; batches until nothing is due.

    The bytes go while the transaction holds the key's row: whoever wants to store the same picture again meanwhile waits, and then really stores it.
    Whatever dies in between leaves the row, and the key is looked at again.
    """
    while True:
        async with deps.db.read() as conn:
            due = await store.list_due_objects(conn, deps.db.clock.now(), _BATCH)
        folders = [key for key in due if key.endswith("/")]
        for key in due:
            try:
                await (_open_folder(deps, key) if key in folders else _remove(deps, key))
            except (Unavailable, OSError):
                async with deps.db.transaction() as tx:
                    await commands.look_again(tx, [key], timedelta(0))  # behind all that is due, or one that cannot go would keep the others for ever
                raise
        if len(due) < _BATCH and not folders:
            return


async def _remove(deps: Deps, key: str) -> None:
    async with deps.db.transaction() as tx:
        if await commands.claim_unnamed(tx, key):
            await deps.objects.delete(key)
            for small in (thumbnail_key(key), former_thumbnail_key(key)):
                if small is not None:
                    await deps.objects.delete(small)
            log.info("object.removed", key=key)


async def _open_folder(deps: Deps, folder: str) -> None:
    """What a deleted work's task left besides what the work named: from a worker that was too late, or small pictures made at the last moment.

    A store that does not let us look, which needs a right of its own, does not keep the rest from going.
    """
    async with deps.db.transaction() as tx:
        if not await commands.claim_unnamed(tx, folder):
            return
        try:
            found = await deps.objects.list_keys(folder)
        except Unavailable as error:
            log.warning("folder.not_listed", folder=folder, error=str(error))
            await commands.look_again(tx, [folder], deps.storage.unsaved_wait)
        else:
            await commands.look_again(tx, found, timedelta(0))


async def forget_plays(deps: Deps) -> None:
    """Who played a work so long ago that it counts again needs no row."""
    while True:
        async with deps.db.read() as conn:
            forgotten = await store.delete_plays(conn, deps.db.clock.now() - PLAY_COUNTS_AFTER, _PLAYS_BATCH)
        if forgotten < _PLAYS_BATCH:
            return


async def retag_works(deps: Deps, *, batch: int = _TAGS_BATCH) -> None:
    """Works that a process of the version before tagged, hid or deleted are found by their tags as they say them. Over a day after the migration."""
    unfinished = True
    while unfinished:
        async with deps.db.transaction() as tx:
            unfinished = await commands.retag_works(tx, batch)
