"""Asking for pictures and songs: one task and one hold per key, whatever happens in between."""

import asyncio
import base64
import io
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from PIL import Image

from common.db import Database
from common.ids import new_id
from common.objects import thumbnail_key
from generation.domain import Brief, Limits, new_task
from generation.schemas import photo as shapes

CREATE = "/api/tasks/create"


def a_picture(kind: str = "PNG", size: tuple[int, int] = (20, 12), **options: Any) -> bytes:
    written = io.BytesIO()
    Image.new("RGB", size, (200, 90, 30)).save(written, kind, **options)
    return written.getvalue()


def nested(levels: int) -> Any:
    return {"deeper": nested(levels - 1)} if levels else {}


def data_url(body: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(body).decode()}"


def test_what_is_written_straight_is_what_the_models_would_write() -> None:
    limits = Limits(start=timedelta(seconds=1), total=timedelta(seconds=2))
    task = new_task(
        task_id=new_id(), user_id=new_id(), work_id=new_id(), kind="travel", asked=3, price=6, scene_id=None, brief=Brief(), limits=limits,
        now=datetime.now(UTC),
    )  # fmt: skip
    told = shapes.CreatedTask(task_id=task.task_id, type="travel", batch_count=3, credits_deducted=6)
    assert shapes.render_created(task) == shapes.CreatedAnswer(data=told).model_dump_json().encode()
    place = {"name": "Nice", "country": "FR", "prompt": "palm trees"}
    for destination in (None, place):
        said = {"type": "travel", "images": ["a"], "parameters": {"deep": [1, {"er": "é"}]}, "destination": destination}
        ask = shapes.CreateTask.model_validate(said)
        assert shapes.canonical(ask, images=["b"]) == {**ask.model_dump(), "images": ["b"]}


async def test_an_ask_is_answered_with_what_it_costs_and_wakes_the_workers(edge: Any, db: Database, neighbours: Any) -> None:
    user = new_id()
    status, body, headers = await edge.call("POST", CREATE, user, json={
        "type": "travel", "batch_count": 4, "images": [edge.upload(user)], "scene_id": "beach-sunset", "parameters": {"caption": "hi"},
        "custom_description": "with a dog", "destination": {"name": "Nice", "country": "FR", "prompt": "palm trees"},
    })  # fmt: skip
    assert status == 200, body
    data = body["data"]
    assert body["success"] is True
    assert {**data, "task_id": None} == {"task_id": None, "type": "travel", "batch_count": 4, "status": "pending", "credits_deducted": 4}
    assert "Idempotent-Replayed" not in headers
    assert edge.workers.woken == [False]
    row = await db.fetchrow("SELECT * FROM task")
    assert row is not None
    assert str(row["task_id"]) == data["task_id"]
    assert row["work_id"] == row["task_id"]
    assert row["brief"]["photos"] == [f"uploads/{user}/{'cd' * 32}.webp"]
    assert row["brief"]["prompt"].endswith("palm trees. with a dog")
    assert row["brief"]["scene_version"] == 1
    assert row["trace"].count(" ") == 1
    (hold,) = neighbours.holds.values()
    assert hold["body_hash"] == row["body_hash"].hex()
    assert (hold["items"], hold["kind"], hold["expires_in_seconds"]) == (4, "travel", 1200 + 900)


async def test_the_fact_of_a_creation_carries_the_trace_of_its_request(edge: Any, db: Database) -> None:
    user, trace = new_id(), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await edge.call(
        "POST", CREATE, user, json={"type": "travel", "images": [edge.upload(user)]}, headers={"traceparent": trace, "X-Request-Id": "request-0001"}
    )
    told = await db.fetchrow("SELECT traceparent, correlation_id FROM outbox_fact WHERE topic = 'task.created'")
    assert told is not None
    assert tuple(told) == (trace, "request-0001")


async def test_one_key_a_hundred_times_at_once_is_one_task_and_one_hold(edge: Any, db: Database, neighbours: Any) -> None:
    user = new_id()
    ask = {"type": "travel", "images": [edge.upload(user)]}
    answers = await asyncio.gather(*(edge.call("POST", CREATE, user, json=ask, key="k1") for _ in range(100)))
    assert {status for status, _, _ in answers} == {200}
    assert len({body["data"]["task_id"] for _, body, _ in answers}) == 1
    assert sum("Idempotent-Replayed" not in headers for _, _, headers in answers) == 1
    assert await db.fetchval("SELECT count(*) FROM task") == 1
    assert len(neighbours.holds) == 1
    status, body, _ = await edge.call("POST", CREATE, user, json={**ask, "batch_count": 2}, key="k1")
    assert (status, body["success"]) == (422, False)
    status, body, headers = await edge.call("POST", CREATE, user, json=ask, headers={"Idempotency-Key": '"k1"'})
    assert (status, headers["Idempotent-Replayed"], body["data"]["credits_deducted"]) == (200, "true", 1)
    assert len(neighbours.holds) == 1


async def test_twins_with_different_bodies_at_once_are_one_task_and_one_refusal(edge: Any, db: Database) -> None:
    user = new_id()
    asks = [{"type": "travel", "batch_count": count, "images": [edge.upload(user)]} for count in (1, 2)]
    answers = await asyncio.gather(*(edge.call("POST", CREATE, user, json=one, key="k") for one in asks))
    assert sorted(status for status, _, _ in answers) == [200, 422]
    assert await db.fetchval("SELECT count(*) FROM task") == 1


async def test_a_key_belongs_to_its_user_and_route(edge: Any, db: Database) -> None:
    one, other = new_id(), new_id()
    for user in (one, other):
        await edge.call("POST", CREATE, user, json={"type": "travel", "images": [edge.upload(user)]}, key="same")
    await edge.call("POST", "/music/tasks", one, json={"prompt": "a slow song"}, key="same")
    assert await db.fetchval("SELECT count(*) FROM task") == 3


async def test_a_replay_gives_the_creation_again_whatever_became_of_the_task(edge: Any, db: Database, neighbours: Any) -> None:
    user = new_id()
    ask = {"type": "travel", "images": [edge.upload(user)]}
    _, first, _ = await edge.call("POST", CREATE, user, json=ask, key="k")
    await edge.call("POST", f"/api/tasks/{first['data']['task_id']}/cancel", user)
    for hold in neighbours.holds.values():
        hold["resolved"] = True
    status, again, headers = await edge.call("POST", CREATE, user, json=ask, key="k")
    assert (status, again["data"], headers["Idempotent-Replayed"]) == (200, first["data"], "true")


async def test_a_replay_gives_the_creation_again_whatever_would_refuse_it_by_now(edge: Any, db: Database, neighbours: Any, clock: Any) -> None:
    """Its scene was switched off, the link to somebody's picture has ended, fewer pictures may be asked for, the photo is deleted, works is away."""
    user, other, work_id = new_id(), new_id(), new_id()
    neighbours.works[work_id] = {"work_id": str(work_id), "user_id": str(user), "image_key": "uploads/u/a.webp"}
    pictures = {"type": "travel", "images": [edge.upload(user)]}
    asks = [
        (CREATE, {**pictures, "scene_id": "beach-sunset"}),
        (CREATE, {**pictures, "images": [edge.upload(other)]}),
        (CREATE, {**pictures, "images": [data_url(a_picture())]}),
        (CREATE, {**pictures, "batch_count": 4}),
        ("/music/tasks", {"workId": str(work_id)}),
    ]
    firsts = [await edge.call("POST", path, user, json=ask, key=f"k{number}") for number, (path, ask) in enumerate(asks)]
    await edge.call("PUT", "/api/scenes/beach-sunset", user, json={"status": "inactive"}, admin=True)
    await edge.call("PUT", "/internal/admin/config/max_batch_count", user, json={"config_value": "3"}, admin=True)
    clock.move(seconds=7200)
    neighbours.is_away = True
    for number, ((path, ask), (status, first, _)) in enumerate(zip(asks, firsts, strict=True)):
        again, answer, headers = await edge.call("POST", path, user, json=ask, key=f"k{number}")
        assert (again, headers.get("Idempotent-Replayed")) == (status, "true"), answer
        assert answer.get("data") == first.get("data")
        assert answer.get("taskId") == first.get("taskId")
        assert (await edge.call("POST", path, user, json=ask, key="new"))[0] >= 400
    status, _, _ = await edge.call("POST", CREATE, user, json={**asks[0][1], "batch_count": 2}, key="k0")
    assert status == 422
    assert len(neighbours.holds) == len(asks)


async def test_a_twin_that_finished_while_the_hold_was_asked_for_is_the_answer(edge: Any, db: Database, neighbours: Any) -> None:
    """The hold is refused as resolved, and by then the task is there."""
    user = new_id()
    ask = {"type": "travel", "images": [edge.upload(user)]}
    _, first, _ = await edge.call("POST", CREATE, user, json=ask, key="k")
    rows = await db.fetch("SELECT * FROM task")
    task_id = rows[0]["task_id"]
    await db.fetch("UPDATE task SET task_id = $2 WHERE task_id = $1", task_id, new_id())
    neighbours.holds[task_id]["resolved"] = True

    async def finish_the_twin() -> None:
        await db.fetch("UPDATE task SET task_id = $1", task_id)

    neighbours.before_answer = finish_the_twin
    status, again, headers = await edge.call("POST", CREATE, user, json=ask, key="k")
    assert (status, again["data"], headers["Idempotent-Replayed"]) == (200, first["data"], "true")


async def test_too_few_credits_refuse_only_whom_they_concern(edge: Any, db: Database, neighbours: Any) -> None:
    poor, rich = new_id(), new_id()
    neighbours.available[poor] = 1
    asks = [edge.call("POST", CREATE, user, json={"type": "travel", "images": [edge.upload(user)]}) for user in (poor, rich) * 10]
    answers = await asyncio.gather(*asks)
    assert [status for status, _, _ in answers[1::2]] == [200] * 10
    assert sorted(status for status, _, _ in answers[::2]) == [200] + [400] * 9
    refused = next(body for status, body, _ in answers if status == 400)
    assert refused["data"] == {"required": 1, "current": 0, "shortage": 1}
    assert await db.fetchval("SELECT count(*) FROM task WHERE user_id = $1", poor) == 1


async def test_a_song_with_too_few_points_is_refused_in_its_dialect(edge: Any, neighbours: Any) -> None:
    user = new_id()
    neighbours.available[user] = 99
    status, body, headers = await edge.call("POST", "/music/tasks", user, json={"prompt": "a slow song"})
    assert (status, body["code"], headers["X-Error-Code"]) == (402, 40000, "40000")
    assert body["details"] == {"required": 100, "current": 99, "shortage": 1}


async def test_while_billing_is_away_nothing_is_promised_and_what_is_known_is_answered(edge: Any, db: Database, neighbours: Any) -> None:
    user = new_id()
    ask = {"type": "travel", "images": [edge.upload(user)]}
    await edge.call("POST", CREATE, user, json=ask, key="known")
    neighbours.is_away = True
    answers = await asyncio.gather(*(edge.call("POST", CREATE, user, json=ask, key=key) for key in ("known", "new")))
    assert [status for status, _, _ in answers] == [200, 503]
    assert answers[1][2]["Retry-After"]
    assert await db.fetchval("SELECT count(*) FROM task") == 1


async def test_too_many_waiting_tasks_are_refused_before_anything_is_held(edge: Any, db: Database, neighbours: Any) -> None:
    user, other = new_id(), new_id()
    answers = await asyncio.gather(*(edge.call("POST", CREATE, user, json={"type": "travel", "images": [edge.upload(user)]}) for _ in range(55)))
    assert sorted(status for status, _, _ in answers) == [200] * 50 + [429] * 5
    refused = next(headers for status, _, headers in answers if status == 429)
    assert (refused["X-Error-Code"], refused["Retry-After"]) == ("50005", "10")
    assert len(neighbours.holds) == await db.fetchval("SELECT count(*) FROM task") == 50
    status, _, _ = await edge.call("POST", CREATE, other, json={"type": "travel", "images": [edge.upload(other)]})
    assert status == 200
    status, _, _ = await edge.call("POST", CREATE, user, json={"type": "travel", "images": [edge.upload(user)]}, admin=True)
    assert status == 200


# --- images ---


async def test_a_picture_in_a_data_url_is_kept_by_works_before_anything_is_held(edge: Any, db: Database, neighbours: Any) -> None:
    user = new_id()
    ask = {"type": "fitting", "images": [data_url(b"one", "jpeg"), edge.upload(user), data_url(b"two")]}
    status, body, _ = await edge.call("POST", CREATE, user, json=ask, key="k")
    assert status == 200, body
    asked = [(one["user_id"], one["content"], one["field"], one["fleeting"]) for one in neighbours.pictures]
    assert asked == [(str(user), ask["images"][0], "images.0", True), (str(user), ask["images"][2], "images.2", True)]
    brief = await db.fetchval("SELECT brief FROM task")
    assert [key.rpartition("/")[0] for key in brief["photos"]] == [f"uploads/{user}"] * 3
    assert len(set(brief["photos"])) == 3
    status, _, headers = await edge.call("POST", CREATE, user, json=ask, key="k")
    assert (status, headers["Idempotent-Replayed"]) == (200, "true")
    status, body, headers = await edge.call("POST", CREATE, user, json={**ask, "images": [data_url(b"other")]}, key="k")
    assert (status, headers["X-Error-Code"]) == (422, "10006"), body


@pytest.mark.parametrize(
    ("image", "status"),
    [
        ("https://example.com/cat.jpg", 400),
        ("http://127.0.0.1/cat.jpg", 400),
        ("file:///etc/passwd", 400),
        ("", 400),
        (data_url(b"GIF89a not a picture we take"), 415),
        ("data:image/png;base64," + "A" * (14 * 1024 * 1024 + 64), 413),
    ],
)
async def test_an_image_that_is_none_is_refused_and_nothing_is_held(edge: Any, db: Database, neighbours: Any, image: str, status: int) -> None:
    user = new_id()
    got, body, _ = await edge.call("POST", CREATE, user, json={"type": "travel", "images": [edge.upload(user), image]})
    assert (got, body["success"]) == (status, False)
    assert neighbours.holds == {}
    assert await db.fetchval("SELECT count(*) FROM task") == 0


async def test_without_works_a_data_url_waits_and_a_link_does_not(edge: Any, neighbours: Any, db: Database) -> None:
    user = new_id()
    neighbours.is_away = True
    status, body, headers = await edge.call("POST", CREATE, user, json={"type": "travel", "images": [data_url(b"one")]})
    assert (status, body["success"], neighbours.holds) == (503, False, {})
    assert int(headers["Retry-After"]) >= 1
    neighbours.is_away = False
    status, _, _ = await edge.call("POST", CREATE, user, json={"type": "travel", "images": [data_url(b"one")]})
    assert status == 200


async def test_a_link_with_a_changed_key_is_no_link_of_ours(edge: Any) -> None:
    user = new_id()
    link = edge.upload(user).replace("cdcd", "cece", 1)
    status, body, _ = await edge.call("POST", CREATE, user, json={"type": "travel", "images": [link]})
    assert (status, body["errors"][0]["field"]) == (400, "images.0")


async def test_a_link_proves_what_its_holder_may_use(edge: Any, clock: Any) -> None:
    """One's own upload by a link of any age, anything else by a link that is still good."""
    mine, other = new_id(), new_id()
    own, foreign = edge.upload(mine), edge.upload(other)
    for link in (own, foreign):
        status, _, _ = await edge.call("POST", CREATE, mine, json={"type": "travel", "images": [link]})
        assert status == 200
    clock.move(seconds=7200)
    for link, expected in ((own, 200), (foreign, 400)):
        status, _, _ = await edge.call("POST", CREATE, mine, json={"type": "travel", "images": [link]})
        assert status == expected


async def test_a_link_to_a_small_picture_is_told_from_one_to_the_picture(edge: Any) -> None:
    user = new_id()
    small = thumbnail_key(f"uploads/{user}/{'cd' * 32}.webp")
    link = edge.deps.signer.sign(small, now=edge.deps.db.clock.now())
    status, body, _ = await edge.call("POST", CREATE, user, json={"type": "travel", "images": [link]})
    assert (status, body["errors"][0]["field"]) == (400, "images.0")


# --- broken asks ---


@pytest.mark.parametrize(
    "change",
    [
        {"type": "song"}, {"type": None}, {"batch_count": 0}, {"batch_count": 51}, {"batch_count": 1.5}, {"batch_count": "many"}, {"images": []},
        {"images": "one"}, {"images": [1]}, {"custom_description": "x" * 501}, {"destination": "Nice"}, {"destination": {"prompt": "x" * 501}},
        {"parameters": []}, {"parameters": {"x": "y" * 20_000}}, {"parameters": nested(16)},
        {"scene_id": "x" * 64}, {"images": ["x"] * 51},
    ],
)  # fmt: skip
async def test_a_broken_field_is_named_and_nothing_is_held(edge: Any, db: Database, neighbours: Any, change: dict[str, Any]) -> None:
    user = new_id()
    ask = {"type": "travel", "images": [edge.upload(user)], **change}
    status, body, headers = await edge.call("POST", CREATE, user, json=ask)
    assert (status, body["success"], headers["X-Error-Code"]) == (400, False, "10001")
    assert body["errors"][0]["field"].split(".")[0] == next(iter(change))
    assert neighbours.holds == {}
    assert await db.fetchval("SELECT count(*) FROM task") == 0


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'{"type": NaN}', b'{"type":"travel","type":"travel"}', b"\xff\xfe", b"[" * 100_000, b'{"batch_count": 1' + b"0" * 5000 + b"}"],
)
async def test_a_body_that_is_no_json_object_is_refused(edge: Any, body: bytes) -> None:
    for path in (CREATE, "/music/tasks"):
        status, answer, _ = await edge.call("POST", path, new_id(), data=body)
        assert status == 400
        assert answer.get("success") is False or answer["code"] == 10001


async def test_an_unknown_scene_is_named(edge: Any, neighbours: Any) -> None:
    user = new_id()
    status, _, headers = await edge.call("POST", CREATE, user, json={"type": "travel", "images": [edge.upload(user)], "scene_id": "mars"})
    assert (status, headers["X-Error-Code"]) == (404, "70000")
    assert neighbours.holds == {}


@pytest.mark.parametrize("key", ["", '""', "k" * 256, "naïve", "a\tb"])
async def test_a_key_that_is_none_is_refused(edge: Any, key: str) -> None:
    user = new_id()
    status, _, _ = await edge.call("POST", CREATE, user, json={"type": "travel", "images": [edge.upload(user)]}, headers={"Idempotency-Key": key})
    assert status == 400


async def test_nobody_asks_without_a_token_or_as_a_service(edge: Any) -> None:
    status, _, _ = await edge.call("POST", CREATE, json={"type": "travel", "images": ["x"]})
    assert status == 401
    service = {"Authorization": f"Bearer {edge.passes.service('works', 'generation')}"}
    status, _, _ = await edge.call("POST", CREATE, json={"type": "travel", "images": ["x"]}, headers=service)
    assert status == 403


# --- songs ---


async def test_a_song_of_words_is_created(edge: Any, db: Database, neighbours: Any) -> None:
    user = next(one for one in iter(new_id, None) if not str(one).endswith("0"))  # those that do have a picture
    ask = {"title": "Evening", "tags": ["warm"], "prompt": "a slow evening song", "negative_tags": ["drums"], "instrumental": True}
    status, body, headers = await edge.call("POST", "/music/tasks", user, json=ask, key="s")
    assert status == 201, body
    assert headers["Location"] == f"/music/tasks/{body['taskId']}"
    assert (body["status"], body["audioUrl"], body["progress"], body["creator"]["objectId"]) == ("SUBMITTED", None, 0, str(user))
    assert body["params"] == {**ask, "model": ""}
    assert edge.workers.woken == [True]
    assert next(iter(neighbours.holds.values()))["kind"] == "song"
    status, again, headers = await edge.call("POST", "/music/tasks", user, json=ask, key="s")
    assert (status, again, headers["Idempotent-Replayed"]) == (201, body, "true")
    pointer = {"__type": "Pointer", "className": "_User", "objectId": str(user)}
    _, again, _ = await edge.call("POST", "/music/tasks", user, json=ask, key="s", headers={"X-LC-Id": "app"})
    assert again["creator"] == pointer
    assert body["creator"] == {"objectId": str(user), "username": f"name of {user}", "avatar": None}


async def test_a_songs_creator_has_a_name_that_is_asked_for_once_and_none_while_identity_is_away(edge: Any, neighbours: Any) -> None:
    named, nameless = UUID("0198c3a0-0000-7000-8000-0000000000a0"), new_id()
    wish = {"title": "Sea", "tags": [], "prompt": "waves", "negative_tags": []}
    made = [(await edge.call("POST", "/music/tasks", named, json=wish))[1] for _ in range(3)]
    _, seen, _ = await edge.call("GET", f"/music/tasks/{made[0]['taskId']}", named)
    for creator in (*(one["creator"] for one in made), seen["creator"]):
        assert creator["username"] == f"name of {named}"
        assert f"/files/avatars/{named}.webp" in creator["avatar"]
    assert neighbours.people_asked == [[named]]
    task = (await edge.call("POST", "/music/tasks", nameless, json=wish))[1]
    edge.deps.people._people.clear()
    neighbours.is_away = True
    status, seen, _ = await edge.call("GET", f"/music/tasks/{task['taskId']}", nameless)
    assert (status, seen["creator"]) == (200, {"objectId": str(nameless), "username": "", "avatar": None})


async def test_a_song_of_my_photo_is_added_to_that_work(edge: Any, db: Database, neighbours: Any) -> None:
    user, work_id = new_id(), new_id()
    neighbours.works[work_id] = {
        "work_id": str(work_id),
        "user_id": str(user),
        "image_key": "uploads/u/a.webp",
        "title": "Sea",
        "is_favorite": False,
        "is_public": False,
    }
    status, body, _ = await edge.call("POST", "/music/tasks", user, json={"workId": str(work_id)})
    assert status == 201, body
    assert body["params"]["workId"] == str(work_id)
    row = await db.fetchrow("SELECT work_id, brief FROM task")
    assert row is not None
    assert (row["work_id"], row["brief"]["photos"]) == (work_id, ["uploads/u/a.webp"])


async def test_a_song_of_anothers_or_no_photo_is_refused_before_anything_is_held(edge: Any, neighbours: Any) -> None:
    user, foreign, bare, gone = new_id(), new_id(), new_id(), new_id()
    neighbours.works[foreign] = {"work_id": str(foreign), "user_id": str(new_id()), "image_key": "k", "title": "", "is_favorite": False, "is_public": True}
    neighbours.works[bare] = {"work_id": str(bare), "user_id": str(user), "image_key": None, "title": "", "is_favorite": False, "is_public": False}
    neighbours.works[gone] = {**neighbours.works[bare], "work_id": str(gone), "image_key": "k", "is_deleted": True}
    for work_id, expected in ((foreign, (404, 30000)), (gone, (404, 30000)), (new_id(), (404, 30000)), (bare, (400, 10001)), ("no-id", (400, 10001))):
        status, body, _ = await edge.call("POST", "/music/tasks", user, json={"workId": str(work_id)})
        assert (status, body["code"]) == expected
    neighbours.is_away = True
    status, _, headers = await edge.call("POST", "/music/tasks", user, json={"workId": str(bare)})
    assert (status, "Retry-After" in headers) == (503, True)
    assert neighbours.holds == {}


@pytest.mark.parametrize(
    "ask",
    [
        {}, {"prompt": ""}, {"prompt": "  ", "workId": ""}, {"prompt": "x" * 3001}, {"prompt": "x", "title": "t" * 101}, {"prompt": "x", "tags": "warm"},
        {"prompt": "x", "tags": ["t"] * 21}, {"prompt": "x", "tags": [""]}, {"prompt": "x", "instrumental": "perhaps"}, {"prompt": 7},
    ],
)  # fmt: skip
async def test_a_song_of_nothing_is_refused(edge: Any, neighbours: Any, ask: dict[str, Any]) -> None:
    status, body, _ = await edge.call("POST", "/music/tasks", new_id(), json=ask)
    assert (status, body["code"]) == (400, 10001)
    assert neighbours.holds == {}
