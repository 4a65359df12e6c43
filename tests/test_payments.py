"""Paid once, credited once: two billing processes, notices at once and forged, an operator who sees what does not fit and gives a payment back."""

import asyncio
import hashlib
import hmac
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson
import pytest

from common.ids import new_id
from lab.people import Person
from lab.rig import Rig, rig_running
from suite.operator import Operator

CALLBACK = "/api/credits/payment/callback"
SANDBOX_SECRET = "q7Zt-4Wm9_Rk2vXe8Ls5HdBn6Jy3Gf1cAuQoV0iPz"


@pytest.fixture(scope="module")
async def rig(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    """Every service a process of its own, billing two."""
    env = {"DARKROOM_LOG_LEVEL": "warning", "BILLING_SANDBOX_SECRET": SANDBOX_SECRET}
    async with rig_running(tmp_path_factory.mktemp("payments"), "--separate", "--provider", "instant", "--replicas", "billing=2", env=env) as running:
        yield running


@pytest.fixture
async def person(rig: Rig) -> AsyncIterator[Person]:
    async with Person(lambda: rig.url) as somebody:
        await somebody.sign_up()
        yield somebody


async def recharge(person: Person) -> dict[str, Any]:
    status, answer = await person.call("POST", "/api/credits/recharge", json={"package_id": "basic", "payment_method": "wechat"}, key=str(new_id()))
    assert status == 200, answer
    return dict(answer["data"])


def notice_of(order: dict[str, Any], **changed: Any) -> bytes:
    """What the sandbox would send when the order is paid, with something changed."""
    said = {
        "id": f"sbe_{new_id().hex}", "type": "payment.succeeded", "merchant_id": "darkroom-sandbox", "order_no": order["order_no"],
        "intent_id": order["payment_params"]["intent_id"], "transaction_id": f"sbx_{new_id().hex}", "amount": 990, "currency": "CNY",
    }  # fmt: skip
    return orjson.dumps({**said, **changed})


def signed(body: bytes, *, secret: str = SANDBOX_SECRET) -> dict[str, str]:
    stamp, nonce = str(int(time.time())), new_id().hex
    signature = hmac.new(secret.encode(), f"{stamp}.{nonce}.".encode() + body, hashlib.sha256).hexdigest()
    return {"Sandbox-Timestamp": stamp, "Sandbox-Nonce": nonce, "Sandbox-Signature": signature}


async def tell(person: Person, url: str, body: bytes, headers: dict[str, str]) -> int:
    async with person.http.post(url + CALLBACK, data=body, headers={**headers, "Content-Type": "application/json"}) as answer:
        await answer.read()
        return answer.status


async def as_admin(rig: Rig, method: str, path: str, **more: Any) -> tuple[int, Any]:
    token = (await Operator(rig.home, rig.home.running_state()).admin_login())["token"]
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession() as http, http.request(method, rig.url + path, headers=headers, **more) as answer:
        return answer.status, await answer.json(content_type=None)


async def audit(rig: Rig) -> dict[str, Any]:
    return await rig.ask("billing", "/internal/audit", None, method="GET")


@pytest.mark.kafka
async def test_an_order_notified_twenty_times_at_once_on_two_processes_is_granted_once(rig: Rig, person: Person) -> None:
    processes = rig.environment["BILLING_URL"].split(",")
    assert len(processes) == 2
    for number in range(1, 6):
        body = notice_of(await recharge(person))
        statuses = await asyncio.gather(*(tell(person, processes[turn % 2], body, signed(body)) for turn in range(20)))
        assert statuses == [200] * 20
        assert await person.balance() == 10 + 100 * number
    found = await audit(rig)
    assert found["sound"] is True, found


@pytest.mark.kafka
async def test_one_cent_off_grants_nothing_and_the_operator_sees_it(rig: Rig, person: Person) -> None:
    order = await recharge(person)
    body = notice_of(order, amount=989)
    assert set(await asyncio.gather(*(tell(person, rig.url, body, signed(body)) for _ in range(10)))) == {402}
    assert await person.balance() == 10
    _, mine = await person.call("GET", f"/api/credits/orders/{order['order_no']}")
    assert mine["data"]["order"]["status"] == "pending"
    status, shown = await as_admin(rig, "GET", f"/api/admin/orders?user_id={person.user_id}")
    assert (status, shown["data"]["orders"][0]["alerts"]) == (200, ["amount"])
    assert [alert["fault"] for alert in shown["data"]["alerts"] if alert["order_no"] == order["order_no"]] == ["amount"]


@pytest.mark.kafka
async def test_forged_notices_through_the_gateway_leave_nothing(rig: Rig, person: Person) -> None:
    order = await recharge(person)
    body = notice_of(order)
    for headers in ({}, signed(body, secret="another secret"), {**signed(body), "Sandbox-Timestamp": "1"}):
        assert await tell(person, rig.url, body, headers) == 401
    assert await person.balance() == 10


@pytest.mark.kafka
async def test_paid_on_the_page_told_by_the_feed_and_given_back_by_the_operator(rig: Rig, person: Person) -> None:
    order = await recharge(person)
    page = urlsplit(order["payment_params"]["pay_url"]).path
    async with person.http.get(rig.url + page) as answer:
        assert (answer.status, answer.headers["Content-Security-Policy"].split(";")[0]) == (200, "default-src 'self'")
    async with person.http.post(rig.url + page, data={"decision": "pay"}) as answer:
        assert 'data-state="paid"' in await answer.text()
    assert await person.balance() == 110
    path = f"/v1/admin/orders/{order['order_no']}/refund"
    assert (await person.call("POST", path, json={"reason": "mine"}))[0] == 403
    status, refunded = await as_admin(rig, "POST", path, json={"reason": "asked for it"})
    assert (status, refunded["order"]["status"]) == (200, "refunded")
    assert await person.balance() == 10
    status, overview = await as_admin(rig, "GET", "/api/admin/stats/overview")
    assert status == 200
    assert overview["data"]["orders"]["total_orders"] >= 1
    assert (await audit(rig))["sound"] is True


@pytest.mark.kafka
async def test_who_spent_what_was_given_back_makes_no_song_until_it_is_settled(rig: Rig, person: Person) -> None:
    wish = {"packageId": "points-800", "payment": {"method": "stripe", "amount": 2}}
    _, order = await person.call("POST", "/points/purchase", json=wish, key=str(new_id()))
    async with person.http.post(rig.url + urlsplit(order["payment"]["params"]["pay_url"]).path, data={"decision": "pay"}) as answer:
        assert answer.status == 200
    song = {"title": "Sea", "tags": ["folk"], "prompt": "waves at dusk", "negative_tags": []}
    for _ in range(3):
        status, made = await person.call("POST", "/music/tasks", json=song, key=str(new_id()))
        assert status == 201, made
    status, refunded = await as_admin(rig, "POST", f"/v1/admin/orders/{order['orderNo']}/refund", json={"reason": "asked for it"})
    assert (status, refunded["owed"]) == (200, 120)
    status, refused = await person.call("POST", "/music/tasks", json=song, key=str(new_id()))
    assert (status, refused["code"], refused["details"]) == (409, 40002, {"receivable": 120})
    await rig.grant(person.user_id, 220, asset="point")
    assert (await person.call("POST", "/music/tasks", json=song, key=str(new_id())))[0] == 201
    assert (await audit(rig))["sound"] is True
