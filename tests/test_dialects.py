"""The contract of both dialects, row by row, through the gateway of a live suite."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, get_args

import aiohttp
import pytest

import notify
from lab.dialects import TABLE, Ask, Refusal, Row, World, differences
from lab.dialects.callers import Callers
from lab.dialects.page import PAGE, render
from lab.dialects.photo.system import CLOSES, FRAMES, SOCKET
from lab.dialects.plights import CAPS
from lab.dialects.rows import Who
from lab.dialects.shapes import MOMENT, SENTENCE, WORD, Some
from lab.hostile.targets import EVERY
from lab.openapi import Listener
from lab.rig import rig_running
from notify.domain import NoticeType
from notify.schemas import frames

REQUIREMENTS = {
    "photo": """
        POST /api/auth/wechat/login | GET /api/auth/me | POST /api/auth/admin/login | POST /api/auth/refresh | GET /api/works | GET /api/works/:work_id
        | PUT /api/works/:work_id | DELETE /api/works/:work_id | POST /api/works/batch/delete | POST /api/tasks/create | GET /api/tasks/:task_id
        | GET /api/tasks/user/list | POST /api/tasks/:task_id/cancel | GET /api/tasks/stats/queue | GET /api/scenes | GET /api/scenes/:scene_id
        | POST /api/scenes
        | PUT /api/scenes/:scene_id | DELETE /api/scenes/:scene_id | POST /api/upload/single | POST /api/upload/multiple | POST /api/upload/base64
        | POST /api/upload/base64/batch | DELETE /api/upload/:fileName | GET /api/credits/balance | GET /api/credits/records | GET /api/credits/stats
        | GET /api/credits/packages | POST /api/credits/recharge | GET /api/credits/orders | GET /api/admin/stats/overview | GET /api/admin/users
        | PUT /api/admin/users/:user_id | GET /api/admin/works | GET /api/admin/tasks | GET /api/admin/orders | GET /api/admin/config
        | PUT /api/admin/config/:config_key | GET /health | POST /api/callback/task-complete | POST /api/callback/task-failed | WS /ws
    """,
    "song": """
        POST /users | POST /login | POST /requestPasswordReset | POST /works | GET /works | GET /works/:id | POST /music/tasks | GET /music/tasks/:taskId
        | GET /points/history | POST /points/purchase
    """,
}
REFUSAL_OF = {
    "photo": {"success": False, "message": SENTENCE},
    "song": {"code": int, "message": SENTENCE, "details": dict, "timestamp": MOMENT},
}
NOT_SHOWN = {"POST /api/credits/recharge": {10005}, "POST /points/purchase": {10005}}
"""Refusals a route names and no client can bring about: a song is asked for with the id of a photo, never with its bytes; an order's number of
random letters would have to be taken."""
CLOSED = {"error": {"type": "error", "message": SENTENCE}}
FIELDS = Some({"field": WORD, "message": SENTENCE})
every_row = pytest.mark.parametrize("row", TABLE, ids=str)
every_guarded_row = pytest.mark.parametrize("row", [row for row in TABLE if row.auth in ("user", "admin")], ids=str)
every_row_with_a_body = pytest.mark.parametrize("row", [row for row in TABLE if row.has_body and row.auth != "callback"], ids=str)


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Listener]:
    """A suite whose pictures workflows make, whose bank signs, and that lets nobody log in with an address that is not verified."""
    folder = tmp_path_factory.mktemp("dialects")
    async with (
        Callers() as callers,
        rig_running(folder, env={**callers.environment, **CAPS, "IDENTITY_EMAIL_VERIFICATION": "required"}) as rig,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http,
    ):
        world = Listener(rig, http, callers)
        await world.prepare()
        yield world
        await world.close()


def owner_of(row: Row, ask: Ask) -> Who:
    if ask.who is not None:
        return ask.who
    return "admin" if row.auth == "admin" else "nobody" if row.auth in ("none", "callback", "frame") else "alice"


def judge(row: Row, refusal: Refusal, status: int, body: Any, headers: dict[str, str]) -> list[str]:
    """What is wrong with a refusal."""
    said = [] if status == refusal.status else [f"status {status}, not {refusal.status}: {body}"]
    if row.method == "WS":
        return said + differences(CLOSED, body)
    if headers.get("x-error-code") != str(refusal.code):
        said.append(f"X-Error-Code {headers.get('x-error-code')}, not {refusal.code}")
    said += differences(REFUSAL_OF[row.dialect], body)
    if not isinstance(body, dict):
        return said
    details = body.get("data" if row.dialect == "photo" else "details")
    if refusal.data is not None:
        said += differences(refusal.data, details, "data")
    if (refusal.status, refusal.code) == (400, 10001):
        said += differences(FIELDS, body.get("errors") if row.dialect == "photo" else (details or {}).get("errors"), "errors")
    return said


@pytest.mark.parametrize("dialect", REQUIREMENTS)
def test_the_table_names_every_path_of_the_documents(dialect: str) -> None:
    named = {str(row) for row in TABLE if row.dialect == dialect}
    asked = {" ".join(one.split()) for one in REQUIREMENTS[dialect].split("|")}
    assert asked - named == set()
    assert len(named) == len([row for row in TABLE if row.dialect == dialect]), "a row twice"


def test_a_row_shows_every_refusal_its_route_names() -> None:
    rows = {re.sub(r":\w+", "*", str(row)): row for row in TABLE}
    missing = []
    for route in (found.route for found in EVERY):
        row = rows.get(re.sub(r"\{[^}]+\}", "*", f"{route.method} {route.path}"))
        if row is not None:
            named = {refusal.code for refusal in route.refusals} - {refusal.code for refusal in row.refusals} - NOT_SHOWN.get(str(row), set())
            missing += [f"{row}: {code}" for code in sorted(named)]
    assert missing == []


def test_a_row_says_what_it_takes_and_how_it_refuses() -> None:
    """A route that takes something can be asked wrongly."""
    assert [str(row) for row in TABLE if (row.takes is not None or "/:" in row.path) and not row.refusals] == []
    assert [str(row) for row in TABLE if row.method in ("POST", "PUT") and row.takes is None and row.refusals and "/:" not in row.path] == []


def test_a_row_names_every_field_its_route_takes() -> None:
    rows = {re.sub(r":\w+", "*", str(row)): row for row in TABLE if row.auth != "callback" and "..." not in (row.takes or {})}
    missing = []
    for found in EVERY:
        row = rows.get(re.sub(r"\{[^}]+\}", "*", str(found)))
        if row is not None:
            named = {name.split()[0].rstrip("?") for name in row.takes or ()}
            models = {model for model in (found.route.body, found.route.query, *found.route.reads.values()) if model is not None}
            missing += [f"{row}: {name}" for model in models for name in model.model_fields if name not in named]
    assert missing == []


def test_the_page_is_the_table() -> None:
    assert PAGE.read_text() == render(TABLE), "run `python -m lab.dialects`"


def test_the_page_names_every_frame_and_every_code_a_socket_is_closed_with() -> None:
    """What the code can say, no more and no less."""
    said = {*get_args(NoticeType), *re.findall(r'"type": "(\w+)"', Path(frames.__file__).read_text())}
    assert said - {"error"} == {shape["type"] for shape in FRAMES.values()}
    assert '{"type": "error", "message"}' in SOCKET
    package = Path(notify.__file__).parent
    closed = {int(code) for path in package.rglob("*.py") for code in re.findall(r"\b(?:1001|4[05]\d\d)\b", path.read_text())}
    assert closed - {4096} == set(CLOSES)


@every_row
async def test_a_row_answers_as_written(world: World, row: Row) -> None:
    ask = await row.ask(world)
    status, body, headers = await world.send(row.method, ask, who=owner_of(row, ask))
    assert status == row.status, body
    assert differences(row.shape, body) == []
    if "location" in headers:
        status, body, _ = await world.send("GET", Ask(path=headers["location"]), who=owner_of(row, ask))
        assert status == 200, f"what was made is said to be at {headers['location']}: {body}"


@every_row
async def test_a_row_refuses_as_written(world: World, row: Row) -> None:
    said = []
    for refusal in row.refusals:
        ask = await refusal.ask(world)
        status, body, headers = await world.send(row.method, ask, who=owner_of(row, ask))
        said += [f"{refusal.why}: {each}" for each in judge(row, refusal, status, body, headers)]
    assert said == []


@every_guarded_row
async def test_a_row_lets_nobody_in_without_the_right_token(world: World, row: Row) -> None:
    path = re.sub(r":\w+", "0198c3a0-0000-7000-8000-00000000dead", row.path)
    said = []
    strangers: list[tuple[Who, int, int, dict[str, str]]] = [("nobody", 401, 10002, {}), ("nobody", 401, 10002, {"Authorization": "Bearer not.a.token"})]
    if row.auth == "admin":
        strangers.append(("alice", 403, 10003, {}))
    for who, status, code, headers in strangers:
        got = await world.send(row.method, Ask(path=path, json={} if row.has_body else None, headers=headers), who=who)
        said += judge(row, Refusal(status, code, "", row.ask), *got)
    assert said == []


@every_row_with_a_body
async def test_a_row_refuses_what_is_not_json(world: World, row: Row) -> None:
    path = re.sub(r":\w+", "0198c3a0-0000-7000-8000-00000000dead", row.path)
    for quoted in (b"{", b"[1", b"\xff\xfe", b'{"a": NaN}'):
        got = await world.send(row.method, Ask(path=path), who=owner_of(row, Ask(path=path)), quoted=quoted)
        assert judge(row, Refusal(400, 10001, "", row.ask), *got) == [], quoted


async def test_every_answer_was_one_that_the_document_knows(world: Listener) -> None:
    """Whatever the tests above were answered."""
    await world.send("GET", Ask(path="/health"), who="nobody")
    told = world.told(await world.document())
    assert not told.faults, str(told)
