"""The fixtures other tests stand on: a service's database is migrated, opened with its role, and as new at the start of each test."""

from collections.abc import Awaitable, Callable

import asyncpg
import pytest

from suite.pytest_plugin import MakeDatabase, ServiceDatabase, make_cleaner


@pytest.mark.parametrize("turn", [1, 2])
async def test_each_test_finds_a_services_tables_empty(service_database: ServiceDatabase, superuser_url: Callable[[str], Awaitable[str]], turn: int) -> None:
    db = await service_database("gateway")
    assert await db.fetchval("SELECT count(*) FROM inbox") == 0
    superuser = await asyncpg.connect(await superuser_url("gateway"))
    await superuser.execute("INSERT INTO inbox (group_name, event_id, heard_at) VALUES ('g', gen_random_uuid(), now())")
    await superuser.close()
    assert await db.fetchval("SELECT count(*) FROM inbox") == 1
    assert not await db.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")


async def test_cleaning_puts_back_what_migrations_wrote_and_passes_every_trigger(make_database: MakeDatabase) -> None:
    database = await make_database("billing")
    owner = await asyncpg.connect(database.owner_url)
    await owner.execute("""
        CREATE TABLE scene (n bigint GENERATED ALWAYS AS IDENTITY, name text, loud text GENERATED ALWAYS AS (upper(name)) STORED);
        INSERT INTO scene (name) VALUES ('travel');
        CREATE TABLE entry (note text);
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'never'; END $$;
        CREATE TRIGGER refuse BEFORE DELETE ON entry FOR EACH ROW EXECUTE FUNCTION refuse();
    """)
    connection, statements = await make_cleaner(database.superuser_url)
    await owner.execute("UPDATE scene SET name = 'changed'; INSERT INTO entry VALUES ('kept for ever')")
    await connection.execute(statements)
    assert await owner.fetch("SELECT n, name, loud FROM scene") == [(1, "travel", "TRAVEL")]
    assert await owner.fetchval("SELECT count(*) FROM entry") == 0
    await owner.close()
    await connection.close()
