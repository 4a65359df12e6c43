"""Every consumer hears every fact twice, in one fetch or after a restart, in any order of topics, and nothing happens a second time."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import permutations
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

import aiohttp
import orjson
import pytest
from aiohttp.test_utils import TestServer

from billing import commands as billing_commands
from billing.app import open_service as open_billing
from billing.domain import Adjust, CaptureHold, Finding, Held, Hold, HoldTerms, PlaceHold, SignUp
from billing.settings import BillingSettings
from billing.store import audit
from common.bus import MemoryBus, Reader, Record
from common.bus.consumer import BroadcastConsumer, ConsumerLimits, GroupConsumer, Subscriptions
from common.bus.dead_letters import count_dead_letters
from common.bus.envelope import Outgoing, seal
from common.db import Database
from common.events import BY_TOPIC, FACTS, CreditsChanged, Fact, TaskCreated, TaskProgressed
from common.ids import UserId, new_id
from common.service import Service
from common.testing.doors import Passes
from common.web import build_application
from generation.app import open_service as open_generation
from generation.settings import GenerationSettings
from lab.history import History, make_history, read_fact, seeded, shuffled_batches
from notify.app import open_service as open_notify
from notify.settings import NotifySettings
from suite.pytest_plugin import MigratedDatabases
from works import commands as works_commands
from works.app import open_service as open_works
from works.domain import Body, NewWork
from works.settings import WorksSettings

QUICK = ConsumerLimits(wait_seconds=1, retry_seconds=0.01, commit_seconds=0.005)
NEVER_TOO_MANY = 10_000
ORDERS_MAX = 150
"""All orders of five topics and fewer; of more topics as many by chance, so that every pair comes in both ways many times."""

State = dict[str, Any]
Batches = Sequence[Sequence[Outgoing]]


# How facts are brought


@dataclass
class Receipts:
    """Counts what the group has heard for good."""

    acks: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def acked(self, record: Outgoing) -> None:
        self.acks += 1
        self.changed.set()

    def refused(self, record: Outgoing, error: str) -> None:
        raise AssertionError(error)

    def lost(self, record: Outgoing, error: str) -> None:
        raise AssertionError(error)

    async def reach(self, count: int) -> None:
        async with asyncio.timeout(60):
            while self.acks < count:
                self.changed.clear()
                await self.changed.wait()


class CountingReader:
    """A member of a group that notes how much each fetch brought."""

    def __init__(self, reader: Reader, fetches: list[int]) -> None:
        self._reader = reader
        self._fetches = fetches
        self.start, self.stop, self.commit, self.lagging = reader.start, reader.stop, reader.commit, reader.lagging

    async def fetch(self, *, records_max: int, wait_seconds: float) -> list[Record]:
        records = await self._reader.fetch(records_max=records_max, wait_seconds=wait_seconds)
        if records:
            self._fetches.append(len(records))
        return records


class CountingBus(MemoryBus):
    """The bus in memory, for one group only."""

    def __init__(self, group: str) -> None:
        super().__init__(groups=lambda _topic: (group,))
        self.fetches: list[int] = []

    def group(self, name: str, topics: Sequence[str], **options: Any) -> Reader:
        return CountingReader(super().group(name, topics, **options), self.fetches)


@dataclass
class Ears:
    """A service's real consumer. Each call of `hear` is the life of a process: a new bus, on which nothing is committed yet."""

    service: Service
    subscriptions: Subscriptions

    @property
    def db(self) -> Database:
        assert self.service.db is not None
        return self.service.db

    async def hear(self, batches: Batches, *, members: int = 1, records_max: int = 5000) -> list[int]:
        """Bring one batch after another, the first before anybody listens; answers how much each fetch brought."""
        bus, receipts, draining = CountingBus(self.subscriptions.group), Receipts(), asyncio.Event()
        listening: list[asyncio.Task[None]] = []
        published = 0
        try:
            for batch in batches:
                await bus.publish(batch, receipts)
                published += len(batch)
                listening = listening or [asyncio.create_task(self._consumer(bus, records_max).run(draining)) for _ in range(members)]
                await receipts.reach(published)
        finally:
            draining.set()
            await asyncio.gather(*listening)
        return bus.fetches

    async def hear_some_and_die(self, records: Sequence[Outgoing], seconds: float) -> None:
        """The process is killed in the middle of its work: no drain, nothing committed."""
        bus = CountingBus(self.subscriptions.group)
        await bus.publish(records, Receipts())
        listening = asyncio.create_task(self._consumer(bus, 7).run(asyncio.Event()))
        await asyncio.sleep(seconds)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)

    def _consumer(self, bus: MemoryBus, records_max: int) -> GroupConsumer:
        limits = ConsumerLimits(**{**_fields(QUICK), "records_max": records_max, "dead_in_a_row": NEVER_TOO_MANY})
        return GroupConsumer(self.subscriptions, bus=bus, db=self.db, deps=self.service.deps, limits=limits)


def _fields(limits: ConsumerLimits) -> dict[str, Any]:
    return {name: getattr(limits, name) for name in limits.__dataclass_fields__}


# What each hearer is, what it knows before it hears anything, and what it must know afterwards


class Hearer(Protocol):
    """One service: how its tables come to be before the facts, and what of them must not depend on how the facts came."""

    name: str

    async def begin(self, db: Database, history: History) -> None: ...

    async def look(self, db: Database) -> State: ...


def rows(found: Sequence[Any]) -> list[tuple[Any, ...]]:
    return sorted((tuple(row.values()) for row in found), key=repr)


async def facts_said(db: Database) -> list[Fact]:
    found = await db.fetch("SELECT topic, payload FROM outbox_fact ORDER BY position, place")
    return [BY_TOPIC[row["topic"]].model_validate_json(row["payload"]) for row in found]


class BillingHearer:
    """The books. Holds are placed first; some are resolved by upkeep before the end is heard, some have expired."""

    name = "billing"
    terms = HoldTerms(extensions_max=0)

    async def begin(self, db: Database, history: History) -> None:
        async with db.transaction() as tx:
            await billing_commands.open_accounts(tx, history.people, SignUp())
        given: Counter[tuple[UUID, Any]] = Counter()
        for task in history.tasks:
            given[task.user_id, task.asset] += task.created.price
        grants = [
            Adjust(adjustment_id=UUID(int=user_id.int ^ len(asset)), user_id=user_id, asset=asset, amount=2 * amount, reason="a test", by="tester")
            for (user_id, asset), amount in sorted(given.items())
        ]
        # One task in nine has no hold: its end is an outcome of the domain.
        held = [task for task in history.tasks if task.task_id.int % 9]
        asks = [
            PlaceHold(
                task_id=task.task_id, user_id=task.user_id, asset=task.asset, price=task.price, items=task.created.asked, body_hash=sha256(b"").digest(),
                expires_in_seconds=0 if self._expires(task.task_id) else 2000,
            )
            for task in held
        ]  # fmt: skip
        async with db.transaction() as tx:
            assert all(isinstance(one, int) for one in await billing_commands.adjust_accounts(tx, grants))
        async with db.transaction() as tx:
            assert all(isinstance(one, Held) for one in await billing_commands.place_holds(tx, asks, self.terms))
        await self._upkeep(db, history)

    async def _upkeep(self, db: Database, history: History) -> None:
        """Before any fact comes, generation was asked about some tasks, and has told of their ends."""
        async with db.transaction() as tx:
            findings = [Finding(task.task_id, "running", tx.now) for task in history.tasks if self._expires(task.task_id)]
            findings += [
                Finding(task.task_id, "ended", tx.now, task.end.delivered)
                for task in history.tasks if task.end is not None and task.task_id.int % 5 == 3 and not self._expires(task.task_id)
            ]  # fmt: skip
            await billing_commands.look_at_holds(tx, findings, self.terms)

    def _expires(self, task_id: UUID) -> bool:
        return task_id.int % 7 == 2

    async def look(self, db: Database) -> State:
        accounts = await db.fetch("SELECT * FROM account ORDER BY user_id, asset")
        facts = [fact for fact in await facts_said(db) if isinstance(fact, CreditsChanged)]
        await self._check_books(db, accounts, facts)
        whose = "(SELECT user_id || '/' || asset FROM account a WHERE a.account_id = x.account_id)"
        return {
            "accounts": [self._account(account) for account in accounts],
            "entries": rows(await db.fetch(f"SELECT {whose}, debit < 0, amount, kind, source, reason FROM entry x")),
            "records": rows(await db.fetch(f"SELECT {whose}, kind, amount, ref_id, description FROM record x")),
            "holds": rows(
                await db.fetch(
                    f"SELECT task_id, {whose}, state, price, items, captured_amount, written_off_amount, extensions, draws::text, resolved_at IS NULL"
                    " FROM hold x"
                )
            ),
            "memberships": rows(await db.fetch("SELECT user_id, kind, source FROM membership_period")),
            "facts": Counter((fact.subject, fact.kind, fact.amount, fact.task_id) for fact in facts),
        }

    def _account(self, account: Any) -> tuple[Any, ...]:
        kept = tuple(account[column] for column in ("user_id", "asset", "posted", "held", "consumed", "version", "entries", "records", "next_expiry_us"))
        # Which grant a late capture is taken from depends on what is there at that moment; how much is left in all does not.
        return (*kept, sum(lot[1] for lot in orjson.loads(account["lots"])))

    async def _check_books(self, db: Database, accounts: Sequence[Any], facts: Sequence[CreditsChanged]) -> None:
        async with db.transaction() as tx:
            found = await audit.find_disagreements(tx.conn, since=None, overdue_before=tx.now - timedelta(days=1), seconds=10)
        assert not any(vars(found).values() if hasattr(found, "__dict__") else (getattr(found, name) for name in found.__dataclass_fields__)), found
        told: dict[str, list[CreditsChanged]] = {}
        for fact in facts:
            told.setdefault(fact.subject, []).append(fact)
        for account in accounts:
            mine = told[f"account/{account['user_id']}/{account['asset']}"]
            assert [fact.sequence for fact in mine] == list(range(1, account["version"] + 1)), "a number was told twice, left out or told late"
            assert (mine[-1].available, mine[-1].held) == (account["posted"] - account["held"], account["held"])


class WorksHearer:
    """The works. Photos were made by hand before any song was asked for."""

    name = "works"

    async def begin(self, db: Database, history: History) -> None:
        body: Body = {"title": "Photo", "image": "uploads/x/y.jpg"}
        asks = [NewWork(work_id=one.work_id, user_id=one.user_id, is_public=one.is_public, body=body, body_hash=b"x") for one in history.photos]
        async with db.transaction() as tx:
            await works_commands.create_works(tx, asks)

    async def look(self, db: Database) -> State:
        works = "SELECT work_id, user_id, kind, status, task_sequence, version, is_public, is_favorite, body::text, created_at FROM work WHERE kind <> 'photo'"
        photos = "SELECT work_id, user_id, status, is_public, is_favorite, body::text FROM work WHERE kind = 'photo'"
        return {
            "works": rows(await db.fetch(works)),
            "photos": rows(await db.fetch(photos)),
            "songs": rows(await db.fetch("SELECT task_id, work_id, user_id, status, task_sequence, body::text, created_at FROM song")),
            "people": rows(await db.fetch("SELECT * FROM person")),
            "shelves": rows(await db.fetch("SELECT * FROM shelf WHERE (created, completed, failed, cancelled, public) <> (0, 0, 0, 0, 0)")),
            "facts": Counter((fact.subject, fact.topic, fact.model_dump_json()) for fact in await facts_said(db)),
        }


class NotifyHearer:
    """The feeds. The order of a feed is the order in which things were heard; that it is complete and gapless is not."""

    name = "notify"

    async def begin(self, db: Database, history: History) -> None: ...

    async def look(self, db: Database) -> State:
        notices = await db.fetch("SELECT * FROM notice ORDER BY user_id, seq")
        heads = {row["user_id"]: row["seq"] for row in await db.fetch("SELECT user_id, seq FROM feed")}
        seqs: dict[UUID, list[int]] = {user_id: [] for user_id in heads}
        for notice in notices:
            seqs[notice["user_id"]].append(notice["seq"])
        assert seqs == {user_id: list(range(1, head + 1)) for user_id, head in heads.items()}, "a gap, a repeat, or a head that is not the last number"
        return {
            "heads": heads,
            "notices": sorted((str(row["user_id"]), str(row["event_id"]), row["type"], row["payload"]) for row in notices),
            "facts": Counter(fact.subject for fact in await facts_said(db)),
        }


HEARERS: Mapping[str, tuple[Hearer, Any, Any]] = {
    "billing": (BillingHearer(), open_billing, BillingSettings),
    "works": (WorksHearer(), open_works, WorksSettings),
    "notify": (NotifyHearer(), open_notify, NotifySettings),
}


@dataclass
class Stage:
    """One service with its real consumer and database, and a past to be told."""

    hearer: Hearer
    ears: Ears
    databases: MigratedDatabases

    async def begin(self, history: History) -> None:
        """Empty tables, then what was there before the facts."""
        await self.databases.clean(self.hearer.name)
        await self.hearer.begin(self.ears.db, history)

    async def look(self, heard: Sequence[Outgoing]) -> State:
        """What the tables say; every fact is marked as heard once and none died."""
        marked = rows(await self.ears.db.fetch("SELECT event_id FROM inbox"))
        assert marked == sorted(((event_id,) for event_id in {record.event_id for record in heard}), key=repr)
        assert await count_dead_letters(self.ears.db) == 0
        return await self.hearer.look(self.ears.db)

    async def one_by_one(self, history: History) -> State:
        """What must come of it: every fact alone and in the order in which things happened."""
        records = history.heard_by(self.hearer.name)
        await self.begin(history)
        fetches = await self.ears.hear([[record] for record in records])
        assert fetches == [1] * len(records)
        return await self.look(records)


@pytest.fixture(params=sorted(HEARERS))
async def stage(request: pytest.FixtureRequest, service_databases: MigratedDatabases, tmp_path: Path) -> AsyncIterator[Stage]:
    hearer, open_service, settings_type = HEARERS[request.param]
    async with opened(hearer.name, open_service, settings_type, service_databases, tmp_path) as service:
        assert service.subscriptions is not None
        yield Stage(hearer, Ears(service, service.subscriptions), service_databases)


@asynccontextmanager
async def opened(
    name: str, open_service: Any, settings_type: Any, databases: MigratedDatabases, folder: Path, bus: MemoryBus | None = None, **more: str
) -> AsyncIterator[Service]:
    """A service as its composition root makes it, on its own database. Its loops do not run."""
    database = await databases.get(name)
    await databases.clean(name)
    environment = {f"{name.upper()}_DATABASE_URL": database.role_url, **more}
    async with open_service(Passes().settings(settings_type, name, folder, environment), bus or MemoryBus()) as service:
        yield service


def same(found: State, wanted: State) -> None:
    """Table by table, so that a difference is readable."""
    for table in wanted:
        assert found[table] == wanted[table], table


# The tests


def test_every_group_of_the_catalogue_is_told_here() -> None:
    assert {group for fact in FACTS for group in fact.groups} == set(HEARERS)


@pytest.mark.parametrize("round_", range(2))
async def test_a_past_told_in_any_way_leaves_what_it_leaves_one_by_one(stage: Stage, round_: int) -> None:
    chance = seeded(f"{stage.hearer.name} {round_}")
    history = make_history(chance)
    records = history.heard_by(stage.hearer.name)
    assert {record.topic for record in records} == set(stage.ears.subscriptions.heard), "a past that is too short to tell of everything"
    wanted = await stage.one_by_one(history)

    # All in one fetch.
    await stage.begin(history)
    assert await stage.ears.hear([records]) == [len(records)]
    same(await stage.look(records), wanted)

    # Again, all of it, after a restart.
    await stage.ears.hear([records])
    same(await stage.look(records), wanted)

    # Every record twice in one fetch.
    await stage.begin(history)
    assert await stage.ears.hear([[record for record in records for _ in range(2)]]) == [2 * len(records)]
    same(await stage.look(records), wanted)

    # In any order, in batches of any size, every record up to three times.
    for _ in range(3):
        await stage.begin(history)
        await stage.ears.hear(shuffled_batches(chance, [record for record in records for _ in range(chance.randint(1, 3))]))
        same(await stage.look(records), wanted)


async def test_topics_may_come_in_any_order_of_each_other(stage: Stage) -> None:
    chance = seeded(f"{stage.hearer.name} topics")
    history = make_history(chance, people=3, tasks=14)
    records = history.heard_by(stage.hearer.name)
    wanted = await stage.one_by_one(history)
    # Names of people touch nothing else, so their topics need not take every place.
    topics = [topic for topic in sorted(stage.ears.subscriptions.heard) if not topic.startswith("user.")]
    orders = list(permutations(topics))
    for order in chance.sample(orders, min(len(orders), ORDERS_MAX)):
        batches = [[record for record in records if record.topic == topic] for topic in order]
        batches.insert(chance.randint(0, len(batches)), [record for record in records if record.topic.startswith("user.")])
        await stage.begin(history)
        await stage.ears.hear([batch for batch in batches if batch])
        same(await stage.look(records), wanted)


async def test_a_consumer_killed_in_the_middle_of_its_work_begins_again_without_a_second_effect(stage: Stage) -> None:
    chance = seeded(f"{stage.hearer.name} killed")
    history = make_history(chance)
    records = history.heard_by(stage.hearer.name)
    wanted = await stage.one_by_one(history)
    await stage.begin(history)
    for _ in range(8):
        await stage.ears.hear_some_and_die(records, chance.uniform(0, 0.06))
    await stage.ears.hear([records], records_max=11)
    same(await stage.look(records), wanted)


async def test_two_members_that_meet_in_the_same_accounts_agree(stage: Stage) -> None:
    chance = seeded(f"{stage.hearer.name} members")
    history = make_history(chance, people=2, tasks=60)
    records = history.heard_by(stage.hearer.name)
    wanted = await stage.one_by_one(history)
    await stage.begin(history)
    await stage.ears.hear(shuffled_batches(chance, records * 2, largest=60), members=2, records_max=9)
    same(await stage.look(records), wanted)


@pytest.mark.parametrize("stage", ["billing", "works"], indirect=True)
async def test_a_fact_told_under_another_name_has_no_second_effect_where_state_is_kept(stage: Stage) -> None:
    chance = seeded(f"{stage.hearer.name} anew")
    history = make_history(chance)
    records, again = history.heard_by(stage.hearer.name), history.told_anew(stage.hearer.name)
    wanted = await stage.one_by_one(history)
    await stage.begin(history)
    await stage.ears.hear(shuffled_batches(chance, [*records, *again]))
    same(await stage.look([*records, *again]), wanted)


async def test_captures_of_one_batch_do_what_they_do_one_by_one(service_databases: MigratedDatabases, tmp_path: Path) -> None:
    """The command itself, without an inbox before it: the same task several times, also with ends that contradict each other."""
    chance = seeded("captures")
    hearer = BillingHearer()
    async with opened("billing", open_billing, BillingSettings, service_databases, tmp_path) as service:
        db = service.db
        assert db is not None
        history = make_history(chance, people=2, tasks=30)
        asks = [CaptureHold(task.task_id, chance.choice((0, 1, task.created.asked, 50))) for task in history.tasks for _ in range(chance.randint(1, 3))]
        chance.shuffle(asks)

        async def capture(batches: Sequence[Sequence[CaptureHold]]) -> tuple[list[Any], State]:
            await service_databases.clean("billing")
            await hearer.begin(db, history)
            outcomes: list[Any] = []
            for batch in batches:
                async with db.transaction() as tx:
                    for one in await billing_commands.capture_holds(tx, batch):
                        outcomes.append((one.task_id, one.state) if isinstance(one, Hold) else (type(one), one.data))
            return outcomes, await hearer.look(db)

        (alone, wanted), (together, found) = await capture([[ask] for ask in asks]), await capture([asks])
    same(found, wanted)
    # Amounts are compared in the tables: every answer about a hold is the one hold as the whole batch leaves it.
    assert together == alone


# Broadcasts: hints, which may be lost, doubled and late


async def overhear(service: Service, bus: MemoryBus, facts: Sequence[Fact]) -> None:
    """Tell all of these at once to the service's broadcast consumer and let it come to rest."""
    assert service.subscriptions is not None
    draining = asyncio.Event()
    listening = asyncio.create_task(BroadcastConsumer(service.subscriptions, bus=bus, deps=service.deps, limits=QUICK).run(draining))
    await asyncio.sleep(0.02)
    await bus.tell(facts)
    await asyncio.sleep(0.1)
    draining.set()
    await listening


@pytest.fixture
async def onlooker(service_databases: MigratedDatabases, tmp_path: Path) -> AsyncIterator[tuple[Service, MemoryBus, UUID, aiohttp.ClientWebSocketResponse]]:
    """Notify, and a user whose socket is open."""
    bus, user_id = MemoryBus(), new_id()
    passes = Passes()
    database = await service_databases.get("notify")
    await service_databases.clean("notify")
    settings = passes.settings(NotifySettings, "notify", tmp_path, {"NOTIFY_DATABASE_URL": database.role_url, "NOTIFY_PROGRESS_EVERY_SECONDS": "0"})
    async with open_notify(settings, bus) as service:
        authenticator = passes.authenticator("notify")
        deps = service.deps.__class__(**{**{name: getattr(service.deps, name) for name in service.deps.__dataclass_fields__}, "authenticator": authenticator})
        service.deps = deps
        async with (
            TestServer(build_application(service.routes, deps, name="notify", authenticator=authenticator)) as server,
            aiohttp.ClientSession() as http,
            http.ws_connect(server.make_url("/ws")) as socket,
        ):
            await socket.send_json({"type": "auth", "token": passes.user(UserId(user_id))})
            assert (await socket.receive_json(timeout=5))["type"] == "auth_success"
            yield service, bus, user_id, socket


async def frames(socket: aiohttp.ClientWebSocketResponse, seconds: float = 0.3) -> list[dict[str, Any]]:
    found = []
    try:
        while True:
            found.append(await socket.receive_json(timeout=seconds))
    except TimeoutError:
        return found


async def test_progress_heard_twice_and_shuffled_only_rises_and_ends_with_the_end(onlooker: Any) -> None:
    service, bus, user_id, socket = onlooker
    chance = seeded("progress")
    task_id = new_id()
    about = {"sequence": 2, "task_id": task_id, "user_id": user_id, "kind": "travel", "stage": "running"}
    told = [
        TaskProgressed(**about, claim_no=claim, n=n, progress=10 * n, message=f"{claim}.{n}")
        for claim in (1, 2) for n in range(1, 10)
    ] * 2  # fmt: skip
    seen: list[dict[str, Any]] = []
    for batch in (told[:9], *(chance.sample(told, len(told)) for _ in range(3)), told[:9]):
        await overhear(service, bus, batch)
        seen += await frames(socket)
    order = [tuple(int(part) for part in frame["message"].split(".")) for frame in seen]
    assert order == sorted(set(order)), "progress went back, or was shown twice"
    assert order[-1] == (2, 9)

    end = make_history(chance).tasks
    finished = next(task.end for task in end if task.end is not None).model_copy(update={"task_id": task_id, "user_id": user_id})
    assert service.subscriptions is not None
    ears = Ears(service, service.subscriptions)
    sealed = seal(finished, datetime.now(UTC), None)
    await ears.hear([[sealed, sealed]])
    await overhear(service, bus, [fact.model_copy(update={"claim_no": 3}) for fact in told])
    assert [frame["type"].startswith("task_") and frame["type"] != "task_progress" for frame in await frames(socket)] == [True]


async def test_balances_heard_twice_and_shuffled_never_go_back(onlooker: Any) -> None:
    service, bus, user_id, socket = onlooker
    chance = seeded("balances")
    told = [
        CreditsChanged(sequence=version, user_id=user_id, asset=asset, kind="held", amount=1, available=100 - version, held=version)
        for asset in ("credit", "point") for version in range(1, 12)
    ] * 2  # fmt: skip
    seen: list[dict[str, Any]] = []
    for _ in range(4):
        await overhear(service, bus, chance.sample(told, chance.randint(5, len(told))))
        seen += await frames(socket)
    await overhear(service, bus, told)
    seen += await frames(socket)
    for asset in ("credit", "point"):
        held = [frame["held"] for frame in seen if frame["asset"] == asset]
        assert held == sorted(set(held)), "an older balance after a newer one, or one twice"
        assert held[-1] == 11


async def test_a_task_told_to_the_workers_many_times_is_made_once(service_databases: MigratedDatabases, tmp_path: Path) -> None:
    bus = MemoryBus()
    settings = {"GENERATION_PROVIDER": "instant", "GENERATION_IDLE_POLL_SECONDS": "0.05"}
    async with opened("generation", open_generation, GenerationSettings, service_databases, tmp_path, bus, **settings) as service:
        db, draining = service.db, asyncio.Event()
        assert db is not None
        task_ids = await create_tasks(service, 30)
        running = [asyncio.create_task(loop(draining)) for loop in service.loops]
        for lane in service.lanes:
            await lane.start()
        told = [TaskCreated(sequence=1, task_id=one, user_id=new_id(), kind="travel", asked=2, price=2, work_id=one) for one in task_ids * 4]
        for _ in range(5):
            await overhear(service, bus, random.sample(told, len(told)))
        async with asyncio.timeout(60):
            while await db.fetchval("SELECT count(*) FROM outbox_fact WHERE topic = 'task.completed'") < len(task_ids):
                await asyncio.sleep(0.05)
        await overhear(service, bus, told)
        draining.set()
        await asyncio.gather(*running)
        for lane in service.lanes:
            await lane.stop()
        ends = Counter(fact.subject for fact in await facts_said(db) if fact.topic != "task.created")
        attempts = await db.fetch("SELECT task_id, count(*) AS made FROM attempt GROUP BY 1")
    assert ends == Counter(f"task/{task_id}" for task_id in task_ids)
    assert all(row["made"] == 1 for row in attempts)


async def create_tasks(service: Service, count: int) -> list[UUID]:
    """Tasks of two pictures, as if their credits were held."""
    from generation import commands
    from generation.domain import Brief, Create, Placed

    placed = []
    for _ in range(count):
        task_id = new_id()
        ask = Create(
            task_id=task_id, user_id=UserId(new_id()), work_id=task_id, kind="travel", asked=2, scene_id="beach-sunset", brief=Brief(prompt="the sea"),
            body_hash=b"\x01" * 32, keyed=True, waiting_max=None,
        )  # fmt: skip
        placed.append(Placed(ask=ask, price=2, limits=service.deps.settings.limits_of("travel")))
    async with service.deps.db.transaction() as tx:
        await commands.create_tasks(tx, placed)
    return [one.ask.task_id for one in placed]


def test_a_past_made_of_the_same_chance_is_the_same() -> None:
    first, second = (make_history(random.Random(5)) for _ in range(2))
    assert [read_fact(one) for one in first.told] == [read_fact(one) for one in second.told]
    assert first.tasks == second.tasks
