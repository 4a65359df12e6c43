"""Billing's edge: internal calls, both dialects' balances and histories, bad input."""

from typing import Any
from uuid import UUID

import pytest

from billing.schemas.internal import AdjustmentOutcomes, BalancesShown, HoldOutcomes
from common.ids import UserId, new_id

BODY_HASH = "ab" * 32


async def call(door, path: str, body: dict[str, Any], *, caller: str = "generation") -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {door.passes.service(caller, 'billing')}"}
    async with door.http.post(door.url + path, json=body, headers=headers) as answer:
        return answer.status, await answer.json()


async def get(door, path: str, user_id: UUID | None, **headers: str) -> tuple[int, Any]:
    if user_id is not None:
        headers["Authorization"] = f"Bearer {door.passes.user(UserId(user_id))}"
    async with door.http.get(door.url + path, headers=headers) as answer:
        return answer.status, await answer.json()


def ask(user_id: UUID, **more: object) -> dict[str, Any]:
    return {
        "task_id": str(new_id()), "user_id": str(user_id), "kind": "travel", "items": 4, "body_hash": BODY_HASH, "expires_in_seconds": 2100, **more,
    }  # fmt: skip


# Between services


async def test_holds_are_placed_at_billings_own_prices_each_answered_in_order(bank, door, user_id: UUID) -> None:
    asks = [ask(user_id), ask(user_id, kind="song", items=1), ask(user_id, items=7), ask(user_id, kind="song", items=1)]
    status, answer = await call(door, "/internal/holds", {"holds": asks})
    assert status == 200
    shown = HoldOutcomes.model_validate(answer).outcomes
    assert [str(one.task_id) for one in shown] == [one["task_id"] for one in asks]
    assert [(one.asset, one.amount, one.available) for one in shown[:2]] == [("credit", 4, 6), ("point", 100, 80)]
    assert [(one.code, one.data) for one in shown[2:]] == [
        (40000, {"required": 7, "current": 6, "shortage": 1}), (40000, {"required": 100, "current": 80, "shortage": 20}),
    ]  # fmt: skip
    assert (shown[0].expires_at - shown[0].placed_at).total_seconds() == 2100
    await bank.check()


async def test_a_hold_says_whether_its_user_is_a_member(bank, door, user_id: UUID) -> None:
    first = ask(user_id)
    _, answer = await call(door, "/internal/holds", {"holds": [first]})
    assert answer["outcomes"][0]["member"] is True
    bank.clock.move(seconds=25 * 3600)
    for again in (first, ask(user_id, kind="song", items=1)):
        _, answer = await call(door, "/internal/holds", {"holds": [again]})
        assert answer["outcomes"][0]["member"] is False


async def test_refusals_say_what_the_caller_should_do(bank, door, user_id: UUID) -> None:
    first = ask(user_id)
    await call(door, "/internal/holds", {"holds": [first]})
    _, answer = await call(door, "/internal/holds", {"holds": [{**first, "body_hash": "cd" * 32}]})
    assert answer["outcomes"][0]["code"] == 10006
    await bank.capture((UUID(first["task_id"]), 4))
    _, answer = await call(door, "/internal/holds", {"holds": [first]})
    assert (answer["outcomes"][0]["code"], answer["outcomes"][0]["data"]) == (40002, {"state": "captured"})


async def test_holds_are_listed_and_unknown_ones_absent(bank, door, user_id: UUID) -> None:
    task_id = await bank.hold(user_id, 4)
    await bank.capture((task_id, 3))
    status, answer = await call(door, "/internal/holds/list", {"task_ids": [str(task_id), str(new_id())]})
    assert (status, answer) == (200, {"holds": [{"task_id": str(task_id), "state": "captured", "amount": 4, "captured_amount": 3}]})


async def test_balances_of_strangers_and_friends_in_the_order_asked(bank, door, user_id: UUID) -> None:
    stranger = new_id()
    task_id = await bank.hold(user_id, 4)
    await bank.capture((task_id, 1))
    await bank.hold(user_id, 2)
    status, answer = await call(door, "/internal/balances", {"user_ids": [str(stranger), str(user_id), str(stranger)]}, caller="identity")
    assert status == 200
    shown = BalancesShown.model_validate(answer).balances
    assert [one.user_id for one in shown] == [stranger, user_id, stranger]
    assert answer["balances"][1]["credit"] == {"available": 7, "held": 2, "posted": 9, "total_in": 10, "total_consumed": 1}
    assert answer["balances"][0]["point"]["available"] == 180
    assert (shown[0].membership.is_vip, shown[0].membership.active_until is not None) == (True, True)
    bank.clock.move(seconds=25 * 3600)
    _, answer = await call(door, "/internal/balances", {"user_ids": [str(user_id)]}, caller="identity")
    assert answer["balances"][0]["membership"]["is_vip"] is False


async def test_adjustments_are_made_once_each(door, user_id: UUID) -> None:
    def adjustment(amount: int) -> dict[str, Any]:
        return {"adjustment_id": str(new_id()), "user_id": str(user_id), "asset": "credit", "amount": amount, "reason": "a gift", "by": "console"}

    body = {"adjustments": [adjustment(5), adjustment(-100), adjustment(-15)]}
    for _ in range(2):
        status, answer = await call(door, "/internal/adjustments", body, caller="identity")
        assert status == 200
        AdjustmentOutcomes.model_validate(answer)
        assert [one["done"] for one in answer["outcomes"]] == [True, False, True]
    assert answer["outcomes"][1]["code"] == 40000
    assert answer["outcomes"][2]["available"] == 0


@pytest.mark.parametrize("amount", [0, 1.5, "x", 10**13])
async def test_an_adjustment_of_nothing_or_of_nonsense_is_refused(door, user_id: UUID, amount: object) -> None:
    adjustment = {"adjustment_id": str(new_id()), "user_id": str(user_id), "asset": "credit", "amount": amount, "reason": "x", "by": "x"}
    status, answer = await call(door, "/internal/adjustments", {"adjustments": [adjustment]}, caller="identity")
    assert (status, answer["code"]) == (400, 10001)


async def test_the_audit_says_whether_the_books_are_sound(bank, door, user_id: UUID) -> None:
    await bank.hold(user_id, 4)
    headers = {"Authorization": f"Bearer {door.passes.service('gateway', 'billing')}"}
    async with door.http.get(f"{door.url}/internal/audit", headers=headers) as answer:
        assert (await answer.json())["sound"] is True
    await bank.plant("UPDATE account SET held = held + 1 WHERE asset = 'credit'")
    async with door.http.get(f"{door.url}/internal/audit", headers=headers) as answer:
        found = await answer.json()
    assert found["sound"] is False
    assert found["disagreements"]["accounts_off_holds"] == 1


@pytest.mark.parametrize(
    "body",
    [
        {}, {"holds": None}, {"holds": [{}]}, {"holds": "x"}, [], {"holds": [{"task_id": "x"}]},
    ],
)  # fmt: skip
async def test_a_body_that_is_no_list_of_asks_is_a_400(bank, door, body: Any) -> None:
    status, answer = await call(door, "/internal/holds", body)
    assert (status, answer["code"]) == (400, 10001)


@pytest.mark.parametrize(
    "change", [{"items": 0}, {"items": 51}, {"kind": "film"}, {"body_hash": "x"}, {"expires_in_seconds": 0}, {"items": 10**30}, {"task_id": "\u0000"}]
)
async def test_a_broken_ask_changes_nothing(bank, door, user_id: UUID, change: dict[str, Any]) -> None:
    status, answer = await call(door, "/internal/holds", {"holds": [ask(user_id), ask(user_id, **change)]})
    assert (status, answer["code"]) == (400, 10001)
    assert await bank.db.fetchval("SELECT count(*) FROM account") == 0


async def test_nothing_asked_is_nothing_answered(door) -> None:
    assert await call(door, "/internal/holds", {"holds": []}) == (200, {"outcomes": []})
    assert await call(door, "/internal/adjustments", {"adjustments": []}) == (200, {"outcomes": []})
    assert await call(door, "/internal/balances", {"user_ids": []}) == (200, {"balances": []})
    assert await call(door, "/internal/holds/list", {"task_ids": []}) == (200, {"holds": []})


@pytest.mark.parametrize("path", ["/internal/holds", "/internal/holds/list", "/internal/balances", "/internal/adjustments"])
async def test_users_have_no_business_between_services(door, user_id: UUID, path: str) -> None:
    headers = {"Authorization": f"Bearer {door.passes.user(UserId(user_id), role='admin')}"}
    async with door.http.post(door.url + path, json={}, headers=headers) as answer:
        assert answer.status == 403
    async with door.http.post(door.url + path, json={}) as answer:
        assert answer.status == 401


# The photo dialect


async def test_my_balance_is_what_i_can_spend_and_the_numbers_add_up(bank, door, user_id: UUID) -> None:
    assert await get(door, "/api/credits/balance", user_id) == (
        200,
        {"success": True, "data": {"credits": 10, "total_credits": 10, "total_consumed_credits": 0}},
    )
    await bank.hold(user_id, 4)
    _, answer = await get(door, "/api/credits/balance", user_id)
    assert answer["data"] == {"credits": 6, "total_credits": 10, "total_consumed_credits": 4}


async def test_my_records_newest_first_with_a_reference_and_a_sentence(bank, door, user_id: UUID) -> None:
    task_id = await bank.hold(user_id, 4)
    await bank.capture((task_id, 3))
    _, answer = await get(door, "/api/credits/records", user_id)
    shown = answer["data"]["records"]
    assert [(one["type"], one["amount"], one["balance_after"], one["related_id"], one["description"]) for one in shown] == [
        ("refund", 1, 7, str(task_id), "未生成部分退回"), ("consume", -4, 6, str(task_id), "生成任务"), ("gift", 10, 10, None, "注册赠送"),
    ]  # fmt: skip
    assert shown[0]["created_at"] == "2026-01-01T00:00:00.000Z"
    assert answer["data"]["pagination"] == {"page": 1, "pageSize": 20, "total": 3, "totalPages": 1}
    assert len({one["record_id"] for one in shown}) == 3
    _, english = await get(door, "/api/credits/records", user_id, **{"Accept-Language": "en"})
    assert english["data"]["records"][2]["description"] == "Welcome gift"


async def test_records_come_in_pages_that_join_without_a_gap(bank, door, user_id: UUID) -> None:
    for amount in range(1, 24):
        await bank.adjust(user_id, amount)
    amounts: list[int] = []
    for page in (1, 2, 3, 4, 5):
        _, answer = await get(door, f"/api/credits/records?page={page}&pageSize=5", user_id)
        amounts += [one["amount"] for one in answer["data"]["records"]]
    assert amounts == [*range(23, 0, -1), 10]
    assert answer["data"]["pagination"] == {"page": 5, "pageSize": 5, "total": 24, "totalPages": 5}
    _, answer = await get(door, "/api/credits/records?page=99&pageSize=5", user_id)
    assert answer["data"]["records"] == []


async def test_records_are_filtered_by_type_and_by_inclusive_dates(bank, door, user_id: UUID) -> None:
    await bank.open(user_id)
    for _ in range(3):
        bank.clock.move(seconds=24 * 3600)
        await bank.adjust(user_id, 1)
    filters = {"?type=gift": 1, "?type=adjust&pageSize=2": 3, "?type=&startDate=&endDate=": 4, "?startDate=2026-01-02": 3, "?endDate=2026-01-02": 2,
               "?startDate=2026-01-02&endDate=2026-01-03": 2, "?startDate=2026-01-02T12:00:00Z": 2, "?endDate=2026-01-02T08:00:00%2B08:00": 1}  # fmt: skip
    for query, total in filters.items():
        status, answer = await get(door, f"/api/credits/records{query}", user_id)
        assert (query, status, answer["data"]["pagination"]["total"]) == (query, 200, total)


@pytest.mark.parametrize(
    "query",
    [
        "page=0",
        "page=x",
        "pageSize=101",
        "pageSize=1.5",
        "page=1000000000000",
        "type=robbery",
        "startDate=yesterday",
        "endDate=9999-12-31",
        "startDate=0001-01-01T00:00:00%2B14:00",
    ],
)
async def test_a_query_that_means_nothing_is_a_400_in_the_dialects_envelope(door, user_id: UUID, query: str) -> None:
    status, answer = await get(door, f"/api/credits/records?{query}", user_id)
    assert (status, answer["success"]) == (400, False)
    assert answer["errors"][0]["field"] == query.partition("=")[0]


@pytest.mark.parametrize("path", ["/api/credits/balance", "/api/credits/records", "/points/history"])
async def test_who_does_not_say_who_they_are_sees_nothing(door, path: str) -> None:
    status, _ = await get(door, path, None)
    assert status == 401


# The song dialect


async def test_my_points_as_the_song_dialect_tells_them(bank, door, user_id: UUID) -> None:
    task_id = await bank.hold(user_id, 1, asset="point", price=100)
    await bank.capture((task_id, 0))
    status, answer = await get(door, "/points/history?page=1&limit=2", user_id)
    assert status == 200
    assert (answer["page"], answer["limit"], answer["total"]) == (1, 2, 3)
    assert answer["results"][0] == {
        "user": {"objectId": str(user_id)}, "amount": 100, "reason": "未生成部分退回", "balance": 180, "time": "2026-01-01T00:00:00.000Z",
    }  # fmt: skip
    assert answer["results"][1]["balance"] == 80


async def test_clients_of_the_old_platform_get_a_pointer(door, user_id: UUID) -> None:
    _, answer = await get(door, "/points/history", user_id, **{"X-LC-Id": "app"})
    assert answer["results"][0]["user"] == {"__type": "Pointer", "className": "_User", "objectId": str(user_id)}


@pytest.mark.parametrize("query", ["limit=-1", "limit=1.5", "limit=1000000000", "page=-1"])
async def test_a_broken_page_of_points_is_a_400(door, user_id: UUID, query: str) -> None:
    status, answer = await get(door, f"/points/history?{query}", user_id)
    assert (status, answer["code"]) == (400, 10001)


async def test_another_persons_history_is_nowhere(bank, door, user_id: UUID) -> None:
    await bank.hold(user_id, 4)
    _, answer = await get(door, f"/api/credits/records?user_id={user_id}", new_id())
    assert [one["type"] for one in answer["data"]["records"]] == ["gift"]
