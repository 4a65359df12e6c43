"""Logging in through WeChat: one account per openid, whatever WeChat answers, and its secrets stay here."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer


class Weixin:
    """A stand-in for code2session: answers 200 with whatever it was told to."""

    def __init__(self) -> None:
        self.said: Any = {"openid": "o-1", "session_key": "very-secret-key"}
        self.queries: list[dict[str, str]] = []
        self.wait_seconds = 0.0

    async def answer(self, request: web.Request) -> web.Response:
        self.queries.append(dict(request.query))
        await asyncio.sleep(self.wait_seconds)
        return web.Response(text=self.said) if isinstance(self.said, str) else web.json_response(self.said)


@pytest.fixture
async def weixin() -> AsyncIterator[tuple[Weixin, dict[str, str]]]:
    told = Weixin()
    app = web.Application()
    app.router.add_get("/sns/jscode2session", told.answer)
    async with TestServer(app) as server:
        yield told, {
            "IDENTITY_WECHAT": "weixin", "IDENTITY_WECHAT_URL": str(server.make_url("")), "IDENTITY_WECHAT_APP_ID": "wx1",
            "IDENTITY_WECHAT_APP_SECRET": "s3cret",
            "IDENTITY_WECHAT_WAIT_SECONDS": "0.5",
        }  # fmt: skip


async def log_in(identity: Any, **body: Any) -> tuple[int, Any, Any]:
    answer: tuple[int, Any, Any] = await identity.ask("POST", "/api/auth/wechat/login", json={"code": "c1", **body})
    return answer


async def test_the_first_login_makes_the_account_and_the_next_finds_it(run_identity: Callable[..., Any], weixin: tuple[Weixin, dict[str, str]]) -> None:
    told, settings = weixin
    async with run_identity(**settings) as identity:
        info = {"nickname": "小明", "avatar_url": "https://thirdwx.example/a.png"}
        status, _, first = await log_in(identity, userInfo=info, role="admin", credits=10**6)
        assert status == 200
        user = first["data"]["user"]
        assert (user["nickname"], user["avatar_url"], user["role"], user["is_new_user"]) == ("小明", info["avatar_url"], "user", True)
        _, _, second = await log_in(identity)
        assert (second["data"]["user"]["user_id"], second["data"]["user"]["is_new_user"]) == (user["user_id"], False)
        assert told.queries[0] == {"appid": "wx1", "secret": "s3cret", "js_code": "c1", "grant_type": "authorization_code"}
        _, _, me = await identity.ask("GET", "/api/auth/me", headers={"Authorization": f"Bearer {first['data']['token']}"})
        assert me["data"]["user"]["openid"] == "o-1"
        assert "session_key" not in str(first) + str(me)


async def test_ten_first_logins_at_once_make_one_account(run_identity: Callable[..., Any], weixin: tuple[Weixin, dict[str, str]]) -> None:
    _, settings = weixin
    async with run_identity(**settings) as one, run_identity(**settings) as other:
        answers = await asyncio.gather(*(log_in(identity) for identity in (one, other) for _ in range(5)))
        assert {status for status, _, _ in answers} == {200}
        assert len({body["data"]["user"]["user_id"] for _, _, body in answers}) == 1
        assert sum(body["data"]["user"]["is_new_user"] for _, _, body in answers) == 1


@pytest.mark.parametrize(
    ("said", "status", "code"),
    [
        ({"errcode": 40029, "errmsg": "invalid code"}, 400, "10001"),
        ({"errcode": 40163, "errmsg": "code been used"}, 400, "10001"),
        ({"errcode": 45011, "errmsg": "rate"}, 429, "10004"),
        ({"errcode": 40226, "errmsg": "blocked"}, 403, "10003"),
        ({"errcode": -1, "errmsg": "busy"}, 503, "10007"),
        ({"errcode": 0}, 503, "10007"),
        ({"errcode": 45009, "errmsg": "reach max api daily quota limit"}, 503, "10007"),
        ({"errcode": 40013, "errmsg": "invalid appid"}, 503, "10007"),
        ({"errcode": 40125, "errmsg": "invalid appsecret"}, 503, "10007"),
        ({"errcode": 41004, "errmsg": "appsecret missing"}, 503, "10007"),
        ({"errcode": [1]}, 503, "10007"),
        ("<html>", 503, "10007"),
        ([1], 503, "10007"),
    ],
)
async def test_what_weixin_refuses_is_said_in_the_dialect(
    run_identity: Callable[..., Any], weixin: tuple[Weixin, dict[str, str]], said: Any, status: int, code: str
) -> None:
    told, settings = weixin
    told.said = said
    async with run_identity(**settings) as identity:
        found, headers, body = await log_in(identity)
        assert (found, headers["X-Error-Code"], body["success"]) == (status, code, False)
        assert status != 503 or int(headers["Retry-After"]) > 0


async def test_what_weixin_has_against_us_stands_in_the_log_and_its_number_in_no_answer(
    run_identity: Callable[..., Any], weixin: tuple[Weixin, dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    told, settings = weixin
    told.said = {"errcode": 40125, "errmsg": "invalid appsecret"}
    async with run_identity(**settings) as identity:
        _, _, body = await log_in(identity)
    assert "40125" not in str(body)
    logged = "".join(capsys.readouterr())
    assert "wechat.refused" in logged
    assert "s3cret" not in logged


async def test_a_zero_beside_an_openid_is_no_error(run_identity: Callable[..., Any], weixin: tuple[Weixin, dict[str, str]]) -> None:
    told, settings = weixin
    told.said = {"errcode": 0, "openid": "o-7", "session_key": "k"}
    async with run_identity(**settings) as identity:
        assert (await log_in(identity))[0] == 200


async def test_a_slow_weixin_costs_half_a_second_and_a_503(run_identity: Callable[..., Any], weixin: tuple[Weixin, dict[str, str]]) -> None:
    told, settings = weixin
    told.wait_seconds = 5
    async with run_identity(**settings) as identity:
        assert (await log_in(identity))[0] == 503


async def test_broken_asks_never_reach_weixin(run_identity: Callable[..., Any], weixin: tuple[Weixin, dict[str, str]]) -> None:
    told, settings = weixin
    async with run_identity(**settings) as identity:
        for body in ({"code": ""}, {"code": None}, {"code": 5}, {"code": "x" * 600}, {"userInfo": "x"}):
            assert (await log_in(identity, **body))[0] == 400, body
    assert told.queries == []


async def test_without_settings_it_says_so(run_identity: Callable[..., Any]) -> None:
    async with run_identity() as identity:
        status, headers, _ = await log_in(identity)
        assert (status, "Retry-After" in headers) == (503, True)
