"""Operators: who may log in as one, what they see and change, and that nothing happens twice or unseen."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from common.auth import ServiceTokens, read_private_key
from identity.api import ROUTES

ADMIN = {"username": "root-of-all", "password": "a long password"}


@pytest.fixture
def service_token(environment: dict[str, str]) -> str:
    return ServiceTokens(read_private_key(Path(environment["IDENTITY_KEY_PATH"])), "identity").token_for("identity")


def bearer(token: str) -> dict[str, Any]:
    return {"headers": {"Authorization": f"Bearer {token}"}}


async def admin_token(identity: Any, service_token: str) -> tuple[str, str]:
    await identity.ask("POST", "/internal/admins", json=ADMIN, **bearer(service_token))
    status, _, body = await identity.ask("POST", "/api/auth/admin/login", json=ADMIN)
    assert status == 200, body
    return body["data"]["token"], body["data"]["admin"]["admin_id"]


async def test_an_operator_logs_in_and_a_wrong_name_or_password_is_one_answer(run_identity: Callable[..., Any], service_token: str) -> None:
    async with run_identity() as identity:
        await admin_token(identity, service_token)
        wrong = [{**ADMIN, "password": "another one"}, {**ADMIN, "username": "nobody"}]
        answers = [await identity.ask("POST", "/api/auth/admin/login", json=one) for one in wrong]
        assert [(status, headers["X-Error-Code"], body) for status, headers, body in answers] == [(401, "20001", answers[0][2])] * 2


async def test_a_name_that_is_taken_keeps_its_password(run_identity: Callable[..., Any], service_token: str) -> None:
    async with run_identity() as identity:
        await admin_token(identity, service_token)
        _, _, again = await identity.ask("POST", "/internal/admins", json={**ADMIN, "password": "a thief's password"}, **bearer(service_token))
        assert again["made"] is False
        assert (await identity.ask("POST", "/api/auth/admin/login", json=ADMIN))[0] == 200


async def test_every_admin_route_refuses_who_is_no_admin(run_identity: Callable[..., Any]) -> None:
    guarded = [route for route in ROUTES if route.auth == "admin"]
    assert len(guarded) >= 4
    async with run_identity() as identity:
        user = await identity.sign_up()
        for route in guarded:
            path = route.path.replace("{user_id}", user["objectId"]).replace("{config_key}", "site_name")
            status, headers, _ = await identity.ask(route.method, path, json={} if route.body else None, **bearer(user["sessionToken"]))
            assert (status, headers["X-Error-Code"]) == (403, "10003"), path
            assert (await identity.ask(route.method, path, json={} if route.body else None))[0] == 401, path


async def test_a_user_is_changed_and_the_change_is_noted_once(run_identity: Callable[..., Any], service_token: str, service_databases: Any) -> None:
    async with run_identity() as identity:
        token, admin_id = await admin_token(identity, service_token)
        user = await identity.sign_up()
        path = f"/api/admin/users/{user['objectId']}"
        options = {"headers": {"Authorization": f"Bearer {token}", "Idempotency-Key": "once"}, "json": {"status": "disabled", "adjustment_reason": "spam"}}
        for _ in range(2):
            status, _, body = await identity.ask("PUT", path, **options)
            assert (status, body["data"]["user"]["status"]) == (200, "disabled")
        assert (await identity.ask("POST", "/login", json={"email": "ada@darkroom.example", "password": "correct horse"}))[0] == 403
        found = await identity.ask("GET", "/api/admin/users?status=disabled&keyword=AD&role=", **bearer(token))
        assert [row["user_id"] for row in found[2]["data"]["users"]] == [user["objectId"]]
    connection = await asyncpg.connect((await service_databases.get("identity")).role_url)
    try:
        actions = await connection.fetch("SELECT admin_id::text, user_id::text, before, after, reason FROM admin_action")
        assert [(row["admin_id"], row["user_id"], row["reason"]) for row in actions] == [(admin_id, user["objectId"], "spam")]
        assert (json.loads(actions[0]["before"])["status"], json.loads(actions[0]["after"])["status"]) == ("active", "disabled")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("UPDATE admin_action SET reason = 'no reason'")
    finally:
        await connection.close()


async def test_a_promoted_user_passes_with_the_next_token_and_nobody_dethrones_themselves(run_identity: Callable[..., Any], service_token: str) -> None:
    async with run_identity() as identity:
        token, admin_id = await admin_token(identity, service_token)
        user = await identity.sign_up()
        status, _, body = await identity.ask("PUT", f"/api/admin/users/{user['objectId']}", json={"role": "admin"}, **bearer(token))
        assert (status, body["data"]["user"]["role"]) == (200, "admin")
        _, _, fresh = await identity.ask("POST", "/login", json={"email": "ada@darkroom.example", "password": "correct horse"})
        assert (await identity.ask("GET", "/api/admin/users", **bearer(fresh["sessionToken"])))[0] == 200
        for change in ({"role": "user"}, {"status": "disabled"}):
            assert (await identity.ask("PUT", f"/api/admin/users/{admin_id}", json=change, **bearer(token)))[0] == 409


class Operator:
    """Somebody who changes people, and what is noted of it."""

    def __init__(self, identity: Any, token: str, admin_id: str, user_id: str, sql: Callable[..., Any]) -> None:
        self.identity, self.token, self.admin_id, self.user_id, self.sql = identity, token, admin_id, user_id, sql

    async def change(self, wish: dict[str, Any], key: str | None = None, *, user_id: str | None = None) -> tuple[int, Any, Any]:
        headers = {"Authorization": f"Bearer {self.token}"} | ({"Idempotency-Key": key} if key is not None else {})
        found: tuple[int, Any, Any] = await self.identity.ask("PUT", f"/api/admin/users/{user_id or self.user_id}", json=wish, headers=headers)
        return found

    async def noted(self) -> list[tuple[str, str, int]]:
        """Each action: the role and the state afterwards, and the credits."""
        rows = [json.loads(row["after"]) for row in await self.sql("SELECT after FROM admin_action ORDER BY acted_at")]
        return [(row["role"], row["status"], row["credits_adjustment"]) for row in rows]

    async def open(self) -> int:
        return len(await self.sql("SELECT 1 FROM admin_intent"))

    async def role(self) -> str:
        [row] = await self.sql("SELECT role FROM person WHERE user_id = $1", self.user_id)
        return str(row["role"])

    async def let_lease_end(self) -> None:
        await self.sql("UPDATE admin_intent SET leased_until = now() - interval '1 second'")


@pytest.fixture
async def open_operator(run_identity: Callable[..., Any], service_token: str, sql: Callable[..., Any]) -> Callable[..., Any]:
    @asynccontextmanager
    async def opened(**given: str) -> AsyncIterator[Operator]:
        async with run_identity(**given) as identity:
            token, admin_id = await admin_token(identity, service_token)
            yield Operator(identity, token, admin_id, (await identity.sign_up())["objectId"], sql)

    return opened


GIVE = {"role": "admin", "credits_adjustment": 50, "adjustment_reason": "a present"}


@pytest.mark.parametrize("change", [{"role": "user"}, {"status": "disabled"}])
async def test_what_admins_may_not_do_to_themselves_moves_no_credits_either(open_operator: Callable[..., Any], billing: Any, change: dict[str, Any]) -> None:
    async with open_operator() as operator:
        wish = {**change, "credits_adjustment": 50, "adjustment_reason": "mine"}
        status, headers, _ = await operator.change(wish, user_id=operator.admin_id)
        assert (status, headers["X-Error-Code"]) == (409, "10005")
        assert (billing.made, await operator.noted(), await operator.open()) == ({}, [], 0)


async def test_role_and_credits_change_together_and_are_one_noted_action(open_operator: Callable[..., Any], billing: Any) -> None:
    async with open_operator() as operator:
        status, headers, body = await operator.change(GIVE)
        assert (status, body["data"]["user"]["role"], "Idempotent-Replayed" in headers) == (200, "admin", False)
        assert list(billing.made.values()) == [(operator.user_id, 50)]
        assert (await operator.noted(), await operator.open()) == ([("admin", "active", 50)], 0)
        [row] = await operator.sql("SELECT action_id::text FROM admin_action")
        assert row["action_id"] in billing.made


async def test_what_billing_refuses_changes_nothing_and_its_key_may_be_tried_again(open_operator: Callable[..., Any], billing: Any) -> None:
    async with open_operator() as operator:
        billing.refuses = True
        status, headers, body = await operator.change(GIVE, "k")
        assert (status, headers["X-Error-Code"], body["errors"][0]["field"]) == (400, "10001", "credits_adjustment")
        assert (await operator.role(), await operator.noted(), await operator.open()) == ("user", [], 0)
        billing.refuses = False
        assert (await operator.change(GIVE, "k"))[0] == 200
        assert (await operator.role(), len(billing.made)) == ("admin", 1)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"credits_adjustment": 5, "adjustment_reason": "x"}, {"status": "disabled"}),
        ({"status": "active"}, {"credits_adjustment": 50, "adjustment_reason": "x"}),
        ({"credits_adjustment": 5, "adjustment_reason": "x"}, {"credits_adjustment": 6, "adjustment_reason": "x"}),
    ],
)
async def test_a_key_of_one_change_is_refused_for_another(
    open_operator: Callable[..., Any], billing: Any, first: dict[str, Any], second: dict[str, Any]
) -> None:
    async with open_operator() as operator:
        status, _, answer = await operator.change(first, "k")
        assert status == 200
        made, noted = dict(billing.made), await operator.noted()
        status, headers, _ = await operator.change(second, "k")
        assert (status, headers["X-Error-Code"]) == (422, "10006")
        status, headers, again = await operator.change(first, "k")
        assert (status, headers["Idempotent-Replayed"], again) == (200, "true", answer)
        assert (billing.made, await operator.noted(), await operator.open()) == (made, noted, 0)
        [row] = await operator.sql("SELECT disabled_at FROM person WHERE user_id = $1", operator.user_id)
        assert row["disabled_at"] is None


async def test_a_key_is_refused_for_another_change_also_while_billing_is_asked(open_operator: Callable[..., Any], billing: Any) -> None:
    async with open_operator() as operator:
        billing.loses_answers = True
        assert (await operator.change(GIVE, "k"))[0] == 503
        status, headers, _ = await operator.change({"status": "disabled"}, "k")
        assert (status, headers["X-Error-Code"]) == (422, "10006")
        assert (await operator.noted(), await operator.open()) == ([], 1)


async def test_a_lost_answer_leaves_an_intent_that_the_same_key_sees_through(open_operator: Callable[..., Any], billing: Any) -> None:
    async with open_operator() as operator:
        billing.loses_answers = True
        status, headers, _ = await operator.change(GIVE, "k")
        assert (status, int(headers["Retry-After"]) > 1) == (503, True)
        assert (await operator.role(), await operator.noted(), await operator.open()) == ("user", [], 1)
        billing.loses_answers = False
        await operator.let_lease_end()
        assert (await operator.change(GIVE, "k"))[0] == 200
        assert (len(billing.made), await operator.role()) == (1, "admin")
        assert (await operator.noted(), await operator.open()) == ([("admin", "active", 50)], 0)


@pytest.mark.parametrize("refuses", [False, True])
async def test_what_a_process_left_open_is_made_by_the_next_one_or_given_up(
    open_operator: Callable[..., Any], run_identity: Any, billing: Any, refuses: bool
) -> None:
    async with open_operator() as operator:
        billing.loses_answers = True
        assert (await operator.change(GIVE))[0] == 503
    if refuses:
        billing.made.clear()  # it never got there
    billing.loses_answers, billing.refuses = False, refuses
    await operator.let_lease_end()
    async with run_identity():
        async with asyncio.timeout(60):
            while await operator.open():
                await asyncio.sleep(0.02)
    assert len(billing.made) == (0 if refuses else 1)
    assert (await operator.role(), await operator.noted()) == (("user", []) if refuses else ("admin", [("admin", "active", 50)]))


async def test_while_nobody_is_there_to_move_credits_nothing_changes(open_operator: Callable[..., Any]) -> None:
    async with open_operator(BILLING_URL="http://127.0.0.1:9") as operator:
        status, headers, _ = await operator.change(GIVE)
        assert (status, int(headers["Retry-After"]) > 0) == (503, True)
        assert (await operator.role(), await operator.noted(), await operator.open()) == ("user", [], 0)


@pytest.mark.parametrize("key", ["k", None])
async def test_a_twin_waits_for_the_first_and_moves_nothing(open_operator: Callable[..., Any], billing: Any, key: str | None) -> None:
    async with open_operator() as operator:
        billing.adjusts.clear()
        both = asyncio.gather(*(operator.change(GIVE, key) for _ in range(2)))
        async with asyncio.timeout(60):
            while not await operator.open():
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)
        billing.adjusts.set()
        answers = await both
        assert [status for status, _, _ in answers] == [200, 200]
        assert sorted(headers.get("Idempotent-Replayed", "") for _, headers, _ in answers) == ["", "true"]
        assert (len(billing.made), await operator.noted()) == (1, [("admin", "active", 50)])


async def test_the_same_present_twice_without_a_key_is_two(open_operator: Callable[..., Any], billing: Any) -> None:
    async with open_operator() as operator:
        for _ in range(2):
            assert (await operator.change({"credits_adjustment": 5, "adjustment_reason": "x"}))[0] == 200
        assert (len(billing.made), await operator.noted()) == (2, [("user", "active", 5)] * 2)


async def test_an_unknown_user_is_20000_and_nonsense_10001(run_identity: Callable[..., Any], service_token: str) -> None:
    async with run_identity() as identity:
        token, _ = await admin_token(identity, service_token)
        for user_id in ("0198c3a0-0000-7000-8000-00000000dead", "nonsense"):
            status, headers, _ = await identity.ask("PUT", f"/api/admin/users/{user_id}", json={"status": "active"}, **bearer(token))
            assert (status, headers["X-Error-Code"]) == (404, "20000")
        user = await identity.sign_up()
        for change in ({"role": "emperor"}, {"status": 3}, {"credits_adjustment": "many"}, {"credits_adjustment": 5}):
            status, headers, _ = await identity.ask("PUT", f"/api/admin/users/{user['objectId']}", json=change, **bearer(token))
            assert (status, headers["X-Error-Code"]) == (400, "10001"), change


async def test_the_one_time_link_opens_one_account_once(run_identity: Callable[..., Any], environment: dict[str, str], service_databases: Any) -> None:
    urls = await service_databases.get("identity")
    async with run_identity() as identity:
        env = {**environment, "IDENTITY_DATABASE_URL": urls.role_url, "PATH": "/usr/bin"}
        printed = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-m", "identity", "admin", "create"], env=env, capture_output=True, text=True, check=True, timeout=60
        )
        link, _, token = printed.stdout.strip().partition("#")
        assert link.endswith("/v1/admin-invitations")
        wishes = [{"token": token, "username": f"first{number}", "password": "a long password"} for number in range(5)]
        answers = await asyncio.gather(*(identity.ask("POST", "/v1/admin-invitations", json=wish) for wish in wishes))
        assert sorted(status for status, _, _ in answers) == [201, 401, 401, 401, 401]
        async with identity._session.get(identity.url + "/v1/admin-invitations") as page:
            assert (page.status, page.headers["Content-Security-Policy"]) == (200, "default-src 'self'")
            assert "<script>" not in await page.text()


async def test_people_by_id_are_told_to_services_only(run_identity: Callable[..., Any], service_token: str) -> None:
    async with run_identity() as identity:
        user = await identity.sign_up()
        ask = {"user_ids": [user["objectId"], "0198c3a0-0000-7000-8000-00000000dead"]}
        _, _, told = await identity.ask("POST", "/internal/users/list", json=ask, **bearer(service_token))
        assert [(one["user_id"], one["username"], one["disabled"]) for one in told["users"]] == [(user["objectId"], "ada", False)]
        assert (await identity.ask("POST", "/internal/users/list", json=ask, **bearer(user["sessionToken"])))[0] == 403


async def test_no_address_no_openid_and_no_token_stand_in_the_tables(run_identity: Callable[..., Any], service_databases: Any) -> None:
    async with run_identity(IDENTITY_WECHAT="sandbox") as identity:
        await identity.sign_up("secret-address@darkroom.example")
        await identity.ask("POST", "/api/auth/wechat/login", json={"code": "secret-code"})
    connection = await asyncpg.connect((await service_databases.get("identity")).superuser_url)
    try:
        tables = [row[0] for row in await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'outbox'")]
        dump = json.dumps([str(row) for table in tables for row in await connection.fetch(f'SELECT t::text FROM "{table}" t')])
        facts = str(await connection.fetch("SELECT payload FROM outbox_fact"))
    finally:
        await connection.close()
    for secret in ("secret-address", "sandbox-", "secret-code"):
        assert secret not in dump
        assert secret not in facts
