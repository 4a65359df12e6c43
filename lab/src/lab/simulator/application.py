"""The simulator's faces put together, and the routes that steer it."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from lab.simulator import n8n, wechat
from lab.simulator.behaviour import Behaviour

BODY_BYTES_MAX = 16 * 1024 * 1024
"""n8n takes no more either."""
SEEN_MAX = 1000


@dataclass
class Simulator:
    """What the faces share."""

    secret: str
    signing_secret: str = ""
    app_id: str = ""
    app_secret: str = ""
    behaviour: Behaviour = field(default_factory=Behaviour)
    """For requests that do not say how they want to be treated."""
    seen: list[dict[str, Any]] = field(default_factory=list)
    """What the webhooks were asked."""
    sent: list[dict[str, Any]] = field(default_factory=list)
    """How calls back were answered."""
    tokens: dict[str, list[str]] = field(default_factory=dict)
    """Of every attempt of a task, in order."""
    codes: set[str] = field(default_factory=set)
    """WeChat codes that were exchanged."""
    session: aiohttp.ClientSession | None = None
    under_way: set[asyncio.Task[None]] = field(default_factory=set)

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it after the answer; ended with the simulator."""
        task = asyncio.create_task(work, name="workflow")
        self.under_way.add(task)
        task.add_done_callback(self.under_way.discard)

    def remember(self, task_id: str, token: str) -> None:
        """An attempt's token, within limits."""
        self.tokens.setdefault(task_id, []).append(token)
        while len(self.tokens) > SEEN_MAX:
            del self.tokens[next(iter(self.tokens))]

    def token_of_another(self, task_id: str) -> str:
        """The newest token of another task; no token where there is none."""
        return next((tokens[-1] for other, tokens in reversed(self.tokens.items()) if other != task_id), "no other task was seen")

    def note(self, notes: list[dict[str, Any]], entry: dict[str, Any]) -> None:
        """Remember, within limits."""
        notes.append(entry)
        del notes[:-SEEN_MAX]


def build(simulator: Simulator) -> web.Application:
    """The application: `/webhook/...` (n8n), `/sns/...` (WeChat), `/control`."""
    application = web.Application(client_max_size=BODY_BYTES_MAX)

    async def opened(_application: web.Application) -> AsyncIterator[None]:
        async with aiohttp.ClientSession() as session:
            simulator.session = session
            yield
            for task in list(simulator.under_way):
                task.cancel()
            await asyncio.gather(*simulator.under_way, return_exceptions=True)

    async def show(_request: web.Request) -> web.Response:
        return web.json_response({"behaviour": simulator.behaviour.as_json(), "seen": simulator.seen, "sent": simulator.sent})

    async def steer(request: web.Request) -> web.Response:
        try:
            simulator.behaviour = Behaviour.of(await request.json())
        except (ValueError, TypeError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response(simulator.behaviour.as_json())

    application.cleanup_ctx.append(opened)
    application.router.add_get("/control", show)
    application.router.add_put("/control", steer)
    n8n.add_routes(application, simulator)
    wechat.add_routes(application, simulator)
    return application
