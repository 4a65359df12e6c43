"""What comes over the wire: other spellings, paths that are inside, requests two readers could read differently, slow clients, odd sockets."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Mapping
from itertools import product

import aiohttp
import orjson
import pytest

from gateway.routes import RouteTable
from lab.hostile import Case, Expected, bodies, judge, wire
from lab.hostile.onslaught import AT_ONCE
from lab.hostile.stage import Stage, all_well, stage_running
from lab.hostile.targets import INTERNAL, PLAIN, PUBLIC, UNKNOWN, Found
from lab.hostile.verdict import ANYTHING, INVALID, REFUSED


@pytest.fixture(scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with stage_running(tmp_path_factory.mktemp("hostile")) as stage:
        yield stage


# routes


def test_every_public_route_has_a_way_through_the_gateway_and_no_internal_one_has() -> None:
    table = RouteTable()
    for found in PUBLIC:
        row = table.find(found.target(UNKNOWN))
        assert row is not None, found
        assert row.service == found.service, found
        assert found.route.method in row.methods, found
    assert [str(found) for found in INTERNAL if table.find(found.target(UNKNOWN)) is not None] == []


async def test_only_what_a_route_answers_may_be_asked(stage: Stage) -> None:
    cases = []
    for found in PLAIN:
        known = {other.route.method for other in PLAIN if other.route.path == found.route.path}
        for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECTX", "PROPFIND"} - known - ({"HEAD"} if "GET" in known else set()):
            cases.append(Case("another method", method, found.target(UNKNOWN), stage.auth, None, Expected((400, 403, 404, 405))))
        for header in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
            method = "GET" if found.route.method == "POST" else "POST"
            if method not in known:
                cases.append(Case(header, method, found.target(UNKNOWN), {**stage.auth, header: found.route.method}, None, Expected((400, 403, 404, 405))))
    all_well(await stage.attacker.wrongs(cases))


async def test_every_route_has_one_spelling(stage: Stage) -> None:
    cases = []
    for found in PLAIN:
        path = stage.target(found).partition("?")[0]
        root, _, rest = path[1:].partition("/")
        head, _, last = path.rpartition("/")
        for target in (
            f"{head}/x/{last}",
            f"/{path}",
            path.replace("/", "//"),
            path.upper(),
            f"/.{path}",
            f"/x/..{path}",
            f"{path}/..",
            f"{path}/.",
            f"{path}//",
            f"{path}/x/y/z",
            f"{path}%2f",
            f"{path}\\",
            f"{path};jsessionid=1",
            f"/{root}%2f{rest}",
            f"{path}%00",
            f"{path}.",
        ):
            cases.append(stage.case("another spelling", found, target=target, body=stage.body(found), expected=Expected((400, 401, 404, 405))))
    all_well(await stage.attacker.wrongs(cases))


async def test_what_is_inside_is_not_there_from_outside(stage: Stage) -> None:
    cases = []
    for found in INTERNAL:
        path = found.target(UNKNOWN)
        inner = path.removeprefix("/")
        for target in (
            path,
            f"{path}/",
            f"/{path}",
            path.upper(),
            f"/%69{inner[1:]}",
            f"/api/..{path}",
            f"/api/tasks/..%2f..%2f{inner}",
            f"/works/..;/{inner}",
            f"/.{path}",
            f"/works/%2e%2e{path}",
            f"/api/works\\..\\{inner}",
            f"/files/../{inner}",
            f"{path}?x=1",
            f"/health/..{path}",
            f"/works{path}",
            f"{path}%00",
            f"{path};x",
            f"{path}%20",
            f"/api{path}",
        ):
            headers = {
                "Authorization": f"Bearer {stage.operator_token if found.route.auth == 'admin' else stage.service_token(found.service)}",
                "X-Original-URL": path,
                "X-Rewrite-URL": path,
                "X-Forwarded-Prefix": "/internal",
                **bodies.JSON_HEADERS,
            }
            cases.append(Case("inside", found.route.method, target, headers, b"{}", Expected((403, 404, 405))))
    for path in (
        "/metrics",
        "/healthz",
        "/readyz",
        "/livez",
        "/internal",
        "/internal/",
        "/debug",
        "/admin",
        "/.env",
        "/.git/config",
        "/server-status",
        "//",
        "/api",
        "/api/",
        "/favicon.ico",
        "/ws/",
        "/ws/x",
    ):
        for target in (path, f"/{path}", path.upper(), path + "%2f"):
            cases.append(Case("not a route", "GET", target, stage.auth, None, Expected((400, 404))))
    all_well(await stage.attacker.wrongs(cases))


async def test_health_tells_how_and_not_where(stage: Stage) -> None:
    for path in ("/health", "/api/health"):
        answer = await stage.attacker.ask(Case("health", "GET", path, {"Host": "evil.example", "X-Forwarded-Host": "evil.example"}))
        assert answer.status == 200
        assert answer.json()["status"] == "healthy"
        assert not re.search(rb"evil|127\.0\.0\.1|postgres|aiohttp|/[a-z]+/[a-z]+", answer.body)


# HTTP


async def test_what_two_readers_could_read_differently_is_read_by_none(stage: Stage) -> None:
    smuggled = b"GET /internal/audit HTTP/1.1\r\nHost: x\r\n\r\n"
    body = b'{"email":"a","password":"b"}'
    login = b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    length = b"Content-Length: %d\r\n" % len(body)
    get = b"GET /api/scenes HTTP/1.1\r\nHost: x\r\n"
    requests = {
        "CL and TE": login + length + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled,
        "TE and CL": login + b"Transfer-Encoding: chunked\r\n" + length + b"\r\n0\r\n\r\n" + smuggled,
        "two lengths": login + length + b"Content-Length: 5\r\n\r\n" + body,
        "lengths in a list": login + b"Content-Length: 5, 5\r\n\r\n" + body,
        "length negative": login + b"Content-Length: -1\r\n\r\n" + body,
        "length with plus": login + b"Content-Length: +5\r\n\r\n" + body,
        "length hex": login + b"Content-Length: 0x5\r\n\r\n" + body,
        "length of 5000 digits": login + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
        "length empty": login + b"Content-Length:\r\n\r\n" + body,
        "TE unknown": login + b"Transfer-Encoding: xchunked\r\n\r\n" + smuggled,
        "TE twice": login + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        "TE list": login + b"Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
        "TE with a tab": login + b"Transfer-Encoding:\tchunked\x0b\r\n\r\n0\r\n\r\n",
        "TE, name with a blank": login + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "chunk size of nonsense": login + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + body,
        "chunk size negative": login + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n" + body,
        "chunk size huge": login + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\n",
        "chunk without its end": login + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n",
        "two hosts": b"GET /api/scenes HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "no host": b"GET /api/scenes HTTP/1.1\r\n\r\n",
        "a folded line": get + b"X-A: 1\r\n b\r\n\r\n",
        "a bare LF": b"GET /api/scenes HTTP/1.1\nHost: x\n\n",
        "NUL in a value": get + b"X-A: a\x00b\r\n\r\n",
        "a name with NUL": get + b"X\x00A: 1\r\n\r\n",
        "no colon": get + b"nonsense\r\n\r\n",
        "empty name": get + b": x\r\n\r\n",
        "a bare CR": get + b"X-A: a\rb\r\n\r\n",
        "GET in lower case": b"get /api/scenes HTTP/1.1\r\nHost: x\r\n\r\n",
        "DEL in a key": login + b"Idempotency-Key: a\x7f\r\n" + length + b"\r\n" + body,
        "a key of bytes": b"POST /works HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\xfe\r\nIdempotency-Key: \xff\r\n" + length + b"\r\n" + body,
        "TRACE": b"TRACE /api/scenes HTTP/1.1\r\nHost: x\r\nX-Secret: y\r\n\r\n",
        "CONNECT": b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: x\r\n\r\n",
        "whole address": b"GET http://127.0.0.1/internal/audit HTTP/1.1\r\nHost: x\r\n\r\n",
        "OPTIONS *": b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        "no slash": b"GET api/scenes HTTP/1.1\r\nHost: x\r\n\r\n",
        "HTTP/9": b"GET /api/scenes HTTP/9.9\r\nHost: x\r\n\r\n",
        "HTTP/0.9": b"GET /api/scenes\r\n\r\n",
        "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(60),
        "bytes": bytes(range(256)),
        "blanks in the target": b"GET /api/ scenes HTTP/1.1\r\nHost: x\r\n\r\n",
        "tabs": b"GET\t/api/scenes\tHTTP/1.1\r\nHost: x\r\n\r\n",
        "a target of bytes": b"GET /api/\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
        "NUL in the target": b"GET /api/\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
        "10000 headers": get + b"".join(b"X-%d: 1\r\n" % number for number in range(10_000)) + b"\r\n",
        "a header of 1 MB": get + b"X-A: " + b"a" * 1_000_000 + b"\r\n\r\n",
        "a target of 100 kB": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        "a method of 1 kB": b"A" * 1000 + b" / HTTP/1.1\r\nHost: x\r\n\r\n",
        "Expect of nonsense": login + length + b"Expect: 200-ok\r\n\r\n" + body,
        "Upgrade with a body": b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\nhello",
    }
    paths = {"no slash": "/", "HTTP/0.9": "/api/scenes"}

    async def one(name: str, request: bytes) -> list[str]:
        try:
            answers = await wire.talk(stage.rig.url, [request], read_seconds=45)
        except TimeoutError:
            return [f"{name}: neither answered nor closed"]
        if len(answers) > 1:
            return [f"{name}: {len(answers)} answers to one request: {[answer.status for answer in answers]}"]
        found = re.match(rb"[A-Za-z]+ (/[!-~]*)", request)
        path = paths.get(name) or (found[1].decode().partition("?")[0] if found else "/")
        lenient = name in ("OPTIONS *",)
        return [sentence for answer in answers for sentence in judge(Case(name, "RAW", path, expected=ANYTHING if lenient else REFUSED), answer)]

    wrong = await asyncio.gather(*(one(name, request) for name, request in requests.items()))
    all_well([sentence for sentences in wrong for sentence in sentences])


async def test_who_sends_slowly_is_closed_while_others_are_served(stage: Stage) -> None:
    head = [b"GET /api/scenes HTTP/1.1\r\nHost: x\r\n", *[b"X-A: 1\r\n"] * 40]
    length = b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    chunked = b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    began = time.monotonic()
    slow = [asyncio.create_task(wire.talk(stage.rig.url, head, pause_seconds=0.5, read_seconds=60)) for _ in range(20)]
    silent = [
        asyncio.create_task(wire.talk(stage.rig.url, [request], read_seconds=60))
        for request in (b"", b"GET /api", length, length + b"{", chunked, chunked + b"5\r\n{")
        for _ in range(3)
    ]
    await asyncio.sleep(1)
    good = Case("others", "GET", "/api/scenes", expected=Expected((200,)))
    for _ in range(20):
        asked = time.monotonic()
        all_well(await stage.attacker.wrongs([good]))
        assert time.monotonic() - asked < 20
    wrong: list[str] = []
    for answers in await asyncio.gather(*slow, *silent):
        wrong += [
            sentence
            for answer in answers
            for sentence in judge(Case("slow", "RAW", "/login" if answer.body.startswith(b'{"code') else "/api/x", expected=Expected((400, 408))), answer)
        ]
    all_well(wrong)
    assert time.monotonic() - began < 60


EVERYWHERE = (
    "Authorization", "X-LC-Session", "X-LC-Id", "Accept-Language", "Accept", "Content-Type", "Idempotency-Key", "traceparent", "X-Request-Id", "User-Agent",
    "Origin", "Cookie", "X-Forwarded-For", "If-Match", "If-None-Match", "Range", "If-Range", "X-Signature", "X-Signature-Key", "X-Signature-Timestamp",
)  # fmt: skip
"""What any route, or what is before it, may read."""
PROOFS = {
    "/api/callback/task-complete": ("X-Darkroom-Secret", "X-Internal-Secret", "X-Darkroom-Attempt-Token", "X-Darkroom-Timestamp", "X-Darkroom-Signature"),
    "/api/callback/task-failed": ("X-Darkroom-Secret", "X-Internal-Secret", "X-Darkroom-Attempt-Token", "X-Darkroom-Timestamp", "X-Darkroom-Signature"),
    "/api/credits/payment/callback": ("Sandbox-Signature", "Sandbox-Timestamp", "Sandbox-Nonce"),
}
"""What only these read."""


async def test_headers_of_bytes_are_refused_or_harmless(stage: Stage) -> None:
    streamed = b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    free = asyncio.Semaphore(AT_ONCE)

    async def one(number: int, found: Found, name: str) -> list[str]:
        target = stage.target(found, UNKNOWN)
        head = f"{found.route.method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        head += "" if name == "Authorization" else f"Authorization: {stage.auth_for(found)['Authorization']}\r\n"
        length = b"Content-Length: 0\r\n\r\n" if (number % 2) or found.route.method == "GET" else streamed
        value = b"Bearer \xff.\xfe.\xff" if name == "Authorization" else b"\xff\xfe"
        async with free:
            answers = await wire.talk(stage.rig.url, [head.encode() + name.encode() + b": " + value + b"\r\n" + length])
        case = Case(f"{name} of bytes, {'short' if number % 2 else 'streamed'}", found.route.method, target)
        return [sentence for answer in answers for sentence in judge(case, answer)] if answers else [f"{case}: no answer"]

    aims = [found for found in PLAIN if "login" not in found.route.path]
    # Each route meets every seventh header, in turn, which leaves each header to a dozen routes or more.
    chosen = [(number, found, name) for number, (found, name) in enumerate(product(aims, EVERYWHERE)) if number % 7 == 0]
    wrong = await asyncio.gather(*(one(*each) for each in chosen))
    all_well([sentence for sentences in wrong for sentence in sentences])


async def test_a_proof_of_bytes_proves_nothing(stage: Stage) -> None:
    wrong: list[str] = []
    for path, names in PROOFS.items():
        found = next(found for found in PLAIN if found.route.path == path)
        body = stage.body(found) or b"{}"
        for name in names:
            # All that is read before it is right, so that it is read.
            said: dict[str, str] = {}
            if name == "X-Darkroom-Attempt-Token":
                said = dict(stage.lesson(found).headers)
            elif name == "X-Darkroom-Signature":
                said = {"X-Darkroom-Timestamp": str(int(time.time()))}
            elif name.startswith("Sandbox-"):
                said = {"Sandbox-Timestamp": str(int(time.time())), "Sandbox-Nonce": "n" * 24, "Sandbox-Signature": "0" * 64}
            wrong += await _odd(stage, "POST", path, name, said, body, Expected((401,), (10002,)))
    all_well(wrong)


async def test_headers_of_bytes_on_requests_that_are_good(stage: Stage) -> None:
    """Where a header is only read once everything else is right."""
    auth, photo = stage.auth, stage.thief.photo_url.removeprefix(stage.rig.url)
    sign_up = orjson.dumps({"username": "odd device", "email": "odd-device@people.example", "password": "correct horse battery"})
    mine = next(found for found in PLAIN if str(found) == "PUT /api/works/{work_id}")
    work = stage.target(mine)
    wrong = await _odd(stage, "POST", "/users", "User-Agent", {}, sign_up, Expected((200, 201)))
    for name in ("If-None-Match", "Range", "If-Range", "Accept-Language", "X-Request-Id", "traceparent"):
        wrong += await _odd(stage, "GET", photo, name, {}, b"", Expected((200, 206)))
        wrong += await _odd(stage, "GET", work, name, auth, b"", Expected((200,)))
    wrong += await _odd(stage, "PUT", work, "If-Match", auth, stage.body(mine) or b"", INVALID)
    wrong += await _odd(stage, "POST", "/works", "Idempotency-Key", auth, b'{"title":"x"}', INVALID)
    all_well(wrong)


async def _odd(stage: Stage, method: str, target: str, name: str, said: Mapping[str, str], body: bytes, expected: Expected) -> list[str]:
    """What is wrong with the answer to a request whose header `name` holds bytes that are no text."""
    lines = [
        f"{method} {target} HTTP/1.1",
        "Host: x",
        "Connection: close",
        f"Content-Length: {len(body)}",
        *(["Content-Type: application/json"] if body else []),
    ]
    lines += [f"{one}: {value}" for one, value in said.items() if one != name]
    answers = await wire.talk(stage.rig.url, ["\r\n".join(lines).encode() + b"\r\n" + name.encode() + b": \xff\xfe\r\n\r\n" + body])
    case = Case(f"{name} of bytes", method, target, expected=expected)
    return [sentence for answer in answers for sentence in judge(case, answer)] if answers else [f"{case}: no answer"]


# sockets


async def test_sockets_are_refused_or_closed_with_their_code(stage: Stage) -> None:
    good = orjson.dumps({"type": "auth", "token": stage.thief.token}).decode()
    forger = await stage.forger("http://127.0.0.1:1/")
    said: dict[str, tuple[list[str | bytes], int]] = {
        "nothing": ([], 4502),
        "only pings": (['{"type":"ping"}'], 4502),
        "binary first": ([good.encode()], 4501),
        "binary later": ([good, b"x"], 4501),
        "no JSON": (["x"], 4501),
        "a list": (["[]"], 4501),
        "deep": (["[" * 30_000], 4501),
        "deep objects": (['{"a":' * 10_000], 4501),
        "another type first": (['{"type":"subscribe","task_id":"x"}'], 4501),
        "no token": (['{"type":"auth"}'], 4501),
        "token is a number": (['{"type":"auth","token":1}'], 4501),
        "token is empty": (['{"type":"auth","token":""}'], 4501),
        "bad token": (['{"type":"auth","token":"a.b.c"}'], 4500),
        "service's token": ([orjson.dumps({"type": "auth", "token": stage.service_token("notify")}).decode()], 4500),
        **{f"token: {name}": ([orjson.dumps({"type": "auth", "token": token}).decode()], 4500) for name, token in list(forger.bad().items())[:20]},
        "another's task": ([good, orjson.dumps({"type": "subscribe", "task_id": stage.owned.picture_task, "user_id": stage.victim.user_id}).decode()], 4501),
        "auth again": ([good, good], 4501),
        "ack of nothing": ([good, '{"type":"ack"}'], 4501),
        "ack negative": ([good, '{"type":"ack","seq":-1}'], 4501),
        "ack 10^30": ([good, '{"type":"ack","seq":1000000000000000000000000000000}'], 4501),
        "ack text": ([good, '{"type":"ack","seq":"x"}'], 4501),
        "type is an object": ([good, '{"type":{}}'], 4501),
        "resume is text": ([good[:-1] + ',"resume":"x"}'], 4501),
        "resume negative": ([good[:-1] + ',"resume":{"epoch":null,"seq":-1}}'], 4501),
        "resume huge": ([good[:-1] + ',"resume":{"epoch":null,"seq":1e30}}'], 4501),
        "1 MiB": ([good, "x" * 1024 * 1024], 1009),
        "1 MiB first": (["x" * 1024 * 1024], 1009),
        "60 frames at once": ([good, *(['{"type":"ping"}'] * 60)], 4013),
    }
    free = asyncio.Semaphore(8)

    async def one(name: str, frames: list[str | bytes], code: int) -> str:
        async with free if code != 4502 else asyncio.Semaphore():
            closed, seen = await _socket(stage, frames)
        if closed != code:
            return f"{name}: closed with {closed}, not {code}; {seen[-200:]!r}"
        return f"{name}: shows the victim's" if stage.victim.user_id in seen or stage.owned.picture_task in seen else ""

    wrong = await asyncio.gather(*(one(name, frames, code) for name, (frames, code) in said.items()))
    all_well([sentence for sentence in wrong if sentence])


async def test_a_user_has_twenty_sockets_and_no_page_of_a_stranger_any(stage: Stage) -> None:
    good = orjson.dumps({"type": "auth", "token": stage.pawn.token}).decode()
    url = stage.rig.url.replace("http", "ws", 1) + "/ws"
    async with aiohttp.ClientSession() as http:
        sockets = []
        for _ in range(20):
            ws = await http.ws_connect(url)
            await ws.send_str(good)
            assert (await ws.receive_json(timeout=10))["type"] == "auth_success"
            sockets.append(ws)
        assert (await _socket(stage, [good]))[0] == 4504
        for ws in sockets:
            await ws.close()
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    cases = [
        Case(f"origin {origin}", "GET", "/ws", {**upgrade, "Origin": origin}, None, Expected((403,), (10003,)))
        for origin in ("https://evil.example", "null", "", f"{stage.rig.url}.evil.example", stage.rig.url.upper() + "/", "file://")
    ]
    cases += [
        Case("token in the address", "GET", f"/ws?token={stage.thief.token}", upgrade, None, INVALID),
        Case("no upgrade", "GET", "/ws", {}, None, INVALID),
        Case("another version", "GET", "/ws", {**upgrade, "Sec-WebSocket-Version": "9"}, None, INVALID),
        Case("no key", "GET", "/ws", {**upgrade, "Sec-WebSocket-Key": ""}, None, INVALID),
        Case("odd key", "GET", "/ws", {**upgrade, "Sec-WebSocket-Key": "x"}, None, INVALID),
        Case("another protocol", "GET", "/ws", {**upgrade, "Upgrade": "h2c"}, None, INVALID),
        Case("not a socket's path", "GET", "/api/scenes", upgrade, None, ANYTHING),
        Case("posted", "POST", "/ws", upgrade, b"x", Expected((400, 405))),
    ]
    all_well(await stage.attacker.wrongs(cases))


# and then


async def test_after_all_that_nothing_changed_that_must_not_and_nothing_of_ours_broke(stage: Stage) -> None:
    assert await stage.harm() == []


async def _socket(stage: Stage, frames: list[str | bytes]) -> tuple[int | None, str]:
    """Open a socket, say these frames, read until it closes: (the code, everything that was heard)."""
    heard: list[str] = []
    async with aiohttp.ClientSession() as http, http.ws_connect(stage.rig.url.replace("http", "ws", 1) + "/ws", max_msg_size=0) as ws:
        try:
            for frame in frames:
                await (ws.send_str(frame) if isinstance(frame, str) else ws.send_bytes(frame))
        except (ConnectionError, aiohttp.ClientError):
            pass  # closed while we still spoke; the code says why
        async with asyncio.timeout(60):
            async for message in ws:
                heard.append(str(message.data))
        return ws.close_code, " ".join(heard)
