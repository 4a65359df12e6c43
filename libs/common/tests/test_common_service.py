"""A service's life: it starts, is ready, drains in order and stops; or it dies of what one of its loops died of. And what its relay keeps to."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import aiohttp
import asyncpg
import orjson
import pytest

from common.bus import Bus, MemoryBus
from common.bus.broker import Receipts, TopicPartition
from common.bus.consumer import ConsumerLimits, Subscriptions
from common.bus.envelope import ROW_FACTS_MAX, Outgoing, seal
from common.bus.outbox import count_rows
from common.bus.relay import Relay
from common.db import Database, OutcomeUnknown, Tx
from common.errors import Overloaded, ServiceError, Unavailable
from common.events import Event, TaskCreated, UserRegistered
from common.ids import new_id
from common.lane import Lane
from common.metrics import Metrics
from common.migrate import MigrationError, every_migration, migrate
from common.service import Loop, Service, every, opened_database, serve
from common.settings import ServiceSettings, service_config
from common.testing.doors import Passes
from common.web import Answer, Model, Request, Route

QUICK = ConsumerLimits(wait_seconds=0.2, retry_seconds=0.01, commit_seconds=0.02)


class WorksSettings(ServiceSettings):
    model_config = service_config("WORKS_")

    port: int = 8102


class Word(Model):
    word: str


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def created(task_id: UUID | None = None, *, sequence: int = 1) -> TaskCreated:
    return TaskCreated(sequence=sequence, task_id=task_id or new_id(), user_id=new_id(), kind="travel", asked=1, price=1, work_id=new_id())


async def until(condition: Callable[[], Any], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while True:
            found = condition()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return
            await asyncio.sleep(0.01)


def is_free(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) != 0


@dataclass
class Life:
    """A running service and what happened in it, in order."""

    service: Service
    stop: asyncio.Event
    running: "asyncio.Task[None]"
    happened: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.service.settings.port}"

    @property
    def admin_url(self) -> str:
        return f"http://127.0.0.1:{self.service.settings.admin_port}"

    async def end(self, seconds: float = 60) -> None:
        """Ask it to stop and wait until it has."""
        self.stop.set()
        async with asyncio.timeout(seconds):
            await self.running


StartLife = Callable[..., Awaitable[Life]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[StartLife]:
    """`life = await start(routes=[...], loops=[...])`: a service that is ready. One that still runs at the end is stopped."""
    lives: list[Life] = []

    async def start_life(*, wait: bool = True, deps: Any = None, port: int | None = None, admin_port: int | None = None, **more: Any) -> Life:
        quick = {"WORKS_NOT_READY_SECONDS": "0.2", "WORKS_RECORD_SECONDS": "0.6", "WORKS_HTTP_DRAIN_SECONDS": "3", **more.pop("environment", {})}
        ports = {"WORKS_PORT": str(port or free_port()), "WORKS_ADMIN_PORT": str(admin_port or free_port())}
        settings = Passes().settings(WorksSettings, "works", tmp_path, quick | ports)
        service = Service(name="works", settings=settings, deps=deps, bus=more.pop("bus", None) or MemoryBus(), metrics=Metrics("works"), **more)
        stop, ready = asyncio.Event(), asyncio.Event()
        life = Life(service, stop, asyncio.create_task(service.run(stop, on_ready=ready.set)))
        lives.append(life)
        if wait:
            waiting = asyncio.create_task(ready.wait())
            await asyncio.wait({waiting, life.running}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            assert ready.is_set(), life.running
        return life

    yield start_life
    for life in lives:
        life.stop.set()
        await asyncio.wait({life.running}, timeout=10)
        life.running.cancel()
        await asyncio.gather(life.running, return_exceptions=True)


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def status_of(http: aiohttp.ClientSession, url: str) -> int:
    async with http.get(url) as answer:
        await answer.read()
        return answer.status


def says(handler: Callable[[], Awaitable[str]]) -> Route:
    """A route that answers what a function says."""

    async def answer(request: Request[Any]) -> Answer:
        return Answer(Word(word=await handler()))

    return Route("GET", "/v1/word", answer, auth="none")


async def hello() -> str:
    return "hello"


# Start and ready


async def test_a_started_service_answers_and_says_that_it_is_ready(start: StartLife, http: aiohttp.ClientSession) -> None:
    life = await start(routes=[says(hello)])
    async with http.get(f"{life.url}/v1/word") as answer:
        assert (answer.status, await answer.json()) == (200, {"word": "hello"})
    assert [await status_of(http, f"{life.admin_url}/{page}") for page in ("healthz", "readyz", "metrics")] == [200, 200, 200]
    assert await status_of(http, f"{life.url}/readyz") == 404, "the public port never tells"
    await life.end()
    assert is_free(life.service.settings.port)
    assert is_free(life.service.settings.admin_port)


async def test_a_service_without_its_database_is_alive_and_not_ready(start: StartLife, http: aiohttp.ClientSession, service_database: Any) -> None:
    db: Database = await service_database("common")
    life = await start(db=db)
    assert await status_of(http, f"{life.admin_url}/readyz") == 200
    await db.close()
    assert await status_of(http, f"{life.admin_url}/readyz") == 503
    assert await status_of(http, f"{life.admin_url}/healthz") == 200


@pytest.mark.parametrize("taken", ["port", "admin_port"])
async def test_a_taken_port_is_one_plain_error_and_leaves_nothing_behind(start: StartLife, taken: str) -> None:
    before = asyncio.all_tasks()
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        other = free_port()
        ports = {"port": other, "admin_port": other, taken: holder.getsockname()[1]}

        async def run(asks: Sequence[int]) -> list[int | ServiceError]:
            return list(asks)

        life = await start(wait=False, lanes=[Lane(run)], **ports)
        with pytest.raises(OSError):
            await life.running
    assert is_free(other)
    assert not life.service.ready
    assert asyncio.all_tasks() <= before


# Drain


async def test_a_draining_service_is_not_ready_and_still_answers(start: StartLife, http: aiohttp.ClientSession) -> None:
    life = await start(routes=[says(hello)], environment={"WORKS_NOT_READY_SECONDS": "2"})
    life.stop.set()
    await asyncio.sleep(0.1)
    assert await status_of(http, f"{life.admin_url}/readyz") == 503
    assert await status_of(http, f"{life.admin_url}/healthz") == 200
    async with http.get(f"{life.url}/v1/word") as answer:
        assert (answer.status, answer.headers["Connection"]) == (200, "close")
    await life.end()


async def test_requests_in_flight_are_answered_and_no_new_ones_taken(start: StartLife, http: aiohttp.ClientSession) -> None:
    begun = asyncio.Event()

    async def slow() -> str:
        begun.set()
        await asyncio.sleep(1)
        return "late but whole"

    life = await start(routes=[says(slow)])
    asking = asyncio.create_task(http.get(f"{life.url}/v1/word"))
    await begun.wait()
    life.stop.set()
    await until(lambda: is_free(life.service.settings.port))
    assert not asking.done()
    async with await asking as answer:
        assert (answer.status, await answer.json()) == (200, {"word": "late but whole"})
    await life.end()


async def test_a_service_drains_in_its_order(start: StartLife, http: aiohttp.ClientSession, service_database: Any) -> None:
    """Not ready; sockets told; loops finish; requests answered, for which lanes still run; lanes stop; what was said last is told."""
    happened: list[str] = []
    db: Database = await service_database("common")
    bus = MemoryBus(groups=lambda _topic: ())
    relay = db.relay = Relay(db, bus)
    begun = asyncio.Event()

    async def save(asks: Sequence[str]) -> list[str | ServiceError]:
        async with db.transaction() as tx:
            tx.emit(created())
        happened.append("lane")
        return list(asks)

    lane = Lane(save)

    async def ask_lane() -> str:
        begun.set()
        await asyncio.sleep(0.8)
        return await lane("answered")

    async def loop(draining: asyncio.Event) -> None:
        await draining.wait()
        happened.append("loop told")
        await asyncio.sleep(0.05)
        happened.append("loop done")

    async def close_sockets() -> None:
        happened.append("sockets" if not life.service.ready else "too early")

    async def close_others() -> None:
        happened.append("others")

    life = await start(routes=[says(ask_lane)], lanes=[lane], loops=[loop], on_drain=[close_sockets, close_others], db=db, relay=relay, bus=bus)
    asking = asyncio.create_task(http.get(f"{life.url}/v1/word"))
    await begun.wait()
    life.stop.set()
    async with await asking as answer:
        happened.append("answered")
        assert answer.status == 200
    await life.end()
    assert happened == ["sockets", "others", "loop told", "loop done", "lane", "answered"]
    assert await count_rows(db) == 0
    with pytest.raises(Unavailable):
        await lane("too late")


async def test_what_waits_in_a_lane_is_finished_before_the_service_ends(start: StartLife) -> None:
    done: list[int] = []

    async def run(asks: Sequence[int]) -> list[int | ServiceError]:
        await asyncio.sleep(0.02)
        done.extend(asks)
        return list(asks)

    lane = Lane(run, batch_max=2)
    life = await start(lanes=[lane], environment={"WORKS_NOT_READY_SECONDS": "0"})
    callers = [asyncio.create_task(lane(number)) for number in range(20)]
    await asyncio.sleep(0)
    await life.end()
    assert await asyncio.gather(*callers) == list(range(20)) == done


async def test_a_loop_and_a_socket_that_will_not_end_are_cut(start: StartLife) -> None:
    happened: list[str] = []

    async def deaf(_draining: asyncio.Event) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            happened.append("cut")

    async def hangs() -> None:
        await asyncio.sleep(60)

    async def closes() -> None:
        happened.append("closed")

    life = await start(loops=[deaf], on_drain=[hangs, closes])
    await life.end(5)
    assert happened == ["closed", "cut"]


async def test_steps_that_will_not_end_do_not_add_up(start: StartLife, http: aiohttp.ClientSession) -> None:
    begun = asyncio.Event()

    async def hangs() -> None:
        await asyncio.sleep(60)

    async def deaf(_draining: asyncio.Event) -> None:
        await asyncio.sleep(60)

    async def never() -> str:
        begun.set()
        await asyncio.sleep(60)
        return "never"

    async def stuck(asks: Sequence[int]) -> list[int | ServiceError]:
        await asyncio.sleep(60)
        return list(asks)

    lanes = [Lane(stuck) for _ in range(4)]
    limits = {"WORKS_NOT_READY_SECONDS": "0.5", "WORKS_RECORD_SECONDS": "3", "WORKS_HTTP_DRAIN_SECONDS": "3", "WORKS_STOP_WAIT_SECONDS": "10"}
    life = await start(routes=[says(never)], lanes=lanes, loops=[deaf], on_drain=[hangs, hangs], environment=limits)
    callers = [asyncio.create_task(lane(1)) for lane in lanes]
    asking = asyncio.create_task(http.get(f"{life.url}/v1/word"))
    await begun.wait()
    await life.end(10)
    assert all(isinstance(answer, Unavailable) for answer in await asyncio.gather(*callers, return_exceptions=True))
    with pytest.raises(aiohttp.ClientError):
        await asking


async def test_a_database_that_hangs_does_not_hold_up_the_end(start: StartLife, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    hanging = asyncio.Event()

    async def delete_rows(*_args: Any) -> None:
        hanging.set()
        await asyncio.sleep(60)

    monkeypatch.setattr("common.bus.outbox.delete_rows", delete_rows)
    db.relay = relay = Relay(db, MemoryBus(groups=lambda _topic: ()))
    life = await start(db=db, relay=relay)
    async with db.transaction() as tx:
        tx.emit(created())
    await hanging.wait()
    await life.end(10)


async def test_a_farewell_that_fails_does_not_spoil_the_drain(start: StartLife) -> None:
    happened: list[str] = []

    async def fails() -> None:
        raise RuntimeError("no way to say goodbye")

    async def closes() -> None:
        happened.append("closed")

    async def loop(draining: asyncio.Event) -> None:
        await draining.wait()
        happened.append("loop done")

    life = await start(loops=[loop], on_drain=[fails, closes])
    await life.end()
    assert happened == ["closed", "loop done"]


async def test_a_record_in_hand_is_finished_and_not_heard_again(start: StartLife, service_database: Any) -> None:
    db: Database = await service_database("common")
    bus = MemoryBus()
    begun, heard = asyncio.Event(), list[UUID]()
    subscriptions = Subscriptions("works")

    @subscriptions.hear(TaskCreated)
    async def on_task_created(deps: Any, tx: Tx, events: Sequence[Event[TaskCreated]]) -> None:
        begun.set()
        await asyncio.sleep(0.4)
        tx.after_commit(lambda: heard.extend(event.fact.task_id for event in events))

    facts = [created(), created()]
    receipts = Kept()
    life = await start(db=db, bus=bus, subscriptions=subscriptions, consumer_limits=QUICK, environment={"WORKS_NOT_READY_SECONDS": "0"})
    await bus.publish([seal(fact, db.clock.now(), None) for fact in facts], receipts)
    await begun.wait()
    await life.end()
    assert heard == [fact.task_id for fact in sorted(facts, key=lambda fact: heard.index(fact.task_id))]
    assert len(heard) == 2
    again = bus.group("works", ["task.created"])
    await again.start()
    assert await again.fetch(records_max=10, wait_seconds=0.1) == []
    await again.stop()


# Death


async def test_a_loop_that_dies_takes_the_service_down_with_its_error(start: StartLife, http: aiohttp.ClientSession) -> None:
    before = asyncio.all_tasks()
    die = asyncio.Event()
    ended: list[str] = []

    async def dies(_draining: asyncio.Event) -> None:
        await die.wait()
        raise LookupError("what it died of")

    async def lives(draining: asyncio.Event) -> None:
        try:
            await draining.wait()
        finally:
            ended.append("the other loop")

    async def run(asks: Sequence[int]) -> list[int | ServiceError]:
        await asyncio.sleep(60)
        return list(asks)

    async def ask_lane() -> str:
        return str(await lane(1))

    lane = Lane(run)
    life = await start(loops=[dies, lives], lanes=[lane], routes=[says(ask_lane)], environment={"WORKS_HTTP_DRAIN_SECONDS": "0.3"})
    asking = asyncio.create_task(http.get(f"{life.url}/v1/word"))
    await asyncio.sleep(0.1)
    die.set()
    async with asyncio.timeout(60):
        with pytest.raises(LookupError, match="what it died of"):
            await life.running
    assert ended == ["the other loop"]
    assert not life.service.ready
    assert is_free(life.service.settings.port)
    assert is_free(life.service.settings.admin_port)
    await asyncio.wait({asking}, timeout=5)
    assert asking.done(), "the client is not left waiting"
    if asking.exception() is None:
        asking.result().close()
    assert asyncio.all_tasks() - before <= {asking}


async def test_a_service_that_is_cancelled_leaves_nothing_behind(start: StartLife) -> None:
    before = asyncio.all_tasks()

    async def run(asks: Sequence[int]) -> list[int | ServiceError]:
        return list(asks)

    life = await start(lanes=[Lane(run)])
    life.running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await life.running
    assert is_free(life.service.settings.port)
    assert asyncio.all_tasks() <= before


async def test_two_loops_that_die_together_are_both_told_of(start: StartLife) -> None:
    die = asyncio.Event()

    def dying(error: Exception) -> Loop:
        async def dies(_draining: asyncio.Event) -> None:
            await die.wait()
            raise error

        return dies

    life = await start(loops=[dying(LookupError("one")), dying(OSError("two"))])
    die.set()
    with pytest.raises(ExceptionGroup) as died:
        await life.running
    assert died.value.subgroup(LookupError)
    assert died.value.subgroup(OSError)


async def test_a_repeated_step_goes_on_after_an_error_and_ends_with_the_drain() -> None:
    rounds: list[str] = []

    async def step() -> None:
        rounds.append("round")
        if len(rounds) == 1:
            raise Unavailable("the database is away")
        if len(rounds) == 2:
            raise ValueError("a bug")

    draining = asyncio.Event()
    running = asyncio.create_task(every(0.01, step)(draining))
    await until(lambda: len(rounds) >= 4)
    draining.set()
    async with asyncio.timeout(60):
        await running


async def test_a_step_with_a_long_pause_does_not_hold_up_the_drain() -> None:
    draining = asyncio.Event()

    async def step() -> None: ...

    running = asyncio.create_task(every(3600, step)(draining))
    await asyncio.sleep(0.05)
    draining.set()
    async with asyncio.timeout(60):
        await running


# Schema


@pytest.mark.parametrize("difference", ["newer", "changed", "lacking"])
async def test_a_service_refuses_to_start_on_a_schema_that_is_not_its_own(difference: str, make_database: Any, tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    folder.mkdir()
    (folder / "0001_create_thing.sql").write_text("CREATE TABLE thing (id int);")
    database = await make_database("schema")
    await migrate(database.owner_url, every_migration(folder), service_role=database.name)
    match difference:
        case "newer":
            (folder / "0001_create_thing.sql").unlink()
        case "changed":
            (folder / "0001_create_thing.sql").write_text("CREATE TABLE thing (id bigint);")
        case "lacking":
            (folder / "0002_create_other.sql").write_text("CREATE TABLE other (id int);")
    settings = Passes().settings(WorksSettings, "works", tmp_path, {"WORKS_DATABASE_URL": database.role_url})
    words = {"newer": "newer than this program", "changed": "was changed after it was applied", "lacking": "run the `migrate` command"}[difference]
    with pytest.raises(MigrationError, match=words):
        async with opened_database(settings, difference, MemoryBus(), migrations=folder):
            pass
    conn = await asyncpg.connect(database.superuser_url)
    try:
        left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1"
        await until(lambda: _equals(conn.fetchval(left, f"darkroom-{difference}"), 0))
    finally:
        await conn.close()


class StartingUp:
    """A database server that is starting up: it says so to the first who come, then passes everything on to the real one."""

    def __init__(self, real_port: int, *, refusals: int) -> None:
        self._real_port = real_port
        self.refusals = refusals
        self._meetings: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        server = await asyncio.start_server(self._meet, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for meeting in self._meetings:
                meeting.cancel()
            await asyncio.gather(*self._meetings, return_exceptions=True)

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        meeting = asyncio.current_task()
        assert meeting is not None
        self._meetings.add(meeting)
        if self.refusals:
            self.refusals -= 1
            await reader.read(1000)
            fields = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0"
            writer.write(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)
            writer.close()
            return
        real_reader, real_writer = await asyncio.open_connection("127.0.0.1", self._real_port)
        await asyncio.gather(_pass_on(reader, real_writer), _pass_on(real_reader, writer))


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
    finally:
        writer.close()


async def test_a_database_that_is_still_starting_up_is_waited_for(make_database: Any, tmp_path: Path) -> None:
    database = await make_database("starting")
    nothing = tmp_path / "none"
    nothing.mkdir()
    await migrate(database.owner_url, every_migration(nothing), service_role=database.name)
    url = urlsplit(database.role_url)
    server = StartingUp(url.port or 5432, refusals=2)
    async with server.listening() as port:
        there = url._replace(netloc=url.netloc.replace(f":{url.port}", f":{port}")).geturl()
        settings = Passes().settings(WorksSettings, "works", tmp_path, {"WORKS_DATABASE_URL": there})
        async with opened_database(settings, "works", MemoryBus(), migrations=nothing) as (db, _relay):
            assert await db.fetchval("SELECT 1") == 1
    assert server.refusals == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_while_the_database_is_away_gives_the_start_up(number: signal.Signals, tmp_path: Path) -> None:
    settings = Passes().settings(WorksSettings, "works", tmp_path, {"WORKS_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"})

    @asynccontextmanager
    async def open_nothing(given: WorksSettings, bus: Bus) -> AsyncIterator[Service]:
        async with opened_database(given, "works", bus, migrations=tmp_path):
            raise AssertionError("there is no database")
        yield

    serving = asyncio.create_task(serve(settings, open_nothing))
    await asyncio.sleep(0.2)
    try:
        os.kill(os.getpid(), number)
        async with asyncio.timeout(5):
            await serving
    finally:
        for one in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().remove_signal_handler(one)


# The relay's edges


class Kept(Receipts):
    """Remembers what became of each record."""

    def __init__(self) -> None:
        self.acks: list[UUID] = []

    def acked(self, record: Outgoing) -> None:
        self.acks.append(record.event_id)

    def refused(self, record: Outgoing, error: str) -> None: ...

    def lost(self, record: Outgoing, error: str) -> None: ...


class NotedBus(MemoryBus):
    """Notes every record that is handed over."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.published: list[UUID] = []

    async def publish(self, records: Sequence[Outgoing], receipts: Receipts) -> None:
        self.published.extend(record.event_id for record in records)
        await super().publish(records, receipts)


async def test_what_needs_somebody_is_a_number(start: StartLife, http: aiohttp.ClientSession, service_database: Any) -> None:
    """A fact no broker takes, a fact that cannot be read, and the consumer that such facts stopped."""
    db: Database = await service_database("common")
    bus = MemoryBus(topics=["task.created"])
    relay = db.relay = Relay(db, bus, sweep_seconds=0.05)
    subscriptions = Subscriptions(group="works")

    @subscriptions.hear(TaskCreated)
    async def on_created(_deps: Any, _tx: Tx, _events: Sequence[Event[TaskCreated]]) -> None:
        """Nothing to do."""

    limits = ConsumerLimits(wait_seconds=0.2, retry_seconds=0.01, commit_seconds=0.02, dead_in_a_row=3)
    life = await start(db=db, relay=relay, bus=bus, subscriptions=subscriptions, consumer_limits=limits)

    async def numbers() -> dict[str, float]:
        async with http.get(f"{life.admin_url}/metrics") as answer:
            lines = [line.split(" ") for line in (await answer.text()).splitlines() if line.startswith("darkroom_") and "{" not in line]
        return {name.removeprefix("darkroom_"): float(number) for name, number in lines}

    async def say(*needed: float) -> bool:
        found = await numbers()
        return [found["outbox_parked"], found["dead_letters"], found["consumer_stopped"]] == list(needed)

    await until(lambda: say(0, 0, 0))
    assert abs((await numbers())["clock_offset_seconds"]) < 60
    broken = [seal(created(), db.clock.now(), None) for _ in range(4)]
    for record in broken:
        record.value = b"{}"
    await bus.publish(broken, Kept())
    async with db.transaction() as tx:
        tx.emit(UserRegistered(sequence=1, user_id=new_id(), name="ada", source="email"))
    await until(lambda: say(1, 4, 1))
    await life.end()


@asynccontextmanager
async def relaying(*relays: Relay) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(relay.run()) for relay in relays]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
async def db(service_database: Any) -> Database:
    database: Database = await service_database("common")
    return database


async def test_more_than_fits_in_memory_stays_in_the_table_and_is_told_from_there(db: Database) -> None:
    bus = NotedBus(groups=lambda _topic: ("works",))
    relay = db.relay = Relay(db, bus, lease_seconds=1, sweep_seconds=0.05, in_flight_max=10, batch_max=4)
    member = bus.group("works", ["task.created"])
    heard: list[bytes | None] = []
    async with relaying(relay):
        for _ in range(6):  # nobody listens, so what was handed over stays in flight: two commits fit
            async with db.transaction() as tx:
                tx.emit(*(created() for _ in range(5)))
        await until(lambda: len(bus.published) >= 10)
        await asyncio.sleep(0.2)
        assert len(bus.published) == 10
        assert await count_rows(db) == 30
        await member.start()

        async def listen() -> None:
            while True:
                records = await member.fetch(records_max=100, wait_seconds=1)
                heard.extend(record.key for record in records)
                await member.commit({TopicPartition(one.topic, one.partition): one.cursor + 1 for one in records})

        listening = asyncio.create_task(listen())
        await until(lambda: _equals(count_rows(db), 0))
        # And back: what is committed now goes out from memory at once.
        relay._sweep_seconds = 60
        await asyncio.sleep(0.2)
        async with db.transaction() as tx:
            tx.emit(created())
        await until(lambda: len(set(heard)) == 31)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    assert len(set(bus.published)) == 31


async def test_a_commit_larger_than_the_relays_memory_is_told_from_the_table(db: Database) -> None:
    bus = NotedBus(groups=lambda _topic: ())
    relay = db.relay = Relay(db, bus, lease_seconds=1.5, sweep_seconds=0.05, in_flight_max=10, batch_max=4)
    async with relaying(relay):
        async with db.transaction() as tx:
            tx.emit(*(created() for _ in range(25)))
        await until(lambda: _equals(count_rows(db), 0))
    assert len(bus.published) == len(set(bus.published)) == 25


async def test_rows_of_a_stopped_group_stay_with_the_process_that_holds_them(db: Database) -> None:
    """The lease is renewed, so another replica does not publish them a second time; when the holder dies, it does."""
    holder_bus, other_bus = NotedBus(), NotedBus()
    holder = db.relay = Relay(db, holder_bus, lease_seconds=1.5, sweep_seconds=0.1)
    other = Relay(db, other_bus, lease_seconds=1.5, sweep_seconds=0.1)
    async with relaying(other):
        async with relaying(holder):
            async with db.transaction() as tx:
                tx.emit(created(), created())
            await asyncio.sleep(4)  # more than two leases
            assert len(holder_bus.published) == 2
            assert other_bus.published == []
        await until(lambda: len(other_bus.published) == 2)
    assert set(other_bus.published) == set(holder_bus.published)


async def test_the_age_of_what_is_not_told_is_known_while_a_group_is_stopped(db: Database) -> None:
    relay = db.relay = Relay(db, NotedBus(), lease_seconds=5, sweep_seconds=0.05)
    async with relaying(relay):
        async with db.transaction() as tx:
            tx.emit(created())
        await until(lambda: relay.oldest_seconds > 0.4)
        await db.fetch("DELETE FROM outbox")
        await until(lambda: relay.oldest_seconds == 0)


async def test_the_age_of_what_is_not_told_is_known_when_no_more_fits_in_memory(db: Database) -> None:
    relay = db.relay = Relay(db, MemoryBus(), sweep_seconds=0.02, in_flight_max=1)
    async with relaying(relay):
        async with db.transaction() as tx:
            tx.emit(created())
        await until(lambda: relay.oldest_seconds > 0.1, seconds=10)


async def test_a_parked_row_is_tried_once_keeps_its_reason_and_holds_nobody_up(db: Database) -> None:
    bus = NotedBus(topics=["task.created"], groups=lambda _topic: ())
    relay = db.relay = Relay(db, bus, lease_seconds=1.5, sweep_seconds=0.05, batch_max=2)
    bad = [UserRegistered(sequence=1, user_id=new_id(), name="ada", source="email") for _ in range(5)]
    async with relaying(relay):
        async with db.transaction() as tx:
            tx.emit(*bad, created())
        await until(lambda: _equals(count_rows(db), 5))
        await until(lambda: _equals(db.fetchval("SELECT count(*) FROM outbox_fact WHERE parked_at IS NOT NULL"), 5))
        await asyncio.sleep(2)
        assert len(bus.published) == 6
        async with db.transaction() as tx:
            tx.emit(created())
        await until(lambda: len(bus.published) == 7)
        await until(lambda: _equals(count_rows(db), 5))
    assert {row["error"] for row in await db.fetch("SELECT error FROM outbox_fact")} == {"no topic user.registered"}


async def test_what_a_commit_says_is_one_row_and_a_row_per_fact_for_people(db: Database) -> None:
    facts = [created() for _ in range(ROW_FACTS_MAX + 1)]
    async with db.transaction() as tx:
        tx.emit(*facts)
    assert await db.fetchval("SELECT count(*) FROM outbox") == 2, "one for each so many facts"
    rows = await db.fetch("SELECT topic, key, payload, sequence, event_id FROM outbox_fact ORDER BY position, place")
    assert [UUID(orjson.loads(row["payload"])["task_id"]) for row in rows] == [fact.task_id for fact in facts]
    assert {row["topic"] for row in rows} == {"task.created"}
    assert len({row["event_id"] for row in rows}) == len(facts)
    bus = NotedBus(groups=lambda _topic: ())
    async with relaying(Relay(db, bus, sweep_seconds=0.05)):
        await until(lambda: _equals(count_rows(db), 0))
    assert bus.published == [row["event_id"] for row in rows]


class ForgetfulBus(NotedBus):
    """Loses the last fact of its first request, and says twice that it took the first one: before, and after."""

    def __init__(self) -> None:
        super().__init__(groups=lambda _topic: ())
        self.requests: list[list[Outgoing]] = []
        self.may_take = asyncio.Event()

    async def publish(self, records: Sequence[Outgoing], receipts: Receipts) -> None:
        self.requests.append(list(records))
        if len(self.requests) == 1:
            receipts.acked(records[0])
            receipts.lost(records[-1], "the broker went away")
            return
        receipts.acked(records[0])
        receipts.acked(records[0])
        await self.may_take.wait()
        await super().publish(records[1:], receipts)


async def test_a_row_stays_until_each_of_its_facts_was_taken_however_often_another_was(db: Database) -> None:
    bus = ForgetfulBus()
    relay = db.relay = Relay(db, bus, lease_seconds=0.3, sweep_seconds=0.05, delete_every_seconds=0.01)
    async with relaying(relay):
        async with db.transaction() as tx:
            tx.emit(created(), created())
        await until(lambda: len(bus.requests) == 2)
        assert [fact.event_id for fact in bus.requests[1]] == [fact.event_id for fact in bus.requests[0]]
        await asyncio.sleep(0.1)
        assert await count_rows(db) == 2
        bus.may_take.set()
        await until(lambda: _equals(count_rows(db), 0))
    assert len(bus.requests) == 2
    assert relay.told_by_topic == {"task.created": 3}, "the first fact was told twice"


PARKED = 120
"""More than a sweep takes at once."""


class ToldLater(NotedBus):
    """Takes nothing until it is told to."""

    takes = False

    async def publish(self, records: Sequence[Outgoing], receipts: Receipts) -> None:
        if self.takes:
            await super().publish(records, receipts)
        else:
            for record in records:
                receipts.refused(record, "no such topic yet")


@pytest.mark.parametrize("restarted", [True, False])
async def test_a_parked_row_is_tried_again_at_a_start_and_now_and_then(db: Database, restarted: bool) -> None:
    """Somebody makes the topic; nothing has to be said to the service."""
    bus = ToldLater(groups=lambda _topic: ())
    relay = db.relay = Relay(db, bus, lease_seconds=0.2, sweep_seconds=0.05, retry_parked_seconds=600 if restarted else 0.5)
    async with relaying(relay):
        for _ in range(PARKED):
            async with db.transaction() as tx:
                tx.emit(UserRegistered(sequence=1, user_id=new_id(), name="ada", source="email"))
        await until(lambda: relay.parked == PARKED)
        bus.takes = not restarted
        if not restarted:
            await until(lambda: _equals(count_rows(db), 0))
    mended = NotedBus(groups=lambda _topic: ())
    async with relaying(Relay(db, mended, sweep_seconds=0.05)):
        await until(lambda: _equals(count_rows(db), 0))
    assert len(mended.published) == (PARKED if restarted else 0)


async def test_two_relays_sweep_a_backlog_without_telling_anything_twice(db: Database) -> None:
    for _ in range(10):
        async with db.transaction() as tx:
            tx.emit(*(created() for _ in range(50)))
    buses = [NotedBus(groups=lambda _topic: ()) for _ in range(2)]
    async with relaying(*(Relay(db, bus, sweep_seconds=0.05, batch_max=20) for bus in buses)):
        await until(lambda: _equals(count_rows(db), 0))
    told = [event_id for bus in buses for event_id in bus.published]
    assert len(told) == len(set(told)) == 500


async def test_a_relay_outlives_its_database_going_away_for_a_moment(db: Database, superuser_url: Any) -> None:
    bus = NotedBus(groups=lambda _topic: ())
    relay = db.relay = Relay(db, bus, lease_seconds=0.3, sweep_seconds=0.02)
    killer = await asyncpg.connect(await superuser_url("common"))
    tells = asyncio.Event()

    async def commit_for_ever() -> int:
        committed = 0
        while not tells.is_set():
            try:
                async with db.transaction() as tx:
                    tx.emit(created())
                committed += 1
            except Unavailable:
                pass
            await asyncio.sleep(0.01)
        return committed

    try:
        running = asyncio.create_task(relay.run())
        committing = asyncio.create_task(commit_for_ever())
        for _ in range(10):
            await killer.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'test-common'")
            await asyncio.sleep(0.1)
        tells.set()
        committed = await committing
        await until(lambda: _equals(count_rows(db), 0))
        assert not running.done()
        assert len(set(bus.published)) >= committed
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await killer.close()


# Deadlines of a lane


async def test_an_ask_that_waited_past_its_deadline_is_refused_and_never_run() -> None:
    gate, seen = asyncio.Event(), list[int]()

    async def run(asks: Sequence[int]) -> list[int | ServiceError]:
        seen.extend(asks)
        await gate.wait()
        return list(asks)

    async with Lane(run, batch_max=1, deadline_seconds=0.1) as lane:
        first, late = asyncio.create_task(lane(1)), asyncio.create_task(lane(2))
        await asyncio.sleep(0.2)
        fresh = asyncio.create_task(lane(3))
        await asyncio.sleep(0)
        gate.set()
        assert await first == 1, "what is being done is not given up"
        with pytest.raises(Overloaded) as refused:
            await late
        assert refused.value.retry_after_seconds
        assert await fresh == 3
    assert seen == [1, 3]


async def test_an_unknown_outcome_is_repeated_no_longer_than_the_deadline() -> None:
    runs = 0

    async def run(asks: Sequence[int]) -> list[int | ServiceError]:
        nonlocal runs
        runs += 1
        raise OutcomeUnknown

    async with Lane(run, deadline_seconds=0.3) as lane:
        async with asyncio.timeout(60):
            with pytest.raises(Unavailable, match="same key"):
                await lane(1)
    assert runs > 1


async def test_each_ask_of_a_repeated_batch_keeps_its_own_deadline() -> None:
    broken = True

    async def run(asks: Sequence[int]) -> list[int | ServiceError]:
        if broken:
            raise OutcomeUnknown
        return list(asks)

    async with Lane(run, deadline_seconds=0.4) as lane:
        early = asyncio.create_task(lane(1))
        with pytest.raises(Unavailable):
            await early
        later = asyncio.create_task(lane(2))
        await asyncio.sleep(0.1)
        broken = False
        assert await later == 2


async def test_a_caller_that_left_while_waiting_is_not_run() -> None:
    gate, seen = asyncio.Event(), list[int]()

    async def run(asks: Sequence[int]) -> list[int | ServiceError]:
        seen.extend(asks)
        await gate.wait()
        return list(asks)

    async with Lane(run, batch_max=1) as lane:
        first, leaving = asyncio.create_task(lane(1)), asyncio.create_task(lane(2))
        await asyncio.sleep(0.01)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        gate.set()
        await first
    assert seen == [1]


async def _equals(found: Awaitable[Any], wanted: Any) -> bool:
    return bool(await found == wanted)
