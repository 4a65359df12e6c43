"""Works behind a real door, on a real database, with pictures to send and facts to tell."""

import io
import zlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from struct import pack
from typing import Any, Literal
from uuid import UUID

import pytest
from aiohttp import FormData
from PIL import Image

from common.clock import FakeClock
from common.config import Config
from common.db import Database
from common.events import Event, Fact, Item, TaskCancelled, TaskCompleted, TaskCreated, TaskFailed
from common.ids import UserId, new_id
from common.objects import FolderObjects, UrlSigner, open_store
from common.testing.doors import SECRET, Door, Passes, open_door
from works import commands
from works.api import ROUTES
from works.app import CONFIG_KEYS, MAX_UPLOAD_SIZE
from works.caches import PublicWorks, Remembered
from works.deps import Deps
from works.domain import StorageTerms
from works.lanes import open_expect_lane, open_files_lane, open_reactions_lane, open_works_lane
from works.pictures.intake import Intake
from works.pictures.pool import PictureLimits, PicturePool
from works.pictures.thumbnails import Thumbnails
from works.settings import WorksSettings

START = datetime(2026, 1, 1, tzinfo=UTC)


class Pictures:
    """Small pictures of every kind, and hostile ones."""

    def plain(self, size: tuple[int, int] = (64, 48), *, colour: str = "teal") -> Image.Image:
        return Image.linear_gradient("L").resize(size).convert("RGB") if colour == "gradient" else Image.new("RGB", size, colour)

    def encoded(self, picture: Image.Image, name: str = "PNG", **options: Any) -> bytes:
        into = io.BytesIO()
        picture.save(into, name, **options)
        return into.getvalue()

    def png(self, **options: Any) -> bytes:
        return self.encoded(self.plain(**options))

    def jpeg(self, **options: Any) -> bytes:
        return self.encoded(self.plain(**options), "JPEG")

    def chunk(self, kind: bytes, data: bytes) -> bytes:
        """One chunk of a PNG."""
        return pack(">I", len(data)) + kind + data + pack(">I", zlib.crc32(kind + data))

    def claimed_png(self, width: int, height: int, *, rows: int = 300) -> bytes:
        """A PNG that says it is huge; only some of its black rows are there."""
        deflate = zlib.compressobj(9)
        data = b"".join(deflate.compress(bytes(width * 3 + 1)) for _ in range(rows)) + deflate.flush()
        head = pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n" + self.chunk(b"IHDR", head) + self.chunk(b"IDAT", data) + self.chunk(b"IEND", b"")


@pytest.fixture
def pictures() -> Pictures:
    return Pictures()


class Facts:
    """What tasks tell, as a hearer gets it."""

    def event(self, fact: Fact, *, minutes: float = 0) -> Event[Any]:
        return Event(new_id(), fact, START + timedelta(minutes=minutes))

    def created(self, task_id: UUID, user_id: UUID, *, work_id: UUID | None = None, kind: str = "travel", minutes: float = 0, **more: Any) -> Event[Any]:
        given = {"asked": 2, "price": 2, "scene": "beach-sunset", "title": "A trip", **more}
        fact = TaskCreated.model_validate({"sequence": 1, "task_id": task_id, "user_id": user_id, "kind": kind, "work_id": work_id or task_id, **given})
        return self.event(fact, minutes=minutes)

    def completed(
        self, task_id: UUID, user_id: UUID, *, work_id: UUID | None = None, kind: str = "travel", minutes: float = 1, delivered: int = 2, **more: Any
    ) -> Event[Any]:
        items = [self.song(task_id)] if kind == "song" else [self.picture(task_id, index) for index in range(delivered)]
        given = {"asked": 2, "delivered": len(items), "items": tuple(items), "engine": "local", "seed": 7, "title": "A trip", **more}
        fact = TaskCompleted.model_validate({"sequence": 3, "task_id": task_id, "user_id": user_id, "kind": kind, "work_id": work_id or task_id, **given})
        return self.event(fact, minutes=minutes)

    def failed(self, task_id: UUID, user_id: UUID, *, work_id: UUID | None = None, kind: str = "travel", minutes: float = 1) -> Event[Any]:
        given: dict[str, Any] = {"asked": 2, "delivered": 0, "reason": "timeout", "message": "the deadline passed", "work_id": work_id or task_id}
        return self.event(TaskFailed.model_validate({"sequence": 3, "task_id": task_id, "user_id": user_id, "kind": kind, **given}), minutes=minutes)

    def cancelled(self, task_id: UUID, user_id: UUID, *, delivered: int = 0, minutes: float = 1, kind: str = "travel") -> Event[Any]:
        items = tuple(self.picture(task_id, index) for index in range(delivered))
        given: dict[str, Any] = {"asked": 2, "delivered": delivered, "items": items, "by": "owner", "work_id": task_id}
        return self.event(TaskCancelled.model_validate({"sequence": 2, "task_id": task_id, "user_id": user_id, "kind": kind, **given}), minutes=minutes)

    def picture(self, task_id: UUID, index: int) -> Item:
        digest = f"{index:064x}"
        return Item(index=index, key=f"results/{task_id}/{index}-{digest}.webp", sha256=digest, size_bytes=9, content_type="image/webp", width=8, height=6)

    def song(self, task_id: UUID) -> Item:
        digest = f"{task_id.int % 2**64:064x}"
        return Item(
            index=0,
            key=f"results/{task_id}/0-{digest}.ogg",
            sha256=digest,
            size_bytes=9,
            content_type="audio/ogg",
            duration_seconds=20.5,
            cover_key=f"results/{task_id}/cover-{digest}.webp",
        )


@pytest.fixture
def facts() -> Facts:
    return Facts()


async def tell(db: Database, events: Sequence[Event[Any]]) -> None:
    async with db.transaction() as tx:
        await commands.keep_told(tx, events)


@dataclass
class Works:
    """A running works and somebody who asks it."""

    db: Database
    clock: FakeClock
    deps: Deps
    door: Door
    folder: Path

    @property
    def passes(self) -> Passes:
        return self.door.passes

    async def tell(self, *events: Event[Any]) -> None:
        """One batch of facts, as the consumer hands it over."""
        await tell(self.db, events)

    async def ask(self, method: str, path: str, *, user: UUID | None = None, role: Literal["user", "admin"] = "user", **options: Any) -> tuple[int, Any, Any]:
        """(status, headers, JSON or bytes) of a request; without a user an anonymous one."""
        headers = {**options.pop("headers", {})}
        if user is not None:
            headers["Authorization"] = f"Bearer {self.passes.user(UserId(user), role=role)}"
        async with self.door.http.request(method, self.door.url + path, headers=headers, **options) as answer:
            body = await answer.read()
            return answer.status, answer.headers, (await answer.json(content_type=None)) if "json" in answer.content_type else body

    async def upload(self, content: bytes, *, user: UUID, name: str = "photo.png", key: str | None = None) -> tuple[int, Any, Any]:
        form = FormData()
        form.add_field("file", io.BytesIO(content), filename=name, content_type="image/png")
        headers = {"Idempotency-Key": key} if key else {}
        return await self.ask("POST", "/api/upload/single", user=user, data=form, headers=headers)

    async def follow(self, url: str, **options: Any) -> tuple[int, Any, bytes]:
        """What a signed link leads to."""
        path = url[url.index("/files/") :]
        method = options.pop("method", "GET")
        async with self.door.http.request(method, self.door.url + path, **options) as answer:
            return answer.status, answer.headers, await answer.read()


@pytest.fixture
def server() -> Any:
    """The S3 server that objects lie in; a test file that asks both stores overrides this. None for the folder."""
    return None


@pytest.fixture
def storage() -> StorageTerms:
    """How much a user may keep."""
    return WorksSettings.model_construct().storage


@pytest.fixture(scope="session")
async def picture_pool() -> AsyncIterator[PicturePool]:
    """One for all tests: what decodes pictures takes longer to start than most tests to run."""
    pool = PicturePool(PictureLimits(), processes=2)
    yield pool
    await pool.close()


@pytest.fixture
def public_works() -> PublicWorks:
    """What is remembered of works: nothing, so that others see what the table says."""
    return Remembered(seconds=0, values_max=1)


@pytest.fixture
async def works(
    service_database: Any, tmp_path: Path, server: Any, storage: StorageTerms, picture_pool: PicturePool, public_works: PublicWorks
) -> AsyncIterator[Works]:
    clock = FakeClock(START + timedelta(hours=1))
    db = await service_database("works", clock=clock)
    objects = FolderObjects(tmp_path / "objects") if server is None else open_store(server.url, server.access_key, server.secret_key)
    config = Config(db, CONFIG_KEYS)
    intake = Intake(tmp_path / "spool", pool=picture_pool, objects=objects, bytes_max=lambda: config[MAX_UPLOAD_SIZE] * 1024**2)
    intake.open()
    async with (
        open_expect_lane(db, storage) as expect_file,
        open_files_lane(db, storage) as save_file,
        open_works_lane(db) as create_work,
        open_reactions_lane(db) as react,
    ):
        deps = Deps(
            db=db, clock=clock, objects=objects, signer=UrlSigner(SECRET, "http://gateway"), intake=intake, config=config, storage=storage,
            thumbnails=Thumbnails(intake, objects, side_px=400), incoming_seconds=900,
            expect_file=expect_file, save_file=save_file, create_work=create_work, react=react,
            public_works=public_works, kept_numbers=Remembered(seconds=0, values_max=1),
        )  # fmt: skip
        async with open_door(ROUTES, deps, name="works") as door:
            yield Works(db, clock, deps, door, tmp_path)
    await objects.close()
