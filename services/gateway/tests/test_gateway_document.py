"""One document of all services, and the page to read it on, with nothing from outside."""

import asyncio
import gzip
import importlib
import re
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from itertools import count
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web
from openapi_pydantic import OpenAPI
from openapi_spec_validator import validate
from pydantic import ValidationError

from common.web import Route
from common.web.openapi import document_of
from gateway.app import UPSTREAMS
from gateway.document import Document
from gateway.own import OwnAsk
from gateway.pages import FOLDER
from gateway.routes import RouteTable
from gateway.upstreams import open_replicas

AWAY = "http://127.0.0.1:1"


def routes_of(service: str) -> list[Route]:
    api = importlib.import_module(f"{service}.api")
    return list(getattr(api, "ROUTES", None) or getattr(api, "routes", None) or ())


async def get(url: str, **headers: str) -> tuple[int, Any, bytes]:
    async with aiohttp.ClientSession(auto_decompress=False) as http, http.get(url, headers={"Accept-Encoding": "identity", **headers}) as answer:
        return answer.status, answer.headers, await answer.read()


@pytest.fixture
async def services(serve: Any) -> AsyncIterator[dict[str, str]]:
    """The documents of all services, each from an address of its own."""
    urls: dict[str, str] = {}
    async with AsyncExitStack() as stack:
        for name in UPSTREAMS:
            document = document_of(routes_of(name), name=name, title=name)

            async def show(request: web.BaseRequest, document: bytes = document) -> web.StreamResponse:
                return web.Response(body=document if request.path == "/openapi.json" else b"{}", content_type="application/json")

            urls[name] = await stack.enter_async_context(serve(show))
        yield urls


async def merged(open_door: Any, urls: dict[str, str]) -> dict[str, Any]:
    async with open_door({name: [urls.get(name, AWAY)] for name in UPSTREAMS}) as door:
        status, headers, body = await get(door.url + "/openapi.json")
        assert (status, headers["Content-Type"].startswith("application/json")) == (200, True)
        assert (await get(door.url + "/openapi.json", **{"If-None-Match": headers["ETag"]}))[0] == 304
    document: dict[str, Any] = orjson.loads(body)
    return document


def check_soundness(document: dict[str, Any]) -> None:
    """What can be broken by leaving a service out: its form, and what refers to what. The whole of OpenAPI is looked at once, for that takes seconds."""
    OpenAPI.model_validate(document)
    for kind in ("schemas", "responses"):
        assert set(re.findall(rf'"#/components/{kind}/([^"]+)"', orjson.dumps(document).decode())) <= set(document["components"][kind])


async def test_the_document_holds_every_public_route_of_every_service_and_the_gateways_own(open_door: Any, services: dict[str, str]) -> None:
    document = await merged(open_door, services)
    validate(document)
    for name in UPSTREAMS:
        for route in routes_of(name):
            path = re.sub(r":[^{}]*\}", "}", route.path)
            if route.path.startswith("/internal"):
                assert path not in document["paths"]
            else:
                assert document["paths"][path][route.method.lower()]["tags"][0].endswith(name)
    for path in ("/health", "/api/admin/stats/overview", "/api/admin/config", "/api/admin/config/{config_key}"):
        assert path in document["paths"]
    operations = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert len(operations) == len(set(operations))
    check_soundness(document)


async def test_every_route_has_an_example_that_its_own_model_takes(open_door: Any, services: dict[str, str]) -> None:
    document = await merged(open_door, services)
    without: list[str] = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            media = [*operation.get("requestBody", {}).get("content", {}).items()]
            media += [one for status, answer in operation["responses"].items() if status < "400" for one in answer.get("content", {}).items()]
            without += [f"{method} {path}" for kind, shown in media if kind == "application/json" and shown.get("example") is None]
            without += [f"{method} {path} {one['name']}" for one in operation.get("parameters", ()) if one["in"] == "path" and not one.get("example")]
    assert not without
    for name in UPSTREAMS:
        for route in routes_of(name):
            path = re.sub(r":[^{}]*\}", "}", route.path)
            if route.body is None or path not in document["paths"]:
                continue
            example = document["paths"][path][route.method.lower()]["requestBody"]["content"]["application/json"]["example"]
            try:
                route.body.model_validate(example)
            except ValidationError as error:
                pytest.fail(f"{route.method} {route.path}: its example is refused; give the route another (Route(example=...)): {error}")


@pytest.mark.parametrize("away", UPSTREAMS)
async def test_of_a_service_that_is_away_the_rest_is_shown(open_door: Any, services: dict[str, str], away: str) -> None:
    document = await merged(open_door, {name: url for name, url in services.items() if name != away})
    check_soundness(document)
    shown = {operation["tags"][0].rpartition("-")[2] for methods in document["paths"].values() for operation in methods.values()}
    assert shown == {"gateway", *UPSTREAMS} - {away}


async def test_a_service_that_begins_to_hang_is_waited_for_briefly(serve: Any) -> None:
    calls = count()
    body = document_of(routes_of("works"), name="works", title="works")

    async def show(_request: web.BaseRequest) -> web.StreamResponse:
        if next(calls):
            await asyncio.sleep(60)
        return web.Response(body=body, content_type="application/json")

    ask = OwnAsk("GET", "/openapi.json", {}, b"", "en")
    async with serve(show) as url:
        replicas = open_replicas({"works": [url]}, now=time.monotonic, pause_seconds=1)
        async with Document(replicas, RouteTable(), connect_seconds=1, wait_seconds=60, wait_again_seconds=0.1, fresh_seconds=0) as document:
            first = await document.show(ask)
            async with asyncio.timeout(30):
                again = await document.show(ask)
    assert "/works" in orjson.loads(first.body)["paths"]
    assert again.body == first.body


async def test_a_service_may_only_speak_of_what_the_gateway_sends_it(open_door: Any, serve: Any) -> None:
    odd = {"openapi": "3.1.0", "paths": {path: {"get": {"responses": {}}} for path in ("/works", "/internal/works/list", "/login", "/metrics")}}

    async def show(_request: web.BaseRequest) -> web.StreamResponse:
        return web.json_response(odd)

    async with serve(show) as url:
        document = await merged(open_door, {"works": url})
    assert [path for path, methods in document["paths"].items() if methods["get" if "get" in methods else "put"]["tags"][0].endswith("works")] == ["/works"]


async def test_two_shapes_of_one_name_are_kept_apart(open_door: Any, serve: Any) -> None:
    def told(path: str, kind: str) -> dict[str, Any]:
        answer = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Row"}}}, "description": "Done"}
        return {"paths": {path: {"get": {"responses": {"200": answer}}}}, "components": {"schemas": {"Row": {"type": kind}}}}

    async def works(_request: web.BaseRequest) -> web.StreamResponse:
        return web.json_response(told("/works", "object"))

    async def billing(_request: web.BaseRequest) -> web.StreamResponse:
        return web.json_response(told("/points/history", "array"))

    async with serve(works) as one, serve(billing) as other:
        document = await merged(open_door, {"works": one, "billing": other})
    found = {}
    for path in ("/works", "/points/history"):
        ref = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
        found[path] = document["components"]["schemas"][ref.rpartition("/")[2]]["type"]
    assert found == {"/works": "object", "/points/history": "array"}


@pytest.mark.parametrize("careful_only", [False, True])
async def test_the_address_alone_leads_to_the_page(open_door: Any, careful_only: bool) -> None:
    async with open_door(AWAY, careful_only=careful_only) as door, aiohttp.ClientSession() as http:
        for target in ("/", "/?from=somewhere"):
            async with http.get(door.url + target, allow_redirects=False) as answer:
                assert (answer.status, answer.headers["Location"]) == (302, "/docs")
        async with http.get(door.url + "/") as answer:
            assert (answer.status, answer.content_type) == (200, "text/html")
        async with http.post(door.url + "/") as answer:
            assert answer.status == 405


async def test_a_page_says_that_it_may_be_packed_and_that_its_readers_are_listed(open_door: Any) -> None:
    async with (
        open_door(AWAY, cors_origins="https://app.example") as door,
        aiohttp.ClientSession() as http,
        http.get(door.url + "/docs/swagger-ui.css", headers={"Origin": "https://app.example"}) as answer,
    ):
        assert (answer.status, sorted(answer.headers.getall("Vary"))) == (200, ["Accept-Encoding", "Origin"])


async def test_the_page_and_all_it_loads_come_from_the_gateway(open_door: Any) -> None:
    async with open_door(AWAY) as door:
        status, headers, page = await get(door.url + "/docs")
        assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert "script-src 'self'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        loaded = re.findall(r'(?:src|href)="([^"]+)"', page.decode())
        assert len(loaded) >= 4
        assert all(one.startswith("/") for one in loaded)
        assert b"<script>" not in page
        for path in loaded:
            status, headers, body = await get(door.url + path, **{"Accept-Encoding": "gzip"})
            assert status == 200
            if path.startswith("/docs/"):
                assert gzip.decompress(body) == (FOLDER / path.removeprefix("/docs/")).read_bytes()
                assert (await get(door.url + path, **{"If-None-Match": headers["ETag"]}))[0] == 304
        for path in ("/docs/LICENSE.txt", "/docs/NOTICE.txt"):
            assert (await get(door.url + path))[0] == 200
        for path in ("/docs/pages.py", "/docs/README.md", "/docs/swagger-ui.css/x"):
            assert (await get(door.url + path))[0] == 404
