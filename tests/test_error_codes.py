"""The sixteen numbered codes of the song system's document: each provoked through the gateway of a live suite wherever a client can meet it."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import pytest

from common.auth import ServiceTokens, read_private_key
from common.errors import every_error
from common.messages import Lang, text
from common.web.dialects import dialect_of
from lab.dialects import Ask, World, differences
from lab.dialects.rows import Who
from lab.dialects.shapes import MOMENT, WORD
from lab.dialects.world import UNKNOWN, photo_data_url
from lab.hostile.tokens import Forger, stolen_key
from lab.people import Person
from lab.rig import Rig, rig_running
from suite.home import OPERATOR

SIXTEEN = {first + number for first in (10000, 20000, 30000, 40000) for number in range(4)}
WITHOUT_A_SONG_ROUTE = {20000, 30002, 30003, 40003}
"""The song dialect changes no work, deletes none, and has no operators: clients meet these in the other dialects."""
SLUGS = {kind.code: kind.slug for kind in every_error().values() if kind.code in SIXTEEN}
ENVELOPES: Mapping[str, dict[str, Any]] = {
    "song": {"code": int, "message": WORD, "details": dict, "timestamp": MOMENT},
    "photo": {"success": False, "message": WORD, "data?": dict, "errors?": list},
    "v1": {
        "type": WORD, "title": WORD, "status": int, "detail": WORD, "instance": WORD, "code": int, "request_id": WORD, "retryable": bool, "errors": list,
        "data?": dict,
    },
}  # fmt: skip
INSIDES = re.compile(r"traceback|asyncpg|sqlstate|select |insert |relation|postgres|127\.0\.0\.1|localhost|\.py\b|/site-packages/|exception", re.IGNORECASE)
PASSWORD = "correct horse battery"
SONG = {"title": "Sea", "tags": ["folk"], "prompt": "waves at dusk", "negative_tags": []}
SLOW_SECONDS = 30
"""Within five seconds the end of an account is known everywhere (test_revocation.py measures it); a crowded machine may take longer."""


@dataclass(frozen=True)
class Place:
    """One request that is refused with the code, and what the refusal names."""

    method: str
    path: str
    status: int
    who: Who = "alice"
    named: Mapping[str, Any] = field(default_factory=dict)
    fields: tuple[str, ...] = ()
    json: Any = None
    quoted: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    patient: bool = False
    """What is known elsewhere only after a moment."""

    @property
    def dialect(self) -> str:
        return dialect_of(self.path.partition("?")[0])


Provoke = Callable[[World], AsyncIterator[Place]]
PROVOKED: dict[int, Provoke] = {}


def shows(code: int) -> Callable[[Provoke], Provoke]:
    def note(provoke: Provoke) -> Provoke:
        assert code not in PROVOKED
        PROVOKED[code] = provoke
        return provoke

    return note


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """A suite that lets nobody log in with an address that is not verified."""
    folder = tmp_path_factory.mktemp("codes")
    async with (
        rig_running(folder, env={"IDENTITY_EMAIL_VERIFICATION": "required"}) as rig,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http,
    ):
        made = World(rig, http)
        await made.prepare()
        yield made
        await made.close()


@asynccontextmanager
async def somebody(world: World, *, credit: int = 0, point: int = 0) -> AsyncIterator[Person]:
    """A new person with this much beside what everybody is given."""
    async with Person(lambda: world.rig.url) as person:
        await person.sign_up()
        for asset, amount in (("credit", credit), ("point", point)):
            if amount:
                await world.rig.grant(person.user_id, amount, asset=asset)
        yield person


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def service_token(rig: Rig, callee: str) -> str:
    return ServiceTokens(read_private_key(rig.home.key_path(OPERATOR)), OPERATOR).token_for(callee)


@asynccontextmanager
async def renamed(rig: Rig, database: str, table: str) -> AsyncIterator[None]:
    """A table that is not where the service looks for it: nothing anybody asks for could do that."""
    place = urlsplit(rig.environment[f"{database.upper()}_DATABASE_URL"])
    password = json.loads((rig.home.postgres / "passwords.json").read_text())["postgres"]
    conn = await asyncpg.connect(host=place.hostname, port=place.port, user="postgres", password=password, database=database)
    try:
        await conn.execute("SET lock_timeout = '5s'")
        await conn.execute(f"ALTER TABLE {table} RENAME TO {table}_away")
        try:
            yield
        finally:
            await conn.execute(f"ALTER TABLE {table}_away RENAME TO {table}")
    finally:
        await conn.close()


async def pay(world: World, url: str, decision: str = "pay") -> None:
    """Press a button on the sandbox's page; `final` is a payment whose refund will be refused."""
    async with world.http.post(url, data={"decision": decision}) as answer:
        assert 'data-state="paid"' in await answer.text()


async def refund(world: World, order_no: str) -> None:
    await world.ask("POST", f"/v1/admin/orders/{order_no}/refund", who="admin", json={"reason": "asked for it"})


# 1xxxx: anything


@shows(10000)
async def a_fault_of_ours(world: World) -> AsyncIterator[Place]:
    async with renamed(world.rig, "billing", "record"):
        yield Place("GET", "/points/history", 500)
        yield Place("GET", "/api/credits/records", 500)
    for path in ("/points/history", "/api/credits/records"):
        await world.ask("GET", path)


@shows(10001)
async def a_broken_or_missing_field(_world: World) -> AsyncIterator[Place]:
    yield Place("POST", "/music/tasks", 400, json={**SONG, "title": 5, "tags": "folk"}, fields=("title", "tags"))
    yield Place("POST", "/music/tasks", 400, json={**SONG, "prompt": ""}, fields=("prompt",))
    yield Place("POST", "/login", 400, who="nobody", json={"email": "a@b.example"}, fields=("password",))
    yield Place("POST", "/points/purchase", 400, json={"packageId": "points-800", "payment": {"method": "stripe"}}, fields=("payment.amount",))
    yield Place("GET", "/works?limit=0", 400, fields=("limit",))
    yield Place("POST", "/login", 400, who="nobody", quoted=b'{"email": ', fields=("body",))
    yield Place("POST", "/api/tasks/create", 400, json={"type": "travel", "images": []}, fields=("images",))
    yield Place("GET", "/api/works?page=0", 400, fields=("page",))
    yield Place("POST", "/v1/sessions", 400, who="nobody", json={"email": "a@b.example"}, fields=("password",))


@shows(10002)
async def no_bad_expired_or_revoked_token(world: World) -> AsyncIterator[Place]:
    forger = Forger(await stolen_key(world.rig.home, world.rig.environment["IDENTITY_DATABASE_URL"]), world.alice.user_id, collector_url="")
    await world.ask("GET", "/points/history", who="nobody", headers=bearer(forger.token()))
    past = int(time.time()) - 3600
    async with somebody(world) as gone:
        await world.ask("DELETE", "/v1/sessions/current", who="nobody", headers=bearer(gone.token))
        tokens = {"none": None, "bad": "not.a.token", "expired": forger.token(iat=past - 60, exp=past), "revoked": gone.token}
        for path in ("/points/history", "/music/tasks/" + UNKNOWN, "/api/auth/me", "/v1/sessions"):
            for what, token in tokens.items():
                yield Place("GET", path, 401, who="nobody", headers=bearer(token) if token else {}, patient=what == "revoked")
        yield Place("GET", "/points/history", 401, who="nobody", headers={"X-LC-Session": tokens["expired"] or ""})


@shows(10003)
async def not_an_admin(world: World) -> AsyncIterator[Place]:
    yield Place("GET", "/points/history", 403, who="nobody", headers=bearer(service_token(world.rig, "billing")))
    yield Place("GET", "/works", 403, who="nobody", headers=bearer(service_token(world.rig, "works")))
    yield Place("GET", "/api/admin/users", 403)
    yield Place("GET", "/api/admin/stats/overview", 403)
    yield Place("POST", "/v1/admin/notices", 403, json={"title": "x", "content": "y"})


# 2xxxx: people


@shows(20000)
async def an_unknown_user(_world: World) -> AsyncIterator[Place]:
    yield Place("PUT", f"/api/admin/users/{UNKNOWN}", 404, who="admin", json={"status": "active"})
    yield Place("PUT", "/api/admin/users/nobody", 404, who="admin", json={"role": "admin"})
    yield Place("POST", "/v1/admin/notices", 404, who="admin", json={"title": "x", "content": "y", "user_id": UNKNOWN}, named={"user_ids": [UNKNOWN]})


@shows(20001)
async def a_wrong_password_or_an_unknown_address(world: World) -> AsyncIterator[Place]:
    yield Place("POST", "/login", 401, who="nobody", json={"email": f"{world.bob.name}@people.example", "password": "not this one"})
    yield Place("POST", "/login", 401, who="nobody", json={"email": "nobody@people.example", "password": "not this one"})
    yield Place("POST", "/api/auth/admin/login", 401, who="nobody", json={"username": "admin", "password": "not this one"})
    yield Place("POST", "/v1/sessions", 401, who="nobody", json={"email": "nobody@people.example", "password": "not this one"})


@shows(20002)
async def an_address_that_is_not_verified(world: World) -> AsyncIterator[Place]:
    login = {"email": f"{world.alice.name}@people.example", "password": PASSWORD}
    yield Place("POST", "/login", 403, who="nobody", json=login)
    yield Place("POST", "/v1/sessions", 403, who="nobody", json=login)


@shows(20003)
async def a_disabled_account(world: World) -> AsyncIterator[Place]:
    async with somebody(world) as gone:
        await world.ask("PUT", f"/api/admin/users/{gone.user_id}", who="admin", json={"status": "disabled"})
        login = {"email": f"{gone.name}@people.example", "password": PASSWORD}
        yield Place("POST", "/login", 403, who="nobody", json=login)
        for path, status in (("/points/history", 403), ("/works", 403), ("/api/auth/me", 401), ("/api/credits/balance", 401), ("/v1/sessions", 403)):
            yield Place("GET", path, status, who="nobody", headers=bearer(gone.token), patient=True)


# 3xxxx: works


@shows(30000)
async def an_unknown_work_or_anothers(world: World) -> AsyncIterator[Place]:
    theirs = await world.song_work("bob")
    for work_id in (UNKNOWN, "no-id-at-all", theirs):
        for path in (f"/works/{work_id}", f"/api/works/{work_id}"):
            yield Place("GET", path, 404)
            yield Place("GET", path, 404, who="nobody")
    yield Place("POST", "/music/tasks", 404, json={**SONG, "workId": theirs})
    yield Place("PUT", f"/v1/works/{theirs}/like", 404)


@shows(30001)
async def a_picture_that_does_not_decode(_world: World) -> AsyncIterator[Place]:
    for image in ("data:image/png;base64,iVBORw0KGgo=", "data:image/jpeg;base64,/9j/4AAQSkZJRg=="):
        yield Place("POST", "/works", 422, fields=("image",), json={"title": "Sea", "image": image})


@shows(30002)
async def a_work_that_is_being_made_or_was_changed_since(world: World) -> AsyncIterator[Place]:
    work_id = str((await world.ask("POST", "/works", json={"title": "Sea", "image": photo_data_url()}))["objectId"])
    _, _, seen = await world.send("GET", Ask(path=f"/api/works/{work_id}"), who="alice")
    await world.ask("PUT", f"/api/works/{work_id}", json={"is_favorite": True}, headers={"If-Match": seen["etag"]})
    yield Place("PUT", f"/api/works/{work_id}", 409, json={"is_favorite": False}, headers={"If-Match": seen["etag"]})
    assert (await world.ask("GET", f"/api/works/{work_id}"))["data"]["work"]["is_favorite"] is True
    task_id = await world.begun_work()
    yield Place("PUT", f"/api/works/{task_id}", 409, json={"is_favorite": True})
    await world.ask("POST", f"/api/tasks/{task_id}/cancel")


@shows(30003)
async def a_work_whose_task_still_runs(world: World) -> AsyncIterator[Place]:
    task_id = await world.begun_work()
    yield Place("DELETE", f"/api/works/{task_id}", 409)
    yield Place("POST", "/api/works/batch/delete", 409, json={"work_ids": [task_id]})
    yield Place("DELETE", f"/api/admin/works/{task_id}", 409, who="admin")
    await world.ask("POST", f"/api/tasks/{task_id}/cancel")


# 4xxxx: points and credits


@shows(40000)
async def less_than_it_costs(world: World) -> AsyncIterator[Place]:
    async with somebody(world, point=-100) as poor:
        named = {"required": 100, "current": 80, "shortage": 20}
        yield Place("POST", "/music/tasks", 402, who="nobody", headers=bearer(poor.token), json=SONG, named=named)
        wish = {"type": "travel", "batch_count": 50, "images": [photo_data_url()], "scene_id": "beach-sunset"}
        named = {"required": 50, "current": 10, "shortage": 40}
        yield Place("POST", "/api/tasks/create", 400, who="nobody", headers=bearer(poor.token), json=wish, named=named)


@shows(40001)
async def an_unknown_package_or_another_amount(_world: World) -> AsyncIterator[Place]:
    def wish(package: str, amount: float) -> dict[str, Any]:
        return {"packageId": package, "payment": {"method": "stripe", "amount": amount}}

    yield Place("POST", "/points/purchase", 402, json=wish("no-such", 2), named={"package_id": "no-such"})
    yield Place("POST", "/points/purchase", 402, json=wish("basic", 2), named={"package_id": "basic"})
    yield Place("POST", "/points/purchase", 402, json=wish("points-800", 1.99), named={"amount": 2.0, "currency": "USD"})
    recharge = {"package_id": "no-such", "payment_method": "wechat"}
    yield Place("POST", "/api/credits/recharge", 402, json=recharge, named={"package_id": "no-such"})


@shows(40002)
async def what_was_spent_of_a_payment_that_went_back(world: World) -> AsyncIterator[Place]:
    async with somebody(world) as debtor:
        me = bearer(debtor.token)
        purchase = {"packageId": "points-800", "payment": {"method": "stripe", "amount": 2}}
        order = await world.ask("POST", "/points/purchase", who="nobody", headers=me, json=purchase)
        await pay(world, order["payment"]["params"]["pay_url"])
        await world.rig.grant(debtor.user_id, -900, asset="point")
        await refund(world, order["orderNo"])
        yield Place("POST", "/music/tasks", 409, who="nobody", headers=me, json=SONG, named={"receivable": 720})
        recharge = {"package_id": "basic", "payment_method": "wechat"}
        bought = (await world.ask("POST", "/api/credits/recharge", who="nobody", headers=me, json=recharge))["data"]
        await pay(world, bought["payment_params"]["pay_url"])
        await world.rig.grant(debtor.user_id, -105)
        await refund(world, bought["order_no"])
        wish = {"type": "travel", "batch_count": 1, "images": [photo_data_url()], "scene_id": "beach-sunset"}
        yield Place("POST", "/api/tasks/create", 409, who="nobody", headers=me, json=wish, named={"receivable": 95})


@shows(40003)
async def a_refund_that_the_payment_provider_refuses(world: World) -> AsyncIterator[Place]:
    async with somebody(world) as buyer:
        me = bearer(buyer.token)
        recharge = {"package_id": "basic", "payment_method": "alipay"}
        order = (await world.ask("POST", "/api/credits/recharge", who="nobody", headers=me, json=recharge))["data"]
        await pay(world, order["payment_params"]["pay_url"], "final")
        named = {"order_no": order["order_no"]}
        yield Place("POST", f"/v1/admin/orders/{order['order_no']}/refund", 409, who="admin", json={"reason": "asked for it"}, named=named)
        assert await buyer.balance() == 110, "what was bought stays"


# The tests


async def refused(world: World, place: Place) -> tuple[int, Any, dict[str, str]]:
    """The answer; of what becomes known after a moment, the first refusal."""
    until = asyncio.get_running_loop().time() + SLOW_SECONDS
    while True:
        ask = Ask(path=place.path, json=place.json, headers=place.headers)
        answer = await world.send(place.method, ask, who=place.who, quoted=place.quoted)
        if not place.patient or answer[0] >= 400 or asyncio.get_running_loop().time() > until:
            return answer
        await asyncio.sleep(0.1)


def details_of(dialect: str, body: dict[str, Any]) -> dict[str, Any]:
    """What a refusal names, wherever the dialect writes it."""
    if dialect == "song":
        return dict(body["details"])
    return {**body.get("data", {}), **({"errors": body["errors"]} if body.get("errors") else {})}


def wrong_with(code: int, place: Place, status: int, body: Any, headers: Mapping[str, str]) -> list[str]:
    if status != place.status or headers.get("x-error-code") != str(code):
        return [f"{status}, code {headers.get('x-error-code')}: {body}"]
    if said := differences(ENVELOPES[place.dialect], body):
        return said
    extra = set(body) - {name.removesuffix("?") for name in ENVELOPES[place.dialect]}
    said += [f"{sorted(extra)} are in no envelope"] if extra else []
    if place.dialect != "photo" and body["code"] != code:
        said.append(f"the body says {body['code']}")
    sentence = text(SLUGS[code], "en" if place.dialect == "v1" else "zh")
    if body["title" if place.dialect == "v1" else "message"] != sentence:
        said.append(f"{body} does not say {sentence}")
    details = details_of(place.dialect, body)
    faults = details.pop("errors", [])
    said += differences(place.named, details, "details") + differences([{"field": WORD, "message": WORD}], faults, "errors")
    if set(details) != set(place.named) or tuple(fault.get("field") for fault in faults) != place.fields:
        said.append(f"it names {details} and {faults}")
    if place.dialect == "song" and abs((datetime.now(UTC) - datetime.fromisoformat(body["timestamp"])).total_seconds()) > 60:
        said.append(f"{body['timestamp']} is not now")
    if status == 401 and headers.get("www-authenticate") != "Bearer":
        said.append("WWW-Authenticate is missing")
    if found := INSIDES.search(json.dumps(body)):
        said.append(f"shows our insides: {found[0]}")
    return said


def test_every_numbered_code_is_provoked_and_none_is_invented() -> None:
    assert {kind.code for kind in every_error().values() if kind.code < 50000 and kind.code % 10000 < 4} == SIXTEEN
    assert set(PROVOKED) == SIXTEEN


@pytest.mark.parametrize("code", sorted(PROVOKED))
async def test_a_numbered_code_shows_with_what_it_names(world: World, code: int) -> None:
    said, dialects = [], set()
    async with aclosing(PROVOKED[code](world)) as places:  # type: ignore[type-var]
        async for place in places:
            dialects.add(place.dialect)
            said += [f"{place.method} {place.path}: {each}" for each in wrong_with(code, place, *await refused(world, place))]
    assert said == []
    assert ("song" in dialects) == (code not in WITHOUT_A_SONG_ROUTE)


async def test_the_same_refusal_is_said_in_the_readers_language(world: World) -> None:
    languages: dict[str, Lang] = {"en-GB,en;q=0.9": "en", "zh-CN": "zh"}
    for asked, lang in languages.items():
        _, body, _ = await world.send("GET", Ask(path=f"/works/{UNKNOWN}", headers={"Accept-Language": asked}), who="alice")
        assert body["message"] == text("work-not-found", lang)
    ask = Ask(path=f"/works/{UNKNOWN}", headers={"Accept": "application/problem+json"})
    status, body, headers = await world.send("GET", ask, who="alice")
    assert (status, headers["content-type"].partition(";")[0]) == (404, "application/problem+json")
    assert differences(ENVELOPES["v1"], body) == []
