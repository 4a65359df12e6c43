"""The song dialect's rows: every path of the photo song's document."""

from collections.abc import Mapping
from typing import Any

from common.ids import new_id
from lab.dialects.rows import Ask, Auth, MakeAsk, Refusal, Row, at, bad
from lab.dialects.shapes import ID, MOMENT, ORDER_NO, TOKEN, URL, WORD, Maybe, OneOf
from lab.dialects.world import UNKNOWN, World, photo_data_url

CREATOR = {"objectId": ID, "username": str, "avatar": Maybe(str)}
USER = {
    "objectId": ID, "username": WORD, "email": WORD, "avatar": Maybe(str), "points": int, "isVIP": bool, "membershipEndDate": Maybe(MOMENT),
    "emailVerified": bool, "createdAt": MOMENT, "sessionToken": TOKEN, "refreshToken": WORD,
}  # fmt: skip
WORK = {
    "objectId": ID, "title": str, "description": str, "imageUrl": Maybe(URL), "audioUrl": Maybe(URL), "creator": CREATOR, "status": WORD, "style": str,
    "tags": [str], "plays": int, "likes": int, "createdAt": MOMENT,
}  # fmt: skip
TASK = {
    "taskId": ID, "status": OneOf(("SUBMITTED", "IN_PROGRESS", "SUCCESS", "FAILED")), "params": dict, "audioUrl": Maybe(URL), "creator": CREATOR,
    "createdAt": MOMENT, "progress": int,
}  # fmt: skip
PAGE = {"page": int, "limit": int, "total": int}


def row(
    method: str, path: str, auth: Auth, about: str, shape: Any, ask: MakeAsk, *refusals: Refusal, status: int = 200, takes: Mapping[str, str] | None = None
) -> Row:
    return Row(dialect="song", method=method, path=path, auth=auth, about=about, ask=ask, shape=shape, status=status, takes=takes, refusals=refusals)


def _newcomer() -> dict[str, str]:
    name = f"new{new_id().hex[-8:]}"
    return {"username": name, "email": f"{name}@people.example", "password": "correct horse battery"}


async def _sign_up(_world: World) -> Ask:
    return Ask(path="/users", json=_newcomer())


async def _sign_up_twice(world: World) -> Ask:
    return Ask(path="/users", json={**_newcomer(), "email": f"{world.alice.name}@people.example"})


async def _log_in(world: World) -> Ask:
    return Ask(path="/login", json={"email": f"{world.alice.name}@people.example", "password": "correct horse battery"})


async def _log_in_wrongly(world: World) -> Ask:
    return Ask(path="/login", json={"email": f"{world.bob.name}@people.example", "password": "not this one"})


async def _work(world: World) -> Ask:
    return Ask(path=f"/works/{await world.song_work()}")


async def _bobs_work(world: World) -> Ask:
    return Ask(path=f"/works/{await world.work('bob')}")


async def _song(world: World) -> Ask:
    return Ask(path=f"/music/tasks/{await world.song()}")


async def _bobs_song(world: World) -> Ask:
    return Ask(path=f"/music/tasks/{await world.song('bob')}")


async def _song_without_points(world: World) -> Ask:
    """A newcomer has points for one song: the second is refused."""

    async def poor() -> str:
        token = str((await world.ask("POST", "/users", who="nobody", json=_newcomer()))["sessionToken"])
        first = {"title": "One", "tags": [], "prompt": "one", "negative_tags": []}
        await world.ask("POST", "/music/tasks", who="nobody", json=first, headers={"Authorization": f"Bearer {token}"})
        return token

    token = await world.once("pointless", poor)
    return Ask(path="/music/tasks", json={"title": "Two", "tags": [], "prompt": "two", "negative_tags": []}, headers={"Authorization": f"Bearer {token}"})


SONG: tuple[Row, ...] = (
    row(
        "POST",
        "/users",
        "none",
        "Sign up",
        USER,
        _sign_up,
        bad("/users", "an address that is none", {**_newcomer(), "email": "nowhere"}),
        bad("/users", "no name", {"email": "a@b.example", "password": "long enough"}),
        Refusal(409, 10005, "the address is taken", _sign_up_twice),
        status=201,
        takes={"username": "text", "email": "text", "password": "text", "avatar?": "file, data URL or link to an upload"},
    ),
    row(
        "POST",
        "/login",
        "none",
        "Log in",
        USER,
        _log_in,
        Refusal(401, 20001, "a wrong password", _log_in_wrongly),
        bad("/login", "an unknown address", {"email": "nobody@people.example", "password": "whatever it is"}, status=401, code=20001),
        bad("/login", "no password", {"email": "a@b.example"}),
        takes={"email": "text", "password": "text"},
    ),
    row(
        "POST",
        "/requestPasswordReset",
        "none",
        "Ask for a link; the answer never says whether the address is known",
        {},
        at("/requestPasswordReset", json={"email": "nobody@people.example"}),
        bad("/requestPasswordReset", "no address", {}),
        takes={"email": "text"},
    ),
    row(
        "POST",
        "/works",
        "user",
        "Keep a work",
        WORK,
        at("/works", json={"title": "Sea", "description": "waves", "image": photo_data_url(), "style": "folk", "tags": ["sea"]}),
        bad("/works", "a picture that does not decode", {"title": "x", "image": "data:image/png;base64,iVBORw0KGgo="}, status=422, code=30001),
        bad("/works", "tags that are no list", {"title": "x", "image": photo_data_url(), "tags": "sea"}),
        status=201,
        takes={"title": "text", "description?": "text", "image": "file, data URL or link to an upload", "style?": "text", "tags?": "[text]"},
    ),
    row(
        "GET",
        "/works",
        "optional",
        "Public works and mine",
        {"results": [WORK], **PAGE},
        at("/works?page=1&limit=5&tag=sea"),
        Refusal(400, 10001, "a limit below 1", at("/works?limit=0")),
        takes={"page?": "number", "limit?": "1 to 100", "creator?": "id", "tag?": "text"},
    ),
    row(
        "GET",
        "/works/:id",
        "optional",
        "One work",
        WORK,
        _work,
        Refusal(404, 30000, "unknown", at(f"/works/{UNKNOWN}")),
        Refusal(404, 30000, "another's private work", _bobs_work),
    ),
    row(
        "POST",
        "/music/tasks",
        "user",
        "Ask for a song",
        TASK,
        at("/music/tasks", json={"title": "Sea", "tags": ["folk"], "prompt": "waves at dusk", "negative_tags": ["metal"]}),
        Refusal(402, 40000, "fewer points than it costs", _song_without_points, data={"required": int, "current": int, "shortage": int}),
        bad("/music/tasks", "tags that are no list", {"title": "x", "tags": "folk", "prompt": "x"}),
        bad("/music/tasks", "a photo that does not exist", {"title": "x", "tags": [], "workId": UNKNOWN}, status=404, code=30000),
        status=201,
        takes={"title": "text", "tags": "[text]", "prompt": "text", "negative_tags": "[text]", "workId?": "id of a photo of mine"},
    ),
    row(
        "GET",
        "/music/tasks/:taskId",
        "user",
        "A song on its way",
        TASK,
        _song,
        Refusal(404, 50000, "unknown", at(f"/music/tasks/{UNKNOWN}")),
        Refusal(404, 50000, "another's", _bobs_song),
    ),
    row(
        "GET",
        "/points/history",
        "user",
        "What changed my points",
        {"results": [{"user": object, "amount": int, "reason": WORD, "balance": int, "time": MOMENT}], **PAGE},
        at("/points/history?page=1&limit=5"),
        Refusal(400, 10001, "a page below 1", at("/points/history?page=-1")),
        takes={"page?": "number", "limit?": "number"},
    ),
    row(
        "POST",
        "/points/purchase",
        "user",
        "Order points",
        {"orderNo": ORDER_NO, "status": WORD, "packageId": "points-800", "payment": {"method": WORD, "amount": float, "currency": WORD, "params": dict}},
        at("/points/purchase", json={"packageId": "points-800", "payment": {"method": "stripe", "amount": 2.0}}),
        bad("/points/purchase", "an unknown package", {"packageId": "no-such", "payment": {"method": "stripe", "amount": 2}}, status=402, code=40001),
        bad("/points/purchase", "another amount", {"packageId": "points-800", "payment": {"method": "stripe", "amount": 1.99}}, status=402, code=40001),
        bad("/points/purchase", "no payment", {"packageId": "points-800"}),
        status=201,
        takes={"packageId": "text", "payment": "{method, amount}"},
    ),
)
