"""The photo dialect: who you are."""

from common.ids import new_id
from lab.dialects import plights
from lab.dialects.photo.words import data, row
from lab.dialects.rows import Ask, Refusal, Row, at, bad
from lab.dialects.shapes import ID, TOKEN, WORD, Maybe
from lab.dialects.world import World


async def _admin(world: World) -> Ask:
    return Ask(path="/api/auth/admin/login", json={"username": world.admin["username"], "password": world.admin["password"]})


async def _admin_wrongly(world: World) -> Ask:
    return Ask(path="/api/auth/admin/login", json={"username": world.admin["username"], "password": "not the one"})


async def _admin_disabled(world: World) -> Ask:
    return Ask(path="/api/auth/admin/login", json=await plights.disabled_admin(world))


async def _wechat_disabled(world: World) -> Ask:
    code = f"gone{new_id().hex}"
    told = await world.ask("POST", "/api/auth/wechat/login", who="nobody", json={"code": f"{code}:1"})
    await plights.disable(world, told["data"]["user"]["user_id"])
    return Ask(path="/api/auth/wechat/login", json={"code": f"{code}:2"})


async def _wechat_used(world: World) -> Ask:
    code = f"ada{new_id().hex}:1"
    await world.ask("POST", "/api/auth/wechat/login", who="nobody", json={"code": code})
    return Ask(path="/api/auth/wechat/login", json={"code": code})


async def _wechat(_world: World) -> Ask:
    return Ask(path="/api/auth/wechat/login", json={"code": f"code-{new_id().hex}", "userInfo": {"nickname": "Ada", "avatar_url": "https://example.com/a.png"}})


PEOPLE: tuple[Row, ...] = (
    row(
        "POST",
        "/api/auth/wechat/login",
        "none",
        "Log in with a mini-program's code; the first time makes the account",
        data(token=TOKEN, user={"user_id": ID, "nickname": str, "avatar_url": Maybe(str), "credits": int, "role": "user", "is_new_user": bool}),
        _wechat,
        bad("/api/auth/wechat/login", "no code", {}),
        bad("/api/auth/wechat/login", "an empty code", {"code": ""}),
        bad("/api/auth/wechat/login", "a code that WeChat does not know", {"code": "invalid"}),
        Refusal(400, 10001, "a code that was used", _wechat_used),
        bad("/api/auth/wechat/login", "WeChat blocks this person", {"code": "blocked"}, status=403, code=10003),
        bad("/api/auth/wechat/login", "WeChat lets this person log in no more for a while", {"code": "limited"}, status=429, code=10004),
        bad("/api/auth/wechat/login", "WeChat is busy", {"code": "busy"}, status=503, code=10007),
        Refusal(401, 20003, "the account is disabled", _wechat_disabled),
        bad("/api/auth/wechat/login", "a name that is no text", {"code": "x", "userInfo": {"nickname": 5}}),
        takes={"code": "text", "userInfo?": "{nickname, avatar_url}"},
    ),
    row(
        "GET",
        "/api/auth/me",
        "user",
        "Who asks, with their credits",
        data(user={"user_id": ID, "openid": str, "nickname": str, "avatar_url": Maybe(str), "role": WORD, "credits": int}),
        at("/api/auth/me"),
    ),
    row(
        "POST",
        "/api/auth/admin/login",
        "none",
        "An admin's token, good for 24 hours",
        data(token=TOKEN, admin={"admin_id": ID, "username": WORD, "role": "admin", "nickname": str}),
        _admin,
        bad("/api/auth/admin/login", "a name of two letters", {"username": "ad", "password": "long enough"}),
        bad("/api/auth/admin/login", "a password of five letters", {"username": "admin", "password": "short"}),
        bad("/api/auth/admin/login", "an unknown name", {"username": "nobody-here", "password": "not the one"}, status=401, code=20001),
        Refusal(401, 20001, "a wrong password", _admin_wrongly),
        Refusal(401, 20003, "the account is disabled", _admin_disabled),
        takes={"username": "text, 3 to 50", "password": "text, at least 6"},
    ),
    row("POST", "/api/auth/refresh", "user", "A fresh token for a valid one", data(token=TOKEN), at("/api/auth/refresh")),
)
