"""Orders: placed once per key, paid once whatever is told how often, and never by money that does not fit."""

import asyncio
import re
from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID

import orjson
import pytest

from billing import checkout, upkeep
from billing.api import ROUTES
from billing.api.sandbox import _SAFE
from billing.deps import Deps
from billing.domain import Order, hidden
from billing.providers import SandboxProvider
from billing.providers.base import Standing
from common.errors import Unavailable
from common.events import CreditsChanged, MembershipChanged, OrderExpired, OrderPaid
from common.ids import UserId, new_id
from common.testing.doors import Door, open_door

CALLBACK = "/api/credits/payment/callback"
ORDER_NO = re.compile(r"ORDER\d{13}[A-Z0-9]{6}")


async def send(door: Door, method: str, path: str, user_id: UUID | None = None, *, role: Any = "user", **more: Any) -> tuple[int, Any, Mapping[str, str]]:
    headers = more.pop("headers", {})
    if user_id is not None:
        headers["Authorization"] = f"Bearer {door.passes.user(UserId(user_id), role=role)}"
    async with door.http.request(method, door.url + path, headers=headers, allow_redirects=False, **more) as answer:
        body = await answer.read()
        return answer.status, orjson.loads(body) if answer.content_type.endswith("json") else body.decode(), answer.headers


async def recharge(door: Door, user_id: UUID, package_id: str = "basic", method: str = "wechat", **headers: str) -> dict[str, Any]:
    status, answer, _ = await send(
        door, "POST", "/api/credits/recharge", user_id, json={"package_id": package_id, "payment_method": method}, headers=headers
    )  # fmt: skip
    assert status == 200, answer
    return dict(answer["data"])


async def purchase(door: Door, user_id: UUID, package_id: str = "points-800", amount: float = 2) -> dict[str, Any]:
    wish = {"packageId": package_id, "payment": {"method": "stripe", "amount": amount}}
    status, answer, _ = await send(door, "POST", "/points/purchase", user_id, json=wish)
    assert status == 201, answer
    return dict(answer)


async def press(door: Door, params: Mapping[str, Any], decision: str = "pay") -> str:
    """What the person on the pay page does."""
    status, page, _ = await send(door, "POST", f"/v1/sandbox/pay/{params['intent_id']}", data={"decision": decision})
    assert status == 200
    return str(page)


def sandbox_of(deps: Deps) -> SandboxProvider:
    assert deps.sandbox is not None
    return deps.sandbox


async def notice(deps: Deps, params: Mapping[str, Any], **changed: Any) -> bytes:
    """What the sandbox would send if this were paid, with something changed."""
    intent = await sandbox_of(deps).find(params["intent_id"])
    assert intent is not None
    paid = intent._replace(state="paid", transaction_id=intent.transaction_id or f"sbx_{new_id().hex}")
    return orjson.dumps({**orjson.loads(sandbox_of(deps).notice_of(paid)), **changed})


async def tell(door: Door, deps: Deps, body: bytes, **headers: str) -> tuple[int, Any]:
    status, answer, _ = await send(door, "POST", CALLBACK, data=body, headers={**sandbox_of(deps).headers_for(body), **headers})
    return status, answer


async def keep(bank, body: bytes, *, provider: str = "sandbox", sealed: bytes | None = None) -> None:
    """What is left of a notice when the process dies right after it was kept; each a moment after the one before."""
    event_hash = hidden.event_hash(bank.vault, provider, orjson.loads(body)["id"])
    said = sealed if sealed is not None else hidden.seal_notice(bank.vault, provider, event_hash, {}, body)
    await bank.db.fetch(
        """
        INSERT INTO payment_notice (provider, event_id, order_no, said_sealed, received_at)
        SELECT $1, $2, $3, $4, $5::timestamptz + count(*) * interval '1 millisecond' FROM payment_notice
        """,
        provider, event_hash, orjson.loads(body)["order_no"], said, bank.clock.now(),
    )  # fmt: skip


async def order(door: Door, user_id: UUID, order_no: str) -> dict[str, Any]:
    status, answer, _ = await send(door, "GET", f"/api/credits/orders/{order_no}", user_id)
    assert status == 200, answer
    return dict(answer["data"]["order"])


async def admin_orders(door: Door, query: str = "") -> dict[str, Any]:
    status, answer, _ = await send(door, "GET", f"/api/admin/orders?{query}", new_id(), role="admin")
    assert status == 200, answer
    return dict(answer["data"])


async def told(bank, topic: str, fact: Any) -> list[Any]:
    rows = await bank.db.fetch("SELECT payload FROM outbox_fact WHERE topic = $1 ORDER BY position, place", topic)
    return [fact.model_validate_json(row["payload"]) for row in rows]


# Packages


async def test_packages_are_public_and_prices_are_numbers(door) -> None:
    status, answer, _ = await send(door, "GET", "/api/credits/packages", headers={"Accept-Language": "en"})
    assert status == 200
    assert [(one["package_id"], one["credits"], one["price"], one["popular"]) for one in answer["data"]["packages"]] == [
        ("basic", 100, 9.9, False), ("standard", 500, 39.9, True), ("premium", 1000, 69.9, False), ("ultimate", 3000, 199.9, False),
    ]  # fmt: skip
    status, every, _ = await send(door, "GET", "/v1/packages")
    assert [(one["package_id"], one["amount"], one["price"], one["currency"], one["membership_days"]) for one in every["packages"][4:]] == [
        ("points-800", 800, 2, "USD", 0), ("points-2400", 2400, 5, "USD", 0), ("points-6000", 6000, 12, "USD", 0), ("member-30d", 2000, 5, "USD", 30),
        ("member-30d-plus", 6000, 15, "USD", 30), ("member-365d", 40000, 99, "USD", 365), ("member-lifetime", 160000, 400, "USD", 36500),
    ]  # fmt: skip


# Placing


async def test_a_recharge_answers_what_the_clients_payment_call_wants(door, user_id: UUID) -> None:
    placed = await recharge(door, user_id)
    assert ORDER_NO.fullmatch(placed["order_no"])
    assert (placed["amount"], placed["credits"], placed["payment_method"]) == (9.9, 100, "wechat")
    assert {"timeStamp", "nonceStr", "package", "signType", "paySign", "pay_url"} <= set(placed["payment_params"])
    assert (await recharge(door, user_id, method="alipay"))["payment_params"]["order_string"]


async def test_no_more_orders_are_open_than_may_be_however_many_are_placed_at_once(bank, door, deps, user_id: UUID) -> None:
    wish, allowed = {"package_id": "basic", "payment_method": "wechat"}, deps.order_terms.pending_max
    asks = [send(door, "POST", "/api/credits/recharge", user_id, json=wish) for _ in range(allowed + 20)]
    assert Counter(status for status, _, _ in await asyncio.gather(*asks)) == {200: allowed, 429: 20}
    assert await bank.db.fetchval("SELECT count(*) FROM payment_order") == allowed
    await recharge(door, new_id())


async def test_a_purchase_of_points_answers_in_its_dialect(door, user_id: UUID) -> None:
    placed = await purchase(door, user_id)
    assert ORDER_NO.fullmatch(placed["orderNo"])
    assert (placed["status"], placed["packageId"]) == ("pending", "points-800")
    assert (placed["payment"]["method"], placed["payment"]["amount"], placed["payment"]["currency"]) == ("stripe", 2, "USD")
    assert placed["payment"]["params"]["pay_url"].startswith("http://shop.test/v1/sandbox/pay/sbi_")


@pytest.mark.parametrize(
    "wish",
    [
        {"packageId": "no-such", "payment": {"method": "stripe", "amount": 2}},
        {"packageId": "basic", "payment": {"method": "stripe", "amount": 9.9}},
        {"packageId": "points-800", "payment": {"method": "stripe", "amount": 1.99}},
        {"packageId": "points-800", "payment": {"method": "stripe", "amount": 2.001}},
        {"packageId": "points-800", "payment": {"method": "stripe", "amount": 200}},
    ],
)
async def test_an_unknown_package_or_another_amount_is_40001(bank, door, user_id: UUID, wish: dict[str, Any]) -> None:
    status, answer, headers = await send(door, "POST", "/points/purchase", user_id, json=wish)
    assert (status, answer["code"], headers["X-Error-Code"]) == (402, 40001, "40001")
    assert await bank.db.fetchval("SELECT count(*) FROM payment_order") == 0


async def test_a_package_of_points_is_none_in_the_photo_dialect(door, user_id: UUID) -> None:
    for package_id in ("no-such", "points-800"):
        status, answer, headers = await send(door, "POST", "/api/credits/recharge", user_id, json={"package_id": package_id, "payment_method": "wechat"})
        assert (status, answer["success"], headers["X-Error-Code"]) == (402, False, "40001")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/credits/recharge", {"package_id": "basic", "payment_method": "shells"}),
        ("/api/credits/recharge", {"payment_method": "wechat"}),
        ("/api/credits/recharge", {"package_id": 7, "payment_method": "wechat"}),
        ("/points/purchase", {"packageId": "points-800"}),
        ("/points/purchase", {"packageId": "points-800", "payment": {"method": "stripe", "amount": -2}}),
        ("/points/purchase", {"packageId": "points-800", "payment": {"method": "stripe", "amount": "x"}}),
        ("/points/purchase", {"packageId": "points-800", "payment": {"method": "stripe", "amount": 10**400}}),
    ],
)
async def test_a_broken_wish_is_a_400(door, user_id: UUID, path: str, body: dict[str, Any]) -> None:
    status, _, headers = await send(door, "POST", path, user_id, json=body)
    assert (status, headers["X-Error-Code"]) == (400, "10001")


async def test_the_same_key_is_the_same_order_even_twenty_times_at_once(bank, door, user_id: UUID) -> None:
    placed = await asyncio.gather(*(recharge(door, user_id, **{"Idempotency-Key": "k1"}) for _ in range(20)))
    assert len({one["order_no"] for one in placed}) == 1
    assert len({one["payment_params"]["intent_id"] for one in placed}) == 1
    _, _, headers = await send(
        door, "POST", "/api/credits/recharge", user_id, json={"package_id": "basic", "payment_method": "wechat"}, headers={"Idempotency-Key": "k1"}
    )  # fmt: skip
    assert headers["Idempotent-Replayed"] == "true"
    assert (await recharge(door, new_id(), **{"Idempotency-Key": "k1"}))["order_no"] != placed[0]["order_no"]
    assert (await recharge(door, user_id))["order_no"] != placed[0]["order_no"]
    assert await bank.db.fetchval("SELECT count(*) FROM sandbox_intent") == 3


async def test_the_same_key_with_another_wish_is_10006(door, user_id: UUID) -> None:
    await recharge(door, user_id, **{"Idempotency-Key": "k1"})
    wish = {"package_id": "standard", "payment_method": "wechat"}
    status, _, headers = await send(door, "POST", "/api/credits/recharge", user_id, json=wish, headers={"Idempotency-Key": "k1"})
    assert (status, headers["X-Error-Code"]) == (422, "10006")


async def test_an_order_whose_intent_was_never_opened_gets_it_when_asked_again(bank, deps: Deps, door, user_id: UUID) -> None:
    placed = await recharge(door, user_id, **{"Idempotency-Key": "k1"})
    await bank.db.fetch("UPDATE payment_order SET intent_sealed = NULL, merchant_id = NULL")
    assert (await recharge(door, user_id, **{"Idempotency-Key": "k1"}))["payment_params"] == placed["payment_params"]


async def test_nobody_fills_the_table_with_orders_they_never_pay(door, user_id: UUID) -> None:
    for _ in range(20):
        await recharge(door, user_id)
    status, _, headers = await send(door, "POST", "/api/credits/recharge", user_id, json={"package_id": "basic", "payment_method": "wechat"})
    assert (status, headers["X-Error-Code"]) == (429, "10004")
    assert int(headers["Retry-After"]) > 0


# Looking


async def test_my_orders_are_mine_and_in_pages(door, user_id: UUID) -> None:
    numbers = [(await recharge(door, user_id))["order_no"] for _ in range(3)]
    await recharge(door, new_id())
    _, answer, _ = await send(door, "GET", "/api/credits/orders?status=&pageSize=2", user_id)
    assert {one["order_no"] for one in answer["data"]["orders"]} <= set(numbers)
    assert answer["data"]["pagination"] == {"page": 1, "pageSize": 2, "total": 3, "totalPages": 2}
    _, answer, _ = await send(door, "GET", "/api/credits/orders?status=paid", user_id)
    assert (answer["data"]["orders"], answer["data"]["pagination"]["total"]) == ([], 0)
    status, _, _ = await send(door, "GET", "/api/credits/orders?status=lost", user_id)
    assert status == 400


async def test_anothers_order_is_answered_like_one_there_is_not(door, user_id: UUID) -> None:
    placed = await recharge(door, user_id)
    answers = [await send(door, "GET", f"/api/credits/orders/{number}", new_id()) for number in (placed["order_no"], "ORDER1700000000000ABCDEF")]
    assert [(status, headers["X-Error-Code"]) for status, _, headers in answers] == [(404, "10008"), (404, "10008")]
    assert answers[0][1] == answers[1][1]


# Paying


async def test_a_paid_order_grants_its_credits_and_says_so_everywhere(bank, deps: Deps, door, user_id: UUID) -> None:
    placed = await recharge(door, user_id)
    assert 'data-state="paid"' in await press(door, placed["payment_params"])
    shown = await order(door, user_id, placed["order_no"])
    assert (shown["status"], shown["amount"], shown["credits"], shown["payment_params"]) == ("paid", 9.9, 100, None)
    assert shown["paid_at"] == "2026-01-01T00:00:00.000Z"
    assert await bank.available(user_id) == 110
    _, records, _ = await send(door, "GET", "/api/credits/records?type=recharge", user_id)
    assert [(one["amount"], one["balance_after"], one["related_id"]) for one in records["data"]["records"]] == [(100, 110, placed["order_no"])]
    [paid] = await told(bank, "order.paid", OrderPaid)
    assert (paid.order_no, paid.granted, paid.price_minor, paid.sequence) == (placed["order_no"], 100, 990, 1)
    granted = [fact for fact in await bank.facts() if fact.order_no]
    assert [(fact.kind, fact.amount, fact.available) for fact in granted] == [("granted", 100, 110)]
    assert isinstance(granted[0], CreditsChanged)
    await bank.check()


async def test_my_stats_count_what_was_paid_and_spent(bank, door, user_id: UUID) -> None:
    placed = await recharge(door, user_id)
    await press(door, placed["payment_params"])
    await bank.capture((await bank.hold(user_id, 4), 3))
    await bank.hold(user_id, 2)
    _, answer, _ = await send(door, "GET", "/api/credits/stats", user_id)
    assert answer["data"] == {"current_balance": 105, "total_recharged": 100, "total_consumed": 5, "recharge_count": 1, "consume_count": 2}


async def test_twenty_equal_notices_at_once_on_two_processes_grant_once(bank, deps: Deps, door, passes, open_deps, service_database, user_id: UUID) -> None:
    other = await service_database("billing", clock=bank.clock)
    async with AsyncExitStack() as stack:
        second = await stack.enter_async_context(open_deps(other))
        doors = [door, await stack.enter_async_context(open_door(ROUTES, second, name="billing", passes=passes))]
        for package_id, granted in (("basic", 100), ("standard", 500), ("basic", 100)):
            before = await bank.available(user_id)
            body = await notice(deps, (await recharge(door, user_id, package_id))["payment_params"])
            answers = await asyncio.gather(*(tell(doors[number % 2], deps, body) for number in range(20)))
            assert [status for status, _ in answers] == [200] * 20
            assert await bank.available(user_id) == before + granted
    assert len(await told(bank, "order.paid", OrderPaid)) == 3
    assert [record.amount for record in await bank.history(user_id)] == [10, 100, 500, 100]
    assert await bank.db.fetchval("SELECT count(*) FROM payment_notice") == 3
    await bank.check()


FAULTS: dict[str, dict[str, Any]] = {
    "amount": {"amount": 989},
    "currency": {"currency": "USD"},
    "merchant": {"merchant_id": "another-shop"},
    "intent": {"intent_id": "sbi_another"},
    "unknown_order": {"order_no": "ORDER1700000000000ABCDEF"},
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_money_that_does_not_fit_grants_nothing_and_operators_see_it(bank, deps: Deps, door, user_id: UUID, fault: str) -> None:
    placed = await recharge(door, user_id)
    body = await notice(deps, placed["payment_params"], **FAULTS[fault])
    for _ in range(3):
        status, _ = await tell(door, deps, body)
        assert status == 402
    assert await bank.available(user_id) == 10
    assert (await order(door, user_id, placed["order_no"]))["status"] == "pending"
    shown = await admin_orders(door)
    assert [one["fault"] for one in shown["alerts"]] == [fault]
    assert shown["alerts_total"] == 1
    assert shown["orders"][0]["alerts"] == ([] if fault == "unknown_order" else [fault])
    assert deps.numbers.payment_alerts._value.get() == 1
    # The right money still pays.
    assert (await tell(door, deps, await notice(deps, placed["payment_params"])))[0] == 200
    assert await bank.available(user_id) == 110
    await bank.check()


async def test_an_alert_that_was_looked_at_is_gone(bank, deps: Deps, door, user_id: UUID) -> None:
    placed = await recharge(door, user_id)
    await tell(door, deps, await notice(deps, placed["payment_params"], amount=1))
    [alert] = (await admin_orders(door))["alerts"]
    path = f"/v1/admin/orders/alerts/{alert['alert_id']}/close"
    assert (await send(door, "POST", path, user_id))[0] == 403
    assert [(await send(door, "POST", path, new_id(), role="admin"))[0] for _ in range(2)] == [200, 200]
    assert (await admin_orders(door))["alerts_total"] == 0
    assert deps.numbers.payment_alerts._value.get() == 0
    assert (await send(door, "POST", f"/v1/admin/orders/alerts/{new_id()}/close", new_id(), role="admin"))[0] == 404


async def test_an_order_paid_twice_with_different_money_is_granted_once_and_seen(bank, deps: Deps, door, user_id: UUID) -> None:
    placed = await recharge(door, user_id)
    assert (await tell(door, deps, await notice(deps, placed["payment_params"])))[0] == 200
    again = await notice(deps, placed["payment_params"], id="sbe_other", transaction_id="sbx_other")
    assert (await tell(door, deps, again))[0] == 402
    assert await bank.available(user_id) == 110
    assert (await admin_orders(door))["orders"][0]["alerts"] == ["paid_twice"]


async def test_what_nobody_signed_is_refused_and_leaves_nothing(bank, deps: Deps, door, user_id: UUID) -> None:
    placed = await recharge(door, user_id)
    body = await notice(deps, placed["payment_params"])
    good = sandbox_of(deps).headers_for(body)
    late = {**good, "Sandbox-Timestamp": str(int(good["Sandbox-Timestamp"]) + 1)}
    forgeries: list[tuple[bytes, dict[str, str]]] = [
        (body, {}),
        (body, {**good, "Sandbox-Signature": "0" * 64}),
        (body, {**good, "Sandbox-Signature": "ä"}),
        (body, {name: value for name, value in good.items() if name != "Sandbox-Nonce"}),
        (body, {**good, "Sandbox-Nonce": "n" * 24}),
        (body, late),
        (body, {**good, "Sandbox-Timestamp": "1e9"}),
        (body.replace(b"990", b"991"), good),
        (body + b" ", good),
        (b"", good),
    ]
    for forged, headers in forgeries:
        status, answer, shown = await send(door, "POST", CALLBACK, data=forged, headers=headers)
        assert (status, shown["X-Error-Code"], answer["success"]) == (401, "10002", False), headers
    assert (await send(door, "POST", CALLBACK, json={"order_no": placed["order_no"]}))[0] == 401
    assert await bank.available(user_id) == 10
    assert await bank.db.fetchval("SELECT count(*) FROM payment_notice") == 0
    assert (await admin_orders(door))["alerts_total"] == 0


@pytest.mark.parametrize("header", ["Sandbox-Signature", "Sandbox-Timestamp", "Sandbox-Nonce"])
async def test_a_header_that_is_no_text_proves_nothing(bank, deps: Deps, door, user_id: UUID, header: str) -> None:
    body = await notice(deps, (await recharge(door, user_id))["payment_params"])
    answer = await tell_raw(door, body, {**sandbox_of(deps).headers_for(body), header: b"\xff\xfe"})
    assert answer.startswith(b"HTTP/1.1 401 "), answer
    assert b"X-Error-Code: 10002" in answer
    assert await bank.db.fetchval("SELECT count(*) FROM payment_notice") == 0


async def test_a_signed_notice_counts_whatever_else_its_headers_hold(bank, deps: Deps, door, user_id: UUID) -> None:
    body = await notice(deps, (await recharge(door, user_id))["payment_params"])
    answer = await tell_raw(door, body, {**sandbox_of(deps).headers_for(body), "Sandbox-Remark": b"a \xff, an \xc3\xa9"})
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    assert await bank.available(user_id) == 110
    event_hash = hidden.event_hash(bank.vault, "sandbox", orjson.loads(body)["id"])
    sealed = await bank.db.fetchval("SELECT said_sealed FROM payment_notice")
    assert hidden.open_notice(bank.vault, "sandbox", event_hash, sealed) == body


async def tell_raw(door: Door, body: bytes, headers: Mapping[str, str | bytes]) -> bytes:
    """The answer to a notice with headers that no client library would send."""
    lines = [name.encode() + b": " + (value if isinstance(value, bytes) else value.encode()) for name, value in headers.items()]
    head = f"POST {CALLBACK} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
    return await door.send_raw(head.encode() + b"\r\n".join(lines) + b"\r\n\r\n" + body)


@pytest.mark.parametrize("seconds", [301, -301])
async def test_a_signature_is_good_for_five_minutes(bank, deps: Deps, door, user_id: UUID, seconds: int) -> None:
    body = await notice(deps, (await recharge(door, user_id))["payment_params"])
    bank.clock.move(seconds=1000)
    headers = sandbox_of(deps).headers_for(body)
    bank.clock.move(seconds=seconds)
    assert (await send(door, "POST", CALLBACK, data=body, headers=headers))[0] == 401
    bank.clock.move(seconds=-seconds // abs(seconds))
    assert (await send(door, "POST", CALLBACK, data=body, headers=headers))[0] == 200


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"\xff", b'{"id": 1}', b'{"id": "x", "type": "payment.succeeded", "amount": 1e99}'])
async def test_a_signed_notice_that_says_nothing_is_a_400(door, deps: Deps, body: bytes) -> None:
    status, _ = await tell(door, deps, body)
    assert status == 400


@pytest.mark.parametrize(("name", "odd"), [("amount", b"1" + b"0" * 30), ("amount", b"-1e400"), ("order_no", b'"\\u0000"'), ("id", b'"\\ud800"')])
async def test_a_signed_notice_that_nobody_could_keep_is_a_400(bank, door, deps: Deps, user_id: UUID, name: str, odd: bytes) -> None:
    said = orjson.loads(await notice(deps, (await recharge(door, user_id))["payment_params"]))
    status, _ = await tell(door, deps, orjson.dumps({**said, name: "@"}).replace(b'"@"', odd))
    assert status == 400
    assert await bank.db.fetch("SELECT 1 FROM payment_notice") == []


@pytest.mark.parametrize("changed", [{"type": "payment.pending"}, {"type": ""}, {"transaction_id": None}, {"transaction_id": ""}])
async def test_a_notice_of_another_kind_ends_no_order(door, deps: Deps, user_id: UUID, changed: dict[str, Any]) -> None:
    placed = await recharge(door, user_id)
    status, _ = await tell(door, deps, await notice(deps, placed["payment_params"], **changed))
    assert (status, (await order(door, user_id, placed["order_no"]))["status"]) == (400, "pending")


async def test_a_notice_over_the_limit_is_refused_before_it_is_read(door, deps: Deps) -> None:
    assert (await tell(door, deps, b"x" * 65 * 1024))[0] == 413


# Ends


async def test_a_declined_order_is_cancelled_and_may_still_be_paid(bank, deps: Deps, door, user_id: UUID) -> None:
    placed = await recharge(door, user_id)
    assert 'data-state="declined"' in await press(door, placed["payment_params"], "decline")
    assert (await order(door, user_id, placed["order_no"]))["status"] == "cancelled"
    await press(door, placed["payment_params"])
    assert (await order(door, user_id, placed["order_no"]))["status"] == "paid"
    assert await bank.available(user_id) == 110


async def test_an_order_nobody_pays_is_closed_at_its_provider_and_expires(bank, deps: Deps, door, user_id: UUID) -> None:
    placed = await recharge(door, user_id)
    bank.clock.move(seconds=1799)
    await upkeep.look_at_orders(deps, batch_max=10)
    assert (await order(door, user_id, placed["order_no"]))["status"] == "pending"
    bank.clock.move(seconds=61)
    await upkeep.look_at_orders(deps, batch_max=10)
    assert (await order(door, user_id, placed["order_no"]))["status"] == "expired"
    assert [fact.order_no for fact in await told(bank, "order.expired", OrderExpired)] == [placed["order_no"]]
    assert 'data-state="closed"' in await press(door, placed["payment_params"])
    assert await bank.available(user_id) == 10


async def test_an_order_that_breaks_its_provider_keeps_no_other_from_its_end(bank, deps: Deps, door, user_id: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    broken, placed = await recharge(door, user_id), await recharge(door, user_id)
    sandbox = sandbox_of(deps)
    close = sandbox.close

    async def close_most(one: Order) -> Standing:
        if one.order_no == broken["order_no"]:
            raise KeyError("nobody foresaw it")
        return await close(one)

    monkeypatch.setattr(sandbox, "close", close_most)
    bank.clock.move(seconds=1801)
    await upkeep.look_at_orders(deps, batch_max=10)
    assert [(await order(door, user_id, one["order_no"]))["status"] for one in (broken, placed)] == ["pending", "expired"]


async def test_a_valid_notice_pays_even_an_expired_order(bank, deps: Deps, door, user_id: UUID) -> None:
    placed = await recharge(door, user_id)
    body = await notice(deps, placed["payment_params"])
    bank.clock.move(seconds=1801)
    await upkeep.look_at_orders(deps, batch_max=10)
    assert (await tell(door, deps, body))[0] == 200
    assert (await order(door, user_id, placed["order_no"]))["status"] == "paid"
    assert await bank.available(user_id) == 110
    assert [fact.sequence for fact in await told(bank, "order.paid", OrderPaid)] == [2]


@pytest.mark.parametrize("seconds", [61, 1801])
async def test_an_order_whose_notice_never_came_is_paid_by_upkeep(bank, deps: Deps, door, user_id: UUID, seconds: int) -> None:
    placed = await recharge(door, user_id)
    sandbox_of(deps)._notify_url = "http://127.0.0.1:1/nobody"
    await press(door, placed["payment_params"])
    assert await bank.available(user_id) == 10
    bank.clock.move(seconds=seconds)
    await asyncio.gather(*(upkeep.look_at_orders(deps, batch_max=10) for _ in range(3)))
    assert (await order(door, user_id, placed["order_no"]))["status"] == "paid"
    assert await bank.available(user_id) == 110
    await bank.check()


@pytest.mark.parametrize("seconds", [61, 1801])
async def test_a_declined_order_that_was_paid_after_all_is_found_by_upkeep(bank, deps: Deps, door, user_id: UUID, seconds: int) -> None:
    placed = await recharge(door, user_id)
    await press(door, placed["payment_params"], "decline")
    sandbox_of(deps)._notify_url = "http://127.0.0.1:1/nobody"
    await press(door, placed["payment_params"])
    assert (await order(door, user_id, placed["order_no"]))["status"] == "cancelled"
    bank.clock.move(seconds=seconds)
    await asyncio.gather(*(upkeep.look_at_orders(deps, batch_max=10) for _ in range(3)))
    assert (await order(door, user_id, placed["order_no"]))["status"] == "paid"
    assert await bank.available(user_id) == 110
    await bank.check()


async def test_a_declined_order_is_closed_when_its_time_is_over_and_asked_about_no_more(
    bank, deps: Deps, door, user_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed = await recharge(door, user_id)
    await press(door, placed["payment_params"], "decline")
    bank.clock.move(seconds=1801)
    await upkeep.look_at_orders(deps, batch_max=10)
    assert (await order(door, user_id, placed["order_no"]))["status"] == "cancelled"
    assert 'data-state="closed"' in await press(door, placed["payment_params"])

    async def asked_again(_order: Any) -> None:
        raise AssertionError("it is closed")

    monkeypatch.setattr(sandbox_of(deps), "close", asked_again)
    bank.clock.move(seconds=3600)
    await upkeep.look_at_orders(deps, batch_max=10)


async def test_an_order_whose_provider_is_away_waits(bank, deps: Deps, door, user_id: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    placed = await recharge(door, user_id)
    bank.clock.move(seconds=1801)

    async def away(_order: object) -> None:
        raise Unavailable("a test")

    with monkeypatch.context() as patch:
        patch.setattr(sandbox_of(deps), "close", away)
        await upkeep.look_at_orders(deps, batch_max=10)
        assert (await order(door, user_id, placed["order_no"]))["status"] == "pending"
    await upkeep.look_at_orders(deps, batch_max=10)
    assert (await order(door, user_id, placed["order_no"]))["status"] == "pending", "not asked again at once"
    bank.clock.move(seconds=61)
    await upkeep.look_at_orders(deps, batch_max=10)
    assert (await order(door, user_id, placed["order_no"]))["status"] == "expired"


async def test_a_notice_that_was_kept_before_the_process_died_has_its_effect(bank, deps: Deps, door, user_id: UUID) -> None:
    placed = await recharge(door, user_id)
    await keep(bank, await notice(deps, placed["payment_params"]))
    bank.clock.move(seconds=31)
    for _ in range(2):
        await upkeep.look_at_notices(deps)
    assert await bank.available(user_id) == 110
    assert await bank.db.fetchval("SELECT count(*) FROM payment_notice WHERE handled_at IS NULL") == 0


async def test_a_kept_notice_that_cannot_be_read_holds_up_none_behind_it_and_operators_see_it(bank, deps: Deps, door, user_id: UUID) -> None:
    kind, changed, short, paid = [await recharge(door, user_id) for _ in range(4)]
    await keep(bank, await notice(deps, kind["payment_params"], type="payment.guessed"))
    await keep(bank, await notice(deps, changed["payment_params"]), sealed=b"1\x00" + bytes(40))
    await keep(bank, await notice(deps, short["payment_params"]), sealed=b"1\x00")
    await keep(bank, await notice(deps, paid["payment_params"]))
    bank.clock.move(seconds=31)
    for _ in range(2):
        await upkeep.look_at_notices(deps)
    assert await bank.available(user_id) == 110
    assert await bank.db.fetchval("SELECT count(*) FROM payment_notice WHERE handled_at IS NULL") == 0
    alerts = (await admin_orders(door))["alerts"]
    unreadable = {one["order_no"] for one in (kind, changed, short)}
    assert (len(alerts), {(alert["fault"], alert["order_no"]) for alert in alerts}) == (3, {("unreadable", order_no) for order_no in unreadable})


async def test_a_kept_notice_about_an_order_that_does_not_open_holds_up_none_behind_it(bank, deps: Deps, door, user_id: UUID) -> None:
    broken, paid = [await recharge(door, user_id) for _ in range(2)]
    for one in (broken, paid):
        await keep(bank, await notice(deps, one["payment_params"]))
    await bank.plant("UPDATE payment_order SET intent_sealed = '\\x3100' WHERE order_no = $1", broken["order_no"])
    bank.clock.move(seconds=31)
    await upkeep.look_at_notices(deps)
    assert await bank.available(user_id) == 110
    shown = await admin_orders(door, f"user_id={new_id()}")
    assert [(alert["fault"], alert["order_no"]) for alert in shown["alerts"]] == [("unreadable", broken["order_no"])]


async def test_notices_of_a_provider_that_is_not_set_up_wait_and_hold_up_none(bank, deps: Deps, door, user_id: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    away, paid = [await recharge(door, user_id) for _ in range(2)]
    await keep(bank, await notice(deps, away["payment_params"]), provider="elsewhere")
    await keep(bank, await notice(deps, paid["payment_params"]))
    bank.clock.move(seconds=31)
    monkeypatch.setattr(upkeep, "_NOTICES_BATCH", 1)
    await upkeep.look_at_notices(deps)
    assert await bank.available(user_id) == 110
    assert [row["provider"] for row in await bank.db.fetch("SELECT provider FROM payment_notice WHERE handled_at IS NULL")] == ["elsewhere"]


async def test_an_order_that_does_not_open_holds_up_no_other_that_upkeep_asks_about(bank, deps: Deps, door, user_id: UUID) -> None:
    broken, paid = [await recharge(door, user_id) for _ in range(2)]
    sandbox_of(deps)._notify_url = "http://127.0.0.1:1/nobody"
    await press(door, paid["payment_params"])
    await bank.plant("UPDATE sandbox_intent SET intent_sealed = '\\x3100' WHERE order_no = $1", broken["order_no"])
    bank.clock.move(seconds=61)
    await upkeep.look_at_orders(deps, batch_max=10)
    assert await bank.available(user_id) == 110
    assert (await bank.db.fetchval("SELECT look_at FROM payment_order WHERE order_no = $1", broken["order_no"])) > bank.clock.now()


# Membership


async def membership(door: Door, user_id: UUID) -> Any:
    headers = {"Authorization": f"Bearer {door.passes.service('identity', 'billing')}"}
    async with door.http.post(f"{door.url}/internal/balances", json={"user_ids": [str(user_id)]}, headers=headers) as answer:
        return (await answer.json())["balances"][0]["membership"]


async def test_member_packages_follow_each_other_from_the_day_of_signing_up(bank, door, user_id: UUID) -> None:
    assert (await membership(door, user_id))["active_until"] == "2026-01-02T00:00:00Z"
    for package_id, price in (("member-30d", 5), ("member-365d", 99), ("member-30d-plus", 15)):
        await press(door, (await purchase(door, user_id, package_id, price))["payment"]["params"])
    assert (await membership(door, user_id))["active_until"] == "2027-03-03T00:00:00Z"
    changed = await told(bank, "membership.changed", MembershipChanged)
    assert [(fact.sequence, fact.kind, str(fact.active_until.date())) for fact in changed] == [
        (1, "extended", "2026-02-01"), (2, "extended", "2027-02-01"), (3, "extended", "2027-03-03"),
    ]  # fmt: skip
    assert (await bank.balance(user_id)).point.available == 180 + 2000 + 40_000 + 6000
    bank.clock.move(seconds=500 * 24 * 3600)
    assert (await membership(door, user_id))["is_vip"] is False
    await bank.check()


async def test_members_for_life_buy_points_and_stay_members(bank, door, user_id: UUID) -> None:
    for _ in range(2):
        await press(door, (await purchase(door, user_id, "member-lifetime", 400))["payment"]["params"])
    assert (await membership(door, user_id))["active_until"] > "2225"
    bank.clock.move(seconds=99 * 365 * 24 * 3600)
    assert (await membership(door, user_id))["is_vip"] is True


async def test_two_member_packages_paid_at_once_both_count(bank, deps: Deps, door, user_id: UUID) -> None:
    bodies = [await notice(deps, (await purchase(door, user_id, "member-30d", 5))["payment"]["params"]) for _ in range(6)]
    assert [status for status, _ in await asyncio.gather(*(tell(door, deps, body) for body in bodies))] == [200] * 6
    assert (await membership(door, user_id))["active_until"] == "2026-07-01T00:00:00Z"


# The pay page


async def test_the_pay_page_is_plain_and_lets_nothing_foreign_in(door, user_id: UUID) -> None:
    placed = await recharge(door, user_id)
    path = f"/v1/sandbox/pay/{placed['payment_params']['intent_id']}"
    status, page, headers = await send(door, "GET", path, headers={"Accept-Language": "zh"})
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert headers["Content-Security-Policy"].startswith("default-src 'self'")
    assert {name: headers[name] for name in _SAFE} == _SAFE
    assert "9.90 CNY" in page
    assert placed["order_no"] in page
    assert not re.search(r"<script|<style|style=|onclick|https?://", page)
    assert (await send(door, "GET", "/v1/sandbox/pay.css"))[0] == 200
    for broken in ({"decision": "steal"}, {"decision": ""}, {}):
        status, refused, _ = await send(door, "POST", path, data=broken)
        assert (status, "decision" in str(refused)) == (400, True)
    for method in ("GET", "POST"):
        assert (await send(door, method, "/v1/sandbox/pay/sbi_unknown", data={"decision": "pay"}))[0] == 404


# Operators


async def test_operators_see_everybodys_orders_with_names(bank, door, identity, user_id: UUID) -> None:
    identity.names[user_id] = "Ada"
    mine = await recharge(door, user_id)
    await press(door, mine["payment_params"])
    await purchase(door, new_id())
    shown = await admin_orders(door, "status=&user_id=")
    assert (len(shown["orders"]), shown["pagination"]["total"], {one["nickname"] for one in shown["orders"]}) == (2, 2, {"Ada", ""})
    assert [one["order_no"] for one in (await admin_orders(door, f"user_id={user_id}"))["orders"]] == [mine["order_no"]]
    assert [one["order_no"] for one in (await admin_orders(door, "status=paid"))["orders"]] == [mine["order_no"]]
    identity.away = True
    assert [one["nickname"] for one in (await admin_orders(door, "status=paid"))["orders"]] == [""]
    assert (await send(door, "GET", "/api/admin/orders?user_id=x", new_id(), role="admin"))[0] == 400


ADMIN_ROUTES = [(route.method, route.path) for route in ROUTES if route.auth == "admin"]


@pytest.mark.parametrize(("method", "path"), ADMIN_ROUTES)
async def test_admin_routes_are_for_admins(door, user_id: UUID, method: str, path: str) -> None:
    path = re.sub(r"\{\w+\}", str(new_id()), path)
    assert (await send(door, method, path, user_id, json={}))[0] == 403
    assert (await send(door, method, path, json={}))[0] == 401
    headers = {"Authorization": f"Bearer {door.passes.service('gateway', 'billing')}"}
    assert (await send(door, method, path, json={}, headers=headers))[0] == 403


async def test_the_overview_counts_orders_and_credits(bank, deps: Deps, door, user_id: UUID) -> None:
    await press(door, (await recharge(door, user_id))["payment_params"])
    await press(door, (await purchase(door, user_id))["payment"]["params"])
    await bank.capture((await bank.hold(user_id, 4), 4))
    bank.clock.move(seconds=24 * 3600)
    await deps.totals.close_days()
    await recharge(door, user_id)
    await press(door, (await recharge(door, user_id, "standard"))["payment_params"])
    for _ in range(2):
        await deps.totals.close_days()
        _, shown, _ = await send(door, "GET", "/internal/admin/overview", new_id(), role="admin")
        assert shown["credits"] == {"total_credits": 606, "total_recharged": 600, "total_consumed": 4}
        orders = shown["orders"]
        assert (orders["total_orders"], orders["paid_orders"], orders["total_revenue"], orders["today_revenue"]) == (4, 3, 49.8, 39.9)
        assert orders["revenue"]["USD"] == {"total": 2, "today": 0}
        bank.clock.move(seconds=6)


async def test_operators_set_what_a_new_user_starts_with(door, deps: Deps) -> None:
    status, answer, _ = await send(door, "PUT", "/internal/admin/config/default_credits", new_id(), role="admin", json={"config_value": "25"})
    assert (status, answer["config_value"], deps.config["default_credits"]) == (200, 25, 25)
    status, _, headers = await send(door, "PUT", "/internal/admin/config/default_credits", new_id(), role="admin", json={"config_value": True})
    assert (status, headers["X-Error-Code"], deps.config["default_credits"]) == (400, "10001", 25)
    status, _, headers = await send(door, "PUT", "/internal/admin/config/default_credits", new_id(), role="admin", json={"config_value": "many"})
    assert (status, headers["X-Error-Code"]) == (400, "10001")
    status, _, headers = await send(door, "PUT", "/internal/admin/config/no_such", new_id(), role="admin", json={"config_value": 1})
    assert (status, headers["X-Error-Code"]) == (404, "70001")


async def test_a_way_to_pay_that_nobody_serves_is_40001(bank, deps: Deps, user_id: UUID) -> None:
    from dataclasses import replace

    from billing.providers import Payments

    async with open_door(ROUTES, replace(deps, payments=Payments({}), sandbox=None), name="billing") as door:
        status, _, headers = await send(door, "POST", "/api/credits/recharge", user_id, json={"package_id": "basic", "payment_method": "wechat"})
        assert (status, headers["X-Error-Code"]) == (402, "40001")
        assert (await send(door, "GET", "/v1/sandbox/pay/sbi_x"))[0] == 404


def test_order_numbers_are_fit_for_every_provider(clock) -> None:
    numbers = {checkout.order_no_of(clock.now()) for _ in range(1000)}
    assert len(numbers) == 1000
    assert all(ORDER_NO.fullmatch(number) and len(number) == 24 for number in numbers)
