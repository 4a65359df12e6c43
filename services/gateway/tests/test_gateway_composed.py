"""The operators' overview and settings: one answer from four owners, whole or marked as partial, never a fault."""

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port

OVERVIEW, CONFIG = "/api/admin/stats/overview", "/api/admin/config"
NUMBERS = {
    "identity": {"users": {"total_users": 7, "today_new_users": 1, "active_users": 3}},
    "works": {"works": {"total_works": 5, "today_works": 1, "completed_works": 4, "failed_works": 1}},
    "generation": {"tasks": {"total_tasks": 6, "pending_tasks": 1, "processing_tasks": 1, "completed_tasks": 3, "failed_tasks": 1}},
    "billing": {
        "orders": {"total_orders": 2, "total_revenue": 19.8, "today_revenue": 9.9},
        "credits": {"total_credits": 100, "total_recharged": 80, "total_consumed": 30},
    },
}
KEYS = {"identity": {"site_name": "Darkroom"}, "works": {"max_upload_size": 10}, "generation": {"queue_concurrency": 5}, "billing": {"default_credits": 10}}


class Owner:
    """A stand-in for one service, that keeps its settings and what it was asked with."""

    def __init__(self, name: str) -> None:
        self.name, self.keys = name, dict(KEYS[name])
        self.tokens: list[str] = []
        self.refuses: tuple[int, int] | None = None

    async def answer(self, request: web.Request) -> web.Response:
        self.tokens.append(request.headers.get("Authorization", ""))
        if self.refuses is not None:
            status, code = self.refuses
            return web.json_response({"code": code}, status=status, headers={"X-Error-Code": str(code)})
        if request.path == "/internal/admin/overview":
            return web.json_response(NUMBERS[self.name])
        if request.method == "PUT":
            key, value = request.match_info["key"], json.loads(await request.read())["config_value"]
            if not isinstance(value, type(self.keys[key])):
                errors = [{"field": "config_value", "message": "must be another kind"}]
                return web.json_response({"code": 10001, "errors": errors}, status=400, headers={"X-Error-Code": "10001"})
            self.keys[key] = value
            return web.json_response({})
        rows = [{"config_key": key, "config_value": value, "description": "", "version": 1, "updated_at": None} for key, value in self.keys.items()]
        return web.json_response({"configs": rows})


@asynccontextmanager
async def owners(*away: str) -> AsyncIterator[tuple[dict[str, Owner], dict[str, list[str]]]]:
    """The four owners, some of them not there."""
    made = {name: Owner(name) for name in NUMBERS}
    async with contextlib.AsyncExitStack() as stack:
        urls = {name: [f"http://127.0.0.1:{unused_port()}"] for name in (*NUMBERS, "notify")}
        for name, owner in made.items():
            if name in away:
                continue
            app = web.Application()
            app.router.add_route("*", "/internal/admin/overview", owner.answer)
            app.router.add_route("*", "/internal/admin/config", owner.answer)
            app.router.add_route("*", "/internal/admin/config/{key}", owner.answer)
            server = await stack.enter_async_context(TestServer(app))
            urls[name] = [str(server.make_url("")).rstrip("/")]
        yield made, urls


async def ask(url: str, method: str, path: str, *, token: str | None = "admin", body: Any = None) -> tuple[int, Mapping[str, Any], Mapping[str, str]]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with aiohttp.ClientSession() as http, http.request(method, url + path, headers=headers, json=body) as answer:
        return answer.status, await answer.json(content_type=None), answer.headers


async def test_the_overview_is_everybodys_numbers_asked_with_the_admins_own_token(open_door: Any) -> None:
    async with owners() as (made, urls), open_door(urls) as door:
        status, body, _ = await ask(door.url, "GET", OVERVIEW)
        assert (status, body) == (200, {"success": True, "data": {key: value for part in NUMBERS.values() for key, value in part.items()}})
        assert {token for owner in made.values() for token in owner.tokens} == {"Bearer admin"}


@pytest.mark.parametrize("away", list(NUMBERS))
async def test_a_part_that_is_away_is_named_and_counts_nothing(open_door: Any, away: str) -> None:
    async with owners(away) as (_, urls), open_door(urls) as door:
        status, body, _ = await ask(door.url, "GET", OVERVIEW)
        assert (status, body["data"]["partial"], body["data"]["missing"]) == (200, True, [away])
        for section, numbers in NUMBERS[away].items():
            assert body["data"][section] == dict.fromkeys(numbers, 0)
        status, body, _ = await ask(door.url, "GET", CONFIG)
        assert (status, body["data"]["missing"]) == (200, [away])
        assert not set(KEYS[away]) & set(body["data"]["configs"])


@pytest.mark.parametrize(("refuses", "code"), [((401, 10002), 10002), ((403, 10003), 10003), ((403, 20003), 20003)])
async def test_whoever_the_owners_refuse_hears_it_in_the_photo_dialect(open_door: Any, refuses: tuple[int, int], code: int) -> None:
    async with owners() as (made, urls), open_door(urls) as door:
        for owner in made.values():
            owner.refuses = refuses
        for method, path in (("GET", OVERVIEW), ("GET", CONFIG), ("PUT", CONFIG + "/site_name")):
            status, body, headers = await ask(door.url, method, path, body={"config_value": "x"} if method == "PUT" else None)
            assert (status, body["success"], headers["X-Error-Code"]) == (401 if code != 10003 else 403, False, str(code))


async def test_nobody_gets_in_without_a_token_and_nobody_is_asked(open_door: Any) -> None:
    async with owners() as (made, urls), open_door(urls) as door:
        for method, path in (("GET", OVERVIEW), ("GET", CONFIG), ("PUT", CONFIG + "/site_name")):
            assert (await ask(door.url, method, path, token=None))[0] == 401
        assert not any(owner.tokens for owner in made.values())


async def test_settings_are_one_list_and_each_is_changed_where_it_lives(open_door: Any) -> None:
    async with owners() as (made, urls), open_door(urls) as door:
        _, body, _ = await ask(door.url, "GET", CONFIG)
        assert body["data"]["configs"] == {key: value for keys in KEYS.values() for key, value in keys.items()}
        assert [row["config_key"] for row in body["data"]["raw"]] == sorted(body["data"]["configs"])
        status, body, _ = await ask(door.url, "PUT", CONFIG + "/queue_concurrency", body={"config_value": 9})
        assert (status, body["success"]) == (200, True)
        assert made["generation"].keys == {"queue_concurrency": 9}


async def test_a_setting_nobody_owns_or_of_the_wrong_kind_is_refused(open_door: Any) -> None:
    async with owners() as (made, urls), open_door(urls) as door:
        status, _, headers = await ask(door.url, "PUT", CONFIG + "/no_such_key", body={"config_value": 1})
        assert (status, headers["X-Error-Code"]) == (404, "70001")
        status, body, headers = await ask(door.url, "PUT", CONFIG + "/default_credits", body={"config_value": "many"})
        assert (status, headers["X-Error-Code"], body["errors"][0]["field"]) == (400, "10001", "config_value")
        assert made["billing"].keys == {"default_credits": 10}
        for method in ("POST", "DELETE"):
            assert (await ask(door.url, method, CONFIG))[0] == 405


async def test_a_setting_has_one_name_and_its_value_comes_as_json(open_door: Any) -> None:
    async with owners() as (made, urls), open_door(urls) as door:
        for name in ("x/default_credits", "default_credits/x", "default_credits%2f", "DEFAULT_CREDITS", "default_credits."):
            assert (await ask(door.url, "PUT", f"{CONFIG}/{name}", body={"config_value": 1}))[0] in (404, 405), name
        headers = {"Authorization": "Bearer admin", "Content-Type": "text/xml"}
        async with aiohttp.ClientSession() as http, http.put(f"{door.url}{CONFIG}/default_credits", headers=headers, data=b'{"config_value": 1}') as answer:
            assert (answer.status, answer.headers["X-Error-Code"]) == (415, "10001")
        assert made["billing"].keys == {"default_credits": 10}
        assert (await ask(door.url, "PUT", f"{CONFIG}/default_credits/", body={"config_value": 1}))[0] == 200


async def test_while_its_owner_may_be_away_a_setting_is_not_called_unknown(open_door: Any) -> None:
    async with owners("billing") as (_, urls), open_door(urls) as door:
        status, _, headers = await ask(door.url, "PUT", CONFIG + "/default_credits", body={"config_value": 1})
        assert (status, "Retry-After" in headers) == (503, True)
