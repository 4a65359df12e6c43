"""Whose it is, over every route there is: another's object is answered as an unknown one, batches go as a whole, operators' routes are operators' only."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, get_args
from urllib.parse import urlsplit
from uuid import UUID

import aiohttp
import asyncpg
import pytest
from pydantic import BaseModel

from common.auth import ServiceTokens, read_private_key
from common.objects import UrlSigner
from common.web.dialects import dialect_of
from gateway.routes import ROUTES, RouteTable
from lab.dialects import Ask, World
from lab.dialects.rows import Who
from lab.dialects.world import UNKNOWN, photo_bytes, photo_data_url
from lab.fingerprints import every_database, fingerprints
from lab.hostile import targets
from lab.hostile.targets import PUBLIC, Found
from lab.people import Person
from lab.rig import rig_running
from suite.home import OPERATOR

PASSWORD = "correct horse battery"
OUT_SECONDS = 30
"""Within five seconds the end of a token is known everywhere (test_revocation.py measures it); a crowded machine may take longer."""
UNKNOWN_NAME = "0" * 64 + ".jpg"
UNKNOWN_ORDER = "ORDER1700000000000ABCDEF"

EVERY = {str(door): door for door in PUBLIC}
ADMIN = [door for door in targets.EVERY if door.route.auth == "admin"]
NOBODYS = {
    one.strip()
    for one in """
    POST /users | POST /login | GET /api/auth/me | POST /api/auth/refresh | POST /api/auth/wechat/login | POST /api/auth/admin/login
    | POST /requestPasswordReset | GET /v1/sessions | DELETE /v1/sessions | POST /v1/sessions | GET /.well-known/jwks.json
    | POST /api/upload/single | POST /api/upload/multiple | POST /api/upload/base64 | POST /api/upload/base64/batch | POST /v1/uploads | GET /v1/gallery
    | GET /api/tasks/user/list | GET /api/tasks/stats/queue | GET /api/scenes | GET /api/scenes/{scene_id} | GET /api/scenes/meta/categories
    | GET /api/credits/balance | GET /api/credits/records | GET /api/credits/stats | GET /api/credits/packages | GET /v1/packages
    | POST /api/credits/recharge | GET /api/credits/orders | GET /points/history | POST /points/purchase | GET /ws
    | GET /health | GET /api/health
    """.replace("\n", " ").split("|")
}
"""Routes that name nobody's object: they are about whoever asks, make something new, or show what is everybody's."""
BY_SECRET = {
    one.strip()
    for one in """
    POST /v1/sessions/refresh | GET /v1/admin-invitations | GET /v1/admin-invitations/page.js | GET /v1/admin-invitations/page.css
    | POST /v1/admin-invitations | GET /v1/password-resets | GET /v1/password-resets/page.js | GET /v1/password-resets/page.css | POST /v1/password-resets
    | GET /v1/email-verifications | GET /v1/email-verifications/page.js | GET /v1/email-verifications/page.css | POST /v1/email-verifications
    | GET /v1/sandbox/pay.css | GET /v1/sandbox/pay/{intent} | POST /v1/sandbox/pay/{intent}
    """.replace("\n", " ").split("|")
}
"""Routes that open to a secret (a mail's token, an intent of 128 bits) whoever brings it, and what their pages are made of."""
BY_LINK = {"GET /files/{key:.+}", "PUT /v1/incoming/{user_id}/{upload_id}"}
"""Routes that open to a link we signed; a link to one thing opens no other."""
TABLE = RouteTable()
_SEVERAL = re.compile(r"(^|_)ids$|Ids$")


# What is somebody's


@dataclass(frozen=True)
class Owned:
    """A route that names an object: how the other user gets one, what names an unknown one, and the request about either."""

    theirs: Callable[[World], Awaitable[str]]
    ask: Callable[[str], Ask]
    unknown: str = UNKNOWN
    owner_is_answered: int = 200
    nobody: bool = False
    """Whether people without a token are let in as far as the object."""
    moves: bool = False
    """Whether the object changes by itself, so that only its owner can tell what became of it."""


async def _work(world: World) -> str:
    return str((await world.ask("POST", "/works", who="bob", json={"title": "Mine", "image": photo_data_url()}))["objectId"])


async def _kept_work(world: World) -> str:
    return await world.song_work("bob")


async def _task(world: World) -> str:
    return await world.task("bob")


async def _running_task(world: World) -> str:
    return await world.fresh_task("bob")


async def _song(world: World) -> str:
    async def make() -> str:
        return str((await world.ask("POST", "/music/tasks", who="bob", json={"title": "Mine", "prompt": "mine"}))["taskId"])

    return str(await world.once("bob's own song", make))


async def _order(world: World) -> str:
    return await world.order("bob")


async def _photo(world: World) -> str:
    return world.bob.photo_url


async def _old_photo(world: World) -> str:
    """A link that has ended: whoever holds one that is good may use what it leads to."""
    signer = UrlSigner(world.rig.home.secret("files"), world.rig.url)
    key = signer.key_of(world.bob.photo_url)
    assert key is not None
    return signer.sign(key, now=datetime.now(UTC) - timedelta(hours=3))


async def _file_name(world: World) -> str:
    told = await world.ask("POST", "/api/upload/base64", who="bob", json={"base64": photo_data_url()})
    return str(told["data"]["fileName"])


async def _session(world: World) -> str:
    login = {"email": f"{world.bob.name}@people.example", "password": PASSWORD}
    return str((await world.ask("POST", "/v1/sessions", who="nobody", json=login))["session_id"])


async def _upload(world: World) -> str:
    """Announced, and its bytes are there."""
    upload_id, link, photo = await _announced(world, "bob")
    async with world.http.put(link, data=photo, headers={"Content-Type": "application/octet-stream"}) as answer:
        assert answer.status == 200
    return upload_id


async def _announced(world: World, who: Who) -> tuple[str, str, bytes]:
    photo = photo_bytes()
    told = await world.ask("POST", "/v1/uploads", who=who, json={"size_bytes": len(photo)})
    return str(told["upload_id"]), str(told["url"]), photo


async def _bob(world: World) -> str:
    await world.work("bob")
    return world.bob.user_id


def at(path: str, json: Callable[[str], Any] | None = None) -> Callable[[str], Ask]:
    """The object's id in the path, or in the body."""
    return lambda found: Ask(path=path.replace("*", found), json=json(found) if json is not None else None)


NO_UPLOAD = f"http://127.0.0.1/files/uploads/{UNKNOWN}/{'0' * 64}.jpg?exp=99999999999&sig={'A' * 32}"
OWNED: Mapping[str, Owned] = {
    "GET /api/works/{work_id}": Owned(_kept_work, at("/api/works/*"), nobody=True),
    "GET /works/{work_id}": Owned(_kept_work, at("/works/*"), nobody=True),
    "GET /api/works": Owned(_bob, at("/api/works?user_id=*"), nobody=True),
    "GET /works": Owned(_bob, at("/works?creator=*"), nobody=True),
    "PUT /api/works/{work_id}": Owned(_work, at("/api/works/*", lambda _: {"is_public": True, "is_favorite": True})),
    "DELETE /api/works/{work_id}": Owned(_work, at("/api/works/*")),
    "POST /api/works/batch/delete": Owned(_work, at("/api/works/batch/delete", lambda found: {"work_ids": [found]})),
    "POST /v1/works/{work_id}/plays": Owned(_kept_work, at("/v1/works/*/plays")),
    "PUT /v1/works/{work_id}/like": Owned(_kept_work, at("/v1/works/*/like")),
    "DELETE /v1/works/{work_id}/like": Owned(_kept_work, at("/v1/works/*/like")),
    "POST /works": Owned(_photo, at("/works", lambda found: {"title": "Mine", "image": found}), NO_UPLOAD, 201),
    "DELETE /api/upload/{file_name}": Owned(_file_name, at("/api/upload/*"), UNKNOWN_NAME),
    "POST /v1/uploads/{upload_id}/complete": Owned(_upload, at("/v1/uploads/*/complete")),
    "POST /api/tasks/create": Owned(_old_photo, at("/api/tasks/create", lambda found: {"type": "travel", "images": [found]}), NO_UPLOAD),
    "GET /api/tasks/{task_id}": Owned(_task, at("/api/tasks/*")),
    "POST /api/tasks/{task_id}/cancel": Owned(_running_task, at("/api/tasks/*/cancel"), moves=True),
    "POST /music/tasks": Owned(_kept_work, at("/music/tasks", lambda found: {"title": "Mine", "prompt": "mine", "workId": found}), owner_is_answered=201),
    "GET /music/tasks/{taskId}": Owned(_song, at("/music/tasks/*")),
    "GET /api/credits/orders/{order_no}": Owned(_order, at("/api/credits/orders/*"), UNKNOWN_ORDER),
    "DELETE /v1/sessions/{session_id}": Owned(_session, at("/v1/sessions/*"), owner_is_answered=204),
    # Engines and payment providers call these, and sign; to their own users too they are closed.
    "POST /api/callback/task-complete": Owned(
        _running_task, at("/api/callback/task-complete", lambda found: {"task_id": found, "images": []}), owner_is_answered=401, nobody=True, moves=True
    ),
    "POST /api/callback/task-failed": Owned(
        _running_task, at("/api/callback/task-failed", lambda found: {"task_id": found, "error": "x"}), owner_is_answered=401, nobody=True, moves=True
    ),
    "POST /api/credits/payment/callback": Owned(
        _order, at("/api/credits/payment/callback", lambda found: {"order_no": found}), UNKNOWN_ORDER, owner_is_answered=401, nobody=True
    ),
}


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with rig_running(tmp_path_factory.mktemp("ownership")) as rig, aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http:
        made = World(rig, http)
        await made.prepare()
        yield made
        await made.close()


@pytest.fixture(scope="module")
async def connections(world: World) -> AsyncIterator[dict[str, asyncpg.Connection]]:
    async with every_database(world.rig.environment) as made:
        yield made


async def settled(connections: Mapping[str, asyncpg.Connection], user_id: str) -> dict[str, str]:
    """Every row of somebody's, once what was told has been heard."""
    before = await fingerprints(connections, user_id)
    for _ in range(100):
        await asyncio.sleep(0.15)
        now = await fingerprints(connections, user_id)
        if now == before:
            return now
        before = now
    raise AssertionError("never at rest")


def seen(answer: tuple[int, Any, dict[str, str]], found: str) -> tuple[Any, ...]:
    """An answer without what may differ: its time, its number, and the id that was asked for."""
    status, body, headers = answer
    if isinstance(body, dict):
        body = {name: value for name, value in body.items() if name not in ("timestamp", "request_id")}
    plain = re.sub(re.escape(found.partition("?")[0]), "*", str(body), flags=re.IGNORECASE)
    return status, headers.get("x-error-code"), headers.get("content-type"), headers.get("cache-control"), plain


# The tests


def test_every_route_is_known_to_this_test() -> None:
    known = NOBODYS | BY_SECRET | BY_LINK | set(OWNED)
    assert {row.path for row in ROUTES if row.service == "gateway"} - {_row_of(door) for door in PUBLIC} == {"/", "/openapi.json", "/docs", "/docs/*"}
    routes = {name for name, door in EVERY.items() if door.route.auth != "admin"}
    assert routes - known == set(), "say whose objects these name"
    assert known - routes == set(), "these are no more"
    assert len(known) == sum(map(len, (NOBODYS, BY_SECRET, BY_LINK, OWNED))), "one kind each"
    assert {name for name in NOBODYS if "{" in name} == {"GET /api/scenes/{scene_id}"}


def _row_of(door: Found) -> str:
    row = TABLE.find(door.target())
    assert row is not None, door
    return row.path


def test_no_body_and_no_query_names_an_object_that_this_test_has_not_heard_of() -> None:
    named = {f"{door}: {field}" for door in EVERY.values() if door.route.auth != "admin" for field in _ids_in(door.model, door.route.query)}
    assert named == {
        "POST /api/works/batch/delete: work_ids", "POST /music/tasks: workId", "GET /api/works: user_id",
        "POST /api/callback/task-complete: task_id", "POST /api/callback/task-failed: task_id",
        "POST /api/credits/recharge: package_id", "POST /points/purchase: packageId", "POST /api/tasks/create: scene_id",  # everybody's
    }  # fmt: skip
    several = {str(door) for door in EVERY.values() for field in _ids_in(door.model) if _SEVERAL.search(field)}
    assert several == {"POST /api/works/batch/delete", "POST /v1/admin/notices"}


def _ids_in(*models: type[BaseModel] | None) -> Iterator[str]:
    for model in models:
        for name, field in (model.model_fields if model is not None else {}).items():
            if re.search(r"(^|_)(id|ids|no)$|(Id|Ids|No)$", name) or _holds_an_id(field.annotation):
                yield name


def _holds_an_id(kind: Any) -> bool:
    return kind is UUID or any(_holds_an_id(one) for one in get_args(kind))


@pytest.mark.parametrize("name", OWNED)
async def test_anothers_object_is_answered_as_an_unknown_one(world: World, connections: dict[str, asyncpg.Connection], name: str) -> None:
    owned, method = OWNED[name], name.partition(" ")[0]
    theirs = await owned.theirs(world)
    before = None if owned.moves or method == "GET" else await settled(connections, world.bob.user_id)
    strangers: list[Who] = ["alice", "nobody"]
    for who in strangers:
        foreign = seen(await world.send(method, owned.ask(theirs), who=who), theirs)
        unknown = seen(await world.send(method, owned.ask(owned.unknown), who=who), owned.unknown)
        assert foreign == unknown, who
        listing = "?" in owned.ask("").path
        refusals = (200,) if listing else (401,) if who == "nobody" and not owned.nobody else (400, 401, 403, 404)
        assert foreign[0] in refusals, foreign
        assert theirs not in foreign[-1]
    if before is not None:
        assert await fingerprints(connections, world.bob.user_id) == before
    status, body, _ = await world.send(method, owned.ask(theirs), who="bob")
    assert status == owned.owner_is_answered, body
    if "?" in owned.ask("").path:
        assert theirs in str(body), "there is something to be shown"
    if owned.moves and status == 401:
        await world.ask("POST", f"/api/tasks/{theirs}/cancel", who="bob")


async def test_a_link_to_ones_own_opens_nothing_of_anothers(world: World) -> None:
    own, theirs = urlsplit(world.alice.photo_url), urlsplit(world.bob.photo_url)
    assert (await world.send("GET", Ask(path=f"{own.path}?{own.query}"), who="nobody"))[0] == 200
    foreign = await world.send("GET", Ask(path=f"{theirs.path}?{own.query}"), who="alice")
    unknown_path = f"/files/uploads/{UNKNOWN}/{UNKNOWN_NAME}"
    unknown = await world.send("GET", Ask(path=f"{unknown_path}?{own.query}"), who="alice")
    assert seen(foreign, theirs.path) == seen(unknown, unknown_path)
    assert foreign[0] == 404


async def test_a_link_to_put_ones_own_puts_nothing_of_anothers(world: World) -> None:
    _, own_link, photo = await _announced(world, "alice")
    upload_id, link, _ = await _announced(world, "bob")
    own, theirs = urlsplit(own_link), urlsplit(link)
    unknown_path = f"/v1/incoming/{UNKNOWN}/{UNKNOWN}"
    foreign = await world.send("PUT", Ask(path=f"{theirs.path}?{own.query}", body=photo), who="alice")
    unknown = await world.send("PUT", Ask(path=f"{unknown_path}?{own.query}", body=photo), who="alice")
    assert seen(foreign, theirs.path) == seen(unknown, unknown_path)
    assert foreign[0] == 404
    assert (await world.send("POST", Ask(path=f"/v1/uploads/{upload_id}/complete"), who="bob"))[0] == 404, "nothing was put"
    assert (await world.send("PUT", Ask(path=f"{theirs.path}?{theirs.query}", body=photo), who="nobody"))[0] == 200


async def test_a_batch_is_deleted_as_a_whole_or_not_at_all(world: World) -> None:
    async def works(who: Who, count: int) -> list[str]:
        wish = {"title": "Mine", "image": photo_data_url()}
        return [str((await world.ask("POST", "/works", who=who, json=wish))["objectId"]) for _ in range(count)]

    async def delete(who: Who, work_ids: list[str]) -> tuple[int, Any, dict[str, str]]:
        return await world.send("POST", Ask(path="/api/works/batch/delete", json={"work_ids": work_ids}), who=who)

    async def are_there(who: Who, work_ids: list[str]) -> bool:
        return {(await world.send("GET", Ask(path=f"/api/works/{one}"), who=who))[0] for one in work_ids} == {200}

    own, theirs = await works("alice", 3), await works("bob", 1)
    unknown = seen(await delete("alice", [*own, UNKNOWN]), UNKNOWN)
    assert unknown[:2] == (403, "10003")
    for batch in ([*own, *theirs], [*theirs, *own], [own[0], *theirs, own[0]]):
        assert seen(await delete("alice", batch), theirs[0]) == unknown
    running = await world.begun_work()
    status, _, headers = await delete("alice", [*own, running])
    assert (status, headers["x-error-code"]) == (409, "30003")
    assert await are_there("alice", [*own, running])
    assert await are_there("bob", theirs)
    await world.ask("POST", f"/api/tasks/{running}/cancel")
    assert (await delete("alice", [*own, own[0]]))[0] == 200
    assert {(await world.send("GET", Ask(path=f"/api/works/{one}"), who="alice"))[0] for one in own} == {404}
    assert (await delete("admin", theirs))[0] == 200, "operators may delete anybody's"


# Operators


@asynccontextmanager
async def promoted(world: World) -> AsyncIterator[tuple[Person, str]]:
    """Somebody who signed up like everybody, was made an admin, and logged in again."""
    async with Person(lambda: world.rig.url) as person:
        await person.sign_up()
        told = await world.ask("PUT", f"/api/admin/users/{person.user_id}", who="admin", json={"role": "admin"})
        assert told["data"]["user"]["role"] == "admin"
        yield person, await _log_in(world, person)


async def _log_in(world: World, person: Person) -> str:
    login = {"email": f"{person.name}@people.example", "password": PASSWORD}
    return str((await world.ask("POST", "/login", who="nobody", json=login))["sessionToken"])


@pytest.fixture(scope="module")
async def operator(world: World) -> AsyncIterator[str]:
    async with promoted(world) as (_, token):
        yield token


async def knock(world: World, door: Found, token: str) -> tuple[int, Any, dict[str, str]]:
    """Ask an operators' route about nothing there is; internal ones are asked at their service, where nobody from outside gets."""
    path = door.target(UNKNOWN)
    base = world.rig.environment[f"{door.service.upper()}_URL"].split(",")[0] if door.is_internal else world.rig.url
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    body = {} if door.route.method in ("POST", "PUT") else None
    async with world.http.request(door.route.method, base + path, json=body, headers=headers) as answer:
        return answer.status, await answer.json(content_type=None), {name.lower(): value for name, value in answer.headers.items()}


def refuses(door: Found, answer: tuple[int, Any, dict[str, str]], status: int, code: str) -> bool:
    """Whether it is this refusal, in the envelope of the route's dialect and with nothing else in it."""
    got, body, headers = answer
    kind = headers.get("content-type", "").partition(";")[0]
    photo = dialect_of(door.route.path) == "photo"
    fits = kind == "application/json" and set(body) == {"success", "message"} if photo else kind == "application/problem+json" and body["code"] == int(code)
    return (got, headers.get("x-error-code")) == (status, code) and fits


def test_operators_routes_are_all_found() -> None:
    named = {str(door) for door in ADMIN if not door.is_internal}
    wanted = """
        GET /api/admin/stats/overview | GET /api/admin/users | PUT /api/admin/users/{user_id} | GET /api/admin/works | DELETE /api/admin/works/{work_id}
        | GET /api/admin/tasks | GET /api/admin/orders | GET /api/admin/config
        | PUT /api/admin/config/{config_key} | POST /api/scenes | PUT /api/scenes/{scene_id}
        | DELETE /api/scenes/{scene_id} | POST /v1/admin/orders/{order_no}/refund | POST /v1/admin/notices
    """
    assert {" ".join(one.split()) for one in wanted.split("|")} <= named
    assert [str(door) for door in ADMIN if door.is_internal and TABLE.find(door.route.path) is not None] == []
    assert {door.route.path for door in EVERY.values() if "/admin/" in door.route.path} - {door.route.path for door in ADMIN} == {"/api/auth/admin/login"}


@pytest.mark.parametrize("door", ADMIN, ids=lambda door: f"{door.service} {door}")
async def test_an_operators_route_opens_to_admins_only(world: World, operator: str, door: Found) -> None:
    services = ServiceTokens(read_private_key(world.rig.home.key_path(OPERATOR)), OPERATOR)
    callee = "identity" if door.service == "gateway" else door.service
    assert refuses(door, await knock(world, door, ""), 401, "10002")
    assert refuses(door, await knock(world, door, "not.a.token"), 401, "10002")
    assert refuses(door, await knock(world, door, world.alice.token), 403, "10003")
    status, _, headers = await knock(world, door, services.token_for(callee))
    assert (status, headers.get("x-error-code")) in {(403, "10003"), (401, "10002")}, "a service is no operator"
    for token in (operator, world.admin_token):
        status, body, headers = await knock(world, door, token)
        assert status not in (401, 403), body
        assert status < 500, body


async def test_who_is_no_admin_any_more_is_out_with_every_token(world: World) -> None:
    async with promoted(world) as (person, token):
        door = EVERY["GET /api/admin/users"]
        assert (await knock(world, door, token))[0] == 200
        await world.ask("PUT", f"/api/admin/users/{person.user_id}", who="admin", json={"role": "user"})
        until = asyncio.get_running_loop().time() + OUT_SECONDS
        for other in ("GET /api/admin/users", "GET /api/admin/works", "GET /api/admin/tasks", "GET /api/admin/orders", "GET /api/admin/stats/overview"):
            while not refuses(EVERY[other], answer := await knock(world, EVERY[other], token), 401, "10002"):
                assert asyncio.get_running_loop().time() < until, (other, answer)
                await asyncio.sleep(0.1)
        assert refuses(door, await knock(world, door, await _log_in(world, person)), 403, "10003")
