"""A running identity on a real database, beside a stand-in billing."""

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest
from aiohttp import web

from common.auth import ServiceTokens, make_key, private_pem, read_private_key, service_jwks
from common.bus import open_bus
from common.settings import load
from identity.app import open_service
from identity.passwords import Passwords
from identity.settings import IdentitySettings


class Billing:
    """Answers balances as told, or not at all."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[list[str]] = []
        self.away = False
        self.wait_seconds = 0.0
        self.points = 77
        self.credits = 5
        self.made: dict[str, tuple[str, int]] = {}
        """Adjustments by their id: whose, and how much."""
        self.adjusts = asyncio.Event()
        self.adjusts.set()
        self.refuses = False
        self.loses_answers = False

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/internal/adjustments":
            return await self.adjust((await request.json())["adjustments"])
        ids = (await request.json())["user_ids"]
        self.asked.append(ids)
        await asyncio.sleep(self.wait_seconds)
        if self.away:
            return web.json_response({"code": 10007, "detail": "away"}, status=503)
        account = {"held": 0, "posted": 0, "total_in": 0, "total_consumed": 0}
        return web.json_response(
            {
                "balances": [
                    {
                        "user_id": one,
                        "credit": {"available": self.credits, **account},
                        "point": {"available": self.points, **account},
                        "membership": {"active_until": "2026-05-01T00:00:00Z", "is_vip": True},
                    }
                    for one in ids
                ]
            }
        )

    async def adjust(self, asks: list[dict[str, Any]]) -> web.StreamResponse:
        """Each once by its id, as billing does; may refuse, or make it and lose the answer."""
        await self.adjusts.wait()
        outcomes: list[dict[str, Any]] = []
        for ask in asks:
            if self.refuses and ask["adjustment_id"] not in self.made:
                outcomes.append({"adjustment_id": ask["adjustment_id"], "done": False, "code": 40000})
                continue
            terms = (ask["user_id"], ask["amount"])
            assert self.made.setdefault(ask["adjustment_id"], terms) == terms
            outcomes.append({"adjustment_id": ask["adjustment_id"], "done": True, "available": self.credits})
        if self.loses_answers:
            return web.json_response({"code": 10007, "detail": "the answer was lost"}, status=503)
        return web.json_response({"outcomes": outcomes})


@pytest.fixture
async def billing() -> AsyncIterator[Billing]:
    told = Billing()
    server = web.Server(told.answer)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    told.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    yield told
    listener.close()
    await server.shutdown(0.1)


class Works:
    """Keeps pictures, as works says it does, and remembers what it was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[dict[str, Any]] = []
        self.refusal: tuple[int, dict[str, Any]] | None = None

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        ask = await request.json()
        self.asked.append(ask)
        if self.refusal is not None:
            return web.json_response(self.refusal[1], status=self.refusal[0])
        return web.json_response({"key": f"uploads/{ask['user_id']}/{'ab' * 32}.jpg"})


@pytest.fixture
async def works() -> AsyncIterator[Works]:
    told = Works()
    server = web.Server(told.answer)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    told.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    yield told
    listener.close()
    await server.shutdown(0.1)


class Identity:
    """A running identity and somebody who asks it."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self._session = session

    async def ask(self, method: str, path: str, **options: Any) -> tuple[int, Any, Any]:
        """(status, headers, JSON)."""
        async with self._session.request(method, self.url + path, **options) as answer:
            return answer.status, answer.headers, await answer.json(content_type=None)

    def open(self, path: str) -> Any:
        """A page, as a context."""
        return self._session.get(self.url + path)

    async def sign_up(self, email: str = "ada@darkroom.example", **given: Any) -> dict[str, Any]:
        status, _, user = await self.ask("POST", "/users", json={"username": "ada", "email": email, "password": "correct horse", **given})
        assert status == 201, user
        found: dict[str, Any] = user
        return found


@pytest.fixture
def environment(billing: Billing, works: Works, tmp_path: Path) -> dict[str, str]:
    key = make_key()
    (tmp_path / "identity.pem").write_bytes(private_pem(key))
    (tmp_path / "jwks.json").write_bytes(service_jwks({"identity": key}))
    return {
        "DARKROOM_OBJECTS_URL": f"file://{tmp_path}",
        "DARKROOM_FILES_SECRET": secrets.token_hex(32),
        "DARKROOM_SERVICE_JWKS_PATH": str(tmp_path / "jwks.json"),
        "IDENTITY_KEY_PATH": str(tmp_path / "identity.pem"),
        "IDENTITY_ADMIN_PORT": "0",
        "BILLING_URL": billing.url,
        "WORKS_URL": works.url,
        "IDENTITY_NOT_READY_SECONDS": "0",
        "IDENTITY_RECORD_SECONDS": "0.1",  # nobody hears its facts here: waiting for that at the end would take all the time there is
        "IDENTITY_ENVELOPE_SECRET": secrets.token_hex(32),
        "IDENTITY_LOOKUP_SECRET": secrets.token_hex(32),
    }


@pytest.fixture
async def run_identity(environment: dict[str, str], service_database: Any, service_databases: Any) -> Callable[..., Any]:
    """`async with run_identity() as identity`, several times for several replicas."""
    await service_database("identity")
    urls = await service_databases.get("identity")

    @asynccontextmanager
    async def running(**given: str) -> AsyncIterator[Identity]:
        port = _free_port()
        settings = load(IdentitySettings, {**environment, "IDENTITY_DATABASE_URL": urls.role_url, "IDENTITY_PORT": str(port), **given})
        bus = open_bus("memory://")
        await bus.start()
        stop, ready = asyncio.Event(), asyncio.Event()
        async with open_service(settings, bus) as service, aiohttp.ClientSession() as session:
            life = asyncio.create_task(service.run(stop, on_ready=ready.set))
            try:
                await asyncio.wait([life, asyncio.create_task(ready.wait())], return_when=asyncio.FIRST_COMPLETED)
                yield Identity(f"http://127.0.0.1:{port}", session)
            finally:
                stop.set()
                await life
        await bus.stop()

    return running


@pytest.fixture(autouse=True)
def _cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashing as it is meant to be costs these tests a third of their time; test_identity_domain.py looks at it."""
    monkeypatch.setattr("identity.app.Passwords", partial(Passwords, memory_kib=64))


@pytest.fixture
async def sql(service_databases: Any) -> Callable[..., Any]:
    """`await sql("UPDATE ...")`: as the service's own role, so that a test can let time pass; answers the rows."""

    async def run(statement: str, *args: Any) -> list[asyncpg.Record]:
        conn = await asyncpg.connect((await service_databases.get("identity")).role_url)
        try:
            return list(await conn.fetch(statement, *args))
        finally:
            await conn.close()

    return run


@pytest.fixture
def pass_of_a_service(environment: dict[str, str]) -> dict[str, Any]:
    """Options of a request that a service makes."""
    token = ServiceTokens(read_private_key(Path(environment["IDENTITY_KEY_PATH"])), "identity").token_for("identity")
    return {"headers": {"Authorization": f"Bearer {token}"}}


@pytest.fixture
async def identity(run_identity: Callable[..., Any]) -> AsyncIterator[Identity]:
    async with run_identity() as one:
        yield one


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
