"""The face of WeChat: code2session, which answers 200 for everything."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from lab.simulator.application import Simulator

ERRORS: dict[str, tuple[int, str]] = {
    "invalid": (40029, "invalid code"), "busy": (-1, "system error"), "limited": (45011, "api minute-quota reach limit"), "blocked": (40226, "code blocked"),
}  # fmt: skip
"""Codes that are answered with an error, by their names."""


def add_routes(application: web.Application, simulator: Simulator) -> None:
    """`GET /sns/jscode2session`."""

    async def exchange(request: web.Request) -> web.Response:
        return web.json_response(_answer(simulator, request.query))

    application.router.add_get("/sns/jscode2session", exchange)


def _answer(simulator: Simulator, query: Any) -> dict[str, Any]:
    """`person:anything` is a code of that person which can be used once; any other code is a person of its own, again and again."""
    if query.get("appid", "") != simulator.app_id:
        return {"errcode": 40013, "errmsg": "invalid appid"}
    if query.get("secret", "") != simulator.app_secret:
        return {"errcode": 40125, "errmsg": "invalid appsecret"}
    code: str = query.get("js_code", "")
    if not code or code in ERRORS:
        number, words = ERRORS.get(code, ERRORS["invalid"])
        return {"errcode": number, "errmsg": words}
    person, separator, _ = code.partition(":")
    if separator:
        if code in simulator.codes:
            return {"errcode": 40163, "errmsg": "code been used"}
        simulator.codes.add(code)
    digest = hashlib.sha256(person.encode()).hexdigest()
    return {"openid": f"o{digest[:27]}", "session_key": digest[32:56], "errcode": 0}
