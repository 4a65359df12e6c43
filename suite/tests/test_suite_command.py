"""The `darkroom` command as a person uses it: up, status, grant, dead letters, reset, and what it says when something is in the way."""

import asyncio
import contextlib
import fcntl
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from common.events.catalog import FACTS
from suite.embedded.parts import is_port_taken
from suite.home import Home, SuiteError
from suite.operator import Operator
from suite.ports import choose_ports

START_SECONDS_MAX = 120
STOP_SECONDS_MAX = 60


@dataclass
class Darkroom:
    """One folder and the commands run in it."""

    folder: Path
    process: subprocess.Popen[bytes] | None = None
    _told: dict[str, str] | None = None

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "suite", *words], cwd=self.folder, env={**os.environ, "COLUMNS": "200", **environment},
            capture_output=True, text=True, timeout=START_SECONDS_MAX, check=False,
        )  # fmt: skip

    def start(self, *words: str, prefix: tuple[str, ...] = ()) -> None:
        """`darkroom up`, as far as to its answering."""
        self._told = None
        command = [*prefix, sys.executable, "-u", "-m", "suite", "up", "--any-ports", *words]
        # Into a file: what a killed suite leaves behind for a moment would keep a pipe open.
        with self._console.open("w") as console:
            self.process = subprocess.Popen(command, cwd=self.folder, stdout=console, stderr=subprocess.STDOUT)
        until = time.monotonic() + START_SECONDS_MAX
        while "Ctrl-C stops it" not in self.printed:
            assert self.process.poll() is None, self.printed
            assert time.monotonic() < until, self.printed
            time.sleep(0.1)

    def stop(self, number: signal.Signals) -> int:
        """Signal it and wait for its end; answers its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(timeout=STOP_SECONDS_MAX)

    @property
    def printed(self) -> str:
        return self._console.read_text()

    @property
    def _console(self) -> Path:
        return self.folder / "console.txt"

    def ensure_running(self) -> None:
        """As a test before left it, or started."""
        if self.process is None or self.process.poll() is not None:
            self.start("--provider", "instant")

    @property
    def environment(self) -> dict[str, str]:
        """What `darkroom status -o env` says, asked once a start: the command takes a second."""
        if self._told is None:
            self._told = dict(line.split("=", 1) for line in self.run("status", "-o", "env").stdout.splitlines())
        return self._told

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        if (self.folder / ".darkroom" / "lock").exists():
            self.run("reset", "--yes")


def ask(url: str, body: object = None, *, token: str = "") -> dict[str, Any]:
    """GET, or POST a body; raises on any answer that is no success."""
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    request = urllib.request.Request(url, headers=headers, data=None if body is None else json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=20) as answer:
        found: dict[str, Any] = json.loads(answer.read())
        return found


@pytest.fixture
def fresh() -> Iterator[Darkroom]:
    """A folder in which nothing ran yet; what was left running in it is ended."""
    with tempfile.TemporaryDirectory(prefix="darkroom-test-") as name:
        darkroom = Darkroom(Path(name))
        yield darkroom
        darkroom.end()


@pytest.fixture(scope="module")
def started() -> Iterator[Darkroom]:
    """A suite that runs for all tests of this file."""
    with tempfile.TemporaryDirectory(prefix="darkroom-test-") as name:
        darkroom = Darkroom(Path(name))
        darkroom.start("--provider", "instant")
        yield darkroom
        darkroom.end()


@pytest.fixture(scope="module")
def enduring() -> Iterator[Darkroom]:
    """A suite that is stopped, killed and started again by one test after the other; each begins with `ensure_running`."""
    with tempfile.TemporaryDirectory(prefix="darkroom-test-") as name:
        darkroom = Darkroom(Path(name))
        yield darkroom
        darkroom.end()


def test_up_says_where_it_is_and_gives_a_login_that_works(started: Darkroom) -> None:
    assert "one process, PostgreSQL, memory bus" in started.printed
    email, password = next(line for line in started.printed.splitlines() if "demo login" in line).split()[2:]
    login = {"email": email, "password": password}
    assert ask(f"{started.environment['DARKROOM_URL']}/login", login)["email"] == email


def test_status_tells_people_and_scripts(started: Darkroom) -> None:
    table, machine, environment = started.run("status"), started.run("status", "-o", "json"), started.environment
    assert table.returncode == 0
    assert "healthy" in table.stdout
    assert set(json.loads(machine.stdout)["health"]["parts"].values()) == {"up"}
    services = ("IDENTITY", "WORKS", "GENERATION", "BILLING", "NOTIFY")
    wanted = {"DARKROOM_URL", "DARKROOM_BUS_URL", "DARKROOM_OBJECTS_URL", "GATEWAY_URL", "DARKROOM_DEMO_TOKEN", "DARKROOM_ADMIN_TOKEN", "DARKROOM_MAILBOX_URL"}
    assert set(environment) == wanted | {f"{name}_{what}_URL".replace("__", "_") for name in services for what in ("", "DATABASE")}
    assert ask(f"{environment['DARKROOM_URL']}/api/auth/me", token=environment["DARKROOM_DEMO_TOKEN"])["success"] is True


async def test_commands_that_sign_the_demo_person_up_at_once_are_all_let_in(started: Darkroom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("suite.operator.DEMO_EMAIL", "at-once@darkroom.example")
    operators = [Operator(Home(tmp_path), Home(started.folder / ".darkroom").running_state()) for _ in range(3)]
    logins = await asyncio.gather(*(operator.demo_login() for operator in operators))
    assert len({login["objectId"] for login in logins}) == 1


def test_a_second_up_is_told_who_runs(started: Darkroom) -> None:
    second = started.run("up", "--any-ports")
    assert second.returncode == 1
    assert "Darkroom already runs here: http://127.0.0.1:" in second.stderr
    assert started.run("status").returncode == 0


def test_reset_leaves_a_running_suite_alone(started: Darkroom) -> None:
    refused = started.run("reset", "--yes")
    assert refused.returncode == 1
    assert "already runs here" in refused.stderr
    assert started.run("status").returncode == 0


def test_reset_says_that_a_suite_runs_before_it_asks(started: Darkroom) -> None:
    refused = started.run("reset")
    assert refused.returncode == 1
    assert "already runs here" in refused.stderr
    assert "Take away" not in refused.stdout + refused.stderr


@pytest.mark.parametrize("words", [("status",), ("status", "-o", "json"), ("topics", "list")])
def test_a_reader_who_goes_away_ends_a_command_quietly(started: Darkroom, words: tuple[str, ...]) -> None:
    readable, writable = os.pipe()
    os.close(readable)
    try:
        done = subprocess.run([sys.executable, "-m", "suite", *words], cwd=started.folder, stdout=writable, stderr=subprocess.PIPE, timeout=60, check=False)
    finally:
        os.close(writable)
    assert done.stderr == b""
    assert not (started.folder / ".darkroom/logs/faults.log").exists()


def test_taking_more_than_there_is_says_what_there_is(started: Darkroom) -> None:
    before = _credits(started)
    refused = started.run("grant", "demo", f"-{before + 1000}")
    assert refused.returncode == 1
    assert f"demo has only {before} credits" in refused.stderr
    assert _credits(started) == before


def test_grants_reach_the_account_by_every_name(started: Darkroom) -> None:
    before = _credits(started)
    assert started.run("grant", "demo", "5").returncode == 0
    assert started.run("grant", "demo@darkroom.example", "-2").returncode == 0
    assert _credits(started) == before + 3
    assert "points available" in started.run("grant", "demo", "1", "--asset", "point").stdout
    for user, words in (("nobody@darkroom.example", "Nobody signed up"), ("x", "neither a user's id nor an e-mail")):
        refused = started.run("grant", user, "1")
        assert (refused.returncode, words in refused.stderr) == (1, True)


async def test_a_dead_letter_is_listed_and_given_back(started: Darkroom) -> None:
    works = await asyncpg.connect(started.environment["WORKS_DATABASE_URL"])
    try:
        event_id = "0198c3a0-0000-7000-8000-0000000000aa"
        fact = {"sequence": 1, "user_id": "0198c3a0-0000-7000-8000-000000000002", "name": "ada", "avatar_key": None, "source": "email"}
        headers = {"ce_id": event_id, "ce_subject": f"user/{fact['user_id']}", "ce_sequence": "1", "ce_partitionkey": fact["user_id"]}
        headers["ce_time"] = "2026-01-01T00:00:00+00:00"
        await works.execute("INSERT INTO inbox (event_id, group_name, heard_at) VALUES ($1, 'works', now())", event_id)
        number = await works.fetchval(
            "INSERT INTO dead_letter (group_name, topic, partition, record_offset, event_id, headers, payload, cause, tries, failed_at)"
            " VALUES ('works', 'user.registered', 0, 999999, $1, $2, $3, 'a planted fault', 5, now()) RETURNING dead_letter_id",
            event_id, json.dumps(headers), json.dumps(fact).encode(),
        )  # fmt: skip
        assert "a planted fault" in started.run("dlq", "list").stdout
        until = time.monotonic() + 60
        while "dead letters: 1; darkroom dlq list" not in started.run("status").stdout:
            assert time.monotonic() < until, "status says nothing of it"
        assert json.loads(started.run("status", "-o", "json").stdout)["troubles"] == {"works": {"dead_letters": 1}}
        assert "1 of 1 given back to works" in started.run("dlq", "replay", "works", str(number)).stdout
        assert "No dead letters" in started.run("dlq", "list").stdout
        until = time.monotonic() + 60
        while not await works.fetchval("SELECT count(*) FROM inbox WHERE event_id = $1", event_id):
            assert time.monotonic() < until, "the fact was not heard again"
        assert "0 of 1 given back" in started.run("dlq", "replay", "works", str(number)).stdout
    finally:
        await works.close()


def test_the_memory_bus_needs_no_topics(started: Darkroom) -> None:
    assert "needs no topics" in started.run("topics", "apply").stdout
    assert "task.completed" in started.run("topics", "list").stdout


def test_no_topic_is_cut_on_a_narrow_console(fresh: Darkroom) -> None:
    lines = fresh.run("topics", "list", COLUMNS="40").stdout.splitlines()
    assert {fact.topic for fact in FACTS} == {line.split()[0] for line in lines[1:]}
    told = json.loads(fresh.run("topics", "list", "-o", "json").stdout)
    assert {fact.topic: list(fact.groups) for fact in FACTS} == {fact["topic"]: fact["groups"] for fact in told}


def test_a_background_job_deafened_to_sigint_hears_it(enduring: Darkroom) -> None:
    deaf = ("/bin/sh", "-c", "trap '' INT; exec \"$@\"", "sh")
    enduring.start("--provider", "instant", prefix=deaf)
    assert enduring.stop(signal.SIGINT) == 0
    assert "Everything is kept" in enduring.printed


def test_a_restart_after_sigterm_keeps_everything(enduring: Darkroom) -> None:
    enduring.ensure_running()
    assert enduring.run("grant", "demo", "7").returncode == 0
    before, environment = _credits(enduring), enduring.environment
    assert enduring.stop(signal.SIGTERM) == 0
    assert "Everything is kept" in enduring.printed
    assert enduring.run("status").returncode == 1
    enduring.start("--provider", "instant")
    assert _credits(enduring) == before
    assert enduring.environment["DARKROOM_URL"] == environment["DARKROOM_URL"]


def test_a_killed_suite_starts_again_on_the_database_it_left(enduring: Darkroom) -> None:
    enduring.ensure_running()
    before = _credits(enduring)
    postmaster = (enduring.folder / ".darkroom/pg/data/postmaster.pid").read_text().split()[0]
    enduring.stop(signal.SIGKILL)
    assert "does not run here" in enduring.run("status").stderr
    enduring.start("--provider", "instant")
    assert (enduring.folder / ".darkroom/pg/data/postmaster.pid").read_text().split()[0] == postmaster
    assert _credits(enduring) == before


def test_a_database_that_dies_is_started_again(enduring: Darkroom) -> None:
    enduring.ensure_running()
    before = _credits(enduring)
    os.kill(int((enduring.folder / ".darkroom/pg/data/postmaster.pid").read_text().split()[0]), signal.SIGKILL)
    until = time.monotonic() + 30
    while enduring.run("status").returncode != 0 or "PostgreSQL ended by itself and is started again" not in enduring.printed:
        assert time.monotonic() < until, enduring.printed
    assert _credits(enduring) == before


def test_the_roomy_profile_is_announced_and_stays_on_this_machine(fresh: Darkroom) -> None:
    refused = fresh.run("up", "--any-ports", "--roomy", NOTIFY_HOST="0.0.0.0")
    assert refused.returncode == 1
    assert "DARKROOM_PROFILE=roomy is refused outside loopback" in refused.stderr
    assert "The roomy profile is on" in refused.stderr


def test_taken_ports_are_all_named(fresh: Darkroom, tmp_path: Path) -> None:
    free = choose_ports(Home(tmp_path), any_ports=True, replicas={})
    settings = {f"{name.upper()}_PORT": str(port) for name, [port] in free.services.items()} | {"DARKROOM_MAILBOX_PORT": str(free.mailbox)}
    ports = {name: settings[name] for name in ("GATEWAY_PORT", "WORKS_PORT")}
    with socket.socket() as one, socket.socket() as two:
        for port, other in zip(ports.values(), (one, two), strict=True):
            other.bind(("127.0.0.1", int(port)))
            other.listen()
        refused = fresh.run("up", **settings)
    assert refused.returncode == 1
    assert f"{ports['GATEWAY_PORT']} (gateway)" in refused.stderr
    assert f"{ports['WORKS_PORT']} (works)" in refused.stderr
    assert "darkroom up --any-ports" in refused.stderr
    assert "Traceback" not in refused.stderr
    offered = dict(word.strip("(").split("=") for word in refused.stderr.split() if "_PORT=" in word)
    assert set(offered) == set(ports)
    assert not any(is_port_taken(int(port)) for port in offered.values())
    assert not set(offered.values()) & set(ports.values())


def test_many_taken_ports_are_counted_and_the_rest_is_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("suite.ports.is_port_taken", lambda port: True)
    ports = choose_ports(Home(Path("nowhere")), any_ports=False, replicas={})
    with pytest.raises(SuiteError, match=r"and 10 more are taken.* darkroom up --any-ports\.$") as refused:
        ports.check()
    assert len(str(refused.value)) < 200


def test_free_ports_are_free_for_every_replica(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("suite.ports.random.sample", lambda blocks, _count: sorted(blocks))
    monkeypatch.setattr("suite.ports.is_port_taken", lambda port: port < 18_000 and port % 100 in range(40, 60))
    ports = choose_ports(Home(tmp_path), any_ports=True, replicas={"billing": 2})
    assert len(ports.services["billing"]) == 2
    assert all(port >= 18_000 for port in ports.services["billing"])


def test_a_look_at_the_lock_is_no_suite_that_runs(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with home.locked():
        pass
    looking = os.open(tmp_path / "lock", os.O_RDWR)
    fcntl.flock(looking, fcntl.LOCK_SH)  # as `darkroom status` holds it for a moment
    threading.Timer(0.05, os.close, [looking]).start()
    with home.locked():
        assert home.is_running()


def test_what_two_commands_make_at_once_is_one_thing(tmp_path: Path) -> None:
    home = Home(tmp_path)
    made = home.remembered("login", lambda: {"mine": home.remembered("login", lambda: "the other's")})
    assert made == home.remembered("login", dict) == "the other's"


def test_two_suites_that_choose_at_once_choose_other_ports(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from suite.home import Home; from suite.ports import choose_ports\n"
        "home = Home(Path(sys.argv[1])); home.make()\n"
        "print(choose_ports(home, any_ports=True, replicas={}).services['gateway'][0], flush=True); sys.stdin.read()"
    )
    chosen = set()
    with contextlib.ExitStack() as stack:
        for number in range(12):
            command = [sys.executable, "-c", script, str(tmp_path / str(number))]
            other = stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            assert other.stdout is not None
            chosen.add(int(other.stdout.readline()))
    assert len(chosen) == 12


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("status",), "Darkroom does not run here"),
        (("grant", "demo", "1"), "Darkroom does not run here"),
        (("dlq", "list"), "Darkroom does not run here"),
        (("topics", "apply", "--bus", "kafka://127.0.0.1:9"), "does not answer"),
        (("topics", "apply", "--bus", "amqp://x"), "is not a broker's address"),
    ],
)
def test_a_command_that_cannot_work_says_why(fresh: Darkroom, words: tuple[str, ...], sentence: str) -> None:
    refused = fresh.run(*words)
    assert refused.returncode == 1
    assert sentence in refused.stderr
    assert "Traceback" not in refused.stderr


def test_reset_refuses_a_folder_that_is_no_suites(fresh: Darkroom) -> None:
    (fresh.folder / "photos").mkdir()
    refused = fresh.run("reset", "--yes", "--home", "photos")
    assert refused.returncode == 1
    assert "is not the folder of a suite" in refused.stderr
    assert (fresh.folder / "photos").exists()


WITHOUT_RIGHTS = """
import os, sys
import suite.__main__, suite.up, suite.console, concurrent.futures.thread, uvloop
user = int(sys.argv.pop(1))
os.setgroups([]); os.setgid(user); os.setuid(user)
suite.__main__.main()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody without rights")
def test_a_missing_permission_is_told_in_a_sentence(fresh: Darkroom) -> None:
    somebody = pwd.getpwnam("daemon").pw_uid
    command = [sys.executable, "-c", WITHOUT_RIGHTS, str(somebody), "up", "--home", str(fresh.folder / "closed" / ".darkroom")]
    (fresh.folder / "closed").mkdir(mode=0o755)
    fresh.folder.chmod(0o755)
    refused = subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=60, check=False)
    assert refused.returncode == 1
    assert "No permission to write in" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="only root can make a small disk")
@pytest.mark.parametrize("size", ["3m", "48m"])
def test_a_full_disk_is_told_in_a_sentence(fresh: Darkroom, size: str) -> None:
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(fresh.folder)], check=False, capture_output=True).returncode != 0:
        pytest.skip("this machine lets nobody mount")
    try:
        refused = fresh.run("up", "--any-ports")
        assert refused.returncode == 1
        assert "no room left on the disk" in refused.stderr.lower()
        assert "Traceback" not in refused.stderr
        fresh.run("reset", "--yes")
    finally:
        subprocess.run(["umount", "-l", str(fresh.folder)], check=True)


def _credits(darkroom: Darkroom) -> int:
    environment = darkroom.environment
    answer = ask(f"{environment['DARKROOM_URL']}/api/credits/balance", token=environment["DARKROOM_DEMO_TOKEN"])
    return int(answer["data"]["credits"])
