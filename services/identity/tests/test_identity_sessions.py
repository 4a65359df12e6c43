"""Sessions: refresh tokens that are good once, twins that are not thieves, and logging out."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import jwt
import orjson
import pytest

from common.ids import UserId
from common.vault import Vault
from identity.domain import Session, fate_of
from identity.sessions import RefreshToken

NOW = datetime(2026, 3, 1, tzinfo=UTC)
LOGIN = {"email": "ada@darkroom.example", "password": "correct horse"}


def bearer(token: str) -> dict[str, Any]:
    return {"headers": {"Authorization": f"Bearer {token}"}}


async def logged_in(identity: Any, **more: Any) -> Any:
    status, headers, tokens = await identity.ask("POST", "/v1/sessions", json={**LOGIN, **more})
    assert status == 201, tokens
    assert headers["Cache-Control"] == "no-store"
    return tokens


async def refreshed(identity: Any, token: str) -> tuple[int, Any]:
    status, _, answer = await identity.ask("POST", "/v1/sessions/refresh", json={"refresh_token": token})
    return status, answer


async def let_pass(sql: Any, session_id: str, **time: float) -> None:
    by = timedelta(**time)
    await sql(
        "UPDATE session SET created_at = created_at - $2::interval, refreshed_at = refreshed_at - $2::interval WHERE session_id = $1::uuid", session_id, by
    )


async def test_a_session_gives_ten_minutes_at_a_time(identity: Any) -> None:
    await identity.sign_up()
    tokens = await logged_in(identity, device="a phone")
    claims = jwt.decode(tokens["access_token"], options={"verify_signature": False})
    assert (claims["exp"] - claims["iat"], claims["sid"], tokens["expires_in"]) == (600, tokens["session_id"], 600)
    status, again = await refreshed(identity, tokens["refresh_token"])
    assert status == 200
    assert again["session_id"] == tokens["session_id"]
    assert again["refresh_token"] != tokens["refresh_token"]
    status, _, _ = await identity.ask("GET", "/api/auth/me", **bearer(again["access_token"]))
    assert status == 200


async def test_the_dialects_answers_carry_a_refresh_token_of_their_session(identity: Any) -> None:
    for user in (await identity.sign_up(), (await identity.ask("POST", "/login", json=LOGIN))[2]):
        status, tokens = await refreshed(identity, user["refreshToken"])
        assert status == 200
        assert tokens["session_id"] == jwt.decode(user["sessionToken"], options={"verify_signature": False})["sid"]


async def test_ten_tabs_with_one_token_get_one_successor_from_any_replica(run_identity: Callable[..., Any]) -> None:
    async with run_identity() as one, run_identity() as other:
        await one.sign_up()
        tokens = await logged_in(one)
        answers = await asyncio.gather(*(refreshed(where, tokens["refresh_token"]) for where in (one, other) for _ in range(5)))
        assert {status for status, _ in answers} == {200}
        [successor] = {answer["refresh_token"] for _, answer in answers}
        assert (await refreshed(other, successor))[0] == 200


async def test_a_token_used_again_later_ends_the_session_and_its_owner_is_told(identity: Any, sql: Any) -> None:
    user = await identity.sign_up()
    tokens = await logged_in(identity)
    _, newest = await refreshed(identity, tokens["refresh_token"])
    await let_pass(sql, tokens["session_id"], seconds=11)
    status, error = await refreshed(identity, tokens["refresh_token"])
    assert (status, error["code"]) == (401, 10002)
    assert (await refreshed(identity, newest["refresh_token"]))[0] == 401
    await _until_refused(identity, newest["access_token"])
    told = [orjson.loads(row["payload"]) for row in await sql("SELECT payload FROM outbox_fact WHERE topic = 'delivery.requested'")]
    assert [fact["user_id"] for fact in told if fact["template"] == "refresh_reused"] == [user["objectId"]]
    assert (await identity.ask("GET", "/api/auth/me", **bearer(user["sessionToken"])))[0] == 200, "another session goes on"


async def test_a_grandparent_is_a_thiefs_even_at_once(identity: Any) -> None:
    await identity.sign_up()
    first = await logged_in(identity)
    _, second = await refreshed(identity, first["refresh_token"])
    _, third = await refreshed(identity, second["refresh_token"])
    assert (await refreshed(identity, first["refresh_token"]))[0] == 401
    assert (await refreshed(identity, third["refresh_token"]))[0] == 401


@pytest.mark.parametrize(("time", "good"), [({"days": 13.9}, True), ({"days": 14.1}, False)])
async def test_a_session_nobody_uses_ends_after_two_weeks(identity: Any, sql: Any, time: dict[str, float], good: bool) -> None:
    await identity.sign_up()
    tokens = await logged_in(identity)
    await let_pass(sql, tokens["session_id"], **time)
    assert ((await refreshed(identity, tokens["refresh_token"]))[0] == 200) == good


async def test_a_session_ends_after_sixty_days_however_much_it_is_used(identity: Any, sql: Any) -> None:
    await identity.sign_up()
    tokens = await logged_in(identity)
    await sql("UPDATE session SET created_at = created_at - interval '60 days 1 minute' WHERE session_id = $1::uuid", tokens["session_id"])
    assert (await refreshed(identity, tokens["refresh_token"]))[0] == 401


@pytest.mark.parametrize("token", ["", "x", "A" * 43, "é" * 43, "A" * 42 + "B", "A" * 200, "e30.e30.e30"])
async def test_what_we_never_wrote_is_refused(identity: Any, token: str) -> None:
    status, error = await refreshed(identity, token)
    assert (status, error["code"]) == (401, 10002)


async def test_a_refresh_token_is_no_access_token_and_the_other_way_round(identity: Any) -> None:
    user = await identity.sign_up()
    assert (await identity.ask("GET", "/api/auth/me", **bearer(user["refreshToken"])))[0] == 401
    status, _, _ = await identity.ask("POST", "/v1/sessions/refresh", json={"refresh_token": user["sessionToken"][:200]})
    assert status == 401


async def test_a_token_of_ten_minutes_becomes_none_of_a_week(identity: Any) -> None:
    await identity.sign_up()
    tokens = await logged_in(identity)
    _, again = await refreshed(identity, tokens["refresh_token"])
    for token in (tokens["access_token"], again["access_token"]):
        status, headers, _ = await identity.ask("POST", "/api/auth/refresh", **bearer(token))
        assert (status, headers["X-Error-Code"]) == (401, "10002")


async def test_the_database_holds_no_token_and_nothing_to_make_one_from(identity: Any, sql: Any) -> None:
    await identity.sign_up()
    first = await logged_in(identity)
    _, second = await refreshed(identity, first["refresh_token"])
    raw = [RefreshToken.read(one["refresh_token"]) for one in (first, second)]
    stored = {row["token_hash"] for row in await sql("SELECT token_hash FROM refresh_token")}
    assert {one.hash for one in raw} <= stored
    assert not {one.content for one in raw} & stored
    other = Vault("identity", key_id="1", secret="x" * 32, old_secrets={}, lookup_secret="y" * 32)
    assert raw[0].successor(other).content != raw[1].content, "a successor needs the secret"


async def test_sessions_are_listed_and_ended_one_by_one(identity: Any) -> None:
    await identity.sign_up()
    phone, page = await logged_in(identity, device="phone"), await logged_in(identity, device="page")
    _, _, listed = await identity.ask("GET", "/v1/sessions", **bearer(page["access_token"]))
    assert [(one["device"], one["current"]) for one in listed["sessions"]][:2] == [("page", True), ("phone", False)]
    assert len(listed["sessions"]) == 3
    status, _, _ = await identity.ask("DELETE", f"/v1/sessions/{phone['session_id']}", **bearer(page["access_token"]))
    assert status == 204
    assert (await refreshed(identity, phone["refresh_token"]))[0] == 401
    await _until_refused(identity, phone["access_token"])
    assert (await identity.ask("GET", "/v1/sessions", **bearer(page["access_token"])))[0] == 200
    status, _, _ = await identity.ask("DELETE", f"/v1/sessions/{phone['session_id']}", **bearer(page["access_token"]))
    assert status == 404, "it has ended"


async def test_logging_out_ends_the_session_that_asks(identity: Any) -> None:
    user = await identity.sign_up()
    status, _, _ = await identity.ask("DELETE", "/v1/sessions/current", **bearer(user["sessionToken"]))
    assert status == 204
    assert (await identity.ask("POST", "/api/auth/refresh", **bearer(user["sessionToken"])))[0] == 401, "at once, whatever the list says"
    await _until_refused(identity, user["sessionToken"])
    assert (await refreshed(identity, user["refreshToken"]))[0] == 401


async def test_logging_out_everywhere_ends_every_session_and_the_next_login_is_good(identity: Any) -> None:
    user = await identity.sign_up()
    others = [await logged_in(identity) for _ in range(3)]
    status, _, _ = await identity.ask("DELETE", "/v1/sessions", **bearer(user["sessionToken"]))
    assert status == 204
    assert {(await refreshed(identity, one["refresh_token"]))[0] for one in others} == {401}
    for token in (user["sessionToken"], *(one["access_token"] for one in others)):
        await _until_refused(identity, token)
    again = await logged_in(identity)
    assert (await identity.ask("GET", "/v1/sessions", **bearer(again["access_token"])))[2]["sessions"][0]["current"] is True


async def test_anothers_session_is_an_unknown_one(identity: Any) -> None:
    await identity.sign_up()
    tokens = await logged_in(identity)
    eve = await identity.sign_up("eve@darkroom.example")
    answers = [await identity.ask("DELETE", f"/v1/sessions/{one}", **bearer(eve["sessionToken"])) for one in (tokens["session_id"], uuid4(), "no-id", "%20")]
    assert [(status, error["code"]) for status, _, error in answers] == [(404, 10008)] * 4
    assert (await refreshed(identity, tokens["refresh_token"]))[0] == 200


async def test_a_login_that_a_change_overtook_gives_no_session(run_identity: Callable[..., Any], sql: Any) -> None:
    """The session begins after the sessions were ended, but was asked for with what was true before."""
    async with run_identity() as identity:
        user = await identity.sign_up()
        await sql("UPDATE person SET revoked_number = 5 WHERE user_id = $1::uuid", user["objectId"])
        assert (await refreshed(identity, user["refreshToken"]))[0] == 401
        assert (await identity.ask("POST", "/api/auth/refresh", **bearer(user["sessionToken"])))[0] == 401


async def test_sessions_of_which_nothing_is_good_are_forgotten(service_database: Any) -> None:
    from identity.upkeep import forget_what_is_over

    db = await service_database("identity")
    for days in (1, -1):
        await db.fetch(
            "INSERT INTO session (session_id, user_id, device, revoked_number, created_at, used_at, refreshed_at, good_until) "
            "VALUES ($1, $1, '', 0, now(), now(), now(), now() + $2::interval)",
            uuid4(),
            timedelta(days=days),
        )
    await forget_what_is_over(db)
    assert await db.fetchval("SELECT count(*) FROM session") == 1


def _session(**given: Any) -> Session:
    known: dict[str, Any] = {
        "session_id": uuid4(), "user_id": UserId(uuid4()), "device": "", "number": 3, "revoked_number": 0, "created_at": NOW - timedelta(days=1),
        "used_at": NOW, "refreshed_at": NOW, "good_until": NOW, "ended_at": None,
    }  # fmt: skip
    return Session(**{**known, **given})


@pytest.mark.parametrize(
    ("number", "seconds", "fate"),
    [(3, 0, "rotate"), (3, 3600, "rotate"), (2, 0, "repeat"), (2, 10, "repeat"), (2, 10.1, "reuse"), (1, 0, "reuse"), (1, 99, "reuse")],
)
def test_what_a_refresh_token_is_worth(number: int, seconds: float, fate: str) -> None:
    assert fate_of(_session(), number, NOW + timedelta(seconds=seconds)) == fate
    assert fate_of(_session(ended_at=NOW), number, NOW + timedelta(seconds=seconds)) == "ended"


async def _until_refused(identity: Any, token: str) -> None:
    async with asyncio.timeout(60):
        while (await identity.ask("GET", "/api/auth/me", **bearer(token)))[0] != 401:
            await asyncio.sleep(0.05)
