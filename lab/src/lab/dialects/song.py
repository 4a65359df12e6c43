"""The song dialect's rows: every path of the photo song's document."""

import base64
from collections.abc import Mapping
from typing import Any

from common.ids import new_id
from lab.dialects import plights
from lab.dialects.rows import Ask, Auth, MakeAsk, Refusal, Row, at, bad, reused
from lab.dialects.shapes import ID, MOMENT, ORDER_NO, TOKEN, URL, WORD, Maybe, OneOf, Some
from lab.dialects.world import UNKNOWN, World, photo_bytes, photo_data_url

MIB = 1024 * 1024

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
_PAID_2, _PAID_5 = ({"method": "stripe", "amount": amount} for amount in (2, 5))


def row(
    method: str,
    path: str,
    auth: Auth,
    about: str,
    shape: Any,
    ask: MakeAsk,
    *refusals: Refusal,
    status: int = 200,
    takes: Mapping[str, str] | None = None,
    note: str = "",
) -> Row:
    return Row(
        dialect="song", method=method, path=path, auth=auth, about=about, ask=ask, shape=shape, status=status, takes=takes, note=note, refusals=refusals
    )  # fmt: skip


def _newcomer() -> dict[str, str]:
    name = f"new{new_id().hex[-8:]}"
    return {"username": name, "email": f"{name}@people.example", "password": "correct horse battery"}


async def _sign_up(_world: World) -> Ask:
    return Ask(path="/users", json=_newcomer())


async def _sign_up_twice(world: World) -> Ask:
    return Ask(path="/users", json={**_newcomer(), "email": f"{world.alice.name}@people.example"})


async def _log_in(world: World) -> Ask:
    return Ask(path="/login", json=await plights.verified(world))


async def _log_in_unverified(world: World) -> Ask:
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
    return Ask(path=f"/music/tasks/{await world.begun_song('bob')}")


async def _log_in_disabled(world: World) -> Ask:
    return Ask(path="/login", json=await plights.disabled(world))


async def _reset(world: World) -> Ask:
    return Ask(path="/requestPasswordReset", json={"email": f"{world.alice.name}@people.example"})


async def _my_works(world: World) -> Ask:
    await world.song_work()
    return Ask(path="/works?page=1&limit=5&tag=sea")


async def _work_of_anothers_upload(world: World) -> Ask:
    return Ask(path="/works", json={"title": "x", "image": world.bob.photo_url})


async def _song_of_anothers_work(world: World) -> Ask:
    return Ask(path="/music/tasks", json={"title": "x", "prompt": "x", "workId": await world.song_work("bob")})


async def _song_in_debt(world: World) -> Ask:
    return Ask(path="/music/tasks", json={"title": "x", "prompt": "x"}, headers=await plights.debtor(world))


async def _song_in_a_crowd(world: World) -> Ask:
    headers, leave = await plights.crowd(world)
    return Ask(path="/music/tasks", json={"title": "x", "prompt": "x"}, headers=headers, afterwards=leave)


async def _work_of_a_hoarder(world: World) -> Ask:
    return Ask(path="/works", json={"title": "x", "image": plights.noise_data_url()}, headers=await plights.hoarder(world))


async def _work_that_was_deleted(world: World) -> Ask:
    """The same work again, after its owner deleted it."""
    ask = Ask(path="/works", json={"title": "x", "image": photo_data_url()}, headers={"Idempotency-Key": new_id().hex})
    work = await world.ask("POST", ask.path, json=ask.json, headers=ask.headers)
    await world.ask("DELETE", f"/api/works/{work['objectId']}")
    return ask


async def _purchase_of_a_shopper(world: World) -> Ask:
    return Ask(path="/points/purchase", json={"packageId": "points-800", "payment": _PAID_2}, headers=await plights.shopper(world))


async def _sign_up_disabled(world: World) -> Ask:
    """The same sign-up again, after the account was closed."""
    ask = Ask(path="/users", json=_newcomer(), headers={"Idempotency-Key": new_id().hex})
    user = await world.ask("POST", ask.path, who="nobody", json=ask.json, headers=ask.headers)
    await plights.disable(world, user["objectId"])
    return ask


def _picture(path: str, field: str, content: bytes, others: Mapping[str, Any], *, more: int = 0) -> MakeAsk:
    """These bytes, and so many empty ones, sent as a picture."""

    async def make(_world: World) -> Ask:
        return Ask(path=path, json={**others, field: "data:image/jpeg;base64," + base64.b64encode(content + bytes(more)).decode()})

    return make


async def _song_without_points(world: World) -> Ask:
    """A newcomer has points for one song: the second is refused."""
    user_id, headers = await world.newcomer()
    await world.rig.grant(user_id, -100, asset="point")
    return Ask(path="/music/tasks", json={"title": "Two", "tags": [], "prompt": "two", "negative_tags": []}, headers=headers)


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
        bad("/users", "a password of seven letters", {**_newcomer(), "password": "seven 7"}),
        bad("/users", "a picture from elsewhere", {**_newcomer(), "avatar": "https://example.com/me.jpg"}),
        Refusal(409, 10005, "the address is taken", _sign_up_twice),
        Refusal(415, 60002, "a picture that is none", _picture("/users", "avatar", b"<html>hello</html>", _newcomer())),
        Refusal(400, 60003, "a picture that does not decode", _picture("/users", "avatar", photo_bytes()[:200], _newcomer())),
        Refusal(413, 60001, "a picture of more than 10 MB", _picture("/users", "avatar", photo_bytes(), _newcomer(), more=10 * MIB)),
        Refusal(403, 20003, "a repeated sign-up, whose account is disabled by now", _sign_up_disabled),
        reused("/users", _newcomer(), but={"username": "another"}),
        status=201,
        takes={
            "username": "text, at most 64",
            "email": "text",
            "password": "text, at least 8",
            "avatar?": "file, data URL or link to an upload",
        },
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
        Refusal(403, 20002, "the address is not verified, where that is required; the mail is sent again", _log_in_unverified),
        Refusal(403, 20003, "the account is disabled", _log_in_disabled),
        bad("/login", "no password", {"email": "a@b.example"}),
        takes={"email": "text", "password": "text"},
    ),
    row(
        "POST",
        "/requestPasswordReset",
        "none",
        "Ask for a link; the answer never says whether the address is known",
        {},
        _reset,
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
        bad("/works", "not a picture", {"title": "x", "image": "data:image/png;base64,PGI+aGVsbG88L2I+"}, status=422, code=30001),
        Refusal(413, 60001, "a picture of more than 10 MB", _picture("/works", "image", photo_bytes(), {"title": "x"}, more=10 * MIB)),
        Refusal(413, 60004, "no more room: something must be deleted first", _work_of_a_hoarder, data={"used_bytes": int, "bytes_max": int}),
        bad("/works", "a picture from elsewhere", {"title": "x", "image": "https://example.com/photo.jpg"}),
        Refusal(400, 10001, "another's upload", _work_of_anothers_upload),
        Refusal(400, 10001, "a picture under another name", at("/works", form={"title": "x", "file": b"\xff" * 300_000})),
        bad("/works", "no title", {"image": photo_data_url()}),
        bad("/works", "tags that are no list", {"title": "x", "image": photo_data_url(), "tags": "sea"}),
        Refusal(404, 30000, "a repeated request, whose work was deleted by now", _work_that_was_deleted),
        reused("/works", {"title": "Sea", "image": photo_data_url()}, but={"title": "Lake"}),
        status=201,
        takes={
            "title": "text",
            "description?": "text",
            "image": "file, data URL or link to an upload",
            "style?": "text",
            "tags?": "[text]",
            "isPublic?": "true shows it to everybody",
        },
    ),
    row(
        "GET",
        "/works",
        "optional",
        "Public works and mine",
        {"results": Some(WORK), **PAGE},
        _my_works,
        Refusal(400, 10001, "a limit below 1", at("/works?limit=0")),
        Refusal(400, 10001, "a limit over 100", at("/works?limit=101")),
        Refusal(400, 10001, "a page that is no number", at("/works?page=one")),
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
        bad("/music/tasks", "neither words nor a photo", {"title": "x", "tags": []}),
        bad("/music/tasks", "a photo that does not exist", {"title": "x", "tags": [], "workId": UNKNOWN}, status=404, code=30000),
        Refusal(404, 30000, "another's photo", _song_of_anothers_work),
        Refusal(409, 40002, "a payment was given back and had been spent", _song_in_debt, data={"receivable": int}),
        Refusal(429, 50005, "too many tasks of theirs are waiting", _song_in_a_crowd, data={"waiting": int, "limit": int}),
        reused("/music/tasks", {"title": "Sea", "prompt": "waves"}, but={"prompt": "wind"}),
        status=201,
        takes={
            "title?": "text",
            "tags?": "[text]",
            "prompt": "text, unless a photo is named",
            "negative_tags?": "[text]",
            "workId?": "the `objectId` that `POST /works` answered: the photo the song is made from",
            "instrumental?": "true: nobody sings",
            "model?": "text; shown again in `params`, nothing else so far",
        },
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
        {"results": Some({"user": {"objectId": ID}, "amount": int, "reason": WORD, "balance": int, "time": MOMENT}), **PAGE},
        at("/points/history?page=1&limit=5"),
        Refusal(400, 10001, "a page below 1", at("/points/history?page=-1")),
        Refusal(400, 10001, "a limit over 100", at("/points/history?limit=101")),
        takes={"page?": "number", "limit?": "1 to 100"},
    ),
    row(
        "POST",
        "/points/purchase",
        "user",
        "Order points",
        {"orderNo": ORDER_NO, "status": WORD, "packageId": "points-800", "payment": {"method": WORD, "amount": float, "currency": WORD, "params": dict}},
        at("/points/purchase", json={"packageId": "points-800", "payment": {"method": "stripe", "amount": 2.0}}),
        bad("/points/purchase", "an unknown package", {"packageId": "no-such", "payment": {"method": "stripe", "amount": 2}}, status=402, code=40001),
        bad("/points/purchase", "an unknown way to pay", {"packageId": "points-800", "payment": {"method": "shells", "amount": 2}}),
        bad("/points/purchase", "another amount", {"packageId": "points-800", "payment": {"method": "stripe", "amount": 1.99}}, status=402, code=40001),
        Refusal(429, 10004, "too many orders of theirs are open", _purchase_of_a_shopper),
        bad("/points/purchase", "no payment", {"packageId": "points-800"}),
        reused(
            "/points/purchase",
            {"packageId": "points-800", "payment": {"method": "stripe", "amount": 2}},
            but={"packageId": "member-30d", "payment": {"method": "stripe", "amount": 5}},
        ),
        status=201,
        takes={
            "packageId": "one of `GET /v1/packages` whose `asset` is point",
            "payment": "{method, amount}: wechat, alipay, stripe or sandbox, and exactly the package's price",
        },
        note="`payment.params` is what the client's payment call wants to know; of the sandbox, its `pay_url` is the page where one pays.",
    ),
)
