"""Reading and cancelling tasks, the queue, scenes; and what other services may ask."""

import asyncio
from datetime import timedelta
from typing import Any, get_args

import pytest

from common.clock import FakeClock
from common.db import Database
from common.events import Item
from common.ids import new_id
from common.messages import Lang, failure_slug, text
from common.objects import thumbnail_key
from generation import commands
from generation.domain import Arrival, Attempt, AttemptEnd, Brief, Claim, Failure, Finish, ItemRow, Outcome

SHA256 = "ab" * 32


def an_item(index: int = 0, **more: Any) -> Item:
    given: dict[str, Any] = {
        "index": index, "key": f"results/x/{index}-{SHA256}.webp", "sha256": SHA256, "size_bytes": 9, "content_type": "image/webp", "width": 8, "height": 6,
    }  # fmt: skip
    return Item(**{**given, **more})


async def finish(db: Database, claim: Claim, *items: Item, said: Outcome | None = None, failures: dict[int, Failure] | None = None) -> None:
    async with db.transaction() as tx:
        await commands.finish_tasks(
            tx, [Finish(claim, items, failures or {}, said or Outcome(engine="local"), [ItemRow(claim.task_id, one.index, one) for one in items])]
        )


# --- one task ---


async def test_a_photo_of_somebody_else_is_used_once_and_never_linked_again(edge: Any, ask: Any, write: Any, clock: FakeClock) -> None:
    """Its owner may make it private, and then whoever made a picture of it has nothing that opens it."""
    user, other = new_id(), new_id()
    earlier, theirs = await write(ask(user_id=user)), await write(ask(user_id=other))
    keys = [f"uploads/{user}/{SHA256}.webp", f"results/{earlier.task_id}/0-{SHA256}.webp"]
    lent = [f"uploads/{other}/{SHA256}.webp", f"results/{theirs.task_id}/0-{SHA256}.webp"]
    task = await write(ask(user_id=user, brief=Brief(photos=(*keys, *lent))))
    paths = (f"/api/tasks/{task.task_id}", "/api/tasks/user/list")
    for path, admin, shown in [*((path, False, keys) for path in paths), (paths[0], True, keys + lent)]:
        _, body, _ = await edge.call("GET", path, user, admin=admin)
        images = (body["data"].get("task") or body["data"]["tasks"][0])["images"]
        assert [edge.deps.signer.key_of(link) for link in images] == shown


async def test_a_task_is_shown_from_its_birth_to_its_work(edge: Any, db: Database, ask: Any, write: Any, claim: Any, neighbours: Any) -> None:
    user = new_id()
    task = await write(
        ask(user_id=user, asked=3, brief=Brief(photos=(f"uploads/{user}/{SHA256}.webp",), parameters={"caption": "hi"}, custom_description="a dog"))
    )
    path = f"/api/tasks/{task.task_id}"
    status, body, _ = await edge.call("GET", path, user)
    shown = body["data"]["task"]
    assert (status, body["data"]["work"]) == (200, None)
    assert (shown["status"], shown["progress"], shown["batch_count"], shown["scene_id"], shown["parameters"]) == (
        "pending",
        0,
        3,
        "beach-sunset",
        {"caption": "hi"},
    )
    assert shown["images"][0].startswith("http://127.0.0.1:8080/files/uploads/")
    assert shown["created_at"].endswith("Z")
    (mine,) = await claim()
    _, body, _ = await edge.call("GET", path, user)
    assert (body["data"]["task"]["status"], body["data"]["work"]) == ("processing", None)
    neighbours.works[task.task_id] = {
        "work_id": str(task.task_id), "user_id": str(user), "image_key": None, "title": "", "is_favorite": True, "is_public": False,
    }  # fmt: skip
    await finish(
        db, mine, an_item(0), an_item(2), said=Outcome(engine="local", description="a warm evening"), failures={1: Failure("provider_error", "broken")}
    )
    _, body, _ = await edge.call("GET", path, user)
    shown, work = body["data"]["task"], body["data"]["work"]
    assert (shown["status"], shown["progress"], shown["completed_count"], shown["failed_count"], shown["error"]) == ("completed", 100, 2, 1, None)
    assert [(one["batch_index"], one["format"], one["width"], one["height"]) for one in work["images"]] == [(0, "webp", 8, 6), (2, "webp", 8, 6)]
    assert (work["ai_description"], work["is_favorite"], work["is_public"]) == ("a warm evening", True, False)
    assert edge.deps.signer.key_of(work["images"][0]["url"]) == f"results/x/0-{SHA256}.webp"
    assert edge.deps.signer.key_of(work["thumbnail_url"]) == thumbnail_key(f"results/x/0-{SHA256}.webp")


@pytest.mark.parametrize("path", ["/api/tasks/{}", "/music/tasks/{}"])
async def test_a_task_shows_nothing_of_a_work_that_its_owner_deleted(
    edge: Any, db: Database, ask: Any, write: Any, claim: Any, neighbours: Any, path: str
) -> None:
    user, is_song = new_id(), path.startswith("/music")
    task = await write(ask(user_id=user, **({"kind": "song", "asked": 1, "scene_id": None} if is_song else {})))
    (mine,) = await claim(songs=is_song)
    await finish(db, mine, an_item())
    neighbours.works[task.task_id] = {
        "work_id": str(task.task_id), "user_id": str(user), "image_key": None, "title": "", "is_favorite": False, "is_public": False, "is_deleted": True,
    }  # fmt: skip
    status, body, _ = await edge.call("GET", path.format(task.task_id), user)
    assert status == 200
    assert "results/" not in str(body)
    assert (body["status"] if is_song else body["data"]["task"]["status"]) == ("SUCCESS" if is_song else "completed")
    assert (body["audioUrl"], body.get("work")) == (None, None) if is_song else body["data"]["work"] is None


async def test_a_work_is_shown_with_plain_flags_while_works_is_away(edge: Any, db: Database, ask: Any, write: Any, claim: Any, neighbours: Any) -> None:
    user = new_id()
    task = await write(ask(user_id=user))
    (mine,) = await claim()
    await finish(db, mine, an_item())
    neighbours.is_away = True
    _, body, _ = await edge.call("GET", f"/api/tasks/{task.task_id}", user)
    assert (body["data"]["work"]["is_favorite"], body["data"]["work"]["is_public"]) == (False, False)


@pytest.mark.parametrize(("reason", "code"), [("timeout", 50003), ("moderation_rejected", 50004), ("provider_error", 50002), ("refused", 50002)])
async def test_a_failed_task_says_why_in_the_callers_language(edge: Any, db: Database, ask: Any, write: Any, claim: Any, reason: Any, code: int) -> None:
    user = new_id()
    task = await write(ask(user_id=user))
    (mine,) = await claim()
    await finish(db, mine, failures={0: Failure(reason, "a secret of the engine")})
    sentences = set()
    for lang in get_args(Lang):
        _, body, _ = await edge.call("GET", f"/api/tasks/{task.task_id}", user, headers={"Accept-Language": lang})
        shown = body["data"]["task"]
        assert (shown["status"], shown["error_code"], body["data"]["work"]) == ("failed", code, None)
        assert "secret" not in shown["error"]
        assert shown["error"] == text(failure_slug(reason), lang)
        sentences.add(shown["error"])
    assert len(sentences) == 2


@pytest.mark.parametrize("path", ["/api/tasks/{}", "/music/tasks/{}"])
async def test_anothers_task_is_answered_like_an_unknown_one(edge: Any, ask: Any, write: Any, path: str) -> None:
    task = await write(ask(kind="song", scene_id=None))
    for task_id in (task.task_id, new_id(), "nonsense", "%00", str(task.task_id).upper() + "x"):
        status, _, headers = await edge.call("GET", path.format(task_id), new_id())
        assert status in (400, 404)
        assert headers["X-Error-Code"] in ("50000", "10001")
    status, _, _ = await edge.call("GET", path.format(task.task_id), new_id(), admin=True)
    assert status == 200
    status, _, _ = await edge.call("GET", path.format(task.task_id))
    assert status == 401


async def test_readers_at_once_each_get_their_own(edge: Any, ask: Any, write: Any) -> None:
    user = new_id()
    asks = [ask(user_id=user) for _ in range(30)]
    await write(*asks)
    answers = await asyncio.gather(*(edge.call("GET", f"/api/tasks/{one.task_id}", user) for one in asks * 2))
    assert [body["data"]["task"]["task_id"] for _, body, _ in answers] == [str(one.task_id) for one in asks * 2]


async def test_a_song_is_shown_in_its_own_words(edge: Any, db: Database, clock: FakeClock, ask: Any, write: Any, claim: Any) -> None:
    user, work_id = new_id(), new_id()
    brief = Brief(tags=("warm",), prompt="slow")
    task = await write(ask(user_id=user, work_id=work_id, kind="song", scene_id=None, brief=brief))
    path = f"/music/tasks/{task.task_id}"
    _, body, _ = await edge.call("GET", path, user)
    assert (body["status"], body["audioUrl"], body["progress"]) == ("SUBMITTED", None, 0)
    assert "work" not in body
    (mine,) = await claim(songs=True)
    _, body, _ = await edge.call("GET", path, user)
    assert (body["status"], body["params"]["workId"]) == ("IN_PROGRESS", str(work_id))
    song = an_item(
        key=f"results/x/0-{SHA256}.ogg", content_type="audio/ogg", duration_seconds=21.5, cover_key=f"results/x/cover-{SHA256}.webp", width=None, height=None
    )
    clock.move(seconds=9)
    await finish(db, mine, song, said=Outcome(engine="local", title="Harbour", description="dusk", tags=("calm",), lyrics="la la"))
    _, body, _ = await edge.call("GET", path, user)
    assert (body["status"], body["progress"]) == ("SUCCESS", 100)
    assert edge.deps.signer.key_of(body["audioUrl"]) == song.key
    work = body["work"]
    assert (work["objectId"], work["title"], work["lyrics"], work["duration"], work["tags"]) == (str(work_id), "Harbour", "la la", 21.5, ["calm"])
    assert (edge.deps.signer.key_of(work["imageUrl"]), work["createdAt"]) == (song.cover_key, body["createdAt"])
    _, body, _ = await edge.call("GET", f"/api/tasks/{task.task_id}", user)
    assert (body["data"]["task"]["type"], body["data"]["work"]["images"], body["data"]["work"]["audio_url"] is not None) == ("song", [], True)


async def test_a_cancelled_song_failed_because_it_was_cancelled(edge: Any, ask: Any, write: Any) -> None:
    user = new_id()
    task = await write(ask(user_id=user, kind="song", scene_id=None))
    await edge.call("POST", f"/api/tasks/{task.task_id}/cancel", user)
    _, body, _ = await edge.call("GET", f"/music/tasks/{task.task_id}", user)
    assert (body["status"], body["reason"]) == ("FAILED", "cancelled")


async def test_pictures_are_no_music_task(edge: Any, ask: Any, write: Any) -> None:
    user = new_id()
    task = await write(ask(user_id=user))
    status, body, _ = await edge.call("GET", f"/music/tasks/{task.task_id}", user)
    assert (status, body["code"]) == (404, 50000)


# --- lists ---


async def test_my_tasks_come_newest_first_in_pages_that_add_up(edge: Any, clock: FakeClock, ask: Any, write: Any, claim: Any, db: Database) -> None:
    user = new_id()
    for place in range(7):
        await write(ask(user_id=user, kind="fitting" if place % 3 == 0 else "travel"), ask())
        clock.move(seconds=1)
    await write(ask(user_id=user, kind="song", scene_id=None))
    mine = [str(row["task_id"]) for row in await db.fetch("SELECT task_id FROM task WHERE user_id = $1 AND kind <> 'song' ORDER BY created_at DESC", user)]
    seen: list[str] = []
    for page in (1, 2, 3, 4):
        _, body, _ = await edge.call("GET", f"/api/tasks/user/list?page={page}&pageSize=3&type=&status=", user)
        seen += [task["task_id"] for task in body["data"]["tasks"]]
        assert body["data"]["pagination"] == {"page": page, "pageSize": 3, "total": 7, "totalPages": 3}
    assert seen == mine
    _, body, _ = await edge.call("GET", "/api/tasks/user/list?type=fitting&status=pending", user)
    assert (len(body["data"]["tasks"]), body["data"]["pagination"]["total"]) == (3, 3)
    _, body, _ = await edge.call("GET", "/api/tasks/user/list?status=completed", user)
    assert body["data"]["tasks"] == []


@pytest.mark.parametrize(
    "query", ["page=0", "page=-1", "page=1.5", "pageSize=101", "pageSize=0", "page=x", "type=song", "status=queued", "page=10000000000000000000000"]
)
async def test_a_page_that_is_none_is_refused(edge: Any, query: str) -> None:
    status, body, headers = await edge.call("GET", f"/api/tasks/user/list?{query}", new_id())
    assert (status, body["success"], headers["X-Error-Code"]) == (400, False, "10001")


# --- cancel ---


async def test_a_cancel_is_answered_once_and_again_and_tells_the_workers(edge: Any, db: Database, ask: Any, write: Any) -> None:
    user = new_id()
    task = await write(ask(user_id=user))
    path = f"/api/tasks/{task.task_id}/cancel"
    for _ in range(2):
        status, body, _ = await edge.call("POST", path, user)
        assert (status, body["data"], bool(body["message"])) == (200, {"task_id": str(task.task_id), "status": "cancelled"}, True)
    assert edge.workers.dropped == [task.task_id] * 2
    assert await db.fetchval("SELECT count(*) FROM outbox_fact WHERE topic = 'task.cancelled'") == 1
    _, body, _ = await edge.call("GET", f"/api/tasks/{task.task_id}", user)
    assert (body["data"]["task"]["status"], body["data"]["work"]) == ("cancelled", None)


async def test_fifty_cancels_at_once_are_one(edge: Any, db: Database, ask: Any, write: Any) -> None:
    user = new_id()
    task = await write(ask(user_id=user))
    answers = await asyncio.gather(*(edge.call("POST", f"/api/tasks/{task.task_id}/cancel", user) for _ in range(50)))
    assert {status for status, _, _ in answers} == {200}
    assert await db.fetchval("SELECT count(*) FROM outbox_fact WHERE topic = 'task.cancelled'") == 1


async def test_an_ended_task_cannot_be_cancelled_and_says_how_it_ended(edge: Any, db: Database, ask: Any, write: Any, claim: Any) -> None:
    user = new_id()
    task = await write(ask(user_id=user))
    (mine,) = await claim()
    await finish(db, mine, an_item())
    status, body, headers = await edge.call("POST", f"/api/tasks/{task.task_id}/cancel", user)
    assert (status, body["data"], headers["X-Error-Code"]) == (409, {"status": "completed"}, "50001")


async def test_anothers_task_cannot_be_cancelled_but_by_an_admin(edge: Any, ask: Any, write: Any, read_task: Any, db: Database) -> None:
    task = await write(ask())
    for path in (task.task_id, new_id(), "x"):
        status, _, _ = await edge.call("POST", f"/api/tasks/{path}/cancel", new_id())
        assert status == 404
    assert (await read_task(task.task_id)).state == "queued"
    status, _, _ = await edge.call("POST", f"/api/tasks/{task.task_id}/cancel", new_id(), admin=True)
    assert status == 200
    assert await db.fetchval("SELECT reason FROM history") == "admin"


# --- the queue ---


async def test_the_queue_counts_every_task_where_it_stands(edge: Any, db: Database, clock: FakeClock, ask: Any, write: Any, claim: Any) -> None:
    await write(*[ask() for _ in range(6)], ask(kind="fitting"))
    claims = [one for one in await claim(limit=7) if one.kind == "travel"]
    await finish(db, claims[0], an_item())
    await finish(db, claims[1], an_item())
    await finish(db, claims[2], failures={0: Failure("refused")})
    async with db.transaction() as tx:
        await commands.open_attempt(tx, claims[3], Attempt(attempt_no=1, item_index=0, claim_no=1, state="submitting", provider="x", created_at=clock.now()))
        await commands.open_attempt(tx, claims[4], Attempt(attempt_no=1, item_index=0, claim_no=1, state="submitting", provider="x", created_at=clock.now()))
    async with db.transaction() as tx:
        await commands.save_arrivals(tx, [Arrival(claims[4].task_id, 1, [], AttemptEnd(1, "failed"))])
    async with db.read() as conn:
        await commands.give_back(conn, claims[4], clock.now() + timedelta(seconds=5))
    await write(ask(), ask())
    _, body, _ = await edge.call("GET", "/api/tasks/stats/queue", new_id())
    assert body["data"]["travel"] == {"waiting": 2, "active": 2, "completed": 2, "failed": 1, "delayed": 1, "total": 8}
    assert body["data"]["fitting"] == {"waiting": 0, "active": 1, "completed": 0, "failed": 0, "delayed": 0, "total": 1}
    assert body["data"]["photography"]["total"] == 0


# --- scenes ---


async def test_the_default_scenes_are_there_for_everybody(edge: Any) -> None:
    status, body, _ = await edge.call("GET", "/api/scenes")
    scenes = body["data"]["scenes"]
    assert status == 200
    assert [(scene["scene_id"], scene["category"], scene["status"]) for scene in scenes] == [
        ("paris-street", "outdoor", "active"), ("studio-simple", "indoor", "active"), ("beach-sunset", "outdoor", "active"),
    ]  # fmt: skip
    assert body["data"]["pagination"] == {"page": 1, "pageSize": 50, "total": 3, "totalPages": 1}
    assert all(isinstance(scene["prompt_template"], str) and scene["prompt_template"] for scene in scenes)
    _, body, _ = await edge.call("GET", "/api/scenes/beach-sunset")
    assert body["data"]["scene"] == scenes[2]


async def test_scenes_are_found_by_category_status_and_words(edge: Any, db: Database, superuser_url: Any) -> None:
    await db.fetch("UPDATE scene SET status = 'inactive' WHERE scene_id = 'studio-simple'")
    for query, found in (
        ("", ["paris-street", "beach-sunset"]),
        ("status=", ["paris-street", "studio-simple", "beach-sunset"]),
        ("status=inactive", ["studio-simple"]),
        ("category=indoor", []),
        ("category=indoor&status=", ["studio-simple"]),
        ("category=&keyword=", ["paris-street", "beach-sunset"]),
        ("keyword=日落", ["beach-sunset"]),
        ("keyword=PARIS", ["paris-street"]),
        ("keyword=%25", []),
        ("page=2&pageSize=1", ["beach-sunset"]),
        ("page=9", []),
    ):
        status, body, _ = await edge.call("GET", f"/api/scenes?{query}")
        assert (status, [scene["scene_id"] for scene in body["data"]["scenes"]]) == (200, found), query
    status, _, headers = await edge.call("GET", "/api/scenes/mars")
    assert (status, headers["X-Error-Code"]) == (404, "70000")
    status, _, _ = await edge.call("GET", "/api/scenes?category=moon")
    assert status == 400
    user = new_id()
    status, _, _ = await edge.call("POST", "/api/tasks/create", user, json={"type": "travel", "images": [edge.upload(user)], "scene_id": "studio-simple"})
    assert status == 404


# --- for other services ---


async def test_billing_learns_how_tasks_stand(edge: Any, db: Database, ask: Any, write: Any, claim: Any) -> None:
    queued, running, ended = ask(asked=2), ask(asked=2), ask(asked=2)
    await write(running, ended)
    claims = {one.task_id: one for one in await claim()}
    await write(queued)
    async with db.transaction() as tx:
        await commands.save_arrivals(tx, [Arrival(running.task_id, 1, [ItemRow(running.task_id, 1, an_item(1))], None)])
    await finish(db, claims[ended.task_id], an_item(0), failures={1: Failure("refused")})
    ids = [str(one.task_id) for one in (queued, running, ended)]
    token = {"Authorization": f"Bearer {edge.passes.service('billing', 'generation')}"}
    status, body, _ = await edge.call("POST", "/internal/tasks/list", json={"task_ids": [*ids, str(new_id())]}, headers=token)
    assert status == 200
    found = {one["task_id"]: (one["state"], one["delivered"], one["asked"]) for one in body["tasks"]}
    assert found == {ids[0]: ("queued", 0, 2), ids[1]: ("running", 1, 2), ids[2]: ("completed", 1, 2)}
    status, _, _ = await edge.call("POST", "/internal/tasks/list", new_id(), json={"task_ids": ids})
    assert status == 403
    status, _, _ = await edge.call("POST", "/internal/tasks/list", new_id(), json={"task_ids": ids}, admin=True)
    assert status == 403
    for body in ({"task_ids": []}, {"task_ids": ["x"]}, {}):
        status, _, _ = await edge.call("POST", "/internal/tasks/list", json=body, headers=token)
        assert status == 400


async def test_a_task_read_by_id_is_one_statement(edge: Any, db: Database, ask: Any, write: Any) -> None:
    user = new_id()
    task = await write(ask(user_id=user))
    path = f"/api/tasks/{task.task_id}"
    await edge.call("GET", path, user)
    statements: list[str] = []
    async with db.read() as conn:  # the pool hands out the same connection again
        conn.add_query_logger(lambda record: statements.append(record.query))
    await edge.call("GET", path, user)
    assert len(statements) == 1
