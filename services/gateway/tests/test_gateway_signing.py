"""Signed requests: one canonical meaning, one use, now; over one gateway and over two processes with one store."""

import asyncio
import hashlib
import hmac
import os
import secrets
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

import aiohttp
import orjson
import pytest

from common.ids import UserId, new_id
from common.settings import SettingsError, load
from common.testing.doors import Passes
from gateway.app import UPSTREAMS
from gateway.settings import GatewaySettings
from gateway.signing import HEADERS, canonical_query, signed_text

SECRET = secrets.token_hex(32)
SERVER_SECRET = secrets.token_hex(32)
SERVER_USER = UserId(new_id())
PASSES = Passes()
SERVER_TOKEN = PASSES.user(SERVER_USER)
APP_TOKEN = PASSES.user()
KEYS = orjson.dumps({"app": {"secret": SECRET}, "partner": {"secret": SERVER_SECRET, "kind": "server", "users": [str(SERVER_USER)]}}).decode()


class Sent(NamedTuple):
    """A request as a client means it."""

    method: str = "POST"
    path: str = "/api/tasks/create"
    query: str = ""
    body: bytes = b'{"type":"travel"}'
    time: str = ""
    nonce: str = ""
    key_id: str = "app"
    secret: str = SECRET
    token: str = APP_TOKEN


def sign(sent: Sent) -> dict[str, str]:
    """The five headers."""
    at, nonce = sent.time or str(int(time.time())), sent.nonce or secrets.token_urlsafe(16)
    digest = hashlib.sha256(sent.body).hexdigest()
    text = signed_text(method=sent.method, path=sent.path, query=sent.query, time=at, nonce=nonce, body_sha256=digest, key_id=sent.key_id)
    signature = hmac.new(sent.secret.encode(), text, hashlib.sha256).hexdigest()
    return dict(zip(HEADERS, (signature, sent.key_id, at, nonce, digest), strict=True))


async def send(door: Any, sent: Sent, headers: dict[str, str], *, chunked: bool = False) -> tuple[int, str]:
    """(status, error code) of a request with these headers, whatever they were made for."""
    head = {**headers, "Authorization": f"Bearer {sent.token}", "Content-Type": "application/json"}
    if chunked:
        head["Transfer-Encoding"] = "chunked"
        cut = len(sent.body) // 2
        body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (sent.body[:cut], sent.body[cut:]) if piece) + b"0\r\n\r\n"
    else:
        head["Content-Length"] = str(len(sent.body))
        body = sent.body
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    target = sent.path + (f"?{sent.query}" if sent.query else "")
    (answer,) = await door.ask(f"{sent.method} {target} HTTP/1.1\r\nHost: x\r\n{lines}Connection: close\r\n\r\n".encode() + body)
    return answer.status, answer.headers.get("x-error-code", "")


@pytest.fixture
async def door(open_door: Any, echo: Any) -> AsyncIterator[Any]:
    async with open_door(echo.url, signing_keys=KEYS) as opened:
        yield opened


GOOD = Sent()
LARGE = Sent(body=b"x" * 200_000)


async def test_a_signed_request_passes_and_the_service_sees_nothing_of_the_signature(door: Any, echo: Any) -> None:
    for sent in (GOOD, LARGE, Sent("GET", "/api/works", "b=2&a=1", b""), Sent("GET", "/api/admin/config", "", b"")):
        assert await send(door, sent, sign(sent)) == (200, "")
    assert await send(door, GOOD, sign(GOOD), chunked=True) == (200, "")
    assert not [name for seen in echo.seen for name, _ in seen["headers"] if name.lower().startswith("x-signature")]


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    "changed",
    [
        {"body": b'{"type":"trave1"}'}, {"body": b""}, {"body": b'{"type":"travel"} '}, {"path": "/api/tasks/creat"}, {"path": "/api/tasks/create/"},
        {"path": "/api/tasks/%63reate"}, {"query": "a=1"}, {"method": "PUT"},
    ],
    ids=str,
)  # fmt: skip
async def test_what_was_changed_on_the_way_is_refused(door: Any, echo: Any, changed: dict[str, Any], chunked: bool) -> None:
    sent = GOOD._replace(**changed)
    status, code = await send(door, sent, sign(GOOD), chunked=chunked)
    assert (status, code) in ((401, "10002"), (404, "10008"), (405, "10001"))
    if "path" not in changed and "method" not in changed:
        assert status == 401
    assert not echo.seen


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_large_body_that_was_changed_never_arrives_whole(door: Any, echo: Any, chunked: bool) -> None:
    assert await send(door, LARGE._replace(body=b"x" * 199_999 + b"y"), sign(LARGE), chunked=chunked) == (401, "10002")
    await asyncio.sleep(0.1)
    assert not echo.seen


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("value", [None, "", "x", "0" * 64, "twice"])
async def test_a_header_left_out_empty_odd_or_said_twice_is_refused(door: Any, echo: Any, header: str, value: str | None) -> None:
    headers = sign(GOOD)
    good = headers.pop(header)
    if value is not None:
        headers[header] = good if value == "twice" else value
    if value == "twice":
        headers[header.lower()] = good
    assert await send(door, GOOD, headers) == (401, "10002")
    assert not echo.seen


@pytest.mark.redis
@pytest.mark.parametrize("shift", [-301, 301, -3600, "ms", "float", "plus", "words"])
async def test_a_time_that_is_not_now_in_whole_seconds_is_refused(open_door: Any, echo: Any, redis: Any, shift: int | str) -> None:
    async with open_door(echo.url, signing_keys=KEYS, env_more={"DARKROOM_LIMITS_URL": redis.url}) as door:
        if time.time() % 1 > 0.5:
            await asyncio.sleep(1 - time.time() % 1)  # or the second ends on the way, and 301 are 300
        now = time.time()
        forms = {"ms": str(int(now * 1000)), "float": f"{now:.3f}", "plus": f"+{int(now)}", "words": "now"}
        at = forms[shift] if isinstance(shift, str) else str(int(now) + shift)
        sent = GOOD._replace(time=at)
        assert await send(door, sent, sign(sent)) == (401, "10002")
        assert not echo.seen


@pytest.mark.redis
async def test_a_time_within_five_minutes_is_now(open_door: Any, echo: Any, redis: Any) -> None:
    async with open_door(echo.url, signing_keys=KEYS, env_more={"DARKROOM_LIMITS_URL": redis.url}) as door:
        for shift in (-298, 0, 298):
            sent = GOOD._replace(time=str(int(time.time()) + shift))
            assert await send(door, sent, sign(sent)) == (200, "")


async def test_without_a_store_nothing_is_taken_that_was_signed_before_the_gateway_began(door: Any, echo: Any) -> None:
    sent = GOOD._replace(time=str(int(time.time()) - 60))
    assert await send(door, sent, sign(sent)) == (401, "10002")
    assert not echo.seen


async def test_a_nonce_is_taken_once_and_only_by_a_signature_that_holds(door: Any, echo: Any) -> None:
    headers = sign(GOOD)
    forged = {**headers, "X-Signature": "0" * 64}
    assert await send(door, GOOD, forged) == (401, "10002")
    assert await send(door, GOOD._replace(body=b"{}"), headers) == (401, "10002")
    answers = await asyncio.gather(*(send(door, GOOD, headers) for _ in range(20)))
    assert sorted(status for status, _ in answers) == [200] + [401] * 19
    assert len(echo.seen) == 1


@pytest.mark.parametrize(
    ("signed", "sent", "same"),
    [
        ("b=2&a=1", "a=1&b=2", True), ("a=%7e", "a=~", True), ("a=%20b", "a=+b", True), ("a=%e6%97%85", "a=%E6%97%85", True), ("a", "a=", True),
        ("a=1&a=2", "a=2&a=1", False), ("a=1", "a=1&b=", False), ("a=1%26b=2", "a=1&b=2", False), ("a=%2B", "a=+", False), ("a=1", "A=1", False),
        ("a%3D1=", "a=1", False), ("a=1&b=2", "a=1%26b=2", False),
    ],
)  # fmt: skip
async def test_a_query_has_one_meaning_however_it_is_written(door: Any, signed: str, sent: str, same: bool) -> None:
    one = Sent("GET", "/api/works", signed, b"")
    assert (canonical_query(signed) == canonical_query(sent)) is same
    assert (await send(door, one._replace(query=sent), sign(one)))[0] == (200 if same else 401)


async def test_a_server_client_must_sign_with_its_own_key_and_others_may_go_without(door: Any, echo: Any) -> None:
    server = GOOD._replace(token=SERVER_TOKEN, key_id="partner", secret=SERVER_SECRET)
    assert await send(door, server, sign(server)) == (200, "")
    assert await send(door, server, {}) == (401, "10002")
    assert await send(door, server, {}, chunked=True) == (401, "10002")
    assert (await send(door, Sent("GET", "/api/works", token=SERVER_TOKEN, body=b""), {}))[0] == 401
    stranger = server._replace(token=APP_TOKEN)
    assert await send(door, stranger, sign(stranger)) == (401, "10002")
    wrong = server._replace(secret=SECRET)
    assert await send(door, wrong, sign(wrong)) == (401, "10002")
    unknown = GOOD._replace(key_id="nobody")
    assert await send(door, unknown, sign(unknown)) == (401, "10002")
    assert await send(door, GOOD, {}) == (200, "")
    assert len(echo.seen) == 2


@pytest.mark.parametrize("careful_only", [False, True])
async def test_the_duty_to_sign_cannot_be_hidden_behind_another_token(open_door: Any, echo: Any, careful_only: bool) -> None:
    async with open_door(echo.url, careful_only=careful_only, signing_keys=KEYS) as door:
        for more in (
            "Authorization: Bearer a.b.c\r\nConnection: authorization\r\n",
            f"Authorization: Bearer {APP_TOKEN}\r\n",
            "Authorization: Basic dDp0\r\n",
            "X-LC-Session: a.b.c\r\n",
        ):
            (answer,) = await door.ask(f"GET /points/history HTTP/1.1\r\nHost: x\r\n{more}X-LC-Session: {SERVER_TOKEN}\r\n\r\n".encode())
            assert (answer.status, answer.code()) == (400, 10001), more
        (answer,) = await door.ask(f"GET /points/history HTTP/1.1\r\nHost: x\r\nX-LC-Session: {SERVER_TOKEN}\r\nConnection: close\r\n\r\n".encode())
        assert (answer.status, answer.code()) == (401, 10002)
    assert not echo.seen


@pytest.mark.parametrize("careful_only", [False, True])
async def test_for_a_servers_user_only_a_key_signs_that_names_him(open_door: Any, echo: Any, careful_only: bool) -> None:
    partner = orjson.loads(KEYS)
    both = {"secret": SECRET, "kind": "server", "users": [str(SERVER_USER), str(new_id())]}
    async with open_door(echo.url, careful_only=careful_only, signing_keys=orjson.dumps({**partner, "second": both}).decode()) as door:
        for token, key_id, status in ((SERVER_TOKEN, "app", 401), (SERVER_TOKEN, "second", 200), (APP_TOKEN, "app", 200), (APP_TOKEN, "second", 401)):
            for sent in (GOOD, Sent("GET", "/api/works", body=b"")):
                mine = sent._replace(token=token, key_id=key_id)
                assert await send(door, mine, sign(mine)) == (status, "" if status == 200 else "10002")
    assert len(echo.seen) == 4


async def test_apps_can_be_made_to_sign_what_changes_something(open_door: Any, echo: Any) -> None:
    async with open_door(echo.url, signing_keys=KEYS, signing_required="writes") as door:
        assert await send(door, GOOD, {}) == (401, "10002")
        assert await send(door, GOOD, sign(GOOD)) == (200, "")
        assert await send(door, Sent("GET", "/api/works", body=b""), {}) == (200, "")
        for path in ("/api/callback/task-complete", "/api/credits/payment/callback"):
            assert await send(door, Sent("POST", path), {}) == (200, "")


@pytest.mark.redis
async def test_while_the_store_is_away_signed_writes_wait_and_signed_reads_go_on(open_door: Any, echo: Any, redis: Any) -> None:
    async with open_door(echo.url, signing_keys=KEYS, limits_pause_seconds=0.1, env_more={"DARKROOM_LIMITS_URL": redis.url}) as door:
        await redis.kill()
        for sent in (GOOD, LARGE):
            assert await send(door, sent, sign(sent)) == (503, "10007")
        read = Sent("GET", "/api/works", body=b"")
        headers = sign(read)
        assert [await send(door, read, headers), await send(door, read, headers)] == [(200, ""), (401, "10002")]
        assert await send(door, GOOD, {}) == (200, "")
        await redis.start()
        async with asyncio.timeout(60):
            while (said := await send(door, GOOD, sign(GOOD))) == (503, "10007"):
                await asyncio.sleep(0.1)
        assert said == (200, "")


def test_keys_of_several_gateways_need_a_store_they_share_and_a_server_names_its_users() -> None:
    env = {
        "DARKROOM_OBJECTS_URL": "file:///tmp", "DARKROOM_FILES_SECRET": secrets.token_hex(32), "DARKROOM_SERVICE_JWKS_PATH": "/dev/null",
        "GATEWAY_KEY_PATH": "/dev/null", "GATEWAY_SIGNING_KEYS": KEYS,
    }  # fmt: skip
    assert load(GatewaySettings, env).signing_keys["partner"].kind == "server"
    with pytest.raises(SettingsError, match="DARKROOM_LIMITS_URL"):
        load(GatewaySettings, {**env, "GATEWAY_URL": "http://a:1,http://b:1"})
    load(GatewaySettings, {**env, "GATEWAY_URL": "http://a:1,http://b:1", "DARKROOM_LIMITS_URL": "redis://store:6379"})
    with pytest.raises(SettingsError, match="DARKROOM_LIMITS_URL must begin with"):
        load(GatewaySettings, {**env, "DARKROOM_LIMITS_URL": "store:6379"})
    for bad in ({"k": {"secret": "short"}}, {"k": {"secret": SECRET, "kind": "server"}}, {"k": {"secret": SECRET, "users": [str(new_id())]}}):
        with pytest.raises(SettingsError, match="GATEWAY_SIGNING_KEYS"):
            load(GatewaySettings, {**env, "GATEWAY_SIGNING_KEYS": orjson.dumps(bad).decode()})
    with pytest.raises(SettingsError, match="GATEWAY_ADDRESS_LIMIT"):
        load(GatewaySettings, {**env, "GATEWAY_ADDRESS_LIMIT": "often"})
    with pytest.raises(SettingsError, match="GATEWAY_TRUSTED_PROXIES"):
        load(GatewaySettings, {**env, "GATEWAY_TRUSTED_PROXIES": "everybody"})


@asynccontextmanager
async def _gateway(url: str, store_url: str) -> AsyncIterator[str]:
    """A gateway in a process of its own."""
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        port, admin_port = one.getsockname()[1], other.getsockname()[1]
    env = {
        **os.environ, "DARKROOM_OBJECTS_URL": "file:///tmp", "DARKROOM_FILES_SECRET": secrets.token_hex(32), "DARKROOM_SERVICE_JWKS_PATH": "/dev/null",
        "GATEWAY_KEY_PATH": "/dev/null", "GATEWAY_PORT": str(port), "GATEWAY_ADMIN_PORT": str(admin_port), "DARKROOM_LIMITS_URL": store_url,
        "GATEWAY_SIGNING_KEYS": KEYS, "GATEWAY_ADDRESS_LIMIT": "100/minute", "GATEWAY_LIMITS_WAIT_SECONDS": "3",
        **{f"{name.upper()}_URL": url for name in UPSTREAMS},
    }  # fmt: skip
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "gateway", "serve", env=env, stdout=asyncio.subprocess.DEVNULL)
    try:
        async with asyncio.timeout(60), aiohttp.ClientSession() as http:
            while True:
                try:
                    async with http.get(f"http://127.0.0.1:{admin_port}/readyz") as answer:
                        if answer.status == 200:
                            break
                except aiohttp.ClientError:
                    await asyncio.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        await process.wait()


@pytest.mark.redis
async def test_of_fifty_equal_requests_at_once_over_two_processes_one_passes_and_both_count_together(echo: Any, redis: Any) -> None:
    async with AsyncExitStack() as stack:
        doors = await asyncio.gather(*(stack.enter_async_context(_gateway(echo.url, redis.url)) for _ in range(2)))
        http = await stack.enter_async_context(aiohttp.ClientSession())
        headers = {**sign(GOOD), "Authorization": f"Bearer {APP_TOKEN}", "Content-Type": "application/json"}

        async def ask(number: int) -> int:
            async with http.post(doors[number % 2] + GOOD.path, data=GOOD.body, headers=headers) as answer:
                return answer.status

        assert sorted(await asyncio.gather(*(ask(number) for number in range(50)))) == [200] + [401] * 49
        assert len([seen for seen in echo.seen if seen["method"] == "POST"]) == 1

        async def read(number: int) -> int:
            async with http.get(doors[number % 2] + "/works/1") as answer:
                return answer.status

        statuses = await asyncio.gather(*(read(number) for number in range(80)))
        assert (statuses.count(200), statuses.count(429)) == (50, 30)
