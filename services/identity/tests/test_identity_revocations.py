"""The numbered list of what was revoked."""

import asyncio
from typing import Any
from uuid import uuid4

import orjson

from common.ids import UserId
from identity import commands, store
from identity.domain import Registration, Revoke
from identity.upkeep import forget_what_is_over


async def test_numbers_are_given_in_the_order_of_commits_and_none_is_missed(service_database: Any) -> None:
    db = await service_database("identity")
    seen: list[int] = []

    async def revoke_some(count: int) -> None:
        for _ in range(count):
            async with db.transaction() as tx:
                await commands.revoke(tx, [Revoke(uuid4(), "logout", uuid4()) for _ in range(3)])

    async def follow() -> None:
        while len(seen) < 150:
            async with db.read() as conn:
                page = await store.list_revocations(conn, after=seen[-1] if seen else 0, limit=7)
            seen.extend(row.number for row in page.revocations)
            await asyncio.sleep(0.001)

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(follow())
        for _ in range(5):
            group.create_task(revoke_some(10))
    assert seen == list(range(1, 151))


async def test_a_batch_is_said_once_each_and_a_users_number_is_the_newest(service_database: Any) -> None:
    db = await service_database("identity")
    user_id = UserId(uuid4())
    async with db.transaction() as tx:
        await commands.register_people(tx, [Registration(user_id, "ada", None, b"a", b"sealed", "1", "hash", None)])
    async with db.transaction() as tx:
        numbers = await commands.revoke(tx, [Revoke(user_id, "changed"), Revoke(user_id, "disabled"), Revoke(user_id, "logout", uuid4())])
    assert numbers == [1, 2, 3]
    assert await db.fetchval("SELECT revoked_number FROM person") == 2
    told = [orjson.loads(row["payload"]) for row in await db.fetch("SELECT payload FROM outbox_fact WHERE topic = 'session.revoked' ORDER BY position, place")]
    assert [(fact["sequence"], fact["reason"]) for fact in told] == [(1, "changed"), (2, "disabled"), (3, "logout")]


async def test_only_services_read_the_list(identity: Any, pass_of_a_service: Any) -> None:
    user = await identity.sign_up()
    assert (await identity.ask("GET", "/internal/revocations"))[0] == 401
    assert (await identity.ask("GET", "/internal/revocations", headers={"Authorization": f"Bearer {user['sessionToken']}"}))[0] == 403
    status, _, page = await identity.ask("GET", "/internal/revocations?after=0", **pass_of_a_service)
    assert (status, page) == (200, {"revocations": [], "head": 0})
    assert (await identity.ask("GET", "/internal/revocations?after=-1", **pass_of_a_service))[0] == 400


async def test_rows_are_kept_as_long_as_the_longest_token_lives(service_database: Any) -> None:
    db = await service_database("identity")
    async with db.transaction() as tx:
        await commands.revoke(tx, [Revoke(uuid4(), "logout", uuid4()) for _ in range(2)])
    kept = await db.fetchval("SELECT min(expires_at - revoked_at) >= interval '7 days' FROM revocation")
    assert kept
    await db.fetch("UPDATE revocation SET expires_at = now() - interval '1 second' WHERE number = 1")
    await forget_what_is_over(db)
    assert [row["number"] for row in await db.fetch("SELECT number FROM revocation")] == [2]


async def test_a_disabled_account_is_refused_by_every_replica_within_five_seconds(run_identity: Any, pass_of_a_service: Any) -> None:
    admin = {"username": "root-of-all", "password": "a long password"}
    async with run_identity() as one, run_identity() as other:
        user = await one.sign_up()
        await one.ask("POST", "/internal/admins", json=admin, **pass_of_a_service)
        token = (await one.ask("POST", "/api/auth/admin/login", json=admin))[2]["data"]["token"]
        for where in (one, other):
            assert (await where.ask("GET", "/api/auth/me", headers=_bearer(user["sessionToken"])))[0] == 200
        status, _, _ = await one.ask("PUT", f"/api/admin/users/{user['objectId']}", json={"status": "disabled"}, headers=_bearer(token))
        assert status == 200
        async with asyncio.timeout(60):
            for where in (one, other):
                while (await where.ask("GET", "/v1/sessions", headers=_bearer(user["sessionToken"])))[0] == 200:
                    await asyncio.sleep(0.05)
        status, headers, _ = await other.ask("GET", "/v1/sessions", headers=_bearer(user["sessionToken"]))
        assert (status, headers["X-Error-Code"]) == (403, "20003")
        status, headers, _ = await other.ask("GET", "/api/auth/me", headers=_bearer(user["sessionToken"]))
        assert (status, headers["X-Error-Code"]) == (401, "20003"), "as the photo dialect says it"
        assert (await other.ask("POST", "/login", json={"email": "ada@darkroom.example", "password": "correct horse"}))[2]["code"] == 20003
        status, _, error = await other.ask("POST", "/v1/sessions/refresh", json={"refresh_token": user["refreshToken"]})
        assert (status, error["code"]) in ((403, 20003), (401, 10002))
        await one.ask("PUT", f"/api/admin/users/{user['objectId']}", json={"status": "active"}, headers=_bearer(token))
        status, _, again = await other.ask("POST", "/login", json={"email": "ada@darkroom.example", "password": "correct horse"})
        assert status == 200
        await asyncio.sleep(2.5)
        for where in (one, other):
            assert (await where.ask("GET", "/v1/sessions", headers=_bearer(again["sessionToken"])))[0] == 200, "the new one is good"
            assert (await where.ask("GET", "/v1/sessions", headers=_bearer(user["sessionToken"])))[0] == 401, "the old one is not"


async def test_a_promoted_user_gets_the_role_with_the_next_login(run_identity: Any, pass_of_a_service: Any) -> None:
    admin = {"username": "root-of-all", "password": "a long password"}
    async with run_identity() as identity:
        user = await identity.sign_up()
        await identity.ask("POST", "/internal/admins", json=admin, **pass_of_a_service)
        token = (await identity.ask("POST", "/api/auth/admin/login", json=admin))[2]["data"]["token"]
        await identity.ask("PUT", f"/api/admin/users/{user['objectId']}", json={"role": "admin"}, headers=_bearer(token))
        _, _, again = await identity.ask("POST", "/login", json={"email": "ada@darkroom.example", "password": "correct horse"})
        assert (await identity.ask("GET", "/api/admin/users", headers=_bearer(again["sessionToken"])))[0] == 200


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
