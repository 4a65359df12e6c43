"""Guesses of passwords become slow, and nobody can lock another out."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from identity import store
from identity.domain import guess_wait

MAIL = "ada@darkroom.example"
NOW = datetime(2026, 3, 1, tzinfo=UTC)


async def log_in(identity: Any, password: str, *, address: str | None = "203.0.113.9", email: str = MAIL) -> tuple[int, int | None, int]:
    """(status, code, seconds to wait)."""
    headers = {"X-Forwarded-For": address} if address else {}
    status, said, answer = await identity.ask("POST", "/login", json={"email": email, "password": password}, headers=headers)
    return status, answer.get("code"), int(said.get("Retry-After", 0))


async def wrong(identity: Any, times: int, **given: Any) -> list[tuple[int, int | None, int]]:
    return [await log_in(identity, f"wrong words {number}", **given) for number in range(times)]


async def test_after_ten_wrong_passwords_the_next_waits_longer_and_longer(identity: Any, sql: Any) -> None:
    await identity.sign_up(MAIL)
    answers = await wrong(identity, 11)
    assert [(status, code) for status, code, _ in answers] == [(401, 20001)] * 10 + [(429, 10004)]
    assert 50 < answers[-1][2] <= 60
    assert (await log_in(identity, "correct horse"))[0] == 429, "not even the right one is looked at"
    await sql("UPDATE login_guess SET last_at = last_at - interval '61 seconds'")
    assert (await log_in(identity, "wrong words"))[:2] == (401, 20001)
    status, _, wait = await log_in(identity, "wrong words")
    assert status == 429
    assert 110 < wait <= 120


async def test_an_address_nobody_has_becomes_slow_like_one_that_somebody_has(identity: Any) -> None:
    answers = await wrong(identity, 11, email="nobody@darkroom.example")
    assert [status for status, _, _ in answers] == [401] * 10 + [429]


async def test_who_is_known_to_log_in_from_a_place_is_not_locked_out_by_strangers(identity: Any) -> None:
    await identity.sign_up(MAIL)
    assert (await log_in(identity, "correct horse", address="198.51.100.1"))[0] == 200
    assert (await wrong(identity, 12, address="203.0.113.66"))[-1][0] == 429
    assert (await log_in(identity, "correct horse", address="198.51.100.77"))[0] == 429, "a new place waits"
    assert (await log_in(identity, "correct horse", address="198.51.100.1"))[0] == 200
    assert [status for status, _, _ in await wrong(identity, 11, address="198.51.100.1")] == [401] * 10 + [429], "the known place has a count of its own"


async def test_a_right_password_is_forgotten_as_a_guess(identity: Any, sql: Any) -> None:
    await identity.sign_up(MAIL)
    for _ in range(3):
        assert [status for status, _, _ in await wrong(identity, 8)] == [401] * 8
        assert (await log_in(identity, "correct horse"))[0] == 200
    assert max(row["guesses"] for row in await sql("SELECT guesses FROM login_guess")) <= 24, "where the wrong ones came from is remembered"


async def test_one_address_cannot_try_many_accounts(identity: Any) -> None:
    answers = [await log_in(identity, "wrong words", email=f"somebody{number}@darkroom.example") for number in range(52)]
    assert [status for status, _, _ in answers] == [401] * 50 + [429] * 2
    assert (await log_in(identity, "wrong words", email="other@darkroom.example", address="203.0.113.10"))[0] == 401


async def test_right_passwords_of_ones_own_buy_no_guesses_of_others(identity: Any, sql: Any) -> None:
    await identity.sign_up(MAIL)
    assert (await log_in(identity, "correct horse"))[0] == 200
    for number in range(5):
        assert (await log_in(identity, "wrong words", email=f"somebody{number}@darkroom.example"))[0] == 401
        assert (await log_in(identity, "correct horse"))[0] == 200
    assert max(row["guesses"] for row in await sql("SELECT guesses FROM login_guess")) == 5


async def test_fifty_guesses_at_once_are_counted_too(run_identity: Any) -> None:
    async with run_identity() as one, run_identity() as other:
        await one.sign_up(MAIL)
        answers = await asyncio.gather(*(log_in(where, "wrong words", address=None) for where in (one, other) for _ in range(25)))
    assert sum(status == 401 for status, _, _ in answers) == 10
    assert sum(status in (429, 503) for status, _, _ in answers) == 40


async def test_guesses_of_sessions_and_of_logins_are_one_count(identity: Any) -> None:
    await identity.sign_up(MAIL)
    for _ in range(5):
        await log_in(identity, "wrong words", address=None)
        await identity.ask("POST", "/v1/sessions", json={"email": MAIL, "password": "wrong words"})
    assert (await identity.ask("POST", "/v1/sessions", json={"email": MAIL, "password": "correct horse"}))[0] == 429


async def test_operators_passwords_are_guessed_slowly_too(identity: Any) -> None:
    asks = [await identity.ask("POST", "/api/auth/admin/login", json={"username": "root-of-all", "password": "a wrong one"}) for _ in range(11)]
    assert [status for status, _, _ in asks] == [401] * 10 + [429]
    assert int(asks[-1][1]["Retry-After"]) > 0


async def test_nobody_counts_where_limits_are_off(run_identity: Any) -> None:
    async with run_identity(DARKROOM_PROFILE="roomy") as identity:
        await identity.sign_up(MAIL)
        assert {status for status, _, _ in await wrong(identity, 15)} == {401}


@pytest.mark.parametrize(
    ("guesses", "seconds_ago", "wait"),
    [(9, 0, 0), (10, 0, 60), (10, 59, 1), (10, 60, 0), (11, 0, 120), (13, 0, 480), (14, 0, 900), (1000, 0, 900), (1000, 899, 1), (10**9, 86_401, 0)],
)
def test_how_long_the_next_guess_waits(guesses: int, seconds_ago: int, wait: int) -> None:
    assert guess_wait(guesses, NOW - timedelta(seconds=seconds_ago), NOW, free=10) == timedelta(seconds=wait)


async def test_guesses_are_counted_while_right_passwords_elsewhere_forget_them(service_database: Any) -> None:
    db = await service_database("identity")
    key, now = b"k" * 32, db.clock.now()

    async def guess_and_be_right() -> None:
        for _ in range(150):
            async with db.transaction() as tx:
                counted = await store.lock_guesses(tx.conn, [key], now)
                assert counted.keys() == {key}
            async with db.transaction() as tx:
                await store.forgive_guesses(tx.conn, forget=[key], give_back=[])

    await asyncio.gather(*(guess_and_be_right() for _ in range(4)))
