"""A payment goes back: what it gave is taken back, what was spent is owed, and a provider that refuses changes nothing."""

import asyncio
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import orjson
import pytest

from billing import checkout, upkeep
from billing.deps import Deps
from billing.domain import hidden
from common.errors import DeductFailed, Unavailable
from common.events import MembershipChanged, OrderRefunded
from common.ids import UserId, new_id
from common.testing.doors import Door


async def send(door: Door, method: str, path: str, user_id: UUID, *, role: Any = "user", **more: Any) -> tuple[int, Any, Mapping[str, str]]:
    headers = {"Authorization": f"Bearer {door.passes.user(UserId(user_id), role=role)}", **more.pop("headers", {})}
    async with door.http.request(method, door.url + path, headers=headers, **more) as answer:
        body = await answer.read()
        return answer.status, orjson.loads(body) if answer.content_type.endswith("json") else body, answer.headers


async def buy(door: Door, user_id: UUID, package_id: str = "basic", *, decision: str = "pay") -> str:
    """A paid order of credits."""
    _, answer, _ = await send(door, "POST", "/api/credits/recharge", user_id, json={"package_id": package_id, "payment_method": "wechat"})
    status, _, _ = await send(door, "POST", f"/v1/sandbox/pay/{answer['data']['payment_params']['intent_id']}", user_id, data={"decision": decision})
    assert status == 200
    return str(answer["data"]["order_no"])


async def become_member(door: Door, user_id: UUID, *, decision: str = "pay") -> str:
    wish = {"packageId": "member-30d", "payment": {"method": "stripe", "amount": 5}}
    _, answer, _ = await send(door, "POST", "/points/purchase", user_id, json=wish)
    await send(door, "POST", f"/v1/sandbox/pay/{answer['payment']['params']['intent_id']}", user_id, data={"decision": decision})
    return str(answer["orderNo"])


async def refund(door: Door, order_no: str) -> tuple[int, Any]:
    status, answer, _ = await send(door, "POST", f"/v1/admin/orders/{order_no}/refund", new_id(), role="admin", json={"reason": "asked for it"})
    return status, answer


async def receivable(bank, user_id: UUID) -> int:
    return int(await bank.db.fetchval("SELECT receivable FROM account WHERE user_id = $1 AND asset = 'credit'", user_id))


async def state_of(bank, order_no: str) -> str:
    return str(await bank.db.fetchval("SELECT state FROM payment_order WHERE order_no = $1", order_no))


async def told(bank, topic: str, fact: Any) -> list[Any]:
    rows = await bank.db.fetch("SELECT payload FROM outbox_fact WHERE topic = $1 ORDER BY position, place", topic)
    return [fact.model_validate_json(row["payload"]) for row in rows]


async def test_a_refund_takes_back_what_the_payment_gave(bank, door, user_id: UUID) -> None:
    order_no = await buy(door, user_id)
    status, answer = await refund(door, order_no)
    assert (status, answer["order"]["status"], answer["owed"]) == (200, "refunded", 0)
    assert (await bank.available(user_id), await receivable(bank, user_id)) == (10, 0)
    assert [(record.kind, record.amount) for record in await bank.history(user_id)] == [("gift", 10), ("recharge", 100), ("adjust", -100)]
    _, records, _ = await send(door, "GET", "/api/credits/records", user_id)
    assert (records["data"]["records"][0]["description"], records["data"]["records"][0]["related_id"]) == ("订单已退款，积分收回", order_no)
    [fact] = await told(bank, "order.refunded", OrderRefunded)
    assert (fact.order_no, fact.sequence, fact.owed) == (order_no, 2, 0)
    _, stats, _ = await send(door, "GET", "/api/credits/stats", user_id)
    assert (stats["data"]["total_recharged"], stats["data"]["recharge_count"]) == (0, 0)
    _, overview, _ = await send(door, "GET", "/internal/admin/overview", new_id(), role="admin")
    assert (overview["orders"]["total_revenue"], overview["credits"]["total_recharged"]) == (0, 0)
    await bank.check()


async def test_the_lot_of_the_order_goes_first(bank, door, user_id: UUID) -> None:
    first = await buy(door, user_id)
    await buy(door, user_id)
    await refund(door, first)
    lots = await bank.db.fetchval("SELECT lots::jsonb FROM account WHERE user_id = $1 AND asset = 'credit'", user_id)
    assert [lot[:2] for lot in lots] == [[1, 10], [3, 100]]
    await bank.check()


async def test_a_refund_asked_for_again_or_ten_times_at_once_is_one(bank, door, user_id: UUID) -> None:
    order_no = await buy(door, user_id)
    answers = await asyncio.gather(*(refund(door, order_no) for _ in range(10)))
    assert [status for status, _ in answers] == [200] * 10
    assert len({answer["refund_id"] for _, answer in answers}) == 1
    assert await bank.available(user_id) == 10
    assert len(await told(bank, "order.refunded", OrderRefunded)) == 1
    await bank.check()


async def test_what_was_spent_is_owed_and_blocks_holds_until_it_is_settled(bank, door, user_id: UUID) -> None:
    order_no = await buy(door, user_id)
    spent, running = await bank.hold(user_id, 50), await bank.hold(user_id, 40)
    await bank.capture((spent, 50))
    _, answer = await refund(door, order_no)
    assert (answer["owed"], await bank.available(user_id), await receivable(bank, user_id)) == (80, 0, 80)
    await bank.check()
    [refused] = await bank.place(bank.ask(user_id))
    assert isinstance(refused, DeductFailed)
    assert (refused.code, refused.data) == (40002, {"receivable": 80})
    body = {"task_id": str(new_id()), "user_id": str(user_id), "kind": "travel", "items": 1, "body_hash": "ab" * 32, "expires_in_seconds": 2100}
    headers = {"Authorization": f"Bearer {door.passes.service('generation', 'billing')}"}
    async with door.http.post(f"{door.url}/internal/holds", json={"holds": [body]}, headers=headers) as said:
        assert [(one["held"], one["code"]) for one in (await said.json())["outcomes"]] == [(False, 40002)]
    # What comes back settles it first.
    await bank.capture((running, 10))
    assert (await bank.available(user_id), await receivable(bank, user_id)) == (0, 50)
    await bank.adjust(user_id, 20)
    assert (await bank.available(user_id), await receivable(bank, user_id)) == (0, 30)
    await buy(door, user_id)
    assert (await bank.available(user_id), await receivable(bank, user_id)) == (70, 0)
    await bank.hold(user_id, 1)
    await bank.check()


async def test_the_points_of_somebody_who_owes_credits_stay_free(bank, door, user_id: UUID) -> None:
    order_no = await buy(door, user_id)
    await bank.capture((await bank.hold(user_id, 50), 50))
    await refund(door, order_no)
    assert await receivable(bank, user_id) == 40
    await bank.hold(user_id, asset="point", price=100)


async def test_a_provider_that_refuses_is_40003_and_everything_is_as_it_was(bank, door, user_id: UUID) -> None:
    order_no = await buy(door, user_id, decision="final")
    await bank.capture((await bank.hold(user_id, 50), 50))
    for _ in range(2):
        status, answer = await refund(door, order_no)
        assert (status, answer["code"]) == (409, 40003)
        assert (await bank.available(user_id), await receivable(bank, user_id)) == (60, 0)
        assert await state_of(bank, order_no) == "paid"
        await bank.check()
    assert await told(bank, "order.refunded", OrderRefunded) == []
    _, stats, _ = await send(door, "GET", "/api/credits/stats", user_id)
    assert (stats["data"]["total_recharged"], stats["data"]["recharge_count"]) == (100, 1)


async def test_a_refund_that_was_refused_once_may_succeed_later(bank, door, user_id: UUID) -> None:
    order_no = await buy(door, user_id, decision="final")
    assert (await refund(door, order_no))[0] == 409
    await bank.db.fetch("UPDATE sandbox_intent SET refunds_refused = false")
    assert (await refund(door, order_no))[0] == 200
    assert await bank.available(user_id) == 10
    await bank.check()


async def test_a_provider_that_does_not_answer_is_asked_again_by_upkeep(bank, deps: Deps, door, user_id: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    order_no = await buy(door, user_id)

    async def away(*_args: object) -> bool:
        raise Unavailable("a test")

    with monkeypatch.context() as patch:
        patch.setattr(deps.sandbox, "refund", away)
        status, answer = await refund(door, order_no)
        assert (status, answer["code"]) == (503, 10007)
        assert (await bank.available(user_id), await state_of(bank, order_no)) == (10, "paid")
        bank.clock.move(seconds=61)
        await upkeep.look_at_refunds(deps)
        assert deps.numbers.oldest_refund_seconds._value.get() == 61
    await upkeep.look_at_refunds(deps)
    assert await state_of(bank, order_no) == "paid", "not asked again at once"
    bank.clock.move(seconds=61)
    await upkeep.look_at_refunds(deps)
    assert await state_of(bank, order_no) == "refunded"
    assert deps.numbers.oldest_refund_seconds._value.get() == 0
    assert (await refund(door, order_no))[0] == 200
    assert len(await told(bank, "order.refunded", OrderRefunded)) == 1
    await bank.check()


async def test_a_refund_whose_payment_does_not_open_holds_up_no_other(bank, deps: Deps, door, user_id: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    broken, other = [await buy(door, user_id) for _ in range(2)]

    async def away(*_args: object) -> bool:
        raise Unavailable("a test")

    with monkeypatch.context() as patch:
        patch.setattr(deps.sandbox, "refund", away)
        for order_no in (broken, other):
            assert (await refund(door, order_no))[0] == 503
            bank.clock.move(seconds=1)
    await bank.plant("UPDATE sandbox_intent SET intent_sealed = '\\x3100' WHERE order_no = $1", broken)
    bank.clock.move(seconds=61)
    await upkeep.look_at_refunds(deps)
    assert [await state_of(bank, order_no) for order_no in (broken, other)] == ["paid", "refunded"]


async def test_only_paid_orders_go_back(bank, door, user_id: UUID) -> None:
    _, answer, _ = await send(door, "POST", "/api/credits/recharge", user_id, json={"package_id": "basic", "payment_method": "wechat"})
    status, answer = await refund(door, answer["data"]["order_no"])
    assert (status, answer["code"], answer["data"]) == (409, 10005, {"state": "pending"})
    assert (await refund(door, "ORDER1700000000000ABCDEF"))[0] == 404
    status, _, _ = await send(door, "POST", "/v1/admin/orders/ORDER1700000000000ABCDEF/refund", new_id(), role="admin", json={})
    assert status == 400


async def test_a_notice_about_a_refunded_order_changes_nothing(bank, deps: Deps, door, user_id: UUID) -> None:
    order_no = await buy(door, user_id)
    await refund(door, order_no)
    assert deps.sandbox is not None
    opened = hidden.open_intent(deps.vault, await checkout.order_of(deps, order_no))
    assert opened is not None
    intent = await deps.sandbox.find(opened.intent_id)
    assert intent is not None
    body = deps.sandbox.notice_of(intent)
    async with door.http.post(f"{door.url}/api/credits/payment/callback", data=body, headers=deps.sandbox.headers_for(body)) as answer:
        assert answer.status == 200
    assert (await bank.available(user_id), await state_of(bank, order_no)) == (10, "refunded")
    await bank.check()


# Membership


async def until(bank, user_id: UUID) -> str:
    return str((await bank.balance(user_id)).active_until.date())


async def test_the_membership_of_a_refunded_order_is_cut_and_what_follows_moves_forward(bank, door, user_id: UUID) -> None:
    first, _second = await become_member(door, user_id), await become_member(door, user_id)
    assert await until(bank, user_id) == "2026-03-03"
    bank.clock.move(seconds=11 * 24 * 3600)
    await refund(door, first)
    # Ten of its thirty days were used, the rest is gone.
    assert await until(bank, user_id) == "2026-02-11"
    [*_, changed] = await told(bank, "membership.changed", MembershipChanged)
    assert (changed.kind, changed.sequence, str(changed.active_until.date())) == ("cut", 3, "2026-02-11")
    await bank.check()


async def test_a_membership_that_has_not_begun_is_gone_without_a_trace(bank, door, user_id: UUID) -> None:
    first = await become_member(door, user_id)
    await refund(door, first)
    assert await until(bank, user_id) == "2026-01-02"


async def test_a_refused_refund_gives_the_membership_back(bank, door, user_id: UUID) -> None:
    first = await become_member(door, user_id, decision="final")
    bank.clock.move(seconds=11 * 24 * 3600)
    for _ in range(2):
        assert (await refund(door, first))[0] == 409
        assert await until(bank, user_id) == "2026-02-01"
    await bank.db.fetch("UPDATE sandbox_intent SET refunds_refused = false")
    assert (await refund(door, first))[0] == 200
    assert (await bank.balance(user_id)).active_until == bank.clock.now()
    await bank.check()


# What the auditor would find

DAMAGES = {
    "UPDATE account SET receivable = receivable + 1 WHERE asset = 'credit'": {"receivables_off_ledger"},
    "UPDATE payment_order SET state = 'expired', paid_at = NULL WHERE state = 'paid'": {"orders_off_ledger"},
    "UPDATE payment_order SET amount = amount + 1 WHERE state = 'paid'": {"orders_off_ledger"},
    "DELETE FROM payment_order WHERE state = 'paid'": {"orders_off_ledger"},
    "UPDATE payment_order SET state = 'paid' WHERE state = 'refunded'": {"refunds_off_ledger"},
    "DELETE FROM order_refund": {"refunds_off_ledger"},
    "UPDATE order_refund SET state = 'refused'": {"refunds_off_ledger"},
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_the_auditor_finds_orders_that_do_not_agree_with_the_ledger(bank, door, user_id: UUID, damage: str) -> None:
    await refund(door, await buy(door, user_id))
    await buy(door, user_id)
    await bank.check()
    await bank.plant(damage)
    found = await bank.audit()
    assert {name for name in found.__dataclass_fields__ if getattr(found, name)} == DAMAGES[damage]
