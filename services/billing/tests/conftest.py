"""What billing's tests share: real books on a real database, with a clock moved by hand."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import aiohttp
import asyncpg
import orjson
import pytest

from billing import commands, lanes
from billing.api import ROUTES
from billing.app import config_keys, open_payments
from billing.auditor import Auditor
from billing.clients import Generation, People
from billing.deps import Deps
from billing.domain import Adjust, Asset, Balance, CaptureHold, Finding, Findings, Held, Hold, HoldTerms, PlaceHold, Record, SignUp
from billing.numbers import Numbers
from billing.providers import SandboxProvider
from billing.settings import BillingSettings
from billing.store import audit, records
from billing.totals import Totals
from common.client import ServiceClient
from common.clock import FakeClock
from common.config import Config
from common.db import Database
from common.errors import ServiceError, Unavailable
from common.events import CreditsChanged
from common.ids import new_id
from common.metrics import Metrics
from common.testing.doors import Door, Passes, open_door
from common.vault import Vault
from common.web import Answer, Model, Request, Route


@dataclass
class Bank:
    """Billing's commands, each in a transaction of its own, and what they left behind."""

    db: Database
    clock: FakeClock
    superuser_url: str
    terms: HoldTerms = field(default_factory=HoldTerms)
    signup: lanes.SignUpTerms = SignUp
    vault: Vault = field(default_factory=lambda: Vault("billing", key_id="1", secret="e" * 32, old_secrets={}, lookup_secret="l" * 32))

    def ask(
        self, user_id: UUID, items: int = 1, *, task_id: UUID | None = None, asset: Asset = "credit", price: int = 1, body: str = "", seconds: int = 2000
    ) -> PlaceHold:
        """Credits for a new task, unless told which."""
        body_hash = sha256(body.encode()).digest()
        return PlaceHold(task_id=task_id or new_id(), user_id=user_id, asset=asset, price=price, items=items, body_hash=body_hash, expires_in_seconds=seconds)

    async def open(self, *user_ids: UUID) -> None:
        async with self.db.transaction() as tx:
            await commands.open_accounts(tx, user_ids, self.signup())

    async def place(self, *asks: PlaceHold) -> list[Held | ServiceError]:
        return await lanes.change_opened(self.db, self.signup, lambda tx: commands.place_holds(tx, asks, self.terms))

    async def hold(self, user_id: UUID, items: int = 1, **terms: object) -> UUID:
        """Place one hold that must stand; answers its task."""
        ask = self.ask(user_id, items, **terms)  # type: ignore[arg-type]
        [outcome] = await self.place(ask)
        assert isinstance(outcome, Held), outcome
        return ask.task_id

    async def capture(self, *ends: tuple[UUID, int]) -> list[Hold | ServiceError]:
        async with self.db.transaction() as tx:
            return await commands.capture_holds(tx, [CaptureHold(*end) for end in ends])

    def finding(
        self, task_id: UUID, state: Literal["unknown", "running", "ended", "unreachable"], *, delivered: int = 0, asked_ago_seconds: float = 0
    ) -> Finding:
        return Finding(task_id, state, self.clock.now() - timedelta(seconds=asked_ago_seconds), delivered)

    async def look(self, *findings: Finding) -> list[Hold]:
        async with self.db.transaction() as tx:
            return await commands.look_at_holds(tx, findings, self.terms)

    async def adjust(self, user_id: UUID, amount: int, *, asset: Asset = "credit", adjustment_id: UUID | None = None) -> int | ServiceError:
        ask = Adjust(adjustment_id=adjustment_id or new_id(), user_id=user_id, asset=asset, amount=amount, reason="a test", by="tester")
        [outcome] = await lanes.change_opened(self.db, self.signup, lambda tx: commands.adjust_accounts(tx, [ask]))
        return outcome

    async def balance(self, user_id: UUID) -> Balance:
        return (await lanes.read_balances(self.db, self.signup, [user_id]))[user_id]

    async def available(self, user_id: UUID) -> int:
        return (await self.balance(user_id)).credit.available

    async def history(self, user_id: UUID, asset: Asset = "credit") -> Sequence[Record]:
        """All records, oldest first."""
        purse = (await self.balance(user_id)).of(asset)
        async with self.db.read() as conn:
            return (await records.list_latest(conn, purse.account_id, purse.records, offset=0, limit=1000))[::-1]

    async def facts(self) -> list[CreditsChanged]:
        """Everything said so far, in the order of each account."""
        rows = await self.db.fetch("SELECT payload FROM outbox_fact WHERE topic = 'credits.changed' ORDER BY position, place")
        return [CreditsChanged.model_validate_json(row["payload"]) for row in rows]

    async def hold_of(self, task_id: UUID) -> asyncpg.Record:
        row = await self.db.fetchrow("SELECT *, price * items AS amount FROM hold WHERE task_id = $1", task_id)
        assert row is not None
        return row

    async def plant(self, sql: str, *args: object) -> None:
        """Damage the books, past every right and trigger."""
        conn = await asyncpg.connect(self.superuser_url, server_settings={"session_replication_role": "replica"})
        try:
            await conn.execute(sql, *args)
        finally:
            await conn.close()

    async def audit(self, *, since_seconds: float | None = None) -> Findings:
        """Everything, or what changed in these last seconds."""
        async with self.db.transaction() as tx:
            since = None if since_seconds is None else tx.now - timedelta(seconds=since_seconds)
            return await audit.find_disagreements(tx.conn, since=since, overdue_before=tx.now - timedelta(seconds=30), seconds=10)

    async def check(self) -> None:
        """The books agree with themselves, whichever way they are looked at."""
        sound = Findings(
            entries_broken=0, accounts_off_ledger=0, records_broken=0, accounts_off_records=0, accounts_off_holds=0, accounts_off_lots=0, holds_overdue=0
        )
        assert await self.audit() == sound
        assert await self.audit(since_seconds=3600) == sound


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def bank(service_database: Callable[..., Awaitable[Database]], superuser_url: Callable[[str], Awaitable[str]], clock: FakeClock) -> Bank:
    """Empty books."""
    return Bank(await service_database("billing", clock=clock), clock, await superuser_url("billing"))


@pytest.fixture
def user_id() -> UUID:
    return new_id()


class UserIds(Model):
    user_ids: list[UUID]


class FakeIdentity:
    """Answers like identity's `POST /internal/users/list`, about the people it was told of."""

    def __init__(self) -> None:
        self.names: dict[UUID, str] = {}
        self.away = False

    async def list_users(self, request: Request[None]) -> Answer:
        if self.away:
            raise Unavailable("a test")
        known = [{"user_id": user_id, "username": self.names[user_id]} for user_id in request.body.user_ids if user_id in self.names]
        return Answer(orjson.dumps({"users": known}, default=str))

    @property
    def routes(self) -> list[Route]:
        return [Route("POST", "/internal/users/list", self.list_users, auth="service", body=UserIds)]


class TaskIds(Model):
    task_ids: list[UUID]


class FakeGeneration:
    """Answers like generation's `POST /internal/tasks/list`, about the tasks it was told of."""

    def __init__(self) -> None:
        self.tasks: dict[UUID, dict[str, Any]] = {}
        self.asked: list[set[UUID]] = []
        self.away = False
        self.before_answer: Callable[[], Awaitable[None]] | None = None

    def knows(self, task_id: UUID, state: str, *, delivered: int = 0) -> None:
        self.tasks[task_id] = {"task_id": task_id, "state": state, "delivered": delivered, "asked": 4, "deadline_at": None}

    async def list_tasks(self, request: Request[None]) -> Answer:
        self.asked.append(set(request.body.task_ids))
        if self.away:
            raise Unavailable("a test")
        known = [self.tasks[task_id] for task_id in request.body.task_ids if task_id in self.tasks]
        if self.before_answer is not None:
            await self.before_answer()
        return Answer(orjson.dumps({"tasks": known}, default=str))

    @property
    def routes(self) -> list[Route]:
        return [Route("POST", "/internal/tasks/list", self.list_tasks, auth="service", body=TaskIds)]


@pytest.fixture
def passes() -> Passes:
    return Passes()


@pytest.fixture
def generation() -> FakeGeneration:
    return FakeGeneration()


@pytest.fixture
def identity() -> FakeIdentity:
    return FakeIdentity()


OpenDeps = Callable[[Database], AbstractAsyncContextManager[Deps]]


@pytest.fixture
async def open_deps(bank: Bank, generation: FakeGeneration, identity: FakeIdentity, passes: Passes, tmp_path: Path) -> AsyncIterator[OpenDeps]:
    """Opens what a billing process has open, as often as processes are wanted; with neighbours that answer over HTTP."""
    async with (
        open_door(generation.routes, name="generation", passes=passes) as generations,
        open_door(identity.routes, name="identity", passes=passes) as identities,
        aiohttp.ClientSession() as http,
    ):
        settings = passes.settings(BillingSettings, "billing", tmp_path, {"GENERATION_URL": generations.url, "IDENTITY_URL": identities.url})

        @asynccontextmanager
        async def opened(db: Database) -> AsyncIterator[Deps]:
            numbers, config = Numbers.of(Metrics("billing")), Config(db, config_keys(settings))
            await config.read()
            sandbox = SandboxProvider(db, http, bank.vault, secret=settings.sandbox_key, public_url="http://shop.test", notify_url="http://127.0.0.1:1/nobody")
            async with (
                ServiceClient("generation", settings, "billing") as client,
                ServiceClient("identity", settings, "billing") as people,
                lanes.holds_lane(db, bank.terms, bank.signup) as holds,
                lanes.balance_lane(db, bank.signup) as balances,
            ):
                yield Deps(
                    db=db, holds=holds, balances=balances, generation=Generation(client, call_seconds=2), prices=settings.prices(), signup=bank.signup,
                    hold_terms=bank.terms, numbers=numbers, auditor=Auditor(db, numbers, sweep_seconds=10, full_hour_utc=3),
                    people=People(people, call_seconds=1), payments=open_payments(sandbox), order_terms=settings.order_terms(), sandbox=sandbox,
                    vault=bank.vault,
                    config=config, totals=Totals(db, kept_seconds=5),
                )  # fmt: skip

        yield opened


@pytest.fixture
async def deps(bank: Bank, open_deps: OpenDeps) -> AsyncIterator[Deps]:
    """What billing has open."""
    async with open_deps(bank.db) as opened:
        yield opened


@pytest.fixture
async def door(deps: Deps, passes: Passes) -> AsyncIterator[Door]:
    """Billing's edge; the sandbox sends its notices there."""
    async with open_door(ROUTES, deps, name="billing", passes=passes) as opened:
        assert deps.sandbox is not None
        deps.sandbox._notify_url = f"{opened.url}/api/credits/payment/callback"
        yield opened
