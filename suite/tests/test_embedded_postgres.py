"""The embedded PostgreSQL: started, adopted, restarted, run by whoever may, with roles that cannot do what was revoked."""

import asyncio
import os
import pwd
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from suite.embedded.parts import EmbeddedError, PortTaken, is_alive, wait_until
from suite.embedded.postgres import EmbeddedPostgres
from suite.pytest_plugin import MakeDatabase

# Everything is imported before the rights are dropped: a normal user need not be able to read root's Python.
STARTS_ONE = """
import asyncio, concurrent.futures.thread, os, sys, time
from pathlib import Path
import asyncpg
from suite.embedded.postgres import EmbeddedPostgres

async def main():
    server = EmbeddedPostgres(Path(sys.argv[1]))
    await server.start()
    urls = await server.ensure_database("billing")
    connection = await asyncpg.connect(urls.owner_url)
    await connection.execute("CREATE TABLE IF NOT EXISTS kept (note text); INSERT INTO kept VALUES ('before')")
    await connection.close()
    print(server.pid, server.port, flush=True)
    if "stop" in sys.argv:
        await server.stop()
        print("stopped", flush=True)
    else:
        time.sleep(600)

if len(sys.argv) > 3:
    os.setgroups([]); os.setgid(int(sys.argv[3])); os.setuid(int(sys.argv[3]))
    os.environ["HOME"] = sys.argv[1]
asyncio.run(main())
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="darkroom-test-") as name:
        Path(name).chmod(0o711)
        yield Path(name) / "pg"


@asynccontextmanager
async def running(folder: Path, port: int = 0) -> AsyncIterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(folder, port, dies_with_us=True)
    await server.start()
    try:
        yield server
    finally:
        await server.stop("immediate")


async def ask(url: str, sql: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def run(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def start_in_another_process(folder: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", STARTS_ONE, str(folder), *words], stdout=subprocess.PIPE, text=True)


async def test_a_restart_keeps_rows_and_addresses(folder: Path) -> None:
    async with running(folder) as server:
        urls = await server.ensure_database("billing")
        await ask(urls.owner_url, "CREATE TABLE kept AS SELECT 7 AS n")
        await server.stop()
        assert server.pid is None
        await server.start()
        assert await ask(urls.role_url, "SELECT n FROM kept") == 7


async def test_a_server_comes_back_at_once_after_kill_9(folder: Path) -> None:
    async with running(folder) as server:
        urls = await server.ensure_database("billing")
        await ask(urls.owner_url, "CREATE TABLE kept AS SELECT 7 AS n")
        await server.kill()
        await server.start()
        assert not server.adopted
        assert await ask(urls.role_url, "SELECT n FROM kept") == 7


async def test_a_server_left_by_a_killed_parent_is_adopted(folder: Path) -> None:
    parent = await asyncio.to_thread(start_in_another_process, folder)
    assert parent.stdout is not None
    with parent.stdout:
        pid, port = (int(word) for word in (await asyncio.to_thread(parent.stdout.readline)).split())
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    assert is_alive(pid)
    async with running(folder) as server:
        assert (server.adopted, server.pid, server.port) == (True, pid, port)
        urls = await server.ensure_database("billing")
        assert await ask(urls.role_url, "SELECT note FROM kept") == "before"
    assert await wait_until(lambda: not is_alive(pid), within_seconds=60)


async def test_a_living_server_on_another_port_is_moved_to_the_wanted_one(folder: Path) -> None:
    async with running(folder) as server:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            wanted = probe.getsockname()[1]
        again = EmbeddedPostgres(folder, wanted, dies_with_us=True)
        await again.start()
        assert (again.adopted, again.port) == (False, wanted)
        assert server.pid is None
        await again.stop()


async def test_a_pid_file_of_a_stranger_is_no_obstacle(folder: Path) -> None:
    async with running(folder) as server:
        lines = (folder / "data" / "postmaster.pid").read_text().splitlines()
        await server.stop("fast")
        (folder / "data" / "postmaster.pid").write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
        await server.start()
        assert not server.adopted
        assert is_alive(os.getpid())


async def test_a_half_made_cluster_is_made_again(folder: Path) -> None:
    (folder / "data.new").mkdir(parents=True)
    (folder / "data.new" / "rest").write_text("of an interrupted start")
    async with running(folder) as server:
        assert await ask(server.superuser_url(), "SELECT current_setting('fsync')") == "on"
        assert await ask(server.superuser_url(), "SELECT current_setting('jit')") == "off"


async def test_a_taken_port_is_told_in_a_sentence(folder: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortTaken, match=f"port {port} on 127.0.0.1 is taken"):
            await EmbeddedPostgres(folder, port).start()


async def test_the_reason_of_a_failed_start_is_told(folder: Path) -> None:
    async with running(folder) as server:
        await server.stop()
        (folder / "data" / "global" / "pg_control").rename(folder / "data" / "global" / "pg_control.away")
        with pytest.raises(EmbeddedError, match=r"PostgreSQL did not start: .*pg_control"):
            await server.start()


async def test_a_server_dies_with_a_test_run_that_is_killed(folder: Path) -> None:
    script = STARTS_ONE.replace("Path(sys.argv[1])", "Path(sys.argv[1]), dies_with_us=True", 1)
    parent = await asyncio.to_thread(subprocess.Popen, [sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout:
        pid = int((await asyncio.to_thread(parent.stdout.readline)).split()[0])
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    assert await wait_until(lambda: not is_alive(pid), within_seconds=60)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can hand a folder to another user")
async def test_a_normal_user_runs_it_as_himself() -> None:
    somebody = pwd.getpwnam("daemon").pw_uid
    with tempfile.TemporaryDirectory(prefix="darkroom-test-") as name:
        os.chown(name, somebody, somebody)
        process = await asyncio.to_thread(start_in_another_process, Path(name) / "pg", "stop", str(somebody))
        printed, _ = await asyncio.to_thread(process.communicate)
        assert process.returncode == 0
        assert printed.endswith("stopped\n")
        assert (Path(name) / "pg" / "data").stat().st_uid == somebody


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has such folders")
async def test_root_runs_it_in_a_folder_only_root_can_enter_and_moves_it_out() -> None:
    with tempfile.TemporaryDirectory(prefix="darkroom-test-") as name:
        path = Path(name) / ("a-rather-long-folder-name-" * 5) / "pg"
        async with running(path) as server:
            urls = await server.ensure_database("billing")
            await ask(urls.owner_url, "CREATE TABLE kept AS SELECT 7 AS n")
            assert (path / "data").stat().st_uid == 0
            await server.stop()
            for place in (name, path.parent):
                os.chmod(place, 0o711)
            await server.start()
            assert (path / "data").stat().st_uid != 0
            assert await ask(urls.role_url, "SELECT n FROM kept") == 7
            await server.stop()
            os.chmod(name, 0o700)
            await server.start()
            assert await ask(urls.role_url, "SELECT n FROM kept") == 7


async def test_a_role_owns_nothing_and_may_use_what_the_owner_makes(make_database: MakeDatabase) -> None:
    database = await make_database("billing")
    await ask(database.owner_url, "CREATE TABLE hold (n bigserial, note text)")
    await run(database.role_url, "INSERT INTO hold (note) VALUES ('a')", "UPDATE hold SET note = 'b'", "DELETE FROM hold")
    for forbidden in ("DROP TABLE hold", "TRUNCATE hold", "ALTER TABLE hold ADD COLUMN more int", "CREATE TABLE mine (n int)"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await ask(database.role_url, forbidden)


async def test_a_role_cannot_update_a_table_it_was_revoked_from(make_database: MakeDatabase) -> None:
    database = await make_database("billing")
    await run(database.owner_url, "CREATE TABLE entry (n int)", f'REVOKE UPDATE, DELETE ON entry FROM "{database.name}"')
    await ask(database.role_url, "INSERT INTO entry VALUES (1)")
    for forbidden in ("UPDATE entry SET n = 2", "DELETE FROM entry"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await ask(database.role_url, forbidden)


async def test_a_role_cannot_enter_another_services_database(make_database: MakeDatabase) -> None:
    billing, works = await make_database("billing"), await make_database("works")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await ask(billing.role_url.replace(f"/{billing.name}?", f"/{works.name}?"), "SELECT 1")


async def test_passwords_are_kept_for_the_owner_only(folder: Path) -> None:
    async with running(folder) as server:
        first = await server.ensure_database("billing")
        assert (folder / "passwords.json").stat().st_mode & 0o777 == 0o600
        again = EmbeddedPostgres(folder)
        await again.start()
        assert await again.ensure_database("billing") == first
        with pytest.raises(asyncpg.InvalidPasswordError):
            await ask(first.role_url.replace("billing:", "billing:x"), "SELECT 1")
