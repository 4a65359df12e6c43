"""A dump of billing's database shows no id by which a payment provider knows a payment, nor what it said; who holds the key sees all."""

from typing import Any
from uuid import UUID

import asyncpg
import orjson
import pytest

from billing import upkeep
from billing.deps import Deps
from billing.store import orders
from common.ids import UserId, new_id
from common.testing.doors import Door
from common.vault import Unopenable, Vault

CALLBACK = "/api/credits/payment/callback"


async def ask(door: Door, method: str, path: str, user_id: UUID, *, role: Any = "user", **more: Any) -> Any:
    headers = {"Authorization": f"Bearer {door.passes.user(UserId(user_id), role=role)}"}
    async with door.http.request(method, door.url + path, headers=headers, **more) as answer:
        assert answer.status == 200, await answer.text()
        return orjson.loads(await answer.read())["data"]


async def recharge(door: Door, user_id: UUID) -> Any:
    return await ask(door, "POST", "/api/credits/recharge", user_id, json={"package_id": "basic", "payment_method": "wechat"})


async def shown(door: Door, user_id: UUID, order_no: str) -> Any:
    return (await ask(door, "GET", f"/api/credits/orders/{order_no}", user_id))["order"]


async def alerts(door: Door) -> Any:
    return (await ask(door, "GET", "/api/admin/orders", new_id(), role="admin"))["alerts"]


async def dump(bank: Any) -> str:
    """Every row of every table as text, the way pg_dump would write it."""
    conn = await asyncpg.connect(bank.superuser_url)
    try:
        tables = [row[0] for row in await conn.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
        rows = [row[0] for table in tables for row in await conn.fetch(f'SELECT t::text FROM "{table}" t')]
    finally:
        await conn.close()
    assert any("ORDER" in row for row in rows)
    return "\n".join(rows)


def visible(text: str, words: list[str]) -> list[str]:
    """Those of these words that stand in a dump, plainly or as bytes."""
    return [word for word in words if word in text or word.encode().hex() in text]


@pytest.fixture
async def told(bank: Any, deps: Deps, door: Door, user_id: UUID) -> list[str]:
    """An order is paid, another waits, money that fits nothing arrives, somebody declines; answers every id that was used on the way."""
    assert deps.sandbox is not None
    paid, waits, off, declined = [await recharge(door, user_id) for _ in range(4)]
    intents = [one["payment_params"]["intent_id"] for one in (paid, waits, off, declined)]
    await deps.sandbox.pay(intents[0], refunds_refused=False)
    await deps.sandbox.decline(intents[3])
    payer = "payer-2088102146225135"
    intent = await deps.sandbox.find(intents[2])
    assert intent is not None
    body = orjson.dumps({**orjson.loads(deps.sandbox.notice_of(intent)), "id": "event-4711", "transaction_id": "tx-9f31", "amount": 1, "payer": payer})
    async with door.http.post(door.url + CALLBACK, data=body, headers=deps.sandbox.headers_for(body)) as answer:
        assert answer.status == 402
    transaction_id = (await shown(door, user_id, paid["order_no"]))["transaction_id"]
    assert transaction_id.startswith("sbx_")
    assert (await shown(door, user_id, waits["order_no"]))["payment_params"]["intent_id"] == intents[1]
    assert [alert["transaction_id"] for alert in await alerts(door)] == ["tx-9f31"]
    assert await bank.available(user_id) == 110
    return [*intents, transaction_id, transaction_id.removeprefix("sbx_"), "tx-9f31", "event-4711", payer, "Sandbox-Signature"]


async def test_a_dump_shows_no_id_of_a_payment_and_nothing_its_provider_said(bank: Any, told: list[str]) -> None:
    assert visible(await dump(bank), told) == []


async def test_without_the_key_nothing_opens(deps: Deps, bank: Any, door: Door, user_id: UUID) -> None:
    assert deps.sandbox is not None
    params = (await recharge(door, user_id))["payment_params"]
    deps.sandbox._vault = Vault("billing", key_id="1", secret="x" * 32, old_secrets={}, lookup_secret="l" * 32)
    with pytest.raises(Unopenable):
        await deps.sandbox.find(params["intent_id"])
    deps.sandbox._vault = Vault("billing", key_id="2", secret="x" * 32, old_secrets={"1": "e" * 32}, lookup_secret="l" * 32)
    assert await deps.sandbox.find(params["intent_id"]) is not None


@pytest.mark.usefixtures("told")
async def test_orders_whose_key_is_lost_are_shown_without_what_it_opened(deps: Deps, door: Door, user_id: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deps.vault, "_keys", {})
    orders_shown = (await ask(door, "GET", "/api/credits/orders", user_id))["orders"]
    assert len(orders_shown) == 4
    assert {one["status"] for one in orders_shown} >= {"paid", "pending"}
    assert [(one["transaction_id"], one["payment_params"]) for one in orders_shown] == [(None, None)] * 4
    assert [alert["transaction_id"] for alert in await alerts(door)] == [""]


PLAIN = """
    UPDATE payment_order SET intent_id = 'sbi_plain', params = '{"intent_id": "sbi_plain", "pay_url": "http://shop.test/sbi_plain"}', intent_sealed = NULL,
        transaction_id = CASE WHEN state = 'paid' THEN 'sbx_plain' END, transaction_sealed = NULL;
    UPDATE payment_notice SET event_id = 'sbe_plain' || order_no, body = '{"transaction_id": "sbx_plain"}', headers = '{"Sandbox-Nonce": "n-plain"}',
        said_sealed = NULL;
    UPDATE payment_alert SET transaction_id = 'tx-plain', transaction_sealed = NULL;
    UPDATE sandbox_intent SET intent_id = 'sbi_plain' || order_no, intent_sealed = NULL, transaction_id = 'sbx_plain' || order_no, transaction_sealed = NULL;
"""


async def test_what_was_kept_plainly_before_is_sealed_and_means_the_same(bank: Any, deps: Deps, door: Door, user_id: UUID, told: list[str]) -> None:
    await bank.plant(PLAIN)
    assert "sbi_plain" in await dump(bank)
    orders = (await ask(door, "GET", "/api/credits/orders", user_id))["orders"]
    paid, waits = (next(one["order_no"] for one in orders if one["status"] == status) for status in ("paid", "pending"))
    for _ in range(2):
        await upkeep.seal_old_rows(deps.db, deps.vault)
    assert visible(await dump(bank), ["plain", *told]) == []
    assert (await shown(door, user_id, paid))["transaction_id"] == "sbx_plain"
    assert (await shown(door, user_id, waits))["payment_params"]["pay_url"] == "http://shop.test/sbi_plain"
    assert [alert["transaction_id"] for alert in await alerts(door)] == ["tx-plain"]
    assert deps.sandbox is not None
    found = await deps.sandbox.find("sbi_plain" + waits)
    assert found is not None
    assert (found.order_no, found.transaction_id) == (waits, "sbx_plain" + waits)
    assert await bank.db.fetchval("SELECT count(*) FROM payment_notice WHERE said_sealed IS NULL") == 0


async def test_a_notice_that_came_again_before_its_old_row_was_sealed_is_kept_once(bank: Any, deps: Deps, door: Door, user_id: UUID) -> None:
    assert deps.sandbox is not None
    params = (await recharge(door, user_id))["payment_params"]
    paid = await deps.sandbox.pay(params["intent_id"], refunds_refused=False)
    assert paid is not None
    event_id = orjson.loads(deps.sandbox.notice_of(paid))["id"]
    await bank.plant(
        "INSERT INTO payment_notice (provider, event_id, order_no, body, headers, received_at, handled_at)"
        " VALUES ('sandbox', $1, $2, '{}', '{}', now(), now())",
        event_id, paid.order_no,
    )  # fmt: skip
    await upkeep.seal_old_rows(deps.db, deps.vault)
    assert await bank.db.fetchval("SELECT count(*) FROM payment_notice") == 1
    assert visible(await dump(bank), [event_id]) == []
    assert await bank.available(user_id) == 110


UNSEALED = """
    UPDATE payment_order SET intent_id = $1, params = jsonb_build_object('intent_id', $1::text), intent_sealed = NULL WHERE order_no = $2
"""
UNSEALED_INTENT = "UPDATE sandbox_intent SET intent_id = $1, intent_sealed = NULL WHERE order_no = $2"


async def unseal(bank: Any, params: dict[str, Any]) -> None:
    """As a process of the version before writes an order and its intent, while ours runs beside it."""
    for sql in (UNSEALED, UNSEALED_INTENT):
        await bank.plant(sql, params["intent_id"], params["order_no"])


@pytest.mark.parametrize("unsealed", [(UNSEALED,), (UNSEALED_INTENT,), (UNSEALED, UNSEALED_INTENT)])
async def test_what_the_version_before_writes_beside_us_is_paid_before_it_is_sealed(
    bank: Any, deps: Deps, door: Door, user_id: UUID, unsealed: tuple[str, ...]
) -> None:
    params = (await recharge(door, user_id))["payment_params"]
    for sql in unsealed:
        await bank.plant(sql, params["intent_id"], params["order_no"])
    async with door.http.post(f"{door.url}/v1/sandbox/pay/{params['intent_id']}", data={"decision": "decline"}) as answer:
        assert 'data-state="declined"' in await answer.text()
    async with door.http.post(f"{door.url}/v1/sandbox/pay/{params['intent_id']}", data={"decision": "pay"}) as answer:
        assert 'data-state="paid"' in await answer.text()
    assert (await bank.available(user_id), await alerts(door)) == (110, [])
    transaction_id = (await shown(door, user_id, params["order_no"]))["transaction_id"]
    await upkeep.seal_old_rows(deps.db, deps.vault)
    assert visible(await dump(bank), [params["intent_id"], transaction_id]) == []
    assert deps.sandbox is not None
    found = await deps.sandbox.find(params["intent_id"])
    assert found is not None
    assert found.transaction_id == transaction_id, "sealing an intent must not lose what paid it meanwhile"


async def test_the_hash_of_an_intent_opens_no_pay_page(bank: Any, deps: Deps, door: Door, user_id: UUID) -> None:
    order_no = (await recharge(door, user_id))["order_no"]
    intent_hash = await bank.db.fetchval("SELECT intent_id FROM sandbox_intent WHERE order_no = $1", order_no)
    assert deps.sandbox is not None
    assert await deps.sandbox.find(intent_hash) is None


async def test_upkeep_asks_about_orders_the_version_before_wrote(bank: Any, deps: Deps, door: Door, user_id: UUID) -> None:
    assert deps.sandbox is not None
    placed = [(await recharge(door, user_id))["payment_params"] for _ in range(2)]
    deps.sandbox._notify_url = "http://127.0.0.1:1/nobody"
    for params in placed:
        await deps.sandbox.pay(params["intent_id"], refunds_refused=False)
    await unseal(bank, placed[0])
    bank.clock.move(seconds=61)
    await upkeep.look_at_orders(deps, batch_max=10)
    assert await bank.available(user_id) == 210


async def test_an_order_the_version_before_opened_is_the_same_when_it_is_asked_for_again(bank: Any, door: Door, user_id: UUID) -> None:
    wish = {"json": {"package_id": "basic", "payment_method": "wechat"}}
    headers = {"Authorization": f"Bearer {door.passes.user(UserId(user_id))}", "Idempotency-Key": str(new_id())}
    url = f"{door.url}/api/credits/recharge"
    async with door.http.post(url, headers=headers, **wish) as answer:
        first = (await answer.json())["data"]
    await bank.plant(UNSEALED, first["payment_params"]["intent_id"], first["order_no"])
    async with door.http.post(url, headers=headers, **wish) as answer:
        again = (await answer.json())["data"]
    assert (again["order_no"], again["payment_params"]) == (first["order_no"], {"intent_id": first["payment_params"]["intent_id"]})
    assert await bank.db.fetchval("SELECT intent_sealed FROM payment_order") is None, "what is there is not opened a second time"


async def test_the_id_of_a_payment_is_kept_when_it_is_sealed_while_its_order_is_changed(bank: Any, deps: Deps, door: Door, user_id: UUID) -> None:
    """Upkeep seals without the lock of the account, perhaps in another process."""
    params = (await recharge(door, user_id))["payment_params"]
    assert deps.sandbox is not None
    await deps.sandbox.pay(params["intent_id"], refunds_refused=False)
    await bank.plant("UPDATE payment_order SET transaction_id = 'sbx_before', transaction_sealed = NULL")
    async with bank.db.transaction() as tx:
        [order] = (await orders.list_orders_by_no(tx.conn, [params["order_no"]])).values()
        await upkeep.seal_old_rows(deps.db, deps.vault)
        order.state, order.ended_at = "refunded", tx.now
        await orders.save_orders(tx.conn, tx.now, [order])
    kept = await shown(door, user_id, params["order_no"])
    assert (kept["status"], kept["transaction_id"]) == ("refunded", "sbx_before")
