"""The photo dialect: tasks."""

from typing import Any

from common.ids import new_id
from lab.dialects.photo.words import KIND, OK, PAGE, QUEUE, TASK, WORK, data, row
from lab.dialects.rows import Ask, Refusal, Row, at, bad
from lab.dialects.shapes import ID, WORD, Maybe
from lab.dialects.world import UNKNOWN, World, photo_data_url


async def _create(world: World) -> Ask:
    return Ask(path="/api/tasks/create", json=await _wish(world))


async def _wish(world: World, **more: Any) -> dict[str, Any]:
    return {"type": "travel", "batch_count": 1, "images": [world.alice.photo_url], "scene_id": "beach-sunset", **more}


async def _create_zero(world: World) -> Ask:
    return Ask(path="/api/tasks/create", json=await _wish(world, batch_count=0))


async def _create_unknown_scene(world: World) -> Ask:
    return Ask(path="/api/tasks/create", json=await _wish(world, scene_id="no-such-scene"))


async def _create_without_credits(world: World) -> Ask:
    """Bob's balance is spent by nobody: a person without credits asks for fifty."""

    async def poor() -> str:
        name = f"poor{new_id().hex[-8:]}"
        user = await world.ask("POST", "/users", who="nobody", json={"username": name, "email": f"{name}@people.example", "password": "correct horse"})
        return str(user["sessionToken"])

    token = await world.once("poor", poor)
    return Ask(path="/api/tasks/create", json=await _wish(world, batch_count=50, images=[photo_data_url()]), headers={"Authorization": f"Bearer {token}"})


async def _task(world: World) -> Ask:
    return Ask(path=f"/api/tasks/{await world.task()}")


async def _bobs_task(world: World) -> Ask:
    return Ask(path=f"/api/tasks/{await world.task('bob')}")


async def _cancel(world: World) -> Ask:
    return Ask(path=f"/api/tasks/{await world.fresh_task()}/cancel")


async def _cancel_ended(world: World) -> Ask:
    return Ask(path=f"/api/tasks/{await world.task()}/cancel")


async def _cancel_bobs(world: World) -> Ask:
    return Ask(path=f"/api/tasks/{await world.task('bob')}/cancel")


TASKS: tuple[Row, ...] = (
    row(
        "POST",
        "/api/tasks/create",
        "user",
        "Ask for pictures",
        data(task_id=ID, type=KIND, batch_count=int, status="pending", credits_deducted=int),
        _create,
        Refusal(400, 10001, "a batch of none", _create_zero),
        Refusal(404, 70000, "a scene that does not exist", _create_unknown_scene),
        Refusal(400, 40000, "fewer credits than it costs", _create_without_credits, data={"required": int, "current": int, "shortage": int}),
        bad("/api/tasks/create", "no pictures", {"type": "travel", "images": []}),
        bad("/api/tasks/create", "an unknown type", {"type": "sculpture", "images": ["x"]}),
        takes={
            "type": "fitting, photography, travel",
            "batch_count?": "1 to 50",
            "images": "[link to an upload, or data URL]",
            "scene_id?": "text",
            "parameters?": "object",
            "custom_description?": "text, at most 500",
            "destination?": "{name, country, prompt}",
        },
    ),
    row(
        "GET",
        "/api/tasks/:task_id",
        "user",
        "A task, and its work once there is one",
        data(task=TASK, work=Maybe(WORK)),
        _task,
        Refusal(404, 50000, "unknown", at(f"/api/tasks/{UNKNOWN}")),
        Refusal(404, 50000, "another's task", _bobs_task),
    ),
    row(
        "GET",
        "/api/tasks/user/list",
        "user",
        "My tasks",
        data(tasks=[TASK], pagination=PAGE),
        at("/api/tasks/user/list?type=&status="),
        takes={"type?": "kind", "status?": "status"},
    ),
    row(
        "POST",
        "/api/tasks/:task_id/cancel",
        "user",
        "Stop a task; what was not delivered costs nothing",
        {**OK, "message": WORD},
        _cancel,
        Refusal(409, 50001, "it has ended", _cancel_ended),
        Refusal(404, 50000, "another's task", _cancel_bobs),
        Refusal(404, 50000, "unknown", at(f"/api/tasks/{UNKNOWN}/cancel")),
    ),
    row("GET", "/api/tasks/stats/queue", "user", "How long the queues are", data(fitting=QUEUE, photography=QUEUE, travel=QUEUE), at("/api/tasks/stats/queue")),
)
