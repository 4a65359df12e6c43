"""A service's life: start, ready, drain, stop; one task group in which every loop has a parent that hears it die."""

import asyncio
import contextlib
import gc
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import asyncpg
import structlog
from aiohttp import web

from common import log as logs
from common.auth import Authenticator
from common.bus import Bus, open_bus
from common.bus import inbox as inbox_store
from common.bus.consumer import BroadcastConsumer, ConsumerLimits, GroupConsumer, Subscriptions
from common.bus.relay import Relay
from common.clock import Clock, DatabaseClock
from common.db import Database, passes
from common.errors import ServiceError, Unavailable
from common.lane import Lane
from common.metrics import Metrics, RelayNumbers
from common.migrate import MigrationError, check_schema, every_migration, migrate
from common.settings import ServiceSettings, SettingsError, load
from common.web import Route, WebRunner
from common.web.admin import build_admin
from common.web.application import build_application

log = structlog.get_logger()

Loop = Callable[[asyncio.Event], Coroutine[Any, Any, None]]
"""Runs until soon after the event (draining) is set."""

SettingsT = TypeVar("SettingsT", bound=ServiceSettings)

INBOX_KEPT = timedelta(days=21)
_DATABASE_WAIT_SECONDS = 60
_CLOSING_SECONDS = 6.0
"""Of the time a process has to go, what telling the last facts and closing the bus and the database get."""


class OpenService(Protocol[SettingsT]):  # type: ignore[misc]
    """A composition root: `open_service(settings, bus)` yields a Service and closes what it opened."""

    def __call__(self, settings: SettingsT, bus: Bus) -> "AbstractAsyncContextManager[Service]": ...


@dataclass(kw_only=True)
class Service:
    """Everything one service runs. Built by its `app.py`, carried through its life by `run`."""

    name: str
    settings: ServiceSettings
    deps: Any
    bus: Bus
    metrics: Metrics
    authenticator: Authenticator | None = None
    db: Database | None = None
    relay: Relay | None = None
    routes: Sequence[Route] = ()
    subscriptions: Subscriptions | None = None
    lanes: Sequence[Lane[Any, Any]] = ()
    loops: Sequence[Loop] = ()
    on_drain: Sequence[Callable[[], Awaitable[None]]] = ()
    front: Callable[[web.Server], Callable[[], asyncio.Protocol]] | None = None
    consumer_limits: ConsumerLimits = field(default_factory=ConsumerLimits)
    ready: bool = False
    _consumer: GroupConsumer | None = None
    _listener: asyncio.Server | None = None

    async def run(self, stop: asyncio.Event, *, on_ready: Callable[[], None] | None = None) -> None:
        """Serve until `stop` is set, then drain and return. Raises what a loop died of."""
        logs.bind(service=self.name)
        draining = asyncio.Event()
        self._register_numbers()
        runner, admin = self._runners()
        try:
            await self._live(stop, draining, runner, admin, on_ready)
        except BaseException as error:
            await self._fall(runner, admin)
            only = _only_cause(error)
            if only is error:
                raise
            raise only from None
        await admin.cleanup()
        log.info("service.stopped")

    def _register_numbers(self) -> None:
        gauge, relay, db = self.metrics.gauge, self.relay, self.db
        if relay is not None:
            self.metrics.registry.register(RelayNumbers(relay.told_by_topic, lambda: relay.oldest_seconds))
            gauge("outbox_parked", "Commits with facts that the broker would not take; tried again every ten minutes").set_function(lambda: relay.parked)
            gauge("dead_letters", "Facts this service could not take and nobody gave back").set_function(lambda: relay.dead_letters)
        if db is not None and isinstance(clock := db.clock, DatabaseClock):
            gauge("clock_offset_seconds", "The database's clock less this machine's").set_function(lambda: clock.offset_seconds)
        stopped = gauge("consumer_stopped", "1 when dead letters in a row made the consumer stop; a restart lets it go on")
        stopped.set_function(lambda: self._consumer is not None and self._consumer.stopped_by_dead_letters)

    async def _live(self, stop: asyncio.Event, draining: asyncio.Event, runner: WebRunner, admin: web.AppRunner, on_ready: Callable[[], None] | None) -> None:
        for lane in self.lanes:
            await lane.start()
        await runner.setup()
        await admin.setup()
        async with asyncio.TaskGroup() as group:
            relay = group.create_task(self.relay.run(), name=f"{self.name} relay") if self.relay is not None else None
            clocks = [
                group.create_task(self._keep_clock(), name=f"{self.name} clock"),
                group.create_task(self.metrics.watch_loop_lag(draining), name=f"{self.name} lag"),
            ]
            loops = [group.create_task(loop(draining), name=f"{self.name} loop {number}") for number, loop in enumerate(self._every_loop())]
            await self._listen(runner, admin)
            self.ready = True
            _settle_garbage()
            log.info("service.ready", port=self.settings.port)
            if on_ready is not None:
                on_ready()
            await stop.wait()
            await self._drain(draining, loops, runner)
            for task in [relay, *clocks]:
                if task is not None:
                    task.cancel()

    async def _fall(self, runner: WebRunner, admin: web.AppRunner) -> None:
        """It died: no port stays open, no caller stays waiting, nothing of it goes on. What was not told is in the outbox."""
        self.ready = False
        if self._listener is not None:
            self._listener.close()
        for lane in self.lanes:
            await _at_most(min(1.0, self.settings.record_seconds), lane.stop(), what=f"lane {lane.name}")
        for open_runner in (runner, admin):
            if open_runner.server is not None:
                await open_runner.cleanup()

    def is_alive(self) -> bool:
        """Liveness: the loop answers, and the consumer has not given up."""
        return self._consumer is None or self._consumer.alive

    async def check_ready(self) -> bool:
        """Readiness: serving, ended sessions known, and the own database takes writes."""
        if not self.ready:
            return False
        revocations = self.authenticator.revocations if self.authenticator is not None else None
        if revocations is not None and not revocations.is_known:
            return False
        if self.db is not None:
            try:
                await self.db.check_writable()
            except ServiceError:
                return False
        return True

    def _runners(self) -> tuple[WebRunner, web.AppRunner]:
        application = build_application(self.routes, self.deps, name=self.name, authenticator=self.authenticator, metrics=self.metrics)
        runner = WebRunner(application, shutdown_timeout=self.settings.http_drain_seconds)
        admin = build_admin(metrics=self.metrics, alive=self.is_alive, ready=self.check_ready)
        return runner, web.AppRunner(admin, handle_signals=False, access_log=None, shutdown_timeout=0.5)

    async def _listen(self, runner: web.AppRunner, admin: web.AppRunner) -> None:
        await web.TCPSite(admin, self.settings.host, self.settings.admin_port, backlog=128).start()
        if self.front is None:
            await web.TCPSite(runner, self.settings.host, self.settings.port, backlog=1024).start()
            return
        server = runner.server
        assert server is not None
        self._listener = await asyncio.get_running_loop().create_server(self.front(server), self.settings.host, self.settings.port, backlog=1024)

    def _every_loop(self) -> list[Loop]:
        loops = list(self.loops)
        if self.subscriptions is not None and self.db is not None and self.subscriptions.heard:
            self._consumer = GroupConsumer(self.subscriptions, bus=self.bus, db=self.db, deps=self.deps, limits=self.consumer_limits)
            loops += [self._consumer.run, every(3600, self._forget_heard)]
        if self.subscriptions is not None and self.subscriptions.overheard:
            loops.append(BroadcastConsumer(self.subscriptions, bus=self.bus, deps=self.deps, limits=self.consumer_limits).run)
        return loops

    async def _drain(self, draining: asyncio.Event, loops: Sequence["asyncio.Task[None]"], runner: WebRunner) -> None:
        """Not ready; sockets told; records in hand finished; leases back; requests answered; facts told; in this order.

        Each step has its own limit, and none may take the process past `stop_wait_seconds`.
        """
        settings, now = self.settings, asyncio.get_running_loop().time
        until = now() + settings.stop_wait_seconds - _CLOSING_SECONDS
        self.ready = False
        log.info("service.draining")
        runner.begin_drain()
        await asyncio.sleep(settings.not_ready_seconds)
        if self._listener is not None:
            self._listener.close()
        told_until = min(now() + settings.record_seconds, until)
        for close in self.on_drain:
            await _at_most(told_until - now(), close(), what="on_drain")
        draining.set()
        if loops:
            _, busy = await asyncio.wait(loops, timeout=max(min(settings.record_seconds, until - now()), 0.1))
            for task in busy:
                log.warning("service.loop_cut", loop=task.get_name())
                task.cancel()
        await runner.finish(min(settings.http_drain_seconds, max(until - now(), 1.0)))
        seconds = min(settings.record_seconds, max(until - now(), 1.0))
        await asyncio.gather(*(_at_most(seconds, lane.stop(), what=f"lane {lane.name}") for lane in self.lanes))
        if self.relay is not None:
            seconds = min(2.0, settings.record_seconds)
            await _at_most(seconds + 1, self.relay.drain(seconds), what="relay")

    async def _keep_clock(self) -> None:
        while True:
            await asyncio.sleep(30)
            if self.db is not None:
                with contextlib.suppress(Unavailable):
                    await self.db.read_clock()

    async def _forget_heard(self) -> None:
        assert self.db is not None
        while await inbox_store.delete_old(self.db, INBOX_KEPT) >= 5000:
            await asyncio.sleep(0.1)


def every(seconds: float, step: Callable[[], Awaitable[None]]) -> Loop:
    """A loop that repeats a step until draining; an error is logged and the next round goes on."""

    name = getattr(step.func if isinstance(step, partial) else step, "__qualname__", "step")

    async def loop(draining: asyncio.Event) -> None:
        while not draining.is_set():
            try:
                await step()
            except Unavailable as error:
                log.warning("loop.waits", step=name, error=str(error)[:200])
            except Exception as error:
                log.error("loop.failed", step=name, exc_info=error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await draining.wait()

    return loop


async def open_database(settings: ServiceSettings, name: str, bus: Bus, *, migrations: Path, clock: Clock | None = None) -> tuple[Database, Relay]:
    """The service's database and its relay; waits a minute for a database that is not there yet.

    Raises MigrationError when the schema is not exactly the one this program knows.
    """
    db = await _patiently(settings, name, clock)
    try:
        async with db.read() as conn:
            await check_schema(conn, every_migration(migrations))
    except BaseException:
        await db.close()
        raise
    relay = Relay(db, bus)
    db.relay = relay
    return db, relay


@asynccontextmanager
async def opened_database(
    settings: ServiceSettings, name: str, bus: Bus, *, migrations: Path, clock: Clock | None = None
) -> AsyncIterator[tuple[Database, Relay]]:
    """`open_database`, closed at the end."""
    db, relay = await open_database(settings, name, bus, migrations=migrations, clock=clock)
    try:
        yield db, relay
    finally:
        await db.close()


async def _patiently(settings: ServiceSettings, name: str, clock: Clock | None) -> Database:
    until = asyncio.get_running_loop().time() + _DATABASE_WAIT_SECONDS
    while True:
        try:
            return await Database.open(
                settings.database_url,
                name=f"darkroom-{name}",
                size=settings.pool_size,
                clock=clock,
                acquire_seconds=settings.acquire_seconds,
                statement_seconds=settings.statement_seconds,
                lock_seconds=settings.lock_seconds,
            )
        except Exception as error:  # "starting up" comes as an error of PostgreSQL's own
            if not passes(error) or asyncio.get_running_loop().time() > until:
                raise
            log.warning("database.awaited", error=str(error)[:200])
            await asyncio.sleep(0.5)


def _settle_garbage() -> None:
    """What start-up made lives as long as the process: the collector need not look at it again, nor look at all after every 700 objects."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


async def _at_most(seconds: float, work: Awaitable[None], *, what: str) -> None:
    try:
        async with asyncio.timeout(max(seconds, 0.1)):
            await work
    except TimeoutError:
        log.warning("service.cut", what=what)
    except Exception as error:
        log.error("service.stop_failed", what=what, exc_info=error)


def _only_cause(error: BaseException) -> BaseException:
    """What it is about, when a group holds one error only."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


async def serve(settings: SettingsT, open_service: "OpenService[SettingsT]") -> None:
    """Run one service alone until SIGTERM or SIGINT asks for a drain; before everything is open, either gives the start up."""
    serving, opened, stop = asyncio.current_task(), asyncio.Event(), asyncio.Event()
    assert serving is not None

    def on_signal() -> None:
        stop.set()
        if not opened.is_set():
            serving.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        # On the loop, so that a background job hears SIGINT too.
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    bus = open_bus(settings.shared.bus_url)
    try:
        await bus.start()
        async with open_service(settings, bus) as service:
            opened.set()
            await service.run(stop)
    except asyncio.CancelledError:
        if opened.is_set() or not stop.is_set():
            raise
        serving.uncancel()
    finally:
        await bus.stop()


async def migrate_database(settings: ServiceSettings, name: str, migrations: Path) -> list[str]:
    """Apply the service's migrations as the owner role; answers the names applied."""
    url = settings.migration_database_url
    if not url:
        raise SettingsError([f"{name.upper()}_MIGRATION_DATABASE_URL is missing"])
    role = settings.database_url.split("://", 1)[1].split("@", 1)[0].split(":", 1)[0]
    return await migrate(url, every_migration(migrations), service_role=role)


def main(
    name: str,
    settings_type: type[SettingsT],
    open_service: "OpenService[SettingsT]",
    *,
    migrations: Path | None,
    commands: Mapping[str, Callable[[SettingsT], Awaitable[None]]] | None = None,
) -> None:
    """`python -m <service> [serve|migrate|...]`: run, or say in a sentence why not. Exit codes: 0 well, 1 failed, 2 misused."""
    known: dict[str, Callable[[SettingsT], Awaitable[None]]] = {"serve": lambda settings: serve(settings, open_service), **(commands or {})}
    if migrations is not None:
        known["migrate"] = lambda settings: _migrate_and_tell(settings, name, migrations)
    wanted = " ".join(sys.argv[1:]) or "serve"
    if wanted not in known:
        sys.stderr.write(f"usage: python -m {name} [{'|'.join(known)}]\n")
        sys.exit(2)
    try:
        settings = load(settings_type)
        logs.configure(level=settings.shared.log_level)
        run_in_loop(known[wanted](settings))
    except SettingsError as error:
        sys.stderr.write(f"{name} cannot start:\n{error}\n")
        sys.exit(2)
    except (MigrationError, OSError, Unavailable, asyncpg.PostgresError) as error:
        sys.stderr.write(f"{name}: {error}\n")
        sys.exit(1)


def run_in_loop(work: Awaitable[None]) -> None:
    """Run to the end, on uvloop where it exists."""
    try:
        import uvloop

        factory = uvloop.new_event_loop
    except ImportError:
        factory = None
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_as_coroutine(work))


async def _as_coroutine(work: Awaitable[None]) -> None:
    await work


async def _migrate_and_tell(settings: ServiceSettings, name: str, migrations: Path) -> None:
    applied = await migrate_database(settings, name, migrations)
    log.info("migrations.applied", names=applied)
