"""What the OpenAPI document promises, asked of a live suite through the gateway: every status documented, every body and header as its schema says."""

import asyncio
import gc
import json
import os
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

import aiohttp
import pytest
import requests
from schemathesis import engine
from schemathesis.engine.events import FatalError, NonFatalError, ScenarioFinished
from schemathesis.engine.run import PhaseName

from common.ids import new_id
from lab.dialects import Ask
from lab.dialects.callers import Callers
from lab.dialects.photo.system import result
from lab.dialects.world import link_in, photo_bytes
from lab.openapi import Listener, Told, faults_of, schema_of
from lab.rig import rig_running

NEVER = {"500", "502", "504"}
CASES_SLOWLY = int(os.environ.get("OPENAPI_CASES", "60"))
EVENTS_BETWEEN = 20

NOT_ANSWERED_WELL = {
    "GET /ws": "answers by changing to another protocol, in which there is no HTTP; services/notify tests it",
    "POST /v1/admin-invitations": "needs a link that only the command line gives; services/identity tests it",
}
REFUSED = {"success": False, "message": "no"}
ENDING_SESSIONS = {"DELETE /v1/sessions", "DELETE /v1/sessions/{session_id}"}
"""Each request of these is asked by a person of its own, for the token is over with it."""


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Listener]:
    async with (
        Callers() as callers,
        rig_running(tmp_path_factory.mktemp("openapi"), env=callers.environment) as rig,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http,
    ):
        world = Listener(rig, http, callers)
        await world.prepare()
        yield world
        await world.close()


@pytest.fixture(scope="module")
async def document(world: Listener) -> dict[str, Any]:
    return await world.document()


@pytest.fixture(scope="module")
async def journey(world: Listener, document: dict[str, Any]) -> Told:
    """What needs more than one request to be answered well, asked as it is meant."""
    await travel(world)
    return world.told(document)


@pytest.fixture(scope="module")
async def generated(world: Listener, shown: dict[str, Any]) -> Told:
    """Every case that schemathesis makes of the document."""
    return await asyncio.to_thread(try_all, world, shown, schema_of(shown, world.rig.url))


async def travel(world: Listener) -> None:
    """Through sessions, uploads, tasks and payments."""
    for path in ("/health", "/.well-known/jwks.json", "/v1/packages", "/v1/gallery", "/v1/sandbox/pay.css"):
        await world.ask("GET", path, who="nobody")
    for page in ("password-resets", "email-verifications", "admin-invitations"):
        for name in ("", "/page.js", "/page.css"):
            await world.ask("GET", f"/v1/{page}{name}", who="nobody")
    await world.ask("GET", world.alice.photo_url.removeprefix(world.rig.url), who="nobody")
    await _pass_sessions(world)
    await _pass_uploads(world)
    work_id = await world.song_work()
    for method, what in (("POST", "plays"), ("PUT", "like"), ("DELETE", "like")):
        await world.ask(method, f"/v1/works/{work_id}/{what}")
    said = await world.ask("POST", "/v1/admin/notices", who="admin", json={"title": "Hello", "content": "We are back", "user_ids": [world.alice.user_id]})
    await world.ask("GET", f"/v1/admin/notices/{said['notice_id']}", who="admin")
    await _pass_payment(world)
    await world.ask("GET", f"/music/tasks/{await world.song()}")
    await world.ask("DELETE", f"/api/works/{await world.spare_work()}")
    await world.ask("POST", "/api/works/batch/delete", json={"work_ids": [await world.spare_work()]})
    await world.ask("POST", f"/api/tasks/{await world.fresh_task(count=2)}/cancel")
    await world.ask("POST", "/api/auth/admin/login", who="nobody", json={"username": world.admin["username"], "password": world.admin["password"]})
    by_workflow: dict[str, Any] = {"who": "nobody", "headers": world.callers.workflow_headers}
    asked = await world.held_task()
    await world.ask("POST", "/api/callback/task-complete", json=result(asked), **by_workflow)
    asked = await world.held_task()
    told = {"task_id": asked["task_id"], "attempt_token": asked["attempt_token"], "error": "the model said no"}
    await world.ask("POST", "/api/callback/task-failed", json=told, **by_workflow)


async def _pass_sessions(world: Listener) -> None:
    name = f"guest{new_id().hex[-8:]}"
    address, password = f"{name}@people.example", "correct horse battery"
    await world.ask("POST", "/users", who="nobody", json={"username": name, "email": address, "password": password})
    mail = await world.mail_to(address)
    await world.ask("POST", "/v1/email-verifications", who="nobody", json={"token": link_in(mail)[1]})
    await world.ask("POST", "/requestPasswordReset", who="nobody", json={"email": address})
    mail = await world.mail_to(address, but=mail)
    await world.ask("POST", "/v1/password-resets", who="nobody", json={"token": link_in(mail)[1], "password": "another battery"})
    for path in ("/v1/sessions/current", "/v1/sessions"):
        opened = await world.ask("POST", "/v1/sessions", who="nobody", json={"email": address, "password": "another battery"})
        fresh = await world.ask("POST", "/v1/sessions/refresh", who="nobody", json={"refresh_token": opened["refresh_token"]})
        me: dict[str, Any] = {"who": "nobody", "headers": {"Authorization": f"Bearer {fresh['access_token']}"}}
        await world.ask("GET", "/v1/sessions", **me)
        await world.ask("DELETE", path, **me)


async def _pass_uploads(world: Listener) -> None:
    picture = photo_bytes()
    upload = await world.ask("POST", "/v1/uploads", json={"size_bytes": len(picture)})
    await world.ask("PUT", upload["url"].removeprefix(world.rig.url), who="nobody", body=picture, headers=upload["headers"])
    await world.ask("POST", f"/v1/uploads/{upload['upload_id']}/complete")


async def _pass_payment(world: Listener) -> None:
    order = (await world.ask("POST", "/api/credits/recharge", json={"package_id": "basic", "payment_method": "wechat"}))["data"]
    page = order["payment_params"]["pay_url"].removeprefix(world.rig.url)
    await world.ask("GET", page, who="nobody")
    await world.ask("POST", page, who="nobody", body=b"decision=pay", headers={"Content-Type": "application/x-www-form-urlencoded"})

    async def is_paid() -> bool:
        return bool((await world.ask("GET", f"/api/credits/orders/{order['order_no']}"))["data"]["order"]["status"] == "paid")

    await world.until(is_paid, "the payment")
    await world.ask("POST", f"/v1/admin/orders/{order['order_no']}/refund", who="admin", json={"reason": "asked for"})
    other = (await world.ask("POST", "/api/credits/recharge", json={"package_id": "basic", "payment_method": "wechat"}))["data"]
    body, headers = world.callers.notice(other["order_no"], other["payment_params"]["pay_url"].rpartition("/")[2], amount=1)
    refused, _, _ = await world.send("POST", Ask(path="/api/credits/payment/callback", body=body, headers=headers), who="nobody")
    assert refused == 402
    body, headers = world.callers.notice(other["order_no"], other["payment_params"]["pay_url"].rpartition("/")[2], amount=990)
    await world.ask("POST", "/api/credits/payment/callback", who="nobody", body=body, headers=headers)
    [alert, *_] = (await world.ask("GET", "/api/admin/orders", who="admin"))["data"]["alerts"]
    await world.ask("POST", f"/v1/admin/orders/alerts/{alert['alert_id']}/close", who="admin")


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        pytest.param(500, {"x-error-code": "10000"}, REFUSED, id="a fault of ours"),
        pytest.param(418, {}, REFUSED, id="a status it does not name"),
        pytest.param(503, {"x-error-code": "10007"}, REFUSED, id="no word of when to come again"),
        pytest.param(404, {"x-error-code": "50000"}, REFUSED, id="another error's code"),
        pytest.param(404, {"x-error-code": "30000"}, {"message": "no"}, id="a refusal of another shape"),
        pytest.param(200, {"content-type": "text/html"}, "<p>", id="another kind of body"),
        pytest.param(200, {}, {"success": True, "data": {"work": {"work_id": 1}}}, id="a body of another shape"),
    ],
)
def test_an_answer_the_document_does_not_know_is_found(document: dict[str, Any], status: int, headers: dict[str, str], body: Any) -> None:
    operation = schema_of(document, "http://gateway")["/api/works/{work_id}"]["GET"]
    kind = {"content-type": "application/json"}
    assert faults_of(operation, 404, {**kind, "x-error-code": "30000"}, REFUSED) == []
    assert faults_of(operation, status, {**kind, **headers}, body) != []


@pytest.mark.parametrize("status", sorted(NEVER))
def test_no_route_documents_a_fault_of_ours(document: dict[str, Any], status: str) -> None:
    assert [path for path, methods in document["paths"].items() for operation in methods.values() if status in operation["responses"]] == []


def test_every_route_documents_its_answer_and_its_refusals(document: dict[str, Any]) -> None:
    bare = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            good = {status: answer for status, answer in operation["responses"].items() if status < "300"}
            empty = [status for status, answer in good.items() if not answer.get("content") and status not in ("101", "204")]
            if empty and path != "/v1/incoming/{user_id}/{upload_id}":
                bare.append(f"{method} {path}: what does {empty} hold?")
            if not {"400", "429", "503"} <= set(operation["responses"]):
                bare.append(f"{method} {path}: can be refused")
    assert bare == []


@pytest.fixture(scope="module")
async def shown(world: Listener, document: dict[str, Any]) -> dict[str, Any]:
    """The document with examples of things there are."""
    return await with_examples(world, document)


def test_a_journeys_answers_are_as_documented(journey: Told) -> None:
    assert not journey.faults, str(journey)


def test_no_case_made_of_the_document_gets_an_answer_it_does_not_know(generated: Told) -> None:
    assert not generated.faults, str(generated)


def test_every_route_was_asked_and_answered_well(journey: Told, generated: Told, document: dict[str, Any]) -> None:
    labels = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    assert set(generated.statuses) == labels
    good = {label for told in (journey, generated) for label, statuses in told.statuses.items() if any(200 <= status < 400 for status in statuses)}
    assert labels - good == set(NOT_ANSWERED_WELL)


@pytest.mark.slow
async def test_nor_does_any_of_many_more(world: Listener, shown: dict[str, Any]) -> None:
    """`OPENAPI_CASES` says how many cases each route gets."""
    await keep_short_of_credits(world)
    told = await asyncio.to_thread(try_all, world, shown, schema_of(shown, world.rig.url, cases=CASES_SLOWLY, thorough=True))
    assert not told.faults, str(told)


def try_all(world: Listener, document: dict[str, Any], schema: Any) -> Told:
    """Send every case that schemathesis makes; what was wrong, each with how to repeat it."""
    told = Told()
    schema.auth(refresh_interval=None)(tokens_for(world, document))
    for event in collecting_between(engine.from_schema(schema).execute()):
        if isinstance(event, NonFatalError | FatalError):
            error = event.value if isinstance(event, NonFatalError) else event.exception
            told.faults[f"{getattr(event, 'label', '')}: {type(error).__name__}: {error}"] += 1
        if not isinstance(event, ScenarioFinished):
            continue
        for case_id, interaction in event.recorder.interactions.items():
            if interaction.response is not None:
                told.note(event.recorder.label, interaction.response.status_code)
                if event.phase is PhaseName.EXAMPLES and interaction.response.status_code == 400 and event.recorder.label not in NOT_ANSWERED_WELL:
                    told.faults[f"{event.recorder.label}: its example is refused: {interaction.response.content[:500]!r}"] += 1
            for check in event.recorder.checks.get(case_id, ()):
                if check.failure_info is not None:
                    failure = check.failure_info.failure
                    status = interaction.response.status_code if interaction.response is not None else 0
                    told.faults[f"{event.recorder.label}: {status}: {failure.title}: {failure.message}"] += 1
                    told.repeats.setdefault(f"{event.recorder.label}: {status}: {failure.title}: {failure.message}", check.failure_info.code_sample)
    return told


def collecting_between(events: Iterable[Any]) -> Iterator[Any]:
    """The collector runs between events only: in Python 3.11 a compiler that it lets another thread into fails, and hypothesis compiles while it generates."""
    gc.disable()
    try:
        for number, event in enumerate(events):
            if number % EVENTS_BETWEEN == 0:
                gc.collect()
            yield event
    finally:
        gc.enable()


def tokens_for(world: Listener, document: dict[str, Any]) -> type[Any]:
    """Who asks: an operator where the document says so, Alice elsewhere, nobody where no token is taken."""

    class Tokens:
        keys: ClassVar[set[tuple[str, str]]] = set()

        def get(self, case: Any, _context: Any) -> str | None:
            label = case.operation.label
            asked = document["paths"][case.operation.path][case.operation.method.lower()].get("security", [])
            if label in ENDING_SESSIONS:
                return newcomer()
            return None if not asked else world.admin_token if ["admin"] in asked[0].values() else world.alice.token

        def set(self, case: Any, data: str | None, _context: Any) -> None:
            headers = dict(case.headers or {})
            key = (case.operation.label, str(headers.get("Idempotency-Key")))
            if key in self.keys:
                # Sent again with another body it would only be refused for that.
                headers.pop("Idempotency-Key", None)
            self.keys.add(key)
            if "/callback/task-" in case.operation.path:
                headers |= world.callers.workflow_headers
            if data is not None:
                headers["Authorization"] = f"Bearer {data}"
            case.headers = headers

    def newcomer() -> str:
        name = f"leaver{new_id().hex[-8:]}"
        wish = {"username": name, "email": f"{name}@people.example", "password": "correct horse battery"}
        return str(requests.post(f"{world.rig.url}/users", json=wish, timeout=30).json()["sessionToken"])

    return Tokens


async def with_examples(world: Listener, document: dict[str, Any]) -> dict[str, Any]:
    """A copy whose examples name things there are, so that good answers come too. Money is kept short: what costs some is refused soon."""
    shown: dict[str, Any] = json.loads(json.dumps(document))
    photo = world.alice.photo_url
    link = urlsplit(photo)
    upload = await world.ask("POST", "/v1/uploads", json={"size_bytes": 1})
    put = urlsplit(upload["url"])
    order = (await world.ask("POST", "/api/credits/recharge", json={"package_id": "basic", "payment_method": "wechat"}))["data"]
    notice = await world.ask("POST", "/v1/admin/notices", who="admin", json={"title": "Hello", "content": "We are back", "user_ids": [world.bob.user_id]})
    named: dict[str, Any] = {
        "/api/admin/config/{config_key}": {"config_key": "site_name"},
        "/api/admin/users/{user_id}": {"user_id": (await world.newcomer())[0]},
        "/api/credits/orders/{order_no}": {"order_no": order["order_no"]},
        "/api/scenes/{scene_id}": {"scene_id": await world.scene()},
        "DELETE /api/scenes/{scene_id}": {"scene_id": await world.scene()},
        "/api/upload/{file_name}": {"file_name": link.path.rpartition("/")[2]},
        "/api/works/{work_id}": {"work_id": await world.work()},
        "DELETE /api/works/{work_id}": {"work_id": await world.spare_work()},
        "/api/admin/works/{work_id}": {"work_id": await world.work("bob")},
        "/api/tasks/{task_id}": {"task_id": await world.task()},
        "/api/tasks/{task_id}/cancel": {"task_id": await world.task()},
        "/files/{key}": {"key": link.path.removeprefix("/files/"), **dict(parse_qsl(link.query))},
        "/music/tasks/{taskId}": {"taskId": await world.song()},
        "/v1/admin/notices/{notice_id}": {"notice_id": notice["notice_id"]},
        "/v1/admin/orders/{order_no}/refund": {"order_no": order["order_no"]},
        "/v1/incoming/{user_id}/{upload_id}": {
            "user_id": world.alice.user_id,
            "upload_id": upload["upload_id"],
            **dict(parse_qsl(put.query)),
        },
        "/v1/sandbox/pay/{intent}": {"intent": order["payment_params"]["pay_url"].rpartition("/")[2]},
        "/v1/sessions/{session_id}": {"session_id": "current"},
        "/v1/uploads/{upload_id}/complete": {"upload_id": upload["upload_id"]},
        "/works/{work_id}": {"work_id": await world.song_work()},
    }
    for what in ("plays", "like"):
        named[f"/v1/works/{{work_id}}/{what}"] = {"work_id": await world.song_work()}
    for path, methods in shown["paths"].items():
        for method, operation in methods.items():
            values = named.get(f"{method.upper()} {path}", named.get(path, {}))
            for one in operation.get("parameters", ()):
                if one["name"] in values:
                    one["example"] = int(values[one["name"]]) if one["schema"].get("type") == "integer" else values[one["name"]]
    await keep_short_of_credits(world)
    return shown


async def keep_short_of_credits(world: Listener) -> None:
    """Enough for the examples, and soon not enough any more."""
    left = await world.alice.balance()
    await world.rig.grant(world.alice.user_id, 20 - left)
