"""Migrations: each once, in order, by one at a time; what does not fit is refused in a sentence."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from common.bus.outbox import claim_rows
from common.db import Database
from common.ids import new_id
from common.migrate import Migration, MigrationError, check_schema, every_migration, load, migrate

Write = Callable[[str, str], None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "migrations"
    made.mkdir()
    return made


@pytest.fixture
def write(folder: Path) -> Write:
    """`write("0001_create_thing.sql", "CREATE ...")`"""

    def write_file(name: str, sql: str) -> None:
        (folder / name).write_text(sql)

    return write_file


@pytest.fixture
async def database(make_database: Any) -> Any:
    return await make_database("migrated")


async def query(url: str, sql: str, *args: object) -> Any:
    conn = await asyncpg.connect(url)
    try:
        return await conn.fetchval(sql, *args)
    finally:
        await conn.close()


async def apply(database: Any, migrations: list[Migration], **options: Any) -> list[str]:
    return await migrate(database.owner_url, migrations, service_role=database.name, **options)


async def check(database: Any, migrations: list[Migration]) -> None:
    conn = await asyncpg.connect(database.role_url)
    try:
        await check_schema(conn, migrations)
    finally:
        await conn.close()


async def test_migrations_are_applied_in_order_and_once(database: Any, folder: Path, write: Write) -> None:
    write("0002_add_name.sql", "ALTER TABLE thing ADD name text;")
    write("0001_create_thing.sql", "CREATE TABLE thing (id int);")
    ours = [migration.name for migration in every_migration(None)]
    assert ours
    assert await apply(database, every_migration(folder)) == [*ours, "0001_create_thing.sql", "0002_add_name.sql"]
    assert await apply(database, every_migration(folder)) == []
    await check(database, every_migration(folder))
    write("0003_drop_name.sql", "ALTER TABLE thing DROP name;")
    with pytest.raises(MigrationError, match=r"lacks 0003_drop_name\.sql"):
        await check(database, every_migration(folder))
    assert await apply(database, every_migration(folder)) == ["0003_drop_name.sql"]


async def test_four_at_once_apply_each_file_once(database: Any, folder: Path, write: Write) -> None:
    for number in range(1, 6):
        write(f"000{number}_create_thing_{number}.sql", f"CREATE TABLE thing_{number} (id int); SELECT pg_sleep(0.05);")
    applied = await asyncio.gather(*(apply(database, every_migration(folder)) for _ in range(4)))
    assert sorted(name for names in applied for name in names) == sorted(migration.name for migration in every_migration(folder))
    assert await query(database.owner_url, "SELECT count(*) FROM migration WHERE room = 'service'") == 5


async def test_a_file_that_was_changed_after_it_was_applied_is_refused(database: Any, folder: Path, write: Write) -> None:
    write("0001_create_thing.sql", "CREATE TABLE thing (id int);")
    await apply(database, every_migration(folder))
    write("0001_create_thing.sql", "CREATE TABLE thing (id int); -- one more word")
    write("0002_create_other.sql", "CREATE TABLE other (id int);")
    for refuses in (apply, check):
        with pytest.raises(MigrationError, match=r"0001_create_thing\.sql was changed after it was applied"):
            await refuses(database, every_migration(folder))
    assert await query(database.owner_url, "SELECT to_regclass('other')") is None


async def test_a_database_that_is_newer_than_the_files_is_refused(database: Any, folder: Path, write: Write) -> None:
    write("0001_create_thing.sql", "CREATE TABLE thing (id int);")
    write("0002_create_other.sql", "CREATE TABLE other (id int);")
    await apply(database, every_migration(folder))
    (folder / "0002_create_other.sql").unlink()
    for refuses in (apply, check):
        with pytest.raises(MigrationError, match=r"newer than this program: it has 0002_create_other\.sql"):
            await refuses(database, every_migration(folder))


@pytest.mark.parametrize(
    "name", ["1_create_thing.sql", "0001-create-thing.sql", "0001_Create_Thing.sql", "create_thing.sql", "00001_create_thing.sql", "0001_.sql"]
)
def test_a_stray_name_is_refused(folder: Path, write: Write, name: str) -> None:
    write("0002_create_other.sql", "SELECT 1")
    write(name, "SELECT 1")
    with pytest.raises(MigrationError, match="NNNN_verb_noun"):
        load(folder, "service")


def test_a_number_given_twice_is_refused(folder: Path, write: Write) -> None:
    write("0001_create_thing.sql", "SELECT 1")
    write("0001_create_other.sql", "SELECT 1")
    with pytest.raises(MigrationError, match="one file per number"):
        load(folder, "service")


def test_what_is_no_migration_is_left_alone(folder: Path, write: Write) -> None:
    write("0001_create_thing.sql", "SELECT 1")
    write("README.md", "how these came to be")
    assert [migration.name for migration in load(folder, "service")] == ["0001_create_thing.sql"]


def test_a_folder_that_is_not_there_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    """As in an image that was built without its SQL files."""
    with pytest.raises(MigrationError, match="nowhere"):
        load(tmp_path / "nowhere", "service")


async def test_a_file_that_fails_is_undone_as_a_whole_and_named(database: Any, folder: Path, write: Write) -> None:
    write("0001_create_thing.sql", "CREATE TABLE thing (id int);")
    write("0002_create_half.sql", "CREATE TABLE half (id int); SELECT 1 / 0;")
    write("0003_create_other.sql", "CREATE TABLE other (id int);")
    with pytest.raises(MigrationError, match=r"0002_create_half\.sql could not be applied.*division by zero"):
        await apply(database, every_migration(folder))
    there = [await query(database.owner_url, "SELECT to_regclass($1)::text", name) for name in ("thing", "half", "other")]
    assert there == ["thing", None, None]
    write("0002_create_half.sql", "CREATE TABLE half (id int);")
    assert await apply(database, every_migration(folder)) == ["0002_create_half.sql", "0003_create_other.sql"]


async def test_an_index_is_built_beside_writers_and_a_file_of_steps_that_was_cut_short_is_begun_again(database: Any, folder: Path, write: Write) -> None:
    steps = "-- Each statement alone: writers go on.\nDROP INDEX CONCURRENTLY IF EXISTS by_name;\nCREATE INDEX CONCURRENTLY by_name ON thing (name);\n"
    write("0001_create_thing.sql", "CREATE TABLE thing (id int, name text);")
    write("0002_index_thing.sql", steps + "SELECT 1 / 0;\n")
    for _ in range(2):
        with pytest.raises(MigrationError, match=r"0002_index_thing\.sql could not be applied and is begun again next time.*division by zero"):
            await apply(database, every_migration(folder))
        assert await query(database.owner_url, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'by_name'::regclass") is True
    write("0002_index_thing.sql", steps + "SELECT current_setting('lock_timeout');\n")
    write("0003_create_other.sql", "CREATE TABLE other AS SELECT current_setting('lock_timeout') AS lock_timeout;")
    assert await apply(database, every_migration(folder)) == ["0002_index_thing.sql", "0003_create_other.sql"]
    assert await query(database.owner_url, "SELECT lock_timeout FROM other") == "5s"


async def test_one_that_waits_too_long_for_another_says_so(database: Any, folder: Path, write: Write) -> None:
    write("0001_create_thing.sql", "CREATE TABLE thing (id int); SELECT pg_sleep(1.5);")
    first = asyncio.create_task(apply(database, every_migration(folder)))
    await asyncio.sleep(0.7)
    with pytest.raises(MigrationError, match="another process"):
        await apply(database, every_migration(folder), lock_wait_seconds=0.2)
    assert "0001_create_thing.sql" in await first


async def test_the_services_role_owns_nothing_and_may_use_everything(database: Any, folder: Path, write: Write) -> None:
    write(
        "0001_create_book.sql",
        """
        CREATE TABLE thing (id bigserial PRIMARY KEY);
        CREATE TABLE book (id int);
        DO $$ BEGIN EXECUTE format('REVOKE UPDATE, DELETE ON book FROM %I', current_setting('darkroom.service_role')); END $$;
        """,
    )
    await apply(database, every_migration(folder))
    conn = await asyncpg.connect(database.role_url)
    try:
        await conn.execute("INSERT INTO thing DEFAULT VALUES; UPDATE thing SET id = 7; DELETE FROM thing; INSERT INTO book VALUES (1)")
        for refused in ("UPDATE book SET id = 2", "DELETE FROM book", "DROP TABLE thing", "CREATE TABLE mine (id int)", "TRUNCATE book"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await conn.execute(refused)
    finally:
        await conn.close()


@pytest.mark.parametrize("service", ["identity", "works", "generation", "billing", "notify"])
async def test_the_files_of_every_service_fit_an_empty_database_and_twice_is_once(service: str, make_database: Any) -> None:
    import importlib.util

    found = importlib.util.find_spec(service)
    assert found is not None
    assert found.submodule_search_locations
    migrations = every_migration(Path(found.submodule_search_locations[0]) / "migrations")
    database = await make_database(service)
    assert await apply(database, migrations) == [migration.name for migration in migrations]
    assert await apply(database, migrations) == []
    await check(database, migrations)


async def test_facts_that_were_not_told_yet_are_told_after_the_outbox_was_bundled(database: Any) -> None:
    first, *rest = every_migration(None)
    await apply(database, [first])
    event_id = new_id()
    await query(
        database.owner_url,
        """
        INSERT INTO outbox (event_id, topic, key, headers, payload, created_at, leased_until)
        VALUES ($1, 'user.registered', 'k1', '["user/k1",7,"request-1",null]', convert_to('{"name":"\u00e9 \\u0000"}', 'UTF8'), now(), now())
        """,
        event_id,
    )
    await apply(database, [first, *rest])
    db = await Database.open(database.role_url, name="told")
    try:
        ((fact,),) = await claim_rows(db, 10, timedelta(seconds=5))
    finally:
        await db.close()
    assert (fact.event_id, fact.topic, fact.key, fact.subject, fact.sequence) == (event_id, "user.registered", "k1", "user/k1", 7)
    assert (fact.correlation_id, fact.traceparent, fact.position, fact.place) == ("request-1", None, 1, 0)
    assert fact.value == '{"name":"\u00e9 \\u0000"}'.encode()
    assert await query(database.owner_url, "INSERT INTO outbox (facts, created_at, leased_until) VALUES ('[]', now(), now()) RETURNING position") == 2
