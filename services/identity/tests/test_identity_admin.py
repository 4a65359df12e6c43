"""Operators: who may log in as one, what they see and change, and that nothing happens twice or unseen."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
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
