"""The face of n8n: webhooks that answer at once, and workflows that call back."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import io
import json
import time
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web
from PIL import Image, ImageOps

from lab.simulator.behaviour import Behaviour

if TYPE_CHECKING:
    from lab.simulator.application import Simulator

WORKFLOWS = ("fitting-batch", "photography-batch")
SIDE_PX_MAX = 512
FETCH_SECONDS = 20
TRIES_MAX = 5


def add_routes(application: web.Application, simulator: Simulator) -> None:
    """`POST /webhook/{workflow}`."""

    async def take(request: web.Request) -> web.Response:
        return await _take(simulator, request)

    application.router.add_post("/webhook/{workflow}", take)


async def _take(simulator: Simulator, request: web.Request) -> web.Response:
    workflow = request.match_info["workflow"]
    if workflow not in WORKFLOWS:
        return web.json_response({"code": 404, "message": f'The requested webhook "POST {workflow}" is not registered.'}, status=404)
    if not hmac.compare_digest(request.headers.get("X-Darkroom-Secret", "").encode("utf-8", "replace"), simulator.secret.encode()):
        return web.Response(text="Authorization data is wrong!", status=403)
    asked: dict[str, Any] = await request.json()
    simulator.note(simulator.seen, {"workflow": workflow, **{name: value for name, value in asked.items() if name != "attempt_token"}})
    try:
        behaviour = _behaviour_for(simulator, asked)
    except (ValueError, TypeError) as error:
        return web.json_response({"message": f"simulate: {error}"}, status=400)
    simulator.remember(asked["task_id"], asked["attempt_token"])
    if behaviour.manner == "refuse":
        return web.Response(text="Authorization data is wrong!", status=403)
    work = Workflow(simulator, asked, behaviour)
    if behaviour.manner == "before-answer":
        await work.run()
    else:
        simulator.begin(work.run())
    if behaviour.manner == "break":
        return web.json_response({"message": "Error in workflow"}, status=500)
    return web.json_response({"message": "Workflow was started"})


def _behaviour_for(simulator: Simulator, asked: dict[str, Any]) -> Behaviour:
    """What the task's own parameters say (`{"simulate": {"manner": "drop"}}`), else what the control route said. Raises ValueError for what there is not."""
    said = (asked.get("parameters") or {}).get("simulate")
    return simulator.behaviour if said is None else Behaviour.of(said)


class Workflow:
    """One execution: fetch the photo, make pictures of it, call back."""

    def __init__(self, simulator: Simulator, asked: dict[str, Any], behaviour: Behaviour) -> None:
        assert simulator.session is not None
        self._simulator = simulator
        self._session: aiohttp.ClientSession = simulator.session
        self._asked = asked
        self._behaviour = behaviour

    async def run(self) -> None:
        """Take its time and call back as the behaviour says."""
        asked, manner = self._asked, self._behaviour.manner
        if manner == "drop":
            return
        await asyncio.sleep(self._behaviour.delay_seconds)
        name = {"task_id": asked["task_id"], "attempt_token": asked["attempt_token"]}
        first = self._simulator.tokens[asked["task_id"]][0]
        if manner == "supersede" and first == asked["attempt_token"]:
            await self._call(asked["failed_callback_url"], {**name, "error": "the simulator was told to be busy", "retryable": True})
            return
        if manner == "fail":
            await self._call(asked["failed_callback_url"], {**name, "error": "the simulator was told to fail"})
            return
        try:
            images = await self._make()
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            await self._call(asked["failed_callback_url"], {**name, "error": f"the photo could not be had: {type(error).__name__}"})
            return
        body = {**name, "images": images[:-1] if manner == "partial" else images, "ai_description": "a picture of the simulator"}
        if manner == "forge":
            await self._call(asked["callback_url"], body, secret="not the secret")
            await self._call(asked["callback_url"], {**body, "attempt_token": "not-the-token"})
        if manner == "steal":
            await self._call(asked["callback_url"], {**body, "attempt_token": self._simulator.token_of_another(asked["task_id"])})
        if manner == "supersede":
            await self._call(asked["callback_url"], {**body, "attempt_token": first})
        for _ in range(3 if manner == "duplicate" else 1):
            await self._call(asked["callback_url"], body)

    async def _make(self) -> list[dict[str, Any]]:
        async with self._session.get(self._asked["images"][0], timeout=aiohttp.ClientTimeout(total=FETCH_SECONDS)) as answer:
            answer.raise_for_status()
            photo = await answer.read()
        return [await asyncio.to_thread(_picture, photo, place) for place in range(self._asked["batch_count"])]

    async def _call(self, url: str, body: dict[str, Any], *, secret: str | None = None) -> None:
        raw = json.dumps(body).encode()
        for number in range(TRIES_MAX):
            try:
                async with self._session.post(url, data=raw, headers=self._headers(raw, secret)) as answer:
                    said = (await answer.text())[:500]
                    self._simulator.note(self._simulator.sent, {"task_id": body["task_id"], "url": url, "status": answer.status, "said": said})
                    if answer.status < 500:
                        return
            except (aiohttp.ClientError, OSError, TimeoutError):
                pass
            await asyncio.sleep(0.2 * 2**number)

    def _headers(self, raw: bytes, secret: str | None) -> dict[str, str]:
        if not self._behaviour.signs:
            return {"Content-Type": "application/json", "X-Darkroom-Secret": secret or self._simulator.secret}
        timestamp = str(int(time.time()))
        key = (secret or self._simulator.signing_secret).encode()
        signature = hmac.new(key, timestamp.encode() + b"." + raw, hashlib.sha256).hexdigest()
        return {"Content-Type": "application/json", "X-Darkroom-Timestamp": timestamp, "X-Darkroom-Signature": signature}


def _picture(photo: bytes, place: int) -> dict[str, Any]:
    """The photo in another tint for each place of the batch."""
    with Image.open(io.BytesIO(photo)) as opened:
        grey = ImageOps.grayscale(opened)
    grey.thumbnail((SIDE_PX_MAX, SIDE_PX_MAX))
    tinted = ImageOps.colorize(grey, (20, 10, 40), ((200 + 37 * place) % 256, (160 + 61 * place) % 256, (240 + 89 * place) % 256))
    written = io.BytesIO()
    tinted.save(written, "PNG")
    url = "data:image/png;base64," + base64.b64encode(written.getvalue()).decode()
    return {"url": url, "format": "png", "batch_index": place, "width": tinted.width, "height": tinted.height}
