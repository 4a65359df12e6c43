"""Who asks: forged tokens, other people's things, operators' routes without an operator, callbacks and notices that nobody proves."""

import asyncio
import hashlib
import hmac
import json
import re
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest

from common.objects import UrlSigner
from generation.api.callback import sign_callback
from lab.hostile import Answer, Case, Expected, bodies, judge
from lab.hostile.samples import WORKFLOWS_SECRET
from lab.hostile.stage import SETTINGS, Stage, all_well, stage_running
from lab.hostile.targets import ADMINS, GUARDED, PLAIN, UNKNOWN, Found
from lab.hostile.verdict import INVALID, NOT_FOUND, UNAUTHORIZED, judge_refusal
from suite.members import WITH_DATA

SCHEMES = ("Basic dXNlcjpwYXNz", "Bearer", "Bearer ", "bearer  ", "Token x", "~")
SIGNING_SECRET = SETTINGS["GENERATION_CALLBACK_SECRET"]
CALLBACKS = tuple(found for found in PLAIN if found.route.path.startswith("/api/callback/"))
TOO_LONG = Expected((400, 401), (10001, 10002))
"""What the gateway answers itself it reads more carefully, and then no line of a head may be so long."""
TURNS = 3
"""Each route meets every third forged token, each service all of them several times."""


@pytest.fixture(scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with stage_running(tmp_path_factory.mktemp("hostile")) as stage:
        yield stage


# tokens


async def test_a_forged_token_is_nobodys(stage: Stage) -> None:
    contacts: list[object] = []

    def note(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        contacts.append(writer)
        writer.close()

    server = await asyncio.start_server(note, "127.0.0.1", 0)
    async with server:
        forger = await stage.forger(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/jwks.json")
        good = Case("the forger's good token", "GET", "/api/auth/me", {"Authorization": f"Bearer {forger.token()}"}, expected=Expected((200,)))
        all_well(await stage.attacker.wrongs([good]))
        aims = [
            (found, name, token)
            for number, (name, token) in enumerate(forger.bad().items())
            for service in (*WITH_DATA, "gateway")
            for found in _some_of([found for found in GUARDED if found.service == service], number)
        ]
        assert {str(found) for found, _, _ in aims} == {str(found) for found in GUARDED}
        cases = [
            stage.good_case(
                f"{name}{how}", found, headers, TOO_LONG if name == "10 kB" and found.service == "gateway" else UNAUTHORIZED, target=stage.victims(found)
            )
            for found, name, token in aims
            for how, headers in _ways_to_say(found, token)
        ]
        all_well(await stage.attacker.wrongs(cases))
    assert contacts == []


def _some_of(found: list[Found], number: int) -> list[Found]:
    turns = min(TURNS, max(1, len(found) // TURNS))
    return [one for place, one in enumerate(found) if (place + number) % turns == 0]


def _ways_to_say(found: Found, token: str) -> list[tuple[str, dict[str, str]]]:
    ways = [("", {"Authorization": f"Bearer {token}"})]
    return [*ways, (", as a session", {"X-LC-Session": token})] if found.route.path.startswith(("/works", "/music/", "/points/")) else ways


async def test_a_token_counts_only_where_tokens_are_said(stage: Stage) -> None:
    cases = []
    for found in GUARDED:
        token = stage.auth_for(found)["Authorization"].removeprefix("Bearer ")
        for scheme in (*SCHEMES, token, f"Bearer{token}", f"Bearer {token},x"):
            cases.append(stage.good_case(f"scheme {scheme[:12]!r}", found, {"Authorization": scheme}, UNAUTHORIZED))
        if found.route.auth != "optional":
            target = stage.target(found)
            cases.append(stage.good_case("no token", found, {}, UNAUTHORIZED))
            cases.append(stage.good_case("token in the query", found, {}, UNAUTHORIZED, target=f"{target}?token={token}&access_token={token}"))
            cases.append(stage.good_case("token in a cookie", found, {"Cookie": f"token={token}; Authorization=Bearer {token}"}, UNAUTHORIZED))
    all_well(await stage.attacker.wrongs(cases))


async def test_a_services_token_is_no_users(stage: Stage) -> None:
    cases = []
    for found in GUARDED:
        ours = {"Authorization": f"Bearer {stage.service_token(found.service)}"}
        # The gateway asks several services with the token it was given; none of them is meant by one for itself.
        cases.append(stage.good_case("a service's", found, ours, Expected((403,), (10003,)) if found.service != "gateway" else UNAUTHORIZED))
        other = next(service for service in WITH_DATA if service not in (found.service, "identity"))
        cases.append(stage.good_case("a service's for another", found, {"Authorization": f"Bearer {stage.service_token(other)}"}, UNAUTHORIZED))
    all_well(await stage.attacker.wrongs(cases))


async def test_a_thousand_unknown_keys_make_one_refresh_in_thirty_seconds(stage: Stage) -> None:
    forger = await stage.forger()
    before, began = await _jwks_requests(stage), time.monotonic()
    found = next(found for found in GUARDED if found.route.path == "/api/credits/balance")
    cases = [stage.good_case(f"unknown kid {number}", found, {"Authorization": f"Bearer {forger.unknown_kid(number)}"}, UNAUTHORIZED) for number in range(1000)]
    all_well(await stage.attacker.wrongs(cases))
    assert await _jwks_requests(stage) - before <= 1 + (time.monotonic() - began) // 30


async def test_nobody_says_who_they_are_by_a_header(stage: Stage) -> None:
    victim_id = stage.victim.user_id
    spoofed = {
        "X-User-Id": victim_id,
        "X-User-Role": "admin",
        "X-Internal-Secret": "x",
        "X-Internal-User": victim_id,
        "X_User_Id": victim_id,
        "Forwarded": f"for=127.0.0.1;by={victim_id}",
        "X-Forwarded-User": victim_id,
        "X-Forwarded-For": "127.0.0.1",
        "X-Real-IP": "127.0.0.1",
        "X-Forwarded-Host": "evil.example",
        "X-Original-User": victim_id,
        "Via": "1.1 x",
    }
    cases = [
        stage.good_case("spoofed", found, spoofed, UNAUTHORIZED, target=stage.victims(found)) for found in GUARDED if found.route.auth in ("user", "admin")
    ]
    all_well(await stage.attacker.wrongs(cases))
    # Nor is a token judged that goes no further than the gateway.
    hidden = Case(
        "named as the connection's own", "GET", "/api/auth/me", {**stage.auth, "Connection": "Authorization, close"}, expected=Expected((400,), (10001,))
    )
    all_well(await stage.attacker.wrongs([hidden]))
    answer = await stage.attacker.ask(Case("spoofed and known", "GET", "/api/auth/me", {**stage.auth, **spoofed}))
    assert answer.json()["data"]["user"]["user_id"] == stage.thief.user_id
    assert answer.json()["data"]["user"]["role"] == "user"
    assert b"evil.example" not in answer.body


# whose it is


async def test_what_is_somebody_elses_is_answered_like_what_is_unknown(stage: Stage) -> None:
    wrong: list[str] = []
    asked = 0
    for found in PLAIN:
        if not found.has_params or found.route.auth == "admin":
            continue
        for param, value in [(param, value) for param, values in stage.owned.by_param.items() if f"{{{param}" in found.route.path for value in values]:
            for headers in (stage.auth, {}) if found.route.auth in ("optional", "none") else (stage.auth,):
                theirs, nobodys = [
                    stage.good_case("another's", found, headers, NOT_FOUND, target=stage.victims(found, {param: one})) for one in (value, _unlike(value))
                ]
                answer, unknown = await asyncio.gather(stage.attacker.ask(theirs), stage.attacker.ask(nobodys))
                wrong += judge(theirs, answer) + judge(nobodys, unknown)
                wrong += [f"{theirs}: {one}" for one in _differences(answer, unknown)]
                asked += 1
    assert asked > 40
    all_well(wrong)


async def test_what_is_somebody_elses_cannot_be_named_in_a_body(stage: Stage) -> None:
    thief, victim, cases = {**stage.auth, **bodies.JSON_HEADERS}, stage.victim, []
    for work_id in stage.owned.work_ids:
        for target in (f"/works/{work_id.upper()}", f"/api/works/{work_id.upper()}"):
            cases.append(Case("another's work, in capitals", "GET", target, stage.auth, None, Expected((404,), (30000,))))
        song = json.dumps({"title": "x", "prompt": "p", "workId": work_id}).encode()
        cases.append(Case("a song of another's work", "POST", "/music/tasks", thief, song, Expected((404,), (30000,))))
        for work_ids in ([work_id], [stage.cast.work_id, work_id], [work_id, work_id.upper(), stage.cast.work_id], [stage.cast.work_id, UNKNOWN]):
            batch = json.dumps({"work_ids": work_ids}).encode()
            cases.append(Case("another's among those to delete", "POST", "/api/works/batch/delete", thief, batch, Expected((403,), (10003,))))
    for path, body, expected in (
        ("/works", {"title": "x", "image": victim.photo_url}, INVALID),
        ("/api/tasks/create", {"type": "travel", "images": [_unsigned(victim.photo_url)], "scene_id": "beach-sunset"}, INVALID),
        ("/users", {"username": "x", "email": "y@people.example", "password": "correct horse battery", "avatar": _unsigned(victim.photo_url)}, INVALID),
        ("/v1/sessions/refresh", {"refresh_token": victim.token[:200]}, UNAUTHORIZED),
    ):
        cases.append(Case("another's, named", "POST", path, thief, json.dumps(body).encode(), expected))
    all_well(await stage.attacker.wrongs(cases))
    kept = await stage.attacker.ask(Case("one's own", "GET", f"/api/works/{stage.cast.work_id}", stage.auth))
    assert kept.status == 200, "all or nothing"


def _differences(answer: Answer, unknown: Answer) -> list[str]:
    """What would tell somebody that a thing is there."""
    said = [{name: value for name, value in one.json().items() if name not in ("path", "instance", "request_id", "timestamp")} for one in (answer, unknown)]
    return [] if (answer.status, said[0]) == (unknown.status, said[1]) else [f"{answer.status} {said[0]}, an unknown one gets {unknown.status} {said[1]}"]


def _unlike(value: str) -> str:
    """A name of the same form that nobody has."""
    stem, dot, more = value.partition(".")
    return stem[:-1] + ("0" if stem[-1] != "0" else "1") + dot + more


def _unsigned(link: str) -> str:
    return link.partition("?")[0]


async def test_no_list_shows_what_is_somebody_elses(stage: Stage) -> None:
    def shows_nothing(case: Case, answer: Answer) -> Iterator[str]:
        yield from judge(case, answer)
        if any(name.encode() in answer.body for name in stage.owned.names):
            yield f"{case}: shows the victim's"

    victim_id = stage.victim.user_id
    targets = [
        f"/api/works?user_id={victim_id}&status=completed",
        f"/api/works?user_id={victim_id}&is_public=false",
        f"/works?creator={victim_id}",
        f"/works?creator={victim_id.upper()}",
        "/works?limit=100",
        "/api/works?pageSize=100",
        f"/api/tasks/user/list?user_id={victim_id}",
        f"/api/credits/records?user_id={victim_id}",
        f"/points/history?userId={victim_id}&user={victim_id}",
        f"/api/auth/me?user_id={victim_id}",
        f"/api/credits/orders?user_id={victim_id}&userId={victim_id}",
        f"/api/credits/stats?user_id={victim_id}",
        f"/api/credits/balance?user_id={victim_id}",
        f"/v1/sessions?user_id={victim_id}",
        f"/v1/gallery?creator={victim_id}&limit=50",
    ]
    cases = [Case("another's in a list", "GET", target, stage.auth, None, Expected((200,))) for target in targets]
    cases += [Case("nobody's in a list", "GET", target, {}, None, Expected((200,))) for target in targets if "works" in target or "gallery" in target]
    all_well(await stage.attacker.wrongs(cases, look=shows_nothing))


async def test_a_link_to_a_file_is_good_as_it_is_or_not_at_all(stage: Stage) -> None:
    target = stage.victim.photo_url.removeprefix(stage.rig.url)
    path, _, query = target.partition("?")
    signature = query.partition("sig=")[2]
    expires = int(query.partition("exp=")[2].partition("&")[0])
    signer = UrlSigner(stage.rig.home.secret("files"), stage.rig.url)
    key = path.removeprefix("/files/")
    past = signer.sign(key, now=datetime.now(UTC) - timedelta(hours=3)).removeprefix(stage.rig.url)
    foreign = UrlSigner("x" * 64, stage.rig.url).sign(key, now=datetime.now(UTC)).removeprefix(stage.rig.url)
    good = Case("the link", "GET", target, expected=Expected((200,)))
    bad = {
        "no query": path,
        "no signature": f"{path}?exp={expires}",
        "no end": f"{path}?sig={signature}",
        "later": f"{path}?exp={expires + 1}&sig={signature}",
        "much later": f"{path}?exp=99999999999&sig={signature}",
        "end negative": f"{path}?exp=-1&sig={signature}",
        "end is text": f"{path}?exp=x&sig={signature}",
        "end twice": f"{path}?exp=1&exp={expires}&sig={signature}",
        "end of 5000 digits": f"{path}?exp={'9' * 5000}&sig={signature}",
        "end in other digits": f"{path}?exp=%D9%A1%D9%A2&sig={signature}",
        "signature changed": f"{path}?exp={expires}&sig={'A' if signature[0] != 'A' else 'B'}{signature[1:]}",
        "signature cut": f"{path}?exp={expires}&sig={signature[:-1]}",
        "signature longer": f"{path}?exp={expires}&sig={signature}AAAA",
        "signature is bytes": f"{path}?exp={expires}&sig=%FF%00",
        "another file": f"{path[:-6]}000.jpg?exp={expires}&sig={signature}",
        "another's folder": f"/files/uploads/{UNKNOWN}/{key.rpartition('/')[2]}?{query}",
        "upper case": f"{path.upper()}?{query}",
        "dots": f"/files/uploads/../{key}?{query}",
        "escaped dots": f"/files/%2e%2e/{key}?{query}",
        "escaped slash": f"/files/{key.replace('/', '%2F')}?{query}",
        "two slashes": f"/files//{key}?{query}",
        "the folder": f"/files/uploads?{query}",
        "/etc/passwd": f"/files//etc/passwd?{query}",
        "another secret": foreign,
        "NUL": f"{path}%00.html?{query}",
    }
    cases = [good, Case("past", "GET", past, expected=Expected((403, 404)))]
    # What could be no text at all is told so before anybody looks for a file.
    cases += [Case(name, method, one, expected=Expected((400, 404)) if "%00" in one else NOT_FOUND) for name, one in bad.items() for method in ("GET", "HEAD")]
    ranges = {
        "bytes=-0": (416,),
        "bytes=999999999-": (416,),
        "bytes=5-1": (200,),
        "bytes=" + "9" * 5000 + "-": (200, 400, 416),
        "bytes=0-0,1-1": (200,),
        "lines=1-2": (200,),
        "bytes=-": (200,),
        "bytes=a-b": (200,),
        "bytes=0-999999999999999999999": (200, 206),
    }
    cases += [Case(f"range {value[:20]}", "GET", target, {"Range": value}, None, Expected(statuses)) for value, statuses in ranges.items()]
    cases += [Case("odd validators", "GET", target, {"If-None-Match": "x" * 5000, "If-Range": "~", "If-Modified-Since": "yesterday"}, None, Expected((200,)))]
    all_well(await stage.attacker.wrongs(cases))


# operators, workflows and payment providers


async def test_operators_routes_are_for_operators_however_they_are_asked(stage: Stage) -> None:
    cases = []
    for found in ADMINS:
        path = stage.victims(found)
        forbidden, nowhere = Expected((403,), (10003,)), Expected((400, 403, 404, 405))
        for target in (path, f"{path}/"):
            cases.append(stage.good_case("a user's token", found, stage.auth, forbidden, target=target))
            cases.append(stage.good_case("says so", found, {**stage.auth, "X-User-Role": "admin", "X-Role": "admin"}, forbidden, target=target))
            cases.append(stage.good_case("nobody", found, {}, UNAUTHORIZED, target=target))
        for target in (f"/{path}", path.replace("/", "//"), path.upper(), f"{path}%2f", f"{path}/.", f"/x/..{path}"):
            cases.append(stage.good_case("a user's token", found, stage.auth, nowhere, target=target))
        for header in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
            cases.append(Case(header, "PATCH", path, {**stage.auth, header: found.route.method}, stage.body(found), nowhere))
    all_well(await stage.attacker.wrongs(cases))


async def test_nobody_calls_back_who_cannot_prove_it(stage: Stage) -> None:
    cases = []
    now = int(time.time())
    for found in CALLBACKS:
        good = {**(stage.lesson(found).body or {}), "task_id": stage.owned.picture_task}
        raw = json.dumps(good).encode()
        proofs: dict[str, Mapping[str, str]] = {
            "nothing": {},
            "a user's token": stage.auth,
            "an operator's token": {"Authorization": f"Bearer {stage.operator_token}"},
            "a service's token": {"Authorization": f"Bearer {stage.service_token('generation')}"},
            "the inner header": {"X-Internal-Secret": WORKFLOWS_SECRET},
            **{f"secret {secret[:6]!r}": {"X-Darkroom-Secret": secret} for secret in ("", " ", "x", "é", WORKFLOWS_SECRET[:-1], WORKFLOWS_SECRET.upper())},
            **{f"signed at {at!r}": _signed(raw, at) for at in (str(now - 301), str(now + 400), str(now * 1000), f"{now}.5", f"-{now}", "٣", "", "9" * 5000)},
            "another body signed": _signed(raw + b" ", str(now)),
            "another secret's signature": {**_signed(raw, str(now)), "X-Darkroom-Signature": sign_callback("x", str(now), raw)},
            "an odd signature": {**_signed(raw, str(now)), "X-Darkroom-Signature": "é"},
            "proven, the token guessed": {"X-Darkroom-Secret": WORKFLOWS_SECRET, "X-Darkroom-Attempt-Token": "x" * 43},
            "proven, an odd token": {"X-Darkroom-Secret": WORKFLOWS_SECRET, "X-Darkroom-Attempt-Token": "é"},
            "signed, the token guessed": _signed(raw, str(now)),
        }
        for name, headers in proofs.items():
            cases.append(Case(name, "POST", found.route.path, {**bodies.JSON_HEADERS, **headers}, raw, UNAUTHORIZED))
        for task_id in (UNKNOWN, stage.owned.song_task, stage.owned.picture_task.upper(), "x", "{x}", "٣" * 36):
            said = json.dumps({**good, "task_id": task_id}).encode()
            cases.append(Case(f"proven, for {task_id[:6]}", "POST", found.route.path, {"X-Darkroom-Secret": WORKFLOWS_SECRET}, said, UNAUTHORIZED))
    all_well(await stage.attacker.wrongs(cases))


def _signed(raw: bytes, at: str) -> dict[str, str]:
    return {"X-Darkroom-Timestamp": at, "X-Darkroom-Signature": sign_callback(SIGNING_SECRET, at, raw)}


async def test_a_payment_notice_counts_as_its_provider_signed_it_or_not_at_all(stage: Stage) -> None:
    order_no, now = stage.cast.order_no, str(int(time.time()))
    notice = {
        "id": "sbe_x", "type": "payment.succeeded", "merchant_id": "darkroom-sandbox", "order_no": order_no, "intent_id": stage.cast.intent_id,
        "transaction_id": "x", "amount": 989, "currency": "CNY",
    }  # fmt: skip
    key = hmac.new(stage.rig.home.secret("files").encode(), b"darkroom sandbox payments", hashlib.sha256).digest()

    def said(body: Any, *, at: str = now, nonce: str = "n" * 20, key: bytes = key, more: bytes = b"") -> Case:
        raw = json.dumps(body).encode()
        signature = hmac.new(key, f"{at}.{nonce}.".encode() + raw, hashlib.sha256).hexdigest()
        headers = {"Sandbox-Timestamp": at, "Sandbox-Nonce": nonce, "Sandbox-Signature": signature}
        return Case(f"{str(body)[:60]} at {at[:20]}", "POST", "/api/credits/payment/callback", headers, raw + more, UNAUTHORIZED)

    cases = [said(notice, at=at) for at in (str(int(now) - 301), str(int(now) + 400), f"{now}000", f"{now}.5", f"-{now}", "٣", "", "9" * 5000)]
    cases += [said(notice, nonce=nonce) for nonce in ("", "x", "x" * 65, "é" * 20, "a b" * 7)]
    cases += [said(notice, key=b"x"), said(notice, more=b" ")]
    for name in ("Sandbox-Timestamp", "Sandbox-Nonce", "Sandbox-Signature"):
        for value in (None, "", "é", "x" * 5000):
            headers = {header: given for header, given in said(notice).headers.items() if header != name} | ({name: value} if value is not None else {})
            cases.append(Case(f"{name} {str(value)[:5]}", "POST", "/api/credits/payment/callback", headers, json.dumps(notice).encode(), UNAUTHORIZED))
    all_well(await stage.attacker.wrongs(cases))
    # One cent is missing in all of them, so that none may buy anything, however it is odd.
    odd = [said({**notice, name: value}) for name in notice for value in bodies.WRONG_VALUES]
    odd += [said({name: value for name, value in notice.items() if name != without}) for without in notice]
    odd += [said({**notice, "amount": amount}) for amount in (991, 10**30)] + [said({**notice, "amount": 990, "currency": "USD"}), said([]), said(None)]
    all_well(await stage.attacker.wrongs(Case(case.name, "POST", case.target, case.headers, case.body) for case in odd))
    order = await stage.attacker.ask(Case("the order", "GET", f"/api/credits/orders/{order_no}", stage.auth))
    assert order.json()["data"]["order"]["status"] == "pending"
    assert await stage.thief.balance() == 0


# accounts


async def test_nobody_signs_up_as_more_than_a_user(stage: Stage) -> None:
    wish = {
        "username": "Mallory",
        "email": "mallory@people.example",
        "password": "correct horse battery",
        "role": "admin",
        "points": 10**9,
        "credits": 10**9,
        "isVIP": True,
        "emailVerified": True,
        "objectId": stage.victim.user_id,
        "user_id": stage.victim.user_id,
        "membershipEndDate": "2999-01-01T00:00:00Z",
        "createdAt": "2000-01-01T00:00:00Z",
        "sessionToken": "x",
        "__proto__": {"role": "admin"},
        "disabled": False,
    }
    answer = await stage.attacker.ask(Case("sign up", "POST", "/users", bodies.JSON_HEADERS, json.dumps(wish).encode()))
    user = answer.json()
    assert (answer.status, user["points"], user["emailVerified"]) == (201, 180, False)
    assert user["objectId"] != stage.victim.user_id
    assert user["membershipEndDate"] < (datetime.now(UTC) + timedelta(days=2)).isoformat()
    assert user["createdAt"] > "2020"
    me = await stage.attacker.ask(Case("me", "GET", "/api/auth/me", {"Authorization": f"Bearer {user['sessionToken']}"}))
    assert (me.json()["data"]["user"]["role"], me.json()["data"]["user"]["credits"]) == ("user", 10)


async def test_an_unknown_address_and_a_wrong_password_get_one_answer(stage: Stage) -> None:
    answers = []
    for email in ("nobody@people.example", f"{stage.victim.name}@people.example", "no address", "ä@ö", "x" * 1000, "a@b\n.example"):
        answers.append(
            await stage.attacker.ask(Case("log in", "POST", "/login", bodies.JSON_HEADERS, json.dumps({"email": email, "password": "wrong"}).encode()))
        )
    for answer in answers:
        assert judge_refusal(answer, "/login") == []
    assert {(answer.status, answer.headers["x-error-code"], answer.json()["message"]) for answer in answers} == {(401, "20001", answers[0].json()["message"])}


# and then


async def test_after_all_that_nothing_changed_that_must_not_and_nothing_of_ours_broke(stage: Stage) -> None:
    assert await stage.harm() == []


async def _jwks_requests(stage: Stage) -> int:
    """How often identity was asked for its keys."""
    admin = stage.rig.home.running_state().admin_urls["identity"][0]
    async with aiohttp.ClientSession() as http, http.get(f"{admin}/metrics") as answer:
        text = await answer.text()
    counted = re.findall(r'darkroom_http_request_seconds_count\{[^}]*route="/\.well-known/jwks\.json"[^}]*\} ([0-9.]+)', text)
    return int(sum(float(count) for count in counted))
