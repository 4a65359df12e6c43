"""Numbered SQL files, each applied once, in order, by one process at a time."""

import asyncio
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg

_NAME = re.compile(r"^(\d{4})_[a-z0-9_]+\.sql$")
_LOCK = 0x6461726B726F6F6D  # any constant will do, as long as all replicas agree
_ALONE = "-- Each statement alone:"
_ALONE_LOCK_WAIT_SECONDS = 60
_BUS = Path(__file__).parent / "bus" / "migrations"


class MigrationError(Exception):
    """The database and the files disagree, or a file could not be applied."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file; `room` keeps the library's numbers apart from the service's.

    It is applied in one transaction. A file that begins with `-- Each statement alone:` is not, as `CREATE INDEX CONCURRENTLY` demands: it may be
    cut short between two statements and is then begun again, so each of them must be safe twice. A statement ends with a line that ends in `;`.
    """

    room: str
    name: str
    sql: str

    @property
    def is_in_steps(self) -> bool:
        return self.sql.startswith(_ALONE)

    @property
    def statements(self) -> list[str]:
        """What is sent at once: the whole file, or one statement after the other."""
        return [one for one in re.split(r"(?<=;)\s*\n", self.sql) if one.strip()] if self.is_in_steps else [self.sql]

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def load(folder: Path, room: str) -> list[Migration]:
    """The files of a folder in order; raises MigrationError on a stray or doubled number, and when there is no such folder."""
    if not folder.is_dir():
        raise MigrationError(f"there is no folder {folder}: was this program installed without its SQL files?")
    found = sorted(path for path in folder.glob("*.sql"))
    stray = [path.name for path in found if not _NAME.match(path.name)]
    numbers = [path.name[:4] for path in found]
    if stray or len(set(numbers)) != len(numbers):
        raise MigrationError(f"{folder.name}: migrations must be NNNN_verb_noun.sql with one file per number: {stray or numbers}")
    return [Migration(room, path.name, path.read_text()) for path in found]


def every_migration(service_folder: Path | None) -> list[Migration]:
    """The library's migrations, then the service's."""
    return load(_BUS, "common") + (load(service_folder, "service") if service_folder is not None else [])


async def migrate(owner_url: str, migrations: Sequence[Migration], *, service_role: str, lock_wait_seconds: float = 30) -> list[str]:
    """Apply what is missing as the owner role; answers the names applied. Safe to run from many processes at once.

    Raises MigrationError when an applied file was changed, the database is newer than the files, a file cannot be applied (those before it
    stay) or somebody else migrates for too long.
    """
    conn = await asyncpg.connect(owner_url, server_settings={"lock_timeout": "5s", "darkroom.service_role": service_role})
    try:
        await _lock(conn, lock_wait_seconds)
        await conn.execute(
            "CREATE TABLE IF NOT EXISTS migration "
            "(room text, name text, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (room, name))"
        )
        missing = await _missing(conn, migrations)
        for migration in missing:
            try:
                await _apply(conn, migration)
            except asyncpg.PostgresError as error:
                left = "is begun again next time" if migration.is_in_steps else "was rolled back"
                raise MigrationError(f"{migration.name} could not be applied and {left}: {error}") from error
        return [migration.name for migration in missing]
    finally:
        await conn.close()


async def _apply(conn: asyncpg.Connection, migration: Migration) -> None:
    if migration.is_in_steps:
        # Nobody waits behind a statement that waits for the transactions of others, so it may be patient.
        await conn.execute(f"SET lock_timeout = '{_ALONE_LOCK_WAIT_SECONDS}s'")
        for statement in migration.statements:
            await conn.execute(statement)
        await conn.execute("RESET lock_timeout")
    async with conn.transaction():
        if not migration.is_in_steps:
            await conn.execute(migration.sql)
        await conn.execute("INSERT INTO migration (room, name, checksum) VALUES ($1, $2, $3)", migration.room, migration.name, migration.checksum)


async def check_schema(conn: asyncpg.Connection, migrations: Sequence[Migration]) -> None:
    """Raises MigrationError unless the database has exactly the migrations this program knows."""
    missing = await _missing(conn, migrations)
    if missing:
        raise MigrationError(f"the database lacks {missing[0].name}: run the `migrate` command of this service")


async def _missing(conn: asyncpg.Connection, migrations: Sequence[Migration]) -> list[Migration]:
    if await conn.fetchval("SELECT to_regclass('migration')") is None:
        return list(migrations)
    applied = {(row["room"], row["name"]): row["checksum"] for row in await conn.fetch("SELECT room, name, checksum FROM migration")}
    known = {(migration.room, migration.name): migration for migration in migrations}
    for place, checksum in applied.items():
        if place not in known:
            raise MigrationError(f"the database is newer than this program: it has {place[1]}")
        if known[place].checksum != checksum:
            raise MigrationError(f"{place[1]} was changed after it was applied")
    return [migration for migration in migrations if (migration.room, migration.name) not in applied]


async def _lock(conn: asyncpg.Connection, wait_seconds: float) -> None:
    # Polled: a session that waits inside pg_advisory_lock holds a snapshot that CREATE INDEX CONCURRENTLY would wait for.
    try:
        async with asyncio.timeout(wait_seconds):
            while not await conn.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
                await asyncio.sleep(0.1)
    except TimeoutError as error:
        raise MigrationError(f"another process has been migrating this database for {wait_seconds:g} s") from error
