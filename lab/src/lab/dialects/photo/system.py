"""The photo dialect: health, workflows' calls, and the socket."""

from typing import Any

from lab.dialects.callers import FAILING
from lab.dialects.photo.words import OK, PICTURE, row
from lab.dialects.rows import Ask, MakeAsk, Refusal, Row, at
from lab.dialects.shapes import ID, ORDER_NO, SENTENCE, URL, WORD, Maybe, OneOf, Some
from lab.dialects.world import UNKNOWN, World, photo_data_url

HEALTH = {"status": OneOf(("healthy", "degraded")), "timestamp": WORD, "uptime": float}
COMPLETE, FAILED = "/api/callback/task-complete", "/api/callback/task-failed"
ASSET = OneOf(("credit", "point"))
STORED = {"timestamp": int, "id": ID, "epoch": ID, "seq": int, "ts": int}
FRAMES = {
    "auth_success": {"type": "auth_success", "message": SENTENCE, "session": ID, "epoch": ID, "seq": int, "recovered": bool, "missed": int},
    "pong": {"type": "pong", "timestamp": int},
    "task_progress": {"type": "task_progress", "task_id": ID, "progress": int, "message": SENTENCE, "stage": str, "timestamp": int, "volatile": True},
    "task_complete": {"type": "task_complete", "task_id": ID, "result": {"images": Some(PICTURE), "ai_description": str}, **STORED},
    "task_complete (song)": {
        "type": "task_complete", "task_id": ID,
        "result": {"audioUrl": URL, "audioUrls": Some(URL), "imageUrl": Maybe(URL), "title": str, "lyrics": str, "duration": Maybe(float)}, **STORED,
    },
    "task_failed": {"type": "task_failed", "task_id": ID, "error": SENTENCE, "reason": WORD, **STORED},
    "task_cancelled": {"type": "task_cancelled", "task_id": ID, "delivered": int, **STORED},
    "work_created": {"type": "work_created", "work_id": ID, "task_id": Maybe(ID), "kind": WORD, "title": str, "public": bool, **STORED},
    "order_paid": {
        "type": "order_paid", "order_no": ORDER_NO, "package_id": WORD, "asset": ASSET, "granted": int, "membership_days": int, **STORED,
    },
    "membership_changed": {"type": "membership_changed", "change": WORD, "active_until": WORD, "order_no": ORDER_NO, **STORED},
    "notification": {"type": "notification", "title": WORD, "content": WORD, "message": WORD, "data": dict, **STORED},
    "credits_changed": {
        "type": "credits_changed", "asset": ASSET, "kind": WORD, "amount": int, "available": int, "held": int, "timestamp": int,
        "volatile": True,
    },
}  # fmt: skip


def result(asked: dict[str, Any]) -> dict[str, Any]:
    """What a workflow that went well sends."""
    image = {"url": photo_data_url(), "format": "jpeg", "batch_index": 0, "width": 120, "height": 90}
    return {"task_id": asked["task_id"], "attempt_token": asked["attempt_token"], "images": [image], "ai_description": "a fine day"}


CLOSES = {
    1001: "the process stops; the reason is `{retry_after_ms}`",
    4000: "who asks could not be found out; try again",
    4005: "the token expired",
    4008: "the client reads too slowly",
    4010: "what was missed could not be read, or is forgotten by now; try again",
    4012: "nothing was heard for a minute, not even a pong",
    4013: "more than 50 frames in a second",
    4500: "the token is bad, or its session ended",
    4501: "a frame that is none of these",
    4502: "no `auth` in time",
    4504: "more than 20 sockets of one user",
    4507: "the account is disabled",
}
"""Every code a socket is closed with."""
_CODES = "\n".join(f"| {code} | {why} |" for code, why in CLOSES.items())
SOCKET = f"""A frame is JSON in one text message, its sentences in the language of the handshake's `Accept-Language`, Chinese without one. The address takes
no token, and a page only from the origin of the public address or one of `NOTIFY_ORIGINS`.

The first answer is `auth_success`. Frames with `seq` are kept for 30 days: a `resume` gets all that came after it, in order, and `recovered: false` says that
this was not possible (then read the lists again). Frames with `volatile` may be left out; what they say can be asked for. `task_complete` has
`failed_count` when less came than was asked for, `task_cancelled` a `result` when something had come, `credits_changed` a `task_id` when it is about a task.
WebSocket pings come every 25 seconds. Before a refusal closes the socket it says `{{"type": "error", "message"}}`.

| close code | when |
|---|---|
{_CODES}"""


async def _complete(world: World) -> Ask:
    return Ask(path=COMPLETE, json=result(await world.held_task()), headers=world.callers.workflow_headers)


async def _failed(world: World) -> Ask:
    asked = await world.held_task()
    told = {"task_id": asked["task_id"], "attempt_token": asked["attempt_token"], "error": "the model said no"}
    return Ask(path=FAILED, json=told, headers=world.callers.workflow_headers)


def _forged(path: str) -> MakeAsk:
    async def make(world: World) -> Ask:
        return Ask(path=path, json=result(await world.held_task("one")), headers={"X-Darkroom-Secret": "guessed"})

    return make


def _of_another(path: str) -> MakeAsk:
    """The token of one task with the id of another."""

    async def make(world: World) -> Ask:
        first, second = await world.held_task("one"), await world.held_task("another")
        return Ask(path=path, json={**result(first), "task_id": second["task_id"]}, headers=world.callers.workflow_headers)

    return make


def _signed(path: str, said: dict[str, Any]) -> MakeAsk:
    async def make(world: World) -> Ask:
        return Ask(path=path, json=said, headers=world.callers.workflow_headers)

    return make


async def _socket(world: World) -> Ask:
    async def meanwhile() -> None:
        for more in ({}, {"parameters": FAILING}):
            await world.ask("POST", "/api/tasks/create", json={"type": "travel", "images": [world.alice.photo_url], **more})
        await world.ask("POST", f"/api/tasks/{await world.fresh_task()}/cancel")
        await world.begun_song(fresh=True)
        wish = {"packageId": "member-30d", "payment": {"method": "stripe", "amount": 5}}
        order = await world.ask("POST", "/points/purchase", json=wish)
        body, headers = world.callers.notice(order["orderNo"], order["payment"]["params"]["intent_id"], amount=500, currency="USD")
        await world.ask("POST", "/api/credits/payment/callback", body=body, headers=headers)
        notice = {"title": "Tonight", "content": "We move house at ten.", "data": {}, "user_id": world.alice.user_id}
        await world.ask("POST", "/v1/admin/notices", who="admin", json=notice)

    return Ask(path="/ws", json=[{"type": "auth", "token": world.alice.token}, {"type": "ping"}], hears=tuple(FRAMES), meanwhile=meanwhile)


async def _bad_frame(world: World) -> Ask:
    return Ask(path="/ws", json=[{"type": "auth", "token": world.alice.token}, {"type": "dance"}])


async def _no_json(world: World) -> Ask:
    return Ask(path="/ws", json=[{"type": "auth", "token": world.alice.token}, "{"])


SYSTEM: tuple[Row, ...] = (
    row("GET", "/health", "none", "Whether all is well", HEALTH, at("/health")),
    row("GET", "/api/health", "none", "The same", HEALTH, at("/api/health")),
    row(
        "POST",
        COMPLETE,
        "callback",
        "A workflow is done; said again, or too late, it is answered the same and changes nothing",
        {**OK, "message": WORD},
        _complete,
        Refusal(401, 10002, "unsigned", at(COMPLETE, json={"task_id": UNKNOWN, "images": []})),
        Refusal(401, 10002, "a wrong secret", _forged(COMPLETE)),
        Refusal(401, 10002, "another task's token", _of_another(COMPLETE)),
        Refusal(401, 10002, "an unknown task", _signed(COMPLETE, {"task_id": UNKNOWN, "attempt_token": "x", "images": []})),
        Refusal(400, 10001, "no task", _signed(COMPLETE, {"images": []})),
        Refusal(400, 10001, "images that are no list", _signed(COMPLETE, {"task_id": UNKNOWN, "images": "x"})),
        takes={
            "X-Darkroom-Secret (header)": "the secret; or X-Darkroom-Timestamp and X-Darkroom-Signature",
            "task_id": "id",
            "attempt_token": "as the webhook was told it; or X-Darkroom-Attempt-Token",
            "images": "[{url, format, batch_index, width?, height?}]",
            "ai_description?": "text",
        },
    ),
    row(
        "POST",
        FAILED,
        "callback",
        "A workflow failed; said again, or too late, it is answered the same and changes nothing",
        {**OK, "message": WORD},
        _failed,
        Refusal(401, 10002, "unsigned", at(FAILED, json={"task_id": UNKNOWN, "error": "x"})),
        Refusal(401, 10002, "a wrong secret", _forged(FAILED)),
        Refusal(401, 10002, "another task's token", _of_another(FAILED)),
        Refusal(401, 10002, "an unknown task", _signed(FAILED, {"task_id": UNKNOWN, "attempt_token": "x", "error": "x"})),
        Refusal(400, 10001, "no task", _signed(FAILED, {"error": "x"})),
        takes={
            "X-Darkroom-Secret (header)": "the secret; or X-Darkroom-Timestamp and X-Darkroom-Signature",
            "task_id": "id",
            "attempt_token": "as the webhook was told it; or X-Darkroom-Attempt-Token",
            "error": "text",
            "retryable?": "true where another try may go better",
        },
    ),
    row(
        "WS",
        "/ws",
        "frame",
        "What happens, as it happens",
        FRAMES,
        _socket,
        Refusal(4500, 0, "a bad token", at("/ws", json=[{"type": "auth", "token": "not.a.token"}])),
        Refusal(4501, 0, "a first frame that is no auth", at("/ws", json=[{"type": "hello"}])),
        Refusal(4501, 0, "a frame of an unknown type", _bad_frame),
        Refusal(4501, 0, "a frame that is not JSON", _no_json),
        status=101,
        note=SOCKET,
        takes={
            '{"type": "auth", "token", "resume?"}': "the first frame, within five seconds; resume is `{epoch, seq}` of the last frame that was seen",
            '{"type": "ping"}': "answered with pong",
            '{"type": "ack", "seq"}': "read until here",
        },
    ),
)
