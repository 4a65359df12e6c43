"""Fixtures every test may ask for: a real PostgreSQL, a database per service, a real Kafka, a real S3, a real Redis."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from common.clock import Clock
    from common.db import Database
    from suite.embedded.kafka import EmbeddedKafka
    from suite.embedded.postgres import EmbeddedPostgres
    from suite.embedded.redis import EmbeddedRedis
    from suite.embedded.s3 import EmbeddedS3


@dataclass(frozen=True)
class TestDatabase:
    """A database of its own: as its owner (migrations), as its role (what the service uses), and as superuser."""

    __test__ = False

    name: str
    owner_url: str
    role_url: str
    superuser_url: str


class MakeDatabase(Protocol):
    """Call it for a fresh, empty database; it goes away with the session."""

    async def __call__(self, name: str) -> TestDatabase: ...


class ServiceDatabase(Protocol):
    """Call it for a service's migrated, emptied database, opened as the service opens it (no relay runs)."""

    async def __call__(self, service: str, *, clock: Clock | None = None) -> Database: ...


def pytest_configure() -> None:
    """An example that hypothesis makes may take its time: how long says more about the machine than about the code."""
    patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.register_profile("patient", patient)
    settings.load_profile("patient")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With `--dist loadgroup`, the tests of a file share its fixtures in one process, but those that kill processes have nothing to share."""
    for item in items:
        if item.get_closest_marker("crash") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.name))


@pytest.fixture(scope="session")
def short_folder() -> Iterator[Path]:
    """A temporary folder with a short path that other users may pass through; it goes away with the session."""
    folder = Path(tempfile.mkdtemp(prefix="darkroom-test-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres(short_folder: Path) -> AsyncIterator[EmbeddedPostgres]:
    """A real PostgreSQL for this session (each xdist worker has its own). DARKROOM_TEST_POSTGRES names other binaries."""
    from suite.embedded.postgres import EmbeddedPostgres

    other = os.environ.get("DARKROOM_TEST_POSTGRES")
    server = EmbeddedPostgres(short_folder / "pg", binaries=Path(other) if other else None, dies_with_us=True, outlives_power_cuts=False)
    await server.start()
    yield server
    await server.stop("immediate")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def kafka(short_folder: Path) -> AsyncIterator[EmbeddedKafka]:
    """A real Kafka for this session. Where it cannot be had a test is skipped, in CI it fails."""
    from suite.embedded.kafka import EmbeddedKafka
    from suite.embedded.parts import EmbeddedError

    broker = EmbeddedKafka(short_folder / "kafka", dies_with_us=True)
    try:
        await broker.start()
    except EmbeddedError as reason:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI needs a real Kafka: {reason}", pytrace=False)
        pytest.skip(str(reason))
    yield broker
    await broker.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def s3(short_folder: Path) -> AsyncIterator[EmbeddedS3]:
    """A real S3 server for this session, with a bucket and keys. Where it cannot be had a test is skipped, in CI it fails."""
    from suite.embedded.parts import EmbeddedError
    from suite.embedded.s3 import EmbeddedS3

    server = EmbeddedS3(short_folder / "s3")
    try:
        await server.start()
    except EmbeddedError as reason:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI needs a real S3 server: {reason}", pytrace=False)
        pytest.skip(str(reason))
    yield server
    await server.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def redis_server(short_folder: Path) -> AsyncIterator[EmbeddedRedis]:
    """A real Redis for this session; most tests ask for `redis` instead. Where it cannot be had a test is skipped, in CI it fails."""
    from suite.embedded.parts import EmbeddedError
    from suite.embedded.redis import EmbeddedRedis

    server = EmbeddedRedis(short_folder / "redis")
    try:
        await server.start()
    except EmbeddedError as reason:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI needs a real Redis: {reason}", pytrace=False)
        pytest.skip(str(reason))
    yield server
    await server.kill()


@pytest_asyncio.fixture(loop_scope="session")
async def redis(redis_server: EmbeddedRedis) -> EmbeddedRedis:
    """The session's Redis, running and empty, whatever a test before did to it."""
    await redis_server.kill()
    await redis_server.start()
    return redis_server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def make_database(postgres: EmbeddedPostgres) -> MakeDatabase:
    """`await make_database("billing")`: an empty database nobody used before."""
    made = 0

    async def make(name: str) -> TestDatabase:
        nonlocal made
        made += 1
        unique = f"{name}_{made}"
        urls = await postgres.ensure_database(unique)
        return TestDatabase(unique, urls.owner_url, urls.role_url, postgres.superuser_url(unique))

    return make


@dataclass
class MigratedDatabases:
    """A migrated database per service, made when first asked for and emptied between tests."""

    make: MakeDatabase
    databases: dict[str, TestDatabase] = field(default_factory=dict)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _cleaners: dict[str, tuple[Any, str]] = field(default_factory=dict)

    async def get(self, service: str) -> TestDatabase:
        async with self._lock:
            if service not in self.databases:
                database = await self.make(service)
                await _migrate(service, database)
                self._cleaners[service] = await make_cleaner(database.superuser_url)
                self.databases[service] = database
            return self.databases[service]

    async def clean(self, service: str) -> None:
        """Back to what the migrations left, past every trigger and revoked right."""
        connection, statements = self._cleaners[service]
        await connection.execute(statements)

    async def close(self) -> None:
        for connection, _ in self._cleaners.values():
            await connection.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def service_databases(make_database: MakeDatabase) -> AsyncIterator[MigratedDatabases]:
    """The migrated databases of this session; most tests ask for `service_database` instead."""
    databases = MigratedDatabases(make_database)
    yield databases
    await databases.close()


@pytest_asyncio.fixture(loop_scope="session")
async def service_database(service_databases: MigratedDatabases) -> AsyncIterator[ServiceDatabase]:
    """`db = await service_database("billing")`: migrated, emptied, opened with the service's role; closed after the test."""
    from common.db import Database
    from common.testing.patience import DATABASE_SECONDS

    opened: list[Database] = []
    cleaned: set[str] = set()

    async def open_database(service: str, *, clock: Clock | None = None) -> Database:
        database = await service_databases.get(service)
        if service not in cleaned:
            cleaned.add(service)
            await service_databases.clean(service)
        opened.append(
            await Database.open(
                database.role_url,
                name=f"test-{service}",
                clock=clock,
                acquire_seconds=DATABASE_SECONDS,
                statement_seconds=DATABASE_SECONDS,
                lock_seconds=DATABASE_SECONDS,
            )
        )
        return opened[-1]

    yield open_database
    for database in opened:
        await database.close()


@pytest_asyncio.fixture(loop_scope="session")
async def superuser_url(service_databases: MigratedDatabases) -> Callable[[str], Awaitable[str]]:
    """`await superuser_url("billing")`: the way past every right, for looking and planting."""

    async def url(service: str) -> str:
        return (await service_databases.get(service)).superuser_url

    return url


def migrations_folder(service: str) -> Path | None:
    """Where a service keeps its migrations, found without importing it."""
    found = importlib.util.find_spec(service)
    for place in (found.submodule_search_locations or []) if found else []:
        folder = Path(place) / "migrations"
        if folder.is_dir():
            return folder
    return None


async def _migrate(service: str, database: TestDatabase) -> None:
    from common.migrate import every_migration, migrate

    await migrate(database.owner_url, every_migration(migrations_folder(service)), service_role=database.name)


async def make_cleaner(superuser_url: str) -> tuple[Any, str]:
    """A connection and the statements that empty every table and put back the rows the migrations wrote."""
    import asyncpg

    connection = await asyncpg.connect(superuser_url, server_settings={"session_replication_role": "replica"})
    found = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'migration' ORDER BY 1")
    tables = [row["tablename"] for row in found]
    statements = [f'DELETE FROM public."{table}"' for table in tables]
    await connection.execute("CREATE SCHEMA seed")
    for table in tables:
        if await connection.fetchval(f'SELECT EXISTS (SELECT FROM public."{table}")'):
            await connection.execute(f'CREATE TABLE seed."{table}" AS TABLE public."{table}"')
            columns = await connection.fetchval(
                "SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute"
                " WHERE attrelid = ('public.' || quote_ident($1))::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''",
                table,
            )
            statements.append(f'INSERT INTO public."{table}" ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM seed."{table}"')
    return connection, "; ".join(statements) or "SELECT 1"
