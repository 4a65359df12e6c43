"""Budgets: what may be asked how often, said in headers that agree with what then happens, with and without the shared store."""

import asyncio
import re
import socket
import struct
import time
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from limits import parse

from common.ids import UserId, new_id
from common.testing.doors import Passes
from gateway.callers import Addresses
from gateway.limits import Budget, Limits

both_paths = pytest.mark.parametrize("careful_only", [False, True], ids=["short path", "careful path"])


def left(headers: Mapping[str, str]) -> dict[str, tuple[int, int]]:
    """What `RateLimit` says: budget -> (requests left, seconds until its window ends)."""
    return {name: (int(rest), int(seconds)) for name, rest, seconds in re.findall(r'"([a-z]+)";r=(\d+);t=(\d+)', headers["ratelimit"])}


def request(line: str, headers: str = "", body: bytes = b"") -> bytes:
    return f"{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


@both_paths
async def test_a_used_up_budget_is_refused_in_the_dialect_and_the_headers_agree_with_what_then_happens(open_door: Any, echo: Any, careful_only: bool) -> None:
    async with open_door(echo.url, careful_only=careful_only, limits="on", address_limit="3/2 seconds") as door:
        for expected in (2, 1, 0):
            (answer,) = await door.ask(request("GET /api/works/1"))
            assert answer.status == 200
            assert answer.headers["ratelimit-policy"] == '"address";q=3;w=2'
            assert left(answer.headers)["address"][0] == expected
        (answer,) = await door.ask(request("GET /api/works/1"))
        assert (answer.status, answer.code()) == (429, 10004)
        assert b'"success":false' in answer.body
        rest, seconds = left(answer.headers)["address"]
        assert (rest, answer.headers["retry-after"]) == (0, str(seconds))
        assert 1 <= seconds <= 2
        (song,) = await door.ask(request("GET /works/1"))
        assert (song.status, b'"code":10004' in song.body) == (429, True)
        (problem,) = await door.ask(request("GET /v1/gallery"))
        assert (problem.status, problem.headers["content-type"]) == (429, "application/problem+json")
        await asyncio.sleep(seconds)
        (answer,) = await door.ask(request("GET /api/works/1"))
        assert (answer.status, left(answer.headers)["address"][0]) == (200, 2)
    assert len(echo.seen) == 4


@both_paths
async def test_guessing_paths_or_tokens_counts_and_health_and_preflight_do_not(open_door: Any, echo: Any, careful_only: bool) -> None:
    async with open_door(echo.url, careful_only=careful_only, limits="on", address_limit="2/minute") as door:
        for _ in range(3):
            assert (await door.ask(request("GET /api/health")))[0].status == 200
            assert (await door.ask(request("OPTIONS /api/works", "Origin: https://a.example\r\n")))[0].status == 204
        assert (await door.ask(request("GET /api/nowhere")))[0].status == 404
        assert (await door.ask(request("GET /api/credits/balance")))[0].status == 200
        assert (await door.ask(request("GET /api/nowhere")))[0].status == 429


@both_paths
async def test_callbacks_payments_and_files_have_budgets_of_their_own(open_door: Any, echo: Any, careful_only: bool) -> None:
    async with open_door(echo.url, careful_only=careful_only, limits="on", address_limit="1/minute", callback_limit="2/minute") as door:
        assert (await door.ask(request("GET /works/1")))[0].status == 200
        assert (await door.ask(request("GET /works/1")))[0].status == 429
        for path in ("/api/callback/task-complete", "/api/credits/payment/callback"):
            assert (await door.ask(request(f"POST {path}", body=b"{}")))[0].status == 200
        assert (await door.ask(request("GET /files/x")))[0].status == 200
        assert (await door.ask(request("POST /api/callback/task-failed", body=b"{}")))[0].status == 200
        (answer,) = await door.ask(request("POST /api/callback/task-failed", body=b"{}"))
        assert (answer.status, list(left(answer.headers))) == (429, ["callback"])


@both_paths
async def test_logins_are_counted_besides_all_else(open_door: Any, echo: Any, careful_only: bool) -> None:
    async with open_door(echo.url, careful_only=careful_only, limits="on", login_limit="2/15 minutes") as door:
        for path in ("/login", "/api/auth/admin/login"):
            assert (await door.ask(request(f"POST {path}", body=b"{}")))[0].status == 200
        (answer,) = await door.ask(request("POST /login", body=b"{}"))
        assert (answer.status, left(answer.headers)["login"][0], left(answer.headers)["address"][0]) == (429, 0, 997)
        assert 895 <= int(answer.headers["retry-after"]) <= 900
        (page,) = await door.ask(request("GET /v1/password-resets"))
        assert (page.status, list(left(page.headers))) == (200, ["address"])
        assert (await door.ask(request("GET /works/1")))[0].status == 200


class Identity:
    """Stands in for every service; as identity it knows the keys."""

    def __init__(self) -> None:
        self.passes = Passes()

    async def answer(self, asked: web.BaseRequest) -> web.StreamResponse:
        if asked.path == "/.well-known/jwks.json":
            return web.json_response(self.passes.signer.jwks())
        return web.json_response({})


@both_paths
async def test_a_user_has_one_budget_for_all_sessions_and_a_forged_token_uses_up_nobody_elses(open_door: Any, serve: Any, careful_only: bool) -> None:
    identity, user_id = Identity(), UserId(new_id())
    first, second, stranger = identity.passes.user(user_id), identity.passes.user(user_id), Passes().user(user_id)

    async def ask(door: Any, token: str) -> Any:
        (answer,) = await door.ask(request("GET /api/auth/me", f"Authorization: Bearer {token}\r\n"))
        return answer

    async with serve(identity.answer) as url, open_door(url, careful_only=careful_only, limits="on", user_limit="6/minute") as door:
        for token in (first, second):
            await ask(door, token)  # known from now on
        await asyncio.sleep(0.3)
        for _ in range(10):
            await ask(door, stranger)
        assert (await ask(door, stranger)).status == 429
        assert left((await ask(door, first)).headers)["user"][0] == 5
        assert left((await ask(door, second)).headers)["user"][0] == 4
        for _ in range(4):
            assert (await ask(door, first)).status == 200
        refused = await ask(door, second)
        assert (refused.status, refused.code()) == (429, 10004)
        # Neither spaces that only some readers strip nor a header that ends at the door make him somebody else.
        assert (await ask(door, f"{first}\N{NO-BREAK SPACE}")).status == 401
        (answer,) = await door.ask(request("GET /points/history", f"X-LC-Session: {first}\r\nAuthorization: Bearer a.b.c\r\nConnection: authorization\r\n"))
        assert answer.status == 400


@both_paths
async def test_too_many_at_once_are_told_so_and_room_comes_back_when_answers_are_out_or_connections_break(
    open_door: Any, serve: Any, careful_only: bool
) -> None:
    async def service(asked: web.BaseRequest) -> web.StreamResponse:
        await asyncio.sleep(1.5 if asked.path.endswith("slow") else 0)
        return web.Response()

    async with serve(service) as url, open_door(url, careful_only=careful_only, limits="on", address_at_once_max=2) as door:
        slow = []
        for _ in range(2):
            _, writer = await asyncio.open_connection("127.0.0.1", door.port)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.write(request("GET /works/slow"))
            slow.append(writer)
        await asyncio.sleep(0.3)
        (answer,) = await door.ask(request("GET /works/1"))
        assert (answer.status, answer.code(), answer.headers["retry-after"]) == (429, 10004, "1")
        assert (await door.ask(request("POST /api/callback/task-complete", body=b"{}")))[0].status == 200
        for writer in slow:
            writer.transport.abort()
        # The careful path asks to the end what was begun, and counts it as long.
        await asyncio.sleep(1.5 if careful_only else 0.3)
        for _ in range(4):
            assert (await door.ask(request("GET /works/1")))[0].status == 200
        # Who only says no more still waits for the answer.
        waiting = [asyncio.create_task(door.ask(request("GET /works/slow"), half_close=True)) for _ in range(2)]
        await asyncio.sleep(0.3)
        assert (await door.ask(request("GET /works/1")))[0].status == 429
        assert [(await one)[0].status for one in waiting] == [200, 200]
        assert (await door.ask(request("GET /works/1")))[0].status == 200


@both_paths
async def test_only_a_proxy_of_ours_may_speak_for_somebody_else(open_door: Any, echo: Any, careful_only: bool) -> None:
    async def ask(door: Any, forwarded: str) -> int:
        (answer,) = await door.ask(request("GET /works/1", f"X-Forwarded-For: {forwarded}\r\n"))
        return int(answer.status)

    async with open_door(echo.url, careful_only=careful_only, limits="on", address_limit="1/minute") as door:
        assert [await ask(door, "203.0.113.1"), await ask(door, "203.0.113.2")] == [200, 429]
    async with open_door(echo.url, careful_only=careful_only, limits="on", address_limit="1/minute", trusted_proxies="127.0.0.0/8,10.0.0.0/8") as door:
        assert [await ask(door, "203.0.113.1"), await ask(door, "203.0.113.2, 10.1.1.1")] == [200, 200]
        assert [await ask(door, "8.8.8.8, 203.0.113.1"), await ask(door, "203.0.113.2")] == [429, 429]
    assert all("x-forwarded-for" not in {name.lower() for name, _ in seen["headers"]} for seen in echo.seen)


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("192.0.2.7", "", "192.0.2.7"),
        ("::ffff:192.0.2.7", "", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "", "fe80::/64"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "1.1.1.1, 198.51.100.1 , 10.0.0.2", "198.51.100.1"),
        ("10.0.0.1", "nonsense", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.3", "10.0.0.3"),
        ("192.0.2.7", "198.51.100.1", "192.0.2.7"),
        ("::ffff:10.0.0.1", "2001:db8::1", "2001:db8::/64"),
    ],
)
def test_an_address_counts_as_the_nearest_one_that_no_proxy_of_ours_vouches_for(peer: str, forwarded: str, expected: str) -> None:
    assert Addresses(["10.0.0.0/8"]).key(peer, forwarded) == expected


def test_windows_of_many_callers_stay_within_their_number() -> None:
    now = [0.0]
    budget = Budget.of("address", "address", parse("5/minute"))
    limits = Limits({"default": [budget]}, now=lambda: now[0], address_at_once_max=9, user_at_once_max=9, windows_max=1000)
    for number in range(5000):
        now[0] += 0.001
        limits.leave(limits.enter("default", f"10.0.{number >> 8}.{number & 255}", None))
    assert len(limits._windows) <= 1000
    assert not limits._under_way
    for _ in range(5):
        last = limits.enter("default", "10.0.19.135", None)
        limits.leave(last)
    assert last.refusal is not None


async def test_the_roomy_profile_counts_nothing(open_door: Any, echo: Any) -> None:
    async with open_door(echo.url, limits="on", address_limit="1/minute", env_more={"DARKROOM_PROFILE": "roomy"}) as door:
        for _ in range(3):
            (answer,) = await door.ask(request("GET /works/1"))
            assert (answer.status, "ratelimit" in answer.headers) == (200, False)


@pytest.mark.redis
@both_paths
async def test_two_gateways_with_one_store_count_together(open_door: Any, echo: Any, redis: Any, careful_only: bool) -> None:
    shared = {"careful_only": careful_only, "limits": "on", "address_limit": "20/minute", "env_more": {"DARKROOM_LIMITS_URL": redis.url}}
    async with open_door(echo.url, **shared) as one, open_door(echo.url, **shared) as other:
        answers = [answer for both in await asyncio.gather(*(door.ask(request("GET /works/1")) for door in (one, other) * 15)) for answer in both]
        assert sorted(answer.status for answer in answers) == [200] * 20 + [429] * 10
        told = sorted((left(answer.headers)["address"][0] for answer in answers if answer.status == 200), reverse=True)
        assert told == list(range(19, -1, -1))
        (refused,) = await other.ask(request("GET /works/1"))
        assert refused.headers["retry-after"] == str(left(refused.headers)["address"][1])


@pytest.mark.redis
@both_paths
async def test_with_the_store_killed_everything_goes_on_and_logins_are_limited_here(open_door: Any, echo: Any, redis: Any, careful_only: bool) -> None:
    env = {"DARKROOM_LIMITS_URL": redis.url}
    async with open_door(echo.url, careful_only=careful_only, limits="on", login_limit="3/minute", limits_pause_seconds=0.1, env_more=env) as door:
        assert (await door.ask(request("POST /login", body=b"{}")))[0].status == 200
        await redis.kill()
        began = time.monotonic()
        for _ in range(20):
            assert (await door.ask(request("GET /works/1")))[0].status == 200
        assert time.monotonic() - began < 15
        statuses = [(await door.ask(request("POST /login", body=b"{}")))[0].status for _ in range(4)]
        assert statuses == [200, 200, 429, 429]
        await redis.start()
        await asyncio.sleep(2)
        (answer,) = await door.ask(request("POST /login", body=b"{}"))
        assert (answer.status, left(answer.headers)["login"][0]) == (200, 2)


@pytest.mark.redis
@both_paths
async def test_a_store_that_hangs_holds_up_one_moment_and_not_every_request(open_door: Any, echo: Any, redis: Any, careful_only: bool) -> None:
    env = {"DARKROOM_LIMITS_URL": redis.url}
    async with open_door(echo.url, careful_only=careful_only, limits="on", limits_pause_seconds=0.5, env_more=env) as door:
        assert (await door.ask(request("GET /works/1")))[0].status == 200
        redis.pause()
        took = []
        for _ in range(20):
            began = time.monotonic()
            assert (await door.ask(request("GET /works/1")))[0].status == 200
            took.append(time.monotonic() - began)
        assert max(took) < 5
        assert sorted(took)[10] < 0.15
        redis.resume()
        await asyncio.sleep(2)
        (answer,) = await door.ask(request("GET /works/1"))
        assert left(answer.headers)["address"][0] >= 975


async def test_pages_of_other_sites_may_read_what_the_headers_say(open_door: Any, echo: Any) -> None:
    async with open_door(echo.url, limits="on") as door, aiohttp.ClientSession() as http, http.get(door.url + "/works/1") as answer:
        exposed = {name.strip() for name in answer.headers["Access-Control-Expose-Headers"].split(",")}
    assert {"X-Request-Id", "X-Error-Code", "RateLimit", "RateLimit-Policy", "Retry-After", "Idempotent-Replayed"} <= exposed
