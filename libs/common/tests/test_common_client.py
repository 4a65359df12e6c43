"""Calls between services: refusals come back as themselves, an absent callee is known at once, nothing is asked twice that must not be."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from common.client import Breaker, ServiceClient
from common.errors import (
    Conflict,
    FieldError,
    FileTooLarge,
    IdempotencyKeyReused,
    InsufficientCredits,
    Internal,
    InvalidParameter,
    NotAsked,
    NotFound,
    Overloaded,
    ServiceError,
    TaskNotFound,
    TooManyTasks,
    Unauthorized,
    Unavailable,
)
from common.settings import ServiceSettings, service_config
from common.testing.doors import Door, Passes, open_door
from common.trace import Trace, current_trace
from common.web import Answer, Model, Request, Route


class GenerationSettings(ServiceSettings):
    model_config = service_config("GENERATION_")
    port: int = 8103


class Asks(Model):
    numbers: list[int]


class Outcomes(Model):
    outcomes: list[int]


@dataclass
class Callee:
    """What billing does next, and what it saw."""

    does: Callable[[Request[Any]], Awaitable[Answer]] | None = None
    seen: list[Any] = field(default_factory=list)
    traces: list[Trace | None] = field(default_factory=list)

    async def act(self, request: Request[Any]) -> Answer:
        self.seen.append(request.principal.name)
        self.traces.append(current_trace.get())
        if self.does is not None:
            return await self.does(request)
        return Answer(Outcomes(outcomes=[number * 2 for number in request.body.numbers]))


@pytest.fixture
def passes() -> Passes:
    return Passes()


@pytest.fixture
def callee() -> Callee:
    return Callee()


def routes(callee: Callee) -> list[Route]:
    return [
        Route("POST", "/internal/holds", callee.act, auth="service", body=Asks, answers={200: Outcomes}),
        Route("GET", "/internal/audit", callee.act, auth="service"),
        Route("POST", "/internal/for-users", callee.act, auth="user", body=Asks),
    ]


@pytest.fixture
async def billing(callee: Callee, passes: Passes) -> AsyncIterator[Door]:
    async with open_door(routes(callee), name="billing", passes=passes) as door:
        yield door


@asynccontextmanager
async def client_of(passes: Passes, folder: Path, urls: str, **options: Any) -> AsyncIterator[ServiceClient]:
    settings = passes.settings(GenerationSettings, "generation", folder, {"BILLING_URL": urls})
    async with ServiceClient("billing", settings, "generation", **options) as client:
        yield client


@pytest.fixture
async def client(passes: Passes, billing: Door, tmp_path: Path) -> AsyncIterator[ServiceClient]:
    async with client_of(passes, tmp_path, billing.url) as opened:
        yield opened


def answering(error: Exception) -> Callable[[Request[Any]], Awaitable[Answer]]:
    async def refuse(_request: Request[Any]) -> Answer:
        raise error

    return refuse


async def hold(client: ServiceClient, **options: Any) -> list[int]:
    return (await client.post("/internal/holds", Asks(numbers=[1, 2]), Outcomes, **options)).outcomes


async def test_a_call_goes_out_under_our_name_with_the_trace(client: ServiceClient, callee: Callee) -> None:
    trace = Trace("client-request-1", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    current_trace.set(trace)
    assert await hold(client) == [2, 4]
    assert callee.seen == ["generation"]
    assert callee.traces == [trace]


@pytest.mark.parametrize(
    "error",
    [
        InsufficientCredits.lacking(required=4, current=1),
        IdempotencyKeyReused("other body"),
        Conflict("changed"),
        TaskNotFound(),
        TooManyTasks(retry_after_seconds=9),
        InvalidParameter.of("holds", "too_long", max_length=9),
        Overloaded("full"),
    ],
)
async def test_a_refusal_comes_back_as_itself(client: ServiceClient, callee: Callee, error: ServiceError) -> None:
    callee.does = answering(error)
    with pytest.raises(ServiceError) as caught:
        await hold(client, repeatable=False)
    found = caught.value
    assert (found.code, found.slug, found.status) == (error.code, error.slug, error.status)
    assert isinstance(found, type(error) if type(error) is not Overloaded else Unavailable)
    assert found.data == error.data
    assert found.errors == error.errors
    if error.detail:
        assert found.detail == error.detail
    if error.retry_after_seconds:
        assert found.retry_after_seconds == error.retry_after_seconds


async def test_field_errors_survive_the_way(client: ServiceClient, callee: Callee) -> None:
    callee.does = answering(FileTooLarge.of("holds.0.items", "bytes", most=9))
    with pytest.raises(FileTooLarge) as caught:
        await hold(client)
    assert caught.value.errors == (FieldError("holds.0.items", "bytes", {"most": 9}),)
    assert caught.value.fields_text("zh") == "holds.0.items: 不能超过 9 字节"


@pytest.mark.parametrize("said", [{}, {"slug": "of-tomorrow"}, {"slug": "bytes"}, {"slug": "bytes", "params": [9]}, {"slug": ["bytes"]}])
def test_a_sentence_of_another_version_is_said_in_general(said: dict[str, Any]) -> None:
    assert FieldError.from_wire({"field": "holds", "message": "is odd", **said}) == FieldError("holds", "invalid")


async def test_a_fault_of_the_callee_is_unavailable_to_us(client: ServiceClient, callee: Callee) -> None:
    callee.does = answering(RuntimeError("boom"))
    with pytest.raises(Unavailable):
        await hold(client)


async def test_not_being_let_in_is_our_fault_and_never_the_users(client: ServiceClient, callee: Callee) -> None:
    with pytest.raises(Internal):
        await client.post("/internal/for-users", Asks(numbers=[]), Outcomes)
    with pytest.raises(Internal):
        await client.post("/internal/nowhere", Asks(numbers=[]), Outcomes)
    with pytest.raises(Internal):
        await client.get("/internal/holds", Outcomes)
    for error in (Unauthorized(), NotFound()):
        callee.does = answering(error)
        with pytest.raises(Internal):
            await hold(client)


async def test_an_answer_that_is_not_understood_is_our_fault(client: ServiceClient, callee: Callee) -> None:
    for body in (b'{"other":1}', b"not json", b""):

        async def say(_request: Request[Any], body: bytes = body) -> Answer:
            return Answer(body)

        callee.does = say
        with pytest.raises(Internal):
            await hold(client)


async def test_a_large_body_arrives_whole(callee: Callee, passes: Passes, tmp_path: Path) -> None:
    numbers = list(range(100_000, 300_000))
    wide = Route("POST", "/internal/holds", callee.act, auth="service", body=Asks, body_bytes_max=4 * 1024**2)
    async with open_door([wide], name="billing", passes=passes) as door, client_of(passes, tmp_path, door.url) as client:
        answer = await client.post("/internal/holds", Asks(numbers=numbers), Outcomes)
    assert answer.outcomes == [number * 2 for number in numbers]


async def test_a_refused_connection_is_unavailable_at_once(passes: Passes, tmp_path: Path) -> None:
    async with client_of(passes, tmp_path, "http://127.0.0.1:1,http://127.0.0.1:2") as client:
        began = time.monotonic()
        for _ in range(30):
            with pytest.raises(NotAsked):
                await hold(client)
        assert time.monotonic() - began < 15


async def test_a_service_that_comes_back_is_asked_again_at_once(passes: Passes, callee: Callee, billing: Door, tmp_path: Path) -> None:
    settings_port = billing.port
    async with client_of(passes, tmp_path, "http://127.0.0.1:1") as client:
        for _ in range(30):
            with pytest.raises(Unavailable):
                await hold(client)
        client._addresses[0] = (f"http://127.0.0.1:{settings_port}", client._addresses[0][1])
        assert await hold(client) == [2, 4]


async def test_a_refused_address_goes_on_to_the_next(passes: Passes, billing: Door, tmp_path: Path) -> None:
    async with client_of(passes, tmp_path, f"http://127.0.0.1:1,{billing.url}") as client:
        for _ in range(6):
            assert await hold(client, repeatable=False) == [2, 4]


async def test_several_addresses_take_turns(passes: Passes, callee: Callee, billing: Door, tmp_path: Path) -> None:
    other = Callee()
    async with open_door(routes(other), name="billing", passes=passes) as second, client_of(passes, tmp_path, f"{billing.url},{second.url}") as client:
        for _ in range(10):
            await hold(client)
    assert (len(callee.seen), len(other.seen)) == (5, 5)


class Rude:
    """A server that takes a request and hangs up, a given number of times, before it answers."""

    def __init__(self, times: int) -> None:
        self.left = times
        self.taken = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.taken += 1
        if self.left > 0:
            self.left -= 1
        else:
            body = b'{"outcomes":[7]}'
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            await writer.drain()
        writer.close()


@asynccontextmanager
async def rude_server(times: int) -> AsyncIterator[Rude]:
    rude = Rude(times)
    server = await asyncio.start_server(rude.serve, "127.0.0.1", 0)
    rude.port = server.sockets[0].getsockname()[1]
    async with server:
        yield rude


async def test_a_lost_connection_is_repeated_once_if_it_may_be(passes: Passes, tmp_path: Path) -> None:
    async with rude_server(1) as rude, client_of(passes, tmp_path, f"http://127.0.0.1:{rude.port}") as client:
        assert await hold(client) == [7]
        assert rude.taken == 2
    async with rude_server(9) as rude, client_of(passes, tmp_path, f"http://127.0.0.1:{rude.port},http://127.0.0.1:1") as client:
        with pytest.raises(Unavailable) as lost:
            await hold(client)
        assert rude.taken == 2
        assert not isinstance(lost.value, NotAsked), "it may have had its effect, whatever the other address says"


async def test_a_lost_connection_is_not_repeated_if_it_must_not_be(passes: Passes, tmp_path: Path) -> None:
    async with rude_server(1) as rude, client_of(passes, tmp_path, f"http://127.0.0.1:{rude.port}") as client:
        with pytest.raises(Unavailable):
            await hold(client, repeatable=False)
        assert rude.taken == 1


async def test_a_slow_callee_is_given_up_at_the_deadline(client: ServiceClient, callee: Callee) -> None:
    async def sleep(_request: Request[Any]) -> Answer:
        await asyncio.sleep(20)
        return Answer(Outcomes(outcomes=[]))

    callee.does = sleep
    began = time.monotonic()
    with pytest.raises(Unavailable):
        await hold(client, deadline_seconds=0.3)
    assert time.monotonic() - began < 10


async def test_a_callee_that_keeps_failing_is_left_alone_for_a_while(passes: Passes, tmp_path: Path) -> None:
    now = [0.0]
    async with rude_server(1000) as rude, client_of(passes, tmp_path, f"http://127.0.0.1:{rude.port}", monotonic=lambda: now[0]) as client:
        for _ in range(20):
            with pytest.raises(Unavailable):
                await hold(client, repeatable=False)
        assert rude.taken == 5
        with pytest.raises(NotAsked):
            await hold(client)
        now[0] += 31
        rude.left = 0
        assert await hold(client, repeatable=False) == [7]
        assert await hold(client, repeatable=False) == [7]


async def test_only_one_call_at_a_time_tries_a_callee_that_was_left_alone() -> None:
    now = [0.0]
    breaker = Breaker(monotonic=lambda: now[0])
    for _ in range(5):
        assert breaker.may_call()
        breaker.failed()
    assert not breaker.may_call()
    now[0] += 30
    assert breaker.may_call()
    assert not breaker.may_call()
    breaker.failed()
    assert not breaker.may_call()
    now[0] += 30
    assert breaker.may_call()
    breaker.did_not_answer()
    assert breaker.may_call()
    breaker.succeeded()
    assert breaker.is_closed
    for _ in range(4):
        breaker.failed()
    assert breaker.may_call()


async def test_an_overloaded_callee_does_not_open_the_breaker(client: ServiceClient, callee: Callee) -> None:
    callee.does = answering(Overloaded())
    for _ in range(30):
        with pytest.raises(Unavailable):
            await hold(client)
    callee.does = None
    assert await hold(client) == [2, 4]


async def test_a_cancelled_call_says_nothing_about_the_callee(client: ServiceClient, callee: Callee) -> None:
    async def sleep(_request: Request[Any]) -> Answer:
        await asyncio.sleep(1)
        return Answer(Outcomes(outcomes=[]))

    callee.does = sleep
    for _ in range(10):
        call = asyncio.ensure_future(hold(client))
        await asyncio.sleep(0.02)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    callee.does = None
    assert await hold(client) == [2, 4]


async def test_a_redirect_is_not_followed(passes: Passes, tmp_path: Path) -> None:
    async def move(_request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"})

    application = web.Application()
    application.router.add_post("/internal/holds", move)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with client_of(passes, tmp_path, f"http://127.0.0.1:{runner.addresses[0][1]}") as client:
        with pytest.raises(Internal):
            await hold(client)
    await runner.cleanup()
