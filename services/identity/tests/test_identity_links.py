"""Links sent by mail: a new password, and an address that is verified."""

import asyncio
import time
from typing import Any
from uuid import uuid4

import orjson
import pytest

MAIL = "ada@darkroom.example"
LOGIN = {"email": MAIL, "password": "correct horse"}
WORDS = {"password_reset": "/v1/password-resets", "email_verification": "/v1/email-verifications"}


def bearer(token: str) -> dict[str, Any]:
    return {"headers": {"Authorization": f"Bearer {token}"}}


async def requested(sql: Any, template: str) -> list[dict[str, Any]]:
    """The facts that a mail is due, oldest first; nobody takes them out of the outbox here."""
    facts = [orjson.loads(row["payload"]) for row in await sql("SELECT payload FROM outbox_fact WHERE topic = 'delivery.requested' ORDER BY position, place")]
    return [fact for fact in facts if fact["template"] == template]


async def next_mail(sql: Any, template: str, *, number: int = 1) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while len(found := await requested(sql, template)) < number:
            await asyncio.sleep(0.02)
    return found[-1]


async def address(identity: Any, service: dict[str, Any], fact: dict[str, Any], **more: Any) -> tuple[int, Any]:
    ask = {"user_id": fact["user_id"], "template": fact["template"], "ref": fact["ref"], **more}
    status, _, answer = await identity.ask("POST", "/internal/deliveries/address", json=ask, **service)
    return status, answer


async def link_token(identity: Any, service: dict[str, Any], fact: dict[str, Any]) -> str:
    status, answer = await address(identity, service, fact)
    assert status == 200, answer
    assert answer["email"] == MAIL
    base, _, token = answer["link"].partition("#")
    assert base == f"http://127.0.0.1:8080{WORDS[fact['template']]}"
    return str(token)


async def ask_reset(identity: Any, email: str = MAIL, **options: Any) -> None:
    status, _, answer = await identity.ask("POST", "/requestPasswordReset", json={"email": email}, **options)
    assert (status, answer) == (200, {})


async def reset(identity: Any, token: str, password: str = "a better horse") -> int:
    status, _, _ = await identity.ask("POST", "/v1/password-resets", json={"token": token, "password": password})
    return int(status)


async def test_a_forgotten_password_is_set_anew_and_everybody_else_is_logged_out(identity: Any, sql: Any, pass_of_a_service: Any) -> None:
    user = await identity.sign_up()
    await ask_reset(identity)
    token = await link_token(identity, pass_of_a_service, await next_mail(sql, "password_reset"))
    assert await reset(identity, token) == 200
    assert (await identity.ask("POST", "/login", json=LOGIN))[0] == 401
    status, _, again = await identity.ask("POST", "/login", json={**LOGIN, "password": "a better horse"})
    assert (status, again["emailVerified"]) == (200, True)
    async with asyncio.timeout(60):
        while (await identity.ask("GET", "/api/auth/me", **bearer(user["sessionToken"])))[0] != 401:
            await asyncio.sleep(0.05)
    assert (await identity.ask("POST", "/v1/sessions/refresh", json={"refresh_token": user["refreshToken"]}))[0] == 401
    assert (await identity.ask("GET", "/api/auth/me", **bearer(again["sessionToken"])))[0] == 200


async def test_a_link_works_once(identity: Any, sql: Any, pass_of_a_service: Any) -> None:
    await identity.sign_up()
    await ask_reset(identity)
    fact = await next_mail(sql, "password_reset")
    token = await link_token(identity, pass_of_a_service, fact)
    assert sorted(await asyncio.gather(*(reset(identity, token, f"password {number}") for number in range(5)))) == [200, 401, 401, 401, 401]
    assert (await address(identity, pass_of_a_service, fact))[0] == 404, "nor is it sent any more"


@pytest.mark.parametrize(("minutes", "good"), [(29, True), (31, False)])
async def test_a_link_is_good_for_half_an_hour(identity: Any, sql: Any, pass_of_a_service: Any, minutes: int, good: bool) -> None:
    await identity.sign_up()
    await ask_reset(identity)
    fact = await next_mail(sql, "password_reset")
    token = await link_token(identity, pass_of_a_service, fact)
    await sql(f"UPDATE mail_link SET requested_at = requested_at - interval '{minutes} minutes', expires_at = expires_at - interval '{minutes} minutes'")
    assert (await reset(identity, token) == 200) == good


async def test_a_newer_link_ends_the_older_and_nobody_is_flooded(identity: Any, sql: Any, pass_of_a_service: Any) -> None:
    await identity.sign_up()
    await ask_reset(identity)
    older = await link_token(identity, pass_of_a_service, await next_mail(sql, "password_reset"))
    await ask_reset(identity)
    async with asyncio.timeout(60):
        while await sql("SELECT 1 FROM reset_request"):
            await asyncio.sleep(0.02)
    assert len(await requested(sql, "password_reset")) == 1, "one is on the way"
    await sql("UPDATE mail_link SET requested_at = requested_at - interval '61 seconds'")
    await ask_reset(identity)
    newer = await link_token(identity, pass_of_a_service, await next_mail(sql, "password_reset", number=2))
    assert await reset(identity, older) == 401
    assert await reset(identity, newer) == 200


async def test_an_unknown_address_gets_the_same_answer_in_the_same_time_and_no_mail(identity: Any, sql: Any) -> None:
    await identity.sign_up()
    known, unknown = [], []
    for number in range(8):
        for seconds, email in ((known, MAIL), (unknown, f"eve{number}@darkroom.example"), (unknown, "no address at all")):
            begun = time.perf_counter()
            await ask_reset(identity, email)
            seconds.append(time.perf_counter() - begun)
    assert max(min(known), min(unknown)) < 3 * min(*known, *unknown) + 0.005
    await next_mail(sql, "password_reset")
    async with asyncio.timeout(60):
        while await sql("SELECT 1 FROM reset_request"):
            await asyncio.sleep(0.02)
    assert len(await requested(sql, "password_reset")) == 1


async def test_the_link_is_from_the_settings_whatever_the_request_says(run_identity: Any, sql: Any, pass_of_a_service: Any) -> None:
    async with run_identity(DARKROOM_URL="https://photos.example/") as identity:
        await identity.sign_up()
        await ask_reset(identity, headers={"Host": "evil.example", "X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"})
        _, answer = await address(identity, pass_of_a_service, await next_mail(sql, "password_reset"))
    assert answer["link"].startswith("https://photos.example/v1/password-resets#")


async def test_anothers_link_and_one_of_another_kind_are_no_good(identity: Any, sql: Any, pass_of_a_service: Any) -> None:
    await identity.sign_up()
    await ask_reset(identity)
    fact = await next_mail(sql, "password_reset")
    token = await link_token(identity, pass_of_a_service, fact)
    verification = await link_token(identity, pass_of_a_service, await next_mail(sql, "email_verification"))
    ref, _, proof = token.partition(".")
    forged = [verification, f"{uuid4().hex}.{proof}", f"{ref}.{'A' * 43}", ref, "", ".", f"{ref}.é", f"{ref.upper()}x.{proof}", "x" * 200]
    assert {await reset(identity, one) for one in forged} == {401}
    assert (await identity.ask("POST", "/v1/email-verifications", json={"token": token}))[0] == 401
    assert (await address(identity, pass_of_a_service, fact, user_id=str(uuid4())))[0] == 404
    assert (await address(identity, pass_of_a_service, fact, template="email_verification"))[0] == 404
    assert (await identity.ask("POST", "/internal/deliveries/address", json={}))[0] == 401
    assert await reset(identity, token) == 200


@pytest.mark.parametrize(
    ("given", "mailed"),
    [("Ada@BÜCHER.example", "ada@xn--bcher-kva.example"), ("ada@straße.example", "ada@xn--strae-oqa.example"), ("用户@例子.example", "用户@例子.example")],
)
async def test_a_mail_goes_to_a_domain_as_mail_servers_write_it(identity: Any, sql: Any, pass_of_a_service: Any, given: str, mailed: str) -> None:
    await identity.sign_up(given)
    status, answer = await address(identity, pass_of_a_service, await next_mail(sql, "email_verification"))
    assert (status, answer["email"]) == (200, mailed)


async def test_a_password_that_cannot_be_used_leaves_the_link_good(identity: Any, sql: Any, pass_of_a_service: Any) -> None:
    await identity.sign_up()
    await ask_reset(identity)
    token = await link_token(identity, pass_of_a_service, await next_mail(sql, "password_reset"))
    assert await reset(identity, token, "short") == 400
    assert await reset(identity, token) == 200


async def test_what_the_database_shows_opens_nothing(identity: Any, sql: Any, pass_of_a_service: Any) -> None:
    await identity.sign_up()
    await ask_reset(identity)
    token = await link_token(identity, pass_of_a_service, await next_mail(sql, "password_reset"))
    tables = ("mail_link", "outbox", "reset_request", "login_guess", "login_place")
    dump = " ".join([str(dict(row)) for table in tables for row in await sql(f"SELECT * FROM {table}")])
    assert token.partition(".")[2] not in dump
    assert MAIL not in dump


async def test_an_address_is_verified_by_its_link(identity: Any, sql: Any, pass_of_a_service: Any) -> None:
    await identity.sign_up()
    token = await link_token(identity, pass_of_a_service, await next_mail(sql, "email_verification"))
    assert (await identity.ask("POST", "/v1/email-verifications", json={"token": token}))[0] == 200
    assert (await identity.ask("POST", "/login", json=LOGIN))[2]["emailVerified"] is True
    assert (await identity.ask("POST", "/v1/email-verifications", json={"token": token}))[0] == 401


async def test_where_verification_is_required_a_login_waits_for_it_and_the_mail_is_sent_again(run_identity: Any, sql: Any, pass_of_a_service: Any) -> None:
    async with run_identity(IDENTITY_EMAIL_VERIFICATION="required") as identity:
        await identity.sign_up()
        for _ in range(3):
            status, headers, error = await identity.ask("POST", "/login", json=LOGIN)
            assert (status, error["code"], headers["X-Error-Code"]) == (403, 20002, "20002")
        assert (await identity.ask("POST", "/login", json={**LOGIN, "password": "wrong words"}))[2]["code"] == 20001
        assert len(await requested(sql, "email_verification")) == 1, "one a minute"
        await sql("UPDATE mail_link SET requested_at = requested_at - interval '61 seconds'")
        await identity.ask("POST", "/login", json=LOGIN)
        token = await link_token(identity, pass_of_a_service, await next_mail(sql, "email_verification", number=2))
        assert (await identity.ask("POST", "/v1/email-verifications", json={"token": token}))[0] == 200
        assert (await identity.ask("POST", "/login", json=LOGIN))[0] == 200
        assert (await identity.ask("POST", "/v1/sessions", json=LOGIN))[0] == 201


@pytest.mark.parametrize("path", ["/v1/password-resets", "/v1/email-verifications"])
async def test_a_page_runs_nothing_but_its_own_script(identity: Any, path: str) -> None:
    async with identity.open(path) as page, identity.open(path + "/page.js") as script, identity.open(path + "/page.css") as style:
        text = await page.text()
        assert [one.status for one in (page, script, style)] == [200, 200, 200]
        assert [one.content_type for one in (page, script, style)] == ["text/html", "text/javascript", "text/css"]
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    assert (page.headers["Referrer-Policy"], page.headers["Cache-Control"]) == ("no-referrer", "no-store")
    assert f'<script src="{path}/page.js">' in text
    assert "onclick" not in text
    assert "style=" not in text
    assert all(part.startswith(f' src="{path}') for part in text.split("<script")[1:])


async def test_what_the_page_asks_of_a_password_goes_with_the_form(identity: Any) -> None:
    async with identity.open("/v1/password-resets") as page, identity.open("/v1/password-resets/page.js") as script:
        shown, done = await page.text(), (await script.text()).partition("if (answer.ok) {")[2].partition("}")[0]
    assert '<p id="rules" data-en="At least 8 characters.' in shown
    assert 'document.getElementById("rules").hidden = true;' in done


async def test_a_mail_is_written_in_the_language_that_was_asked_in(identity: Any, sql: Any, pass_of_a_service: Any) -> None:
    await identity.sign_up()
    _, first = await address(identity, pass_of_a_service, await next_mail(sql, "email_verification"))
    await ask_reset(identity, headers={"Accept-Language": "en-GB,en"})
    _, second = await address(identity, pass_of_a_service, await next_mail(sql, "password_reset"))
    assert (first["lang"], second["lang"]) == ("zh", "en")
    owner = (await next_mail(sql, "password_reset"))["user_id"]
    status, receipt = await address(identity, pass_of_a_service, {"user_id": owner, "template": "order_paid", "ref": "ORDER1"})
    assert (status, receipt) == (200, {"email": MAIL, "name": "ada", "link": None, "lang": "en"})
