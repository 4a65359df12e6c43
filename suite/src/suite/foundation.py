"""What the services stand on: PostgreSQL with a migrated database for each, and Kafka with its topics when asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from common.bus.broker import BusUnavailable
from common.events.catalog import FACTS
from common.migrate import MigrationError
from common.service import migrate_database
from common.settings import ServiceSettings, load
from suite.embedded.parts import EmbeddedError
from suite.embedded.postgres import DatabaseUrls, EmbeddedPostgres
from suite.home import Home, SuiteError
from suite.members import MEMBERS, WITH_DATA, Member
from suite.options import Options
from suite.ports import Ports
from suite.surroundings import environment_of, shared_environment

if TYPE_CHECKING:
    from suite.embedded.kafka import EmbeddedKafka
    from suite.embedded.s3 import EmbeddedS3
    from suite.embedded.simulator import EmbeddedSimulator

Tell = Callable[[str], None]

WATCH_SECONDS = 0.5
RESTARTS_MAX = 5


@dataclass
class Foundation:
    """Everything that is there before the first service starts."""

    home: Home
    ports: Ports
    postgres: EmbeddedPostgres
    kafka: EmbeddedKafka | None
    s3: EmbeddedS3 | None
    simulator: EmbeddedSimulator | None
    databases: Mapping[str, DatabaseUrls]
    shared: Mapping[str, str]

    @property
    def bus_url(self) -> str:
        return self.shared["DARKROOM_BUS_URL"]

    def environment(self, name: str, replica: int = 0) -> dict[str, str]:
        return environment_of(name, replica, shared=self.shared, home=self.home, ports=self.ports, databases=self.databases)

    def settings(self, member: Member) -> ServiceSettings:
        """A service's settings; raises SettingsError."""
        return load(member.settings_type, self.environment(member.name))

    async def watch(self, tell: Tell) -> None:
        """Bring back a part that ended by itself; raises EmbeddedError when it will not come."""
        restarts = 0
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            for name, part in (("PostgreSQL", self.postgres), ("Kafka", self.kafka), ("S3", self.s3), ("The simulator", self.simulator)):
                if part is not None and part.pid is None:
                    restarts += 1
                    if restarts > RESTARTS_MAX:
                        raise EmbeddedError(f"{name} ended again and again; its log is {part.log}.")
                    tell(f"{name} ended by itself and is started again.")
                    await part.start()


@asynccontextmanager
async def laid(home: Home, ports: Ports, options: Options, tell: Tell) -> AsyncIterator[Foundation]:
    """Start the parts, make and migrate the databases; stop the parts at the end."""
    async with AsyncExitStack() as stack:
        importing = asyncio.create_task(asyncio.to_thread(_import_services, here=not options.separate), name="services imported")
        kafka_starting = asyncio.create_task(_start_kafka(home, ports, options, tell, stack)) if options.with_kafka else None
        try:
            postgres = EmbeddedPostgres(home.postgres, ports.postgres)
            stack.push_async_callback(_stop, postgres.stop)
            await postgres.start()
            databases = dict(zip(WITH_DATA, await asyncio.gather(*(postgres.ensure_database(name) for name in WITH_DATA)), strict=True))
            s3 = await _start_s3(home, ports, stack) if options.s3 else None
            simulator = await _start_simulator(home, ports, stack) if options.simulator else None
            await importing
            kafka = await kafka_starting if kafka_starting is not None else None
        except BaseException:
            others = [importing] if kafka_starting is None else [importing, kafka_starting]
            for other in others:
                other.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            raise
        bus_url = kafka.url if kafka is not None else "memory://"
        by_parts = {**(s3.environment if s3 is not None else {}), **(simulator.environment if simulator is not None else {})}
        shared = shared_environment(home, ports, options, bus_url=bus_url, by_parts=by_parts)
        foundation = Foundation(home, ports, postgres, kafka, s3, simulator, databases, shared)
        await asyncio.gather(*(_migrate(foundation, member) for member in MEMBERS if member.name in WITH_DATA))
        yield foundation


def _import_services(*, here: bool) -> None:
    """The services' settings, and their code where they run in this process, while PostgreSQL starts: both take about as long."""
    for member in MEMBERS:
        _ = member.settings_type
        if here:
            _ = member.open_service


async def _migrate(foundation: Foundation, member: Member) -> None:
    try:
        await migrate_database(foundation.settings(member), member.name, member.migrations)
    except MigrationError as error:
        raise SuiteError(
            f"The database of {member.name} was made by another version of Darkroom: {error}. Go back to that version, "
            f"or start from nothing with `darkroom reset` (folder {foundation.home.folder})."
        ) from error


async def _start_kafka(home: Home, ports: Ports, options: Options, tell: Tell, stack: AsyncExitStack) -> EmbeddedKafka:
    # aiokafka is slow to import, and a suite on the bus in memory never needs it.
    from suite.embedded.kafka import EmbeddedKafka

    level = None if options.kafka_compiles_fully else 1
    kafka = EmbeddedKafka(home.kafka, ports.kafka, tiered_stop_at_level=level)
    stack.push_async_callback(_stop, kafka.stop)
    tell("Kafka starts (the first time its jars are fetched, about 44 MB) ...")
    await kafka.start()
    await apply_topics(kafka.bootstrap)
    return kafka


async def _start_s3(home: Home, ports: Ports, stack: AsyncExitStack) -> EmbeddedS3:
    from suite.embedded.s3 import EmbeddedS3

    s3 = EmbeddedS3(home.s3, ports.s3, access_key=home.secret("s3-access")[:20], secret_key=home.secret("s3-secret"))
    stack.push_async_callback(_stop, s3.stop)
    await s3.start()
    return s3


async def _start_simulator(home: Home, ports: Ports, stack: AsyncExitStack) -> EmbeddedSimulator:
    from suite.embedded.simulator import EmbeddedSimulator

    simulator = EmbeddedSimulator(
        home.logs / "simulator.log", ports.simulator, secret=home.secret("simulator-n8n"), signing_secret=home.secret("simulator-callback"),
        app_secret=home.secret("simulator-wechat"),
    )  # fmt: skip
    stack.push_async_callback(_stop, simulator.stop)
    await simulator.start()
    return simulator


async def apply_topics(servers: str) -> list[str]:
    """Create every topic of the catalogue that is missing; raises SuiteError when the broker does not answer."""
    from common.bus.kafka import KafkaOptions
    from common.bus.kafka import apply_topics as create

    try:
        return await create(KafkaOptions(servers=servers), FACTS)
    except BusUnavailable as error:
        raise SuiteError(f"Kafka at {servers} does not answer: {error}") from error


async def _stop(stop: Callable[[], Awaitable[Any]]) -> None:
    """Finish stopping a part even when we are cancelled meanwhile: a half-stopped database recovers slowly."""
    stopping = asyncio.ensure_future(stop())
    try:
        await asyncio.shield(stopping)
    except asyncio.CancelledError:
        await stopping
        raise
