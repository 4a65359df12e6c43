"""What the tests of generation share: a database, asks as callers make them, and workers around an engine of the test's own."""

import hashlib
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

import orjson
import pytest
import pytest_asyncio

from common.bus import MemoryBus
from common.client import ServiceClient
from common.clock import FakeClock
from common.config import Config
from common.db import Database
from common.errors import FileTypeRefused, Unavailable
from common.events import ConfigChanged, Fact
from common.ids import UserId, new_id
from common.objects import FolderObjects, UrlSigner
from common.testing.doors import Door, Passes, open_door
from common.web import Answer, Model, Request, Route
from generation import commands, lanes
from generation.api import ROUTES
from generation.clients import Billing, Identity, Pictures, Works
from generation.config import CONFIG_KEYS
from generation.deps import Deps
from generation.domain import Brief, Claim, Create, Fairness, Placed, Seats, Task
from generation.photos import PhotoKeeper
from generation.progress import Progress
from generation.providers.base import Provider
from generation.providers.local.pool import Pool
from generation.queries import KeptQueue, KeptScenes
from generation.results import Checked, Checker
from generation.settings import GenerationSettings
from generation.store import tasks
from generation.worker import Studio


class NewAsk(Protocol):
    """`ask()` makes what a caller asks for; anything may be said otherwise."""

    def __call__(self, **said: Any) -> Create: ...


@pytest.fixture
def ask() -> NewAsk:
    def make(**said: Any) -> Create:
        task_id = said.pop("task_id", None) or new_id()
        given: dict[str, Any] = {
            "task_id": task_id, "user_id": new_id(), "work_id": task_id, "kind": "travel", "asked": 1, "scene_id": "beach-sunset",
            "brief": Brief(prompt="the sea"), "body_hash": b"\x01" * 32, "keyed": True, "waiting_max": None,
        }  # fmt: skip
        return Create(**{**given, **said})

    return make


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def db(service_database: Any, clock: FakeClock) -> Database:
    """Generation's own database, on a clock that the test moves."""
    database: Database = await service_database("generation", clock=clock)
    return database


@pytest.fixture
def settings(tmp_path: Path) -> GenerationSettings:
    """As delivered, but quick: a back-off of a tenth of a second, polls of a hundredth."""
    quick = {
        "GENERATION_BACK_OFF_SECONDS": "0.05", "GENERATION_IDLE_POLL_SECONDS": "0.02", "GENERATION_POLL_SECONDS": "0.01", "GENERATION_POLL_SECONDS_MAX": "0.02",
        "GENERATION_ACCEPTANCE_SECONDS": "0.05", "GENERATION_HEARTBEAT_SECONDS": "0.05", "GENERATION_RECORD_SECONDS": "1",
        "GENERATION_PROGRESS_SECONDS": "0.02",
    }  # fmt: skip
    return Passes().settings(GenerationSettings, "generation", tmp_path, quick)


class Write(Protocol):
    """`task = await write(ask())` writes a task as if its credits were held."""

    async def __call__(self, *asks: Create) -> Task: ...


@pytest.fixture
def write(db: Database, settings: GenerationSettings) -> Write:
    async def make(*asks: Create) -> Task:
        placed = [Placed(ask=one, price=one.asked, limits=settings.limits_of(one.kind)) for one in asks]
        async with db.transaction() as tx:
            made, _ = await commands.create_tasks(tx, placed)
        assert made[-1] is not None
        return made[-1]

    return make


class ClaimSome(Protocol):
    """`(claim,) = await claim()` takes the oldest pictures nobody has."""

    async def __call__(self, *, limit: int = 10, songs: bool = False, lease_seconds: float = 60) -> list[Claim]: ...


@pytest.fixture
def claim(db: Database) -> ClaimSome:
    async def take(*, limit: int = 10, songs: bool = False, lease_seconds: float = 60) -> list[Claim]:
        async with db.read() as conn:
            lease = timedelta(seconds=lease_seconds)
            claimed = await commands.claim_tasks(conn, songs=songs, now=db.clock.now(), lease=lease, limit=limit, provider=None, fairness=Fairness())
            return claimed.claims

    return take


@pytest.fixture
def read_task(db: Database) -> Callable[[UUID], Awaitable[Task]]:
    """The task as it stands."""

    async def read(task_id: UUID) -> Task:
        async with db.read() as conn:
            return (await tasks.list_known(conn, [task_id]))[task_id].task

    return read


@pytest.fixture
def said(db: Database) -> Callable[[], Awaitable[list[tuple[str, dict[str, Any]]]]]:
    """What the outbox says, in order: (topic, data)."""

    async def read() -> list[tuple[str, dict[str, Any]]]:
        rows = await db.fetch("SELECT topic, payload::jsonb AS data FROM outbox_fact ORDER BY position, place")
        return [(row["topic"], row["data"]) for row in rows]

    return read


@dataclass
class Workshop:
    """A studio whose lanes run and whose progress is told."""

    studio: Studio
    progress: Progress
    told: list[Fact] = field(default_factory=list)


class OpenWorkshop(Protocol):
    """`async with workshop(engine) as shop`: everything around an engine of the test's own."""

    def __call__(self, provider: Provider, **more: Any) -> AbstractAsyncContextManager[Workshop]: ...


class _HeardBus(MemoryBus):
    """The bus in memory, remembering what was told directly."""

    def __init__(self, told: list[Fact]) -> None:
        super().__init__()
        self._told_facts = told

    async def tell(self, facts: Sequence[Fact]) -> None:
        self._told_facts.extend(facts)
        await super().tell(facts)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def pool() -> AsyncIterator[Pool]:
    """Processes for decoding, shared because starting them takes a second; none is started before it is needed."""
    made = Pool(workers=1)
    yield made
    await made.close()


@pytest.fixture
def workshop(db: Database, settings: GenerationSettings, tmp_path: Path, pool: Pool) -> OpenWorkshop:
    @asynccontextmanager
    async def open_workshop(provider: Provider, **more: Any) -> AsyncIterator[Workshop]:
        told: list[Fact] = []
        bus = _HeardBus(told)
        await bus.start()
        progress = Progress(bus, every_seconds=settings.progress_seconds)
        finish, arrive = lanes.finish_lane(db), lanes.arrival_lane(db)
        objects = FolderObjects(tmp_path / "objects")
        known: dict[str, Checked] = more.pop("known", {})
        async with AsyncExitStack() as stack:
            for lane in (finish, arrive):
                await stack.enter_async_context(lane)
            yield Workshop(
                Studio(
                    settings=more.pop("settings", settings), db=db, objects=objects, provider=provider, vision=more.pop("vision", None),
                    checker=Checker(pool, known=known), progress=progress, finish=finish, arrive=arrive, **more,
                ),
                progress, told,
            )  # fmt: skip
        await objects.close()
        await bus.stop()

    return open_workshop


@dataclass
class Neighbours:
    """Billing and works as other processes would answer: real HTTP, credits and works that the test deals out."""

    url: str = ""
    available: dict[UUID, int] = field(default_factory=dict)
    holds: dict[UUID, dict[str, Any]] = field(default_factory=dict)
    asked: list[list[UUID]] = field(default_factory=list)
    works: dict[UUID, dict[str, Any]] = field(default_factory=dict)
    members: set[UUID] = field(default_factory=set)
    people_asked: list[list[UUID]] = field(default_factory=list)
    pictures: list[dict[str, Any]] = field(default_factory=list)
    is_away: bool = False
    before_answer: Callable[[], Awaitable[None]] | None = None

    async def place_holds(self, request: Request[Any]) -> Answer:
        """As billing does: the same ask again renews its hold, another body under the same id is refused."""
        if self.is_away:
            raise Unavailable("billing is away")
        asks = request.body.holds
        self.asked.append([UUID(one["task_id"]) for one in asks])
        outcomes = [self._place(one) for one in asks]
        if self.before_answer is not None:
            await self.before_answer()
        return Answer(orjson.dumps({"outcomes": outcomes}))

    def _place(self, one: dict[str, Any]) -> dict[str, Any]:
        task_id, user_id = UUID(one["task_id"]), UUID(one["user_id"])
        hold = self.holds.get(task_id)
        price = 100 if one["kind"] == "song" else one["items"]
        current = self.available.get(user_id, 1_000_000)
        if hold is not None and hold["body_hash"] != one["body_hash"]:
            return {"task_id": one["task_id"], "held": False, "code": 10006, "data": None}
        if hold is not None and hold.get("resolved"):
            return {"task_id": one["task_id"], "held": False, "code": 40002, "data": None}
        if hold is None and current < price:
            data = {"required": price, "current": current, "shortage": price - current}
            return {"task_id": one["task_id"], "held": False, "code": 40000, "data": data}
        if hold is None:
            self.available[user_id] = current - price
            self.holds[task_id] = dict(one)
        now = datetime.now(UTC).isoformat()
        return {
            "task_id": one["task_id"], "held": True, "asset": "credit", "amount": price, "placed_at": now, "expires_at": now,
            "available": self.available[user_id], "member": user_id in self.members,
        }  # fmt: skip

    async def list_users(self, request: Request[Any]) -> Answer:
        """As identity does: everybody has a name, those whose id ends in 0 a picture."""
        if self.is_away:
            raise Unavailable("identity is away")
        asked = request.body.user_ids
        self.people_asked.append(asked)
        people = [{"user_id": str(one), "username": f"name of {one}", "avatar_key": f"avatars/{one}.webp" if str(one).endswith("0") else None} for one in asked]
        return Answer(orjson.dumps({"users": people}))

    async def list_works(self, request: Request[Any]) -> Answer:
        if self.is_away:
            raise Unavailable("works is away")
        found = [self.works[work_id] for work_id in request.body.work_ids if work_id in self.works]
        return Answer(orjson.dumps({"works": found}))

    async def keep_picture(self, request: Request[Any]) -> Answer:
        """As works does with what it cleaned; here everything is a picture but a GIF."""
        if self.is_away:
            raise Unavailable("works is away")
        ask = request.body.model_dump(mode="json")
        self.pictures.append(ask)
        if "R0lG" in ask["content"]:
            raise FileTypeRefused("only JPEG, PNG and WebP pictures are taken")
        return Answer(orjson.dumps({"key": f"uploads/{ask['user_id']}/{hashlib.sha256(ask['content'].encode()).hexdigest()}.png"}))


class _Picture(Model):
    user_id: UUID
    content: str
    field: str
    fleeting: bool


class _Holds(Model):
    holds: list[dict[str, Any]]


class _WorkIds(Model):
    work_ids: list[UUID]


class _UserIds(Model):
    user_ids: list[UUID]


@pytest.fixture(scope="session")
def passes() -> Passes:
    return Passes()


@pytest.fixture
async def neighbours(passes: Passes) -> AsyncIterator[Neighbours]:
    found = Neighbours()
    # One object stands for all; a token is for one callee, so each has its own.
    async with (
        open_door([Route("POST", "/internal/holds", found.place_holds, auth="service", body=_Holds)], name="billing", passes=passes) as billing,
        open_door(
            [
                Route("POST", "/internal/works/list", found.list_works, auth="service", body=_WorkIds),
                Route("POST", "/internal/pictures", found.keep_picture, auth="service", body=_Picture, body_bytes_max=50 * 1024**2),
            ],
            name="works",
            passes=passes,
        ) as works,
        open_door([Route("POST", "/internal/users/list", found.list_users, auth="service", body=_UserIds)], name="identity", passes=passes) as identity,
    ):
        found.url = f"{billing.url} {works.url} {identity.url}"
        yield found


class _NoWorkers:
    """Nobody works here; what would have been told them is kept."""

    def __init__(self) -> None:
        self.woken: list[bool] = []
        self.dropped: list[UUID] = []

    def created(self, task_ids: Sequence[UUID]) -> None: ...

    def heard_of(self, task_ids: Sequence[UUID], *, songs: bool) -> None: ...

    def wake(self, *, songs: bool) -> None:
        self.woken.append(songs)

    def reserve(self, count: int) -> Seats | None:
        return None

    def seat(self, seats: Seats, claims: Sequence[Claim]) -> None: ...

    def drop(self, task_ids: Sequence[UUID]) -> None:
        self.dropped.extend(task_ids)

    def percent_of(self, task_id: UUID) -> int | None:
        return None


@dataclass
class Edge:
    """Generation's routes, open to the test, with neighbours that answer and no worker."""

    door: Door
    deps: Deps
    workers: _NoWorkers
    settings: GenerationSettings
    passes: Passes

    def headers(self, user_id: UUID, *, admin: bool = False, key: str | None = None) -> dict[str, str]:
        token = self.passes.user(UserId(user_id), role="admin" if admin else "user")
        return {"Authorization": f"Bearer {token}"} | ({"Idempotency-Key": key} if key else {})

    async def call(
        self, method: str, path: str, user_id: UUID | None = None, *, json: Any = None, data: bytes | None = None, **more: Any
    ) -> tuple[int, Any, Any]:
        """(status, body, headers) of one request."""
        headers = more.pop("headers", {}) | (self.headers(user_id, **more) if user_id else {})
        body = orjson.dumps(json) if json is not None else data
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
        async with self.door.http.request(method, self.door.url + path, data=io.BytesIO(body) if body is not None else None, headers=headers) as answer:
            return answer.status, await answer.json(content_type=None), answer.headers

    def upload(self, user_id: UUID) -> str:
        """A link to an upload of this user, as works would have given it."""
        return self.deps.signer.sign(f"uploads/{user_id}/{'cd' * 32}.webp", now=self.deps.db.clock.now())


@pytest.fixture
async def edge(db: Database, neighbours: Neighbours, passes: Passes, tmp_path: Path) -> AsyncIterator[Edge]:
    billing_url, works_url, identity_url = neighbours.url.split(" ")
    env = {"BILLING_URL": billing_url, "WORKS_URL": works_url, "IDENTITY_URL": identity_url}
    settings = passes.settings(GenerationSettings, "generation", tmp_path, env)
    workers = _NoWorkers()
    objects = FolderObjects(tmp_path / "objects")
    async with (
        ServiceClient("billing", settings, "generation") as billing,
        ServiceClient("works", settings, "generation") as works,
        ServiceClient("identity", settings, "generation") as identity,
    ):
        creator = lanes.Creator(db, Billing(billing, call_seconds=5), workers, settings)
        create, view = lanes.create_lane(creator), lanes.view_lane(db)
        find_work = lanes.work_lane(Works(works, call_seconds=2))
        config = Config(db, CONFIG_KEYS, announce=lambda tx, key, version: tx.emit(ConfigChanged(sequence=version, config_key=key)))

        people = Identity(identity)
        find_person = lanes.person_lane(people)
        deps = Deps(
            settings=settings, db=db, signer=UrlSigner.of_settings(settings.shared), scenes=KeptScenes(db, seconds=0),
            photos=PhotoKeeper(objects, Pictures(works), photo_bytes_max=settings.photo_bytes_max), queue=KeptQueue(db, seconds=0),
            workers=workers, create=create, view=view, find_work=find_work, people=people, find_person=find_person, config=config,
        )  # fmt: skip
        async with create, view, find_work, find_person, open_door(ROUTES, deps, name="generation", passes=passes) as door:
            yield Edge(door, deps, workers, settings, passes)
    await objects.close()
