"""What operators do in generation: scenes with their versions, settings, everybody's tasks, numbers."""

import asyncio
import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from common.bus.consumer import Subscriptions
from common.config import Config
from common.db import Database
from common.events import ConfigChanged, SceneChanged
from common.ids import new_id
from common.objects import FolderObjects
from generation.api import ROUTES
from generation.config import CONFIG_KEYS
from generation.consumers import on_scene_changed, subscriptions
from generation.queries import Kept, KeptScenes

WISH = {"scene_name": "The Attic", "category": "indoor", "description": "dust", "prompt_template": "an attic", "tags": ["dust"], "display_order": 7}


async def call(edge: Any, method: str, path: str, admin: Any, **more: Any) -> tuple[int, Any, Any]:
    answer: tuple[int, Any, Any] = await edge.call(method, path, admin, admin=True, **more)
    return answer


async def test_a_scene_is_made_changed_and_deleted_and_every_version_stays(edge: Any, db: Database, said: Any) -> None:
    admin = new_id()
    status, body, _ = await call(edge, "POST", "/api/scenes", admin, json=WISH)
    assert status == 200
    scene = body["data"]["scene"]
    assert scene["scene_id"].startswith("the-attic-")
    assert {name: scene[name] for name in WISH} == WISH
    path = f"/api/scenes/{scene['scene_id']}"
    _, body, _ = await call(edge, "PUT", path, admin, json={"description": "light", "cover_image": "https://example.com/c.jpg"})
    assert (body["data"]["scene"]["description"], body["data"]["scene"]["cover_image"], body["data"]["scene"]["prompt_template"]) == (
        "light", "https://example.com/c.jpg", "an attic",
    )  # fmt: skip
    await call(edge, "PUT", path, admin, json={"description": "light"})
    assert (await call(edge, "DELETE", path, admin))[0] == 200
    assert (await edge.call("GET", path, None))[0] == 404
    kept = await db.fetch("SELECT version, body FROM scene_version WHERE scene_id = $1 ORDER BY version", scene["scene_id"])
    assert [(row["version"], row["body"].get("description")) for row in kept] == [(1, "dust"), (2, "light"), (3, None)]
    told = [fact for topic, fact in await said() if topic == "scene.changed"]
    assert [(fact["sequence"], fact["change"]) for fact in told] == [(1, "created"), (2, "changed"), (3, "deleted")]


async def test_a_scene_keeps_its_cover_when_the_upload_it_was_is_deleted(edge: Any, tmp_path: Path) -> None:
    admin, objects, signer = new_id(), FolderObjects(tmp_path / "objects"), edge.deps.signer
    now = edge.deps.db.clock.now()
    picture = io.BytesIO()
    Image.new("RGB", (8, 6), "teal").save(picture, "PNG")
    upload, kept = f"uploads/{admin}/{'ab' * 32}.png", picture.getvalue()
    await objects.put(upload, kept, "image/png")

    _, body, _ = await call(edge, "POST", "/api/scenes", admin, json={**WISH, "cover_image": signer.sign(upload, now=now)})
    scene = body["data"]["scene"]
    await objects.delete(upload)
    assert await objects.read(signer.key_of(scene["cover_image"])) == kept
    # A form sends back what it was shown.
    path = f"/api/scenes/{scene['scene_id']}"
    status, body, _ = await call(edge, "PUT", path, admin, json={"cover_image": scene["cover_image"], "description": "light"})
    assert status == 200
    assert signer.key_of(body["data"]["scene"]["cover_image"]) == signer.key_of(scene["cover_image"])

    for gone in (upload, "results/x/0.ogg"):
        status, body, headers = await call(edge, "PUT", path, admin, json={"cover_image": signer.sign(gone, now=now)})
        assert (status, headers["X-Error-Code"], body["errors"][0]["field"]) == (400, "10001", "cover_image")
    await objects.close()


async def test_a_scene_asked_for_twice_with_one_key_is_one_scene(edge: Any) -> None:
    admin = new_id()
    answers = [await call(edge, "POST", "/api/scenes", admin, json=WISH, key="once") for _ in range(2)]
    assert answers[0][1] == answers[1][1]
    for other in ({**WISH, "description": "another"}, {**WISH, "scene_name": "Another attic"}):
        status, _, headers = await call(edge, "POST", "/api/scenes", admin, json=other, key="once")
        assert (status, headers["X-Error-Code"]) == (422, "10006")
    _, body, _ = await edge.call("GET", "/api/scenes?keyword=attic&status=", None)
    assert body["data"]["pagination"]["total"] == 1


async def test_a_scene_asked_for_at_once_with_one_key_is_one_scene(edge: Any) -> None:
    admin = new_id()
    answers = await asyncio.gather(*(call(edge, "POST", "/api/scenes", admin, json=WISH, key="at once") for _ in range(8)))
    assert [status for status, _, _ in answers] == [200] * 8
    assert len({body["data"]["scene"]["scene_id"] for _, body, _ in answers}) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"scene_name": ""},
        {"category": "moon"},
        {"status": "gone"},
        {"tags": "x"},
        {"display_order": "first"},
        {"cover_image": "javascript:alert(1)"},
        {"parameters": []},
    ],
)
async def test_broken_scenes_are_refused_and_nothing_changes(edge: Any, db: Database, wrong: dict[str, Any]) -> None:
    before = await db.fetchval("SELECT count(*) FROM scene")
    status, body, headers = await call(edge, "POST", "/api/scenes", new_id(), json={**WISH, **wrong})
    assert (status, body["success"], headers["X-Error-Code"]) == (400, False, "10001")
    assert (await call(edge, "PUT", "/api/scenes/paris-street", new_id(), json=wrong))[0] == 400
    assert await db.fetchval("SELECT count(*) FROM scene") == before


async def test_unknown_scenes_are_70000(edge: Any) -> None:
    for method, json in (("PUT", {"description": "x"}), ("DELETE", None)):
        status, _, headers = await call(edge, method, "/api/scenes/no-such-scene", new_id(), **({"json": json} if json else {}))
        assert (status, headers["X-Error-Code"]) == (404, "70000")


async def test_every_admin_route_refuses_a_user(edge: Any) -> None:
    for route in (route for route in ROUTES if route.auth == "admin"):
        path = route.path.replace("{scene_id}", "paris-street").replace("{config_key}", "max_batch_count")
        status, _, headers = await edge.call(route.method, path, new_id(), **({"json": {}} if route.body else {}))
        assert (status, headers["X-Error-Code"]) == (403, "10003"), path


async def test_categories_count_active_scenes_only(edge: Any) -> None:
    await call(edge, "POST", "/api/scenes", new_id(), json={**WISH, "status": "inactive"})
    _, body, _ = await edge.call("GET", "/api/scenes/meta/categories", None)
    assert body["data"]["categories"] == [{"category": "indoor", "count": 1}, {"category": "outdoor", "count": 2}]


async def test_another_replica_drops_its_scenes_at_the_fact(edge: Any, db: Database) -> None:
    kept = KeptScenes(db, seconds=3600)
    assert await kept.find("paris-street")
    await call(edge, "DELETE", "/api/scenes/paris-street", new_id())
    assert await kept.find("paris-street"), "nobody told it yet"

    class Other:
        scenes = kept

    await on_scene_changed(Other, [])  # type: ignore[arg-type]
    assert await kept.find("paris-street") is None


async def test_what_is_forgotten_while_it_is_found_is_found_anew() -> None:
    found, changed = iter(("before", "after")), asyncio.Event()

    async def find() -> str:
        answer = next(found)
        await changed.wait()
        return answer

    kept = Kept(find, seconds=60)
    early = asyncio.create_task(kept.get())
    await asyncio.sleep(0)
    kept.forget()
    changed.set()
    await early
    assert await kept.get() == "after"


def test_scenes_and_settings_are_overheard_by_every_replica() -> None:
    assert isinstance(subscriptions, Subscriptions)
    assert {SceneChanged.topic, ConfigChanged.topic} <= set(subscriptions.overheard)


async def test_a_setting_governs_at_once_and_survives_a_restart(edge: Any, said: Any) -> None:
    admin = new_id()
    status, body, _ = await call(edge, "PUT", "/internal/admin/config/max_batch_count", admin, json={"config_value": "3"})
    assert (status, body["config_value"], body["version"]) == (200, 3, 1)
    wish = {"type": "travel", "batch_count": 4, "images": [edge.upload(admin)]}
    status, body, headers = await edge.call("POST", "/api/tasks/create", admin, json=wish)
    assert (status, headers["X-Error-Code"], body["errors"][0]["field"]) == (400, "10001", "batch_count")
    await edge.deps.config.read()
    assert edge.deps.config["max_batch_count"] == 3
    assert [fact for topic, fact in await said() if topic == "config.changed"] == [{"sequence": 1, "config_key": "max_batch_count"}]


async def test_settings_of_another_kind_or_name_are_refused(edge: Any) -> None:
    for key, value, code in (("max_batch_count", "many", "10001"), ("max_batch_count", 51, "10001"), ("default_topp", 2, "10001"), ("nothing", 1, "70001")):
        _, _, headers = await call(edge, "PUT", f"/internal/admin/config/{key}", new_id(), json={"config_value": value})
        assert headers["X-Error-Code"] == code, key
    assert edge.deps.config["max_batch_count"] == 50


async def test_operators_see_everybodys_tasks_with_names(edge: Any, ask: Any, write: Any) -> None:
    people = [new_id() for _ in range(3)]
    for user_id in people:
        await write(ask(user_id=user_id))
    _, body, _ = await call(edge, "GET", "/api/admin/tasks?type=&status=&user_id=", new_id())
    assert {(row["user_id"], row["nickname"]) for row in body["data"]["tasks"]} == {(str(user_id), f"name of {user_id}") for user_id in people}
    assert body["data"]["pagination"]["total"] == 3
    _, body, _ = await call(edge, "GET", f"/api/admin/tasks?user_id={people[0]}&status=pending", new_id())
    assert [row["user_id"] for row in body["data"]["tasks"]] == [str(people[0])]
    status, body, _ = await call(edge, "GET", "/internal/admin/overview", new_id())
    assert (status, body["tasks"]) == (200, {"total_tasks": 3, "pending_tasks": 3, "processing_tasks": 0, "completed_tasks": 0, "failed_tasks": 0})


async def test_what_was_just_set_is_not_undone_by_a_read_that_began_before(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    config, fetch = Config(db, CONFIG_KEYS), db.fetch

    async def fetch_too_early(*asked: Any) -> Any:
        found = await fetch(*asked)
        monkeypatch.undo()
        await config.change("max_batch_count", 7, by=None)
        return found

    monkeypatch.setattr(db, "fetch", fetch_too_early)
    await config.read()
    assert config["max_batch_count"] == 7
