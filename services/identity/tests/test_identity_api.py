"""Signing up, logging in, and being somebody."""

import asyncio
import time
from typing import Any

import aiohttp
import asyncpg
import jwt

from common.auth import Authenticator, JwksUrl


async def test_a_sign_up_answers_the_user_and_a_token_everybody_accepts(identity: Any) -> None:
    status, headers, user = await identity.ask("POST", "/users", json={"username": "ada", "email": "Ada@darkroom.example", "password": "correct horse"})
    assert status == 201
    assert "Location" not in headers, "no route shows a user by id"
    assert user["email"] == "ada@darkroom.example"
    assert (user["points"], user["isVIP"], user["emailVerified"], user["avatar"]) == (77, True, False, None)
    assert user["membershipEndDate"] == "2026-05-01T00:00:00.000Z"
    keys = JwksUrl([f"{identity.url}/.well-known/jwks.json"])
    principal = await Authenticator(keys, name="works").principal_of(user["sessionToken"])
    await keys.close()
    assert str(principal.user_id) == user["objectId"]
    assert 6.9 < (principal.expires_at - principal.issued_at).days + 0.95 < 8


async def test_a_form_signs_up_as_well(identity: Any) -> None:
    form = aiohttp.FormData({"username": "ada", "email": "ada@darkroom.example", "password": "correct horse"}, default_to_multipart=True)
    status, _, user = await identity.ask("POST", "/users", data=form)
    assert (status, user["username"]) == (201, "ada")
    status, _, error = await identity.ask("POST", "/users", data=aiohttp.FormData({"username": "ada"}, default_to_multipart=True))
    assert (status, error["code"]) == (400, 10001)
    assert {one["field"] for one in error["details"]["errors"]} == {"email", "password"}


async def test_what_only_we_decide_is_ignored_in_a_sign_up(identity: Any) -> None:
    user = await identity.sign_up(role="admin", points=10**6, isVIP=False, credits=9, emailVerified=True, objectId="x", membershipEndDate="2099-01-01")
    assert (user["points"], user["isVIP"], user["emailVerified"]) == (77, True, False)
    assert "role" not in jwt.decode(user["sessionToken"], options={"verify_signature": False})
    _, _, me = await identity.ask("GET", "/api/auth/me", headers=_bearer(user))
    assert me["data"]["user"]["role"] == "user"


async def test_a_taken_address_is_refused_however_it_is_spelled(identity: Any) -> None:
    await identity.sign_up("ada@darkroom.example")
    status, _, error = await identity.ask("POST", "/users", json={"username": "eve", "email": "ADA@Darkroom.Example", "password": "other words"})
    assert (status, error["code"]) == (409, 10005)
    assert error["details"]["errors"][0]["field"] == "email"


async def test_of_twenty_sign_ups_at_once_with_one_address_one_succeeds(run_identity: Any) -> None:
    async with run_identity() as one, run_identity() as other:
        asks = [
            where.ask("POST", "/users", json={"username": f"n{number}", "email": "ada@darkroom.example", "password": "correct horse"})
            for number in range(10)
            for where in (one, other)
        ]
        statuses = [status for status, _, _ in await asyncio.gather(*asks)]
    assert sorted(statuses) == [201] + [409] * 19


async def test_a_repeated_sign_up_with_its_key_gets_the_same_account(run_identity: Any) -> None:
    body = {"username": "ada", "email": "ada@darkroom.example", "password": "correct horse"}
    async with run_identity() as one, run_identity() as other:
        asks = [where.ask("POST", "/users", json=body, headers={"Idempotency-Key": '"k-1"'}) for _ in range(5) for where in (one, other)]
        answers = await asyncio.gather(*asks)
        assert {status for status, _, _ in answers} == {201}
        assert len({user["objectId"] for _, _, user in answers}) == 1
        assert sum("Idempotent-Replayed" not in headers for _, headers, _ in answers) == 1
        status, _, error = await one.ask("POST", "/users", json={**body, "password": "another one"}, headers={"Idempotency-Key": "k-1"})
        assert (status, error["code"]) == (422, 10006)
        status, _, error = await one.ask("POST", "/users", json=body, headers={"Idempotency-Key": "k-2"})
        assert (status, error["code"]) == (409, 10005)


async def test_a_login_answers_the_same_user(identity: Any) -> None:
    user = await identity.sign_up("ada@darkroom.example")
    status, _, again = await identity.ask("POST", "/login", json={"email": "ADA@darkroom.example", "password": "correct horse"})
    assert status == 200
    assert {**again, "sessionToken": "", "refreshToken": ""} == {**user, "sessionToken": "", "refreshToken": ""}


async def test_an_unknown_address_and_a_wrong_password_are_one_answer_after_the_same_time(identity: Any) -> None:
    await identity.sign_up("ada@darkroom.example")
    known = await _login(identity, "ada@darkroom.example")
    unknown = await _login(identity, "eve@darkroom.example")
    nonsense = await _login(identity, "no address at all")
    assert known[0] == unknown[0] == nonsense[0] == (401, 20001)
    assert min(unknown[1], nonsense[1]) > known[1] / 3


async def _login(identity: Any, email: str) -> tuple[tuple[int, int], float]:
    """(status and code, the quickest of a few)."""
    seconds = []
    for _ in range(5):
        begun = time.perf_counter()
        status, _, error = await identity.ask("POST", "/login", json={"email": email, "password": "wrong words"})
        seconds.append(time.perf_counter() - begun)
    return (status, error["code"]), min(seconds)


async def test_me_shows_the_credits_and_a_new_user_the_grant_while_billing_is_away(identity: Any, billing: Any) -> None:
    billing.away = True
    user = await identity.sign_up("ada@darkroom.example")
    assert (user["points"], user["isVIP"]) == (180, True)
    _, _, me = await identity.ask("GET", "/api/auth/me", headers=_bearer(user))
    assert me["data"]["user"] == {"user_id": user["objectId"], "openid": "", "nickname": "ada", "avatar_url": None, "role": "user", "credits": 10}
    billing.away = False
    _, _, me = await identity.ask("GET", "/api/auth/me", headers=_bearer(user))
    assert me["data"]["user"]["credits"] == 5
    billing.away = True
    _, _, me = await identity.ask("GET", "/api/auth/me", headers=_bearer(user))
    assert me["data"]["user"]["credits"] == 5


async def test_a_billing_that_hangs_costs_a_second_and_no_more(identity: Any, billing: Any) -> None:
    user = await identity.sign_up("ada@darkroom.example")
    billing.wait_seconds = 20
    begun = time.perf_counter()
    status, _, me = await identity.ask("GET", "/api/auth/me", headers=_bearer(user))
    billing.wait_seconds = 0
    assert (status, me["data"]["user"]["credits"]) == (200, 5)
    assert time.perf_counter() - begun < 15


async def test_many_who_ask_at_once_are_one_question_to_billing(identity: Any, billing: Any) -> None:
    user = await identity.sign_up("ada@darkroom.example")
    billing.asked.clear()
    billing.wait_seconds = 0.05
    answers = await asyncio.gather(*(identity.ask("GET", "/api/auth/me", headers=_bearer(user)) for _ in range(30)))
    assert {status for status, _, _ in answers} == {200}
    assert len(billing.asked) < 10


async def test_a_name_that_nobody_would_see_is_none_and_one_that_turns_others_about_is_kept_without(identity: Any) -> None:
    wish = {"username": "\u200b\u2060", "email": "ada@darkroom.example", "password": "correct horse"}
    status, _, error = await identity.ask("POST", "/users", json=wish)
    assert (status, error["code"], error["details"]["errors"][0]["field"]) == (400, 10001, "username")
    assert (await identity.sign_up(username="\u202eAda\n"))["username"] == "Ada"


async def test_a_refreshed_token_keeps_the_session(identity: Any) -> None:
    user = await identity.sign_up("ada@darkroom.example")
    status, _, answer = await identity.ask("POST", "/api/auth/refresh", headers=_bearer(user))
    assert (status, answer["success"]) == (200, True)
    old, new = (jwt.decode(token, options={"verify_signature": False}) for token in (user["sessionToken"], answer["data"]["token"]))
    assert (old["sid"], old["sub"]) == (new["sid"], new["sub"])
    assert old["jti"] != new["jti"]
    status, _, _ = await identity.ask("GET", "/api/auth/me", headers={"Authorization": f"Bearer {answer['data']['token']}"})
    assert status == 200


async def test_a_disabled_or_removed_account_is_nobody(identity: Any, superuser_url: Any) -> None:
    user = await identity.sign_up("ada@darkroom.example")
    conn = await asyncpg.connect(await superuser_url("identity"))
    await conn.execute("UPDATE person SET disabled_at = now()")
    status, headers, _ = await identity.ask("POST", "/api/auth/refresh", headers=_bearer(user))
    assert (status, headers["X-Error-Code"]) == (401, "20003")
    status, _, error = await identity.ask("POST", "/login", json={"email": "ada@darkroom.example", "password": "correct horse"})
    assert (status, error["code"]) == (403, 20003)
    await conn.execute("DELETE FROM credential")
    await conn.execute("DELETE FROM person")
    await conn.close()
    status, headers, _ = await identity.ask("GET", "/api/auth/me", headers=_bearer(user))
    assert (status, headers["X-Error-Code"]) == (401, "10002")


async def test_a_dump_of_the_database_shows_no_address_no_password_and_no_private_key(identity: Any, superuser_url: Any) -> None:
    await identity.sign_up("ada@darkroom.example")
    conn = await asyncpg.connect(await superuser_url("identity"))
    rows = [str(dict(row)) for table in ("person", "credential", "signing_key", "outbox") for row in await conn.fetch(f"SELECT * FROM {table}")]
    await conn.close()
    dump = " ".join(rows)
    assert "ada" in dump
    assert not any(word in dump for word in ("darkroom.example", "correct horse", "PRIVATE KEY"))


async def test_replicas_agree_on_one_signing_key(run_identity: Any) -> None:
    async with run_identity() as one, run_identity() as two, run_identity() as three:
        found = [await where.ask("GET", "/.well-known/jwks.json") for where in (one, two, three)]
        assert [len(keys["keys"]) for _, _, keys in found] == [1, 1, 1]
        assert len({keys["keys"][0]["kid"] for _, _, keys in found}) == 1
        assert "d" not in found[0][2]["keys"][0]
        user = await one.sign_up("ada@darkroom.example")
        status, _, _ = await three.ask("GET", "/api/auth/me", headers=_bearer(user))
        assert status == 200


async def test_broken_sign_ups_are_named_field_by_field_and_change_nothing(identity: Any, superuser_url: Any) -> None:
    good = {"username": "ada", "email": "ada@darkroom.example", "password": "correct horse"}
    for field, value in [
        ("username", ""),
        ("username", "x" * 65),
        ("username", 7),
        ("email", "ada"),
        ("email", None),
        ("password", "short"),
        ("password", "x" * 1025),
        ("password", ["x"]),
    ]:
        status, _, error = await identity.ask("POST", "/users", json={**good, field: value})
        assert (status, error["code"], error["details"]["errors"][0]["field"]) == (400, 10001, field), (field, value)
    for raw in [b"", b"{", b"[]", b'{"username":"a","username":"b"}', b"\xff", b"NaN", b"[" * 100_000, b'{"a":1e999}']:
        status, _, error = await identity.ask("POST", "/users", data=raw, headers={"Content-Type": "application/json"})
        assert (status, error["code"]) == (400, 10001), raw[:20]
    conn = await asyncpg.connect(await superuser_url("identity"))
    assert await conn.fetchval("SELECT count(*) FROM person") == 0
    await conn.close()


def _bearer(user: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {user['sessionToken']}"}
