"""The photo dialect: tasks."""

import base64
from typing import Any

from common.ids import new_id
from lab.dialects import plights
from lab.dialects.photo.words import KIND, OK, PAGE, QUEUE, TASK, WORK, data, row
from lab.dialects.rows import Ask, MakeAsk, Refusal, Row, at, bad
from lab.dialects.shapes import ID, SENTENCE, Maybe, Some
from lab.dialects.world import UNKNOWN, World, photo_bytes, photo_data_url


async def _create(world: World) -> Ask:
    return Ask(path="/api/tasks/create", json=await _wish(world))


async def _wish(world: World, **more: Any) -> dict[str, Any]:
    return {"type": "travel", "batch_count": 1, "images": [world.alice.photo_url], "scene_id": "beach-sunset", **more}


async def _create_zero(world: World) -> Ask:
    return Ask(path="/api/tasks/create", json=await _wish(world, batch_count=0))


async def _create_unknown_scene(world: World) -> Ask:
    return Ask(path="/api/tasks/create", json=await _wish(world, scene_id="no-such-scene"))


async def _create_without_credits(world: World) -> Ask:
    """Nobody's balance is spent for this: somebody new, with ten credits, asks for fifty."""
    _, headers = await world.newcomer()
    return Ask(path="/api/tasks/create", json=await _wish(world, batch_count=50, images=[photo_data_url()]), headers=headers)


async def _create_in_debt(world: World) -> Ask:
    return Ask(path="/api/tasks/create", json=await _wish(world, images=[photo_data_url()]), headers=await plights.debtor(world))


async def _create_in_a_crowd(world: World) -> Ask:
    headers, leave = await plights.crowd(world)
    return Ask(path="/api/tasks/create", json=await _wish(world), headers=headers, afterwards=leave)


async def _create_from_elsewhere(world: World) -> Ask:
    return Ask(path="/api/tasks/create", json=await _wish(world, images=["https://example.com/photo.jpg"]))


def _create_from(content: bytes, *, more: int = 0) -> MakeAsk:
    """Pictures of what these bytes, and so many empty ones, are."""

    async def make(world: World) -> Ask:
        image = "data:image/png;base64," + base64.b64encode(content + bytes(more)).decode()
        return Ask(path="/api/tasks/create", json=await _wish(world, images=[image]))

    return make


async def _create_reused(world: World) -> Ask:
    headers = {"Idempotency-Key": new_id().hex}
    await world.ask("POST", "/api/tasks/create", json=await _wish(world), headers=headers)
    return Ask(path="/api/tasks/create", json=await _wish(world, batch_count=2), headers=headers)


async def _my_tasks(world: World) -> Ask:
    await world.task()
    return Ask(path="/api/tasks/user/list?type=&status=")


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
        bad("/api/tasks/create", "a batch of more than fifty", {"type": "travel", "images": ["x"], "batch_count": 51}),
        bad("/api/tasks/create", "a description of more than 500 letters", {"type": "travel", "images": ["x"], "custom_description": "x" * 501}),
        Refusal(400, 10001, "a picture that is neither an upload nor a data URL", _create_from_elsewhere),
        Refusal(415, 60002, "a data URL of something else than a picture", _create_from(b"<html>hello</html>")),
        Refusal(400, 60003, "a data URL of a picture that does not decode", _create_from(photo_bytes()[:200])),
        Refusal(413, 60001, "a data URL of more than 10 MB", _create_from(photo_bytes()[:200], more=10 * 1024 * 1024)),
        Refusal(409, 40002, "a payment was given back and had been spent", _create_in_debt, data={"receivable": int}),
        Refusal(422, 10006, "the Idempotency-Key of another body", _create_reused),
        Refusal(429, 50005, "too many tasks of theirs are waiting", _create_in_a_crowd, data={"waiting": int, "limit": int}),
        takes={
            "type": "fitting, photography, travel",
            "batch_count?": "1 to 50",
            "images": "[the `file_url` an upload was answered with, or data URL]",
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
        data(tasks=Some(TASK), pagination=PAGE),
        _my_tasks,
        Refusal(400, 10001, "an unknown status", at("/api/tasks/user/list?status=done")),
        Refusal(400, 10001, "a page below 1", at("/api/tasks/user/list?page=0")),
        takes={"type?": "kind", "status?": "status", "page?": "number", "pageSize?": "1 to 100"},
    ),
    row(
        "POST",
        "/api/tasks/:task_id/cancel",
        "user",
        "Stop a task; what was not delivered costs nothing",
        {**OK, "message": SENTENCE},
        _cancel,
        Refusal(409, 50001, "it has ended", _cancel_ended, data={"status": "completed"}),
        Refusal(404, 50000, "another's task", _cancel_bobs),
        Refusal(404, 50000, "unknown", at(f"/api/tasks/{UNKNOWN}/cancel")),
    ),
    row("GET", "/api/tasks/stats/queue", "user", "How long the queues are", data(fitting=QUEUE, photography=QUEUE, travel=QUEUE), at("/api/tasks/stats/queue")),
)
