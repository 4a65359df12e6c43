"""Callers who wait for an upload or a work to be kept, or a reaction to be counted, gathered into batches."""

from collections.abc import Sequence

from common.db import Database
from common.errors import ServiceError
from common.lane import Lane
from works import commands
from works.deps import ExpectLane, FilesLane, ReactionsLane, WorksLane
from works.domain import PLAY_COUNTS_AFTER, Counted, Kept, NewWork, Reaction, SavedFile, StorageTerms, StoredFile


def open_expect_lane(db: Database, terms: StorageTerms) -> ExpectLane:
    """Say that the bytes of uploads will be stored."""

    async def run(asks: Sequence[StoredFile]) -> list[ServiceError | None]:
        async with db.transaction() as tx:
            return await commands.expect_files(tx, asks, terms)

    return Lane(run, name="expected")


def open_files_lane(db: Database, terms: StorageTerms) -> FilesLane:
    """Keep uploads whose bytes are stored already."""

    async def run(asks: Sequence[StoredFile]) -> list[SavedFile | ServiceError]:
        async with db.transaction() as tx:
            return await commands.save_files(tx, asks, terms)

    return Lane(run, name="files")


def open_works_lane(db: Database) -> WorksLane:
    """Make works of photos."""

    async def run(asks: Sequence[NewWork]) -> list[Kept | ServiceError]:
        async with db.transaction() as tx:
            return await commands.create_works(tx, asks)

    return Lane(run, name="works")


def open_reactions_lane(db: Database) -> ReactionsLane:
    """Count plays and likes; those of one work together, for they wait for one row."""

    async def run(asks: Sequence[Reaction]) -> list[Counted | ServiceError]:
        async with db.transaction() as tx:
            return await commands.react(tx, asks, play_counts_after=PLAY_COUNTS_AFTER)

    return Lane(run, name="reactions")
