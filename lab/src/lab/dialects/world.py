"""The people and things a contract run needs: two users, an admin, photos, tasks, works and orders, each made when first asked for."""

import asyncio
import base64
import io
import json
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import aiohttp
from PIL import Image

from common.ids import new_id
from lab.dialects.callers import HELD, Callers
from lab.dialects.rows import Ask, Who
from lab.people import Person
from lab.rig import Rig
from suite.operator import Operator

UNKNOWN = "0198c3a0-0000-7000-8000-00000000dead"
TASK_SECONDS = 60


class World:
    """One live suite. What a row needs is made through the public door and remembered."""

    def __init__(self, rig: Rig, http: aiohttp.ClientSession, callers: Callers | None = None) -> None:
        self.rig = rig
        self.http = http
        self._callers = callers
        self.people: dict[Who, Person] = {}
        self.admin: dict[str, str] = {}
        self.admin_token = ""
        self._made: dict[str, Any] = {}

    async def prepare(self) -> None:
        """Alice and Bob with a photo and credits each, and the embedded run's operator."""
        self.admin = await Operator(self.rig.home, self.rig.home.running_state()).admin_login()
        self.admin_token = self.admin["token"]
        for name in ("alice", "bob"):
            person = Person(lambda: self.rig.url, name=f"{name}{new_id().hex[-8:]}")
            await person.__aenter__()
            await person.sign_up()
            await person.upload()
            await self.rig.grant(person.user_id, 2000)
            await self.rig.grant(person.user_id, 5000, asset="point")
            self.people["alice" if name == "alice" else "bob"] = person

    async def close(self) -> None:
        for person in self.people.values():
            await person.__aexit__(None)

    @property
    def alice(self) -> Person:
        return self.people["alice"]

    @property
    def bob(self) -> Person:
        return self.people["bob"]

    @property
    def callers(self) -> Callers:
        """Who calls back, where the suite was started with them."""
        if self._callers is None:
            raise AssertionError("nobody calls back here")
        return self._callers

    async def send(self, method: str, ask: Ask, *, who: Who, quoted: bytes | None = None) -> tuple[int, Any, dict[str, str]]:
        """One request through the gateway: status, body as JSON (or text), headers in lower case."""
        if method == "WS":
            return await self._talk(ask)
        headers = dict(ask.headers)
        token = {"nobody": "", "admin": self.admin_token}.get(who) if who in ("nobody", "admin") else self.people[who].token
        if token and "Authorization" not in headers:
            headers["Authorization"] = f"Bearer {token}"
        more: dict[str, Any] = {}
        if quoted is not None:
            more["data"], headers["Content-Type"] = quoted, "application/json"
        elif ask.form is not None:
            more["data"] = _form(ask.form)
        elif ask.body is not None:
            more["data"] = ask.body
        elif ask.json is not None:
            # A client warns before it sends much at once, and tests take warnings for errors.
            more["data"] = io.BytesIO(json.dumps(ask.json).encode())
            headers.setdefault("Content-Type", "application/json")
        try:
            return await self._asked(method, ask.path, headers, more)
        finally:
            if ask.afterwards is not None:
                await ask.afterwards()

    async def _asked(self, method: str, path: str, headers: dict[str, str], more: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
        async with self.http.request(method, self.rig.url + path, headers=headers, allow_redirects=False, **more) as answer:
            raw = await answer.read()
            try:
                body: Any = await answer.json(content_type=None) if raw else None
            except ValueError:
                body = raw.decode(errors="replace")
            return answer.status, body, {name.lower(): value for name, value in answer.headers.items()}

    async def _talk(self, ask: Ask) -> tuple[int, dict[str, Any], dict[str, str]]:
        """A socket: 101 while it is open, else the code it was closed with; the first frame of each kind; no headers."""
        heard: dict[str, Any] = {}
        async with self.http.ws_connect(self.rig.url.replace("http", "ws", 1) + ask.path, headers=dict(ask.headers)) as ws:
            for frame in ask.json:
                await (ws.send_str(frame) if isinstance(frame, str) else ws.send_json(frame))
            if ask.meanwhile is not None:
                await ask.meanwhile()
            async with asyncio.timeout(TASK_SECONDS):
                while not ask.hears or not set(ask.hears) <= set(heard):
                    message = await ws.receive()
                    if message.type != aiohttp.WSMsgType.TEXT:
                        return ws.close_code or 0, heard, {}
                    frame = message.json()
                    heard.setdefault(_name_of(frame), frame)
        return 101, heard, {}

    async def once(self, name: str, make: Callable[[], Awaitable[Any]]) -> Any:
        """Make a thing the first time somebody needs it."""
        if name not in self._made:
            self._made[name] = await make()
        return self._made[name]

    async def ask(self, method: str, path: str, *, who: Who = "alice", **more: Any) -> Any:
        """A step on the way: must succeed; answers the body."""
        status, body, _ = await self.send(method, Ask(path=path, **more), who=who)
        if status >= 300:
            raise AssertionError(f"{method} {path}: {status} {body}")
        return body

    async def task(self, who: Who = "alice") -> str:
        """A picture task of this person that has ended well."""
        return str(await self.once(f"task of {who}", lambda: self._finished_task(who)))

    async def fresh_task(self, who: Who = "alice", count: int = 50) -> str:
        """A big task that has just begun."""
        body = {"type": "travel", "batch_count": count, "images": [self.people[who].photo_url], "scene_id": "paris-street", "parameters": HELD}
        return str((await self.ask("POST", "/api/tasks/create", who=who, json=body))["data"]["task_id"])

    async def held_task(self, name: str = "") -> dict[str, Any]:
        """What a workflow was told that will say nothing by itself. Those with a name are made once, for few are given to n8n at a time."""

        async def make() -> dict[str, Any]:
            return await self.callers.asked(await self.fresh_task(count=1))

        return dict(await self.once(f"held {name}", make)) if name else await make()

    async def growing_work(self) -> str:
        """A work that is listed while its task is far from its end."""

        return str(await self.once("growing work", self.begun_work))

    async def begun_work(self) -> str:
        """The same, its task begun just now."""
        task_id = await self.fresh_task()

        async def is_listed() -> bool:
            return (await self.send("GET", Ask(path=f"/api/works/{task_id}"), who="alice"))[0] == 200

        await self.until(is_listed, f"work {task_id}")
        return task_id

    async def newcomer(self) -> tuple[str, dict[str, str]]:
        """Somebody who just signed up, with what everybody is given; the id, and headers to ask with."""
        name = f"new{new_id().hex[-8:]}"
        wish = {"username": name, "email": f"{name}@people.example", "password": "correct horse battery"}
        user = await self.ask("POST", "/users", who="nobody", json=wish)
        return str(user["objectId"]), {"Authorization": f"Bearer {user['sessionToken']}"}

    async def begun_song(self, who: Who = "alice", *, fresh: bool = False) -> str:
        """A song task of this person, wherever it is; a fresh one has just begun. Songs take their time, so it is good to begin them early."""

        async def make() -> str:
            wish = {"title": "Sea", "tags": ["folk"], "prompt": "waves at dusk", "negative_tags": []}
            return str((await self.ask("POST", "/music/tasks", who=who, json=wish))["taskId"])

        if fresh:
            self._made.pop(f"begun song of {who}", None)
        return str(await self.once(f"begun song of {who}", make))

    async def song(self, who: Who = "alice") -> str:
        """A song task of this person that has ended well."""
        return str(await self.once(f"song of {who}", lambda: self._finished_song(who)))

    async def work(self, who: Who = "alice") -> str:
        """A private photo work of this person."""
        return str(await self.once(f"work of {who}", lambda: self._listed_work(who)))

    async def spare_work(self, who: Who = "alice") -> str:
        """A work nobody else in the table needs, so that it can be deleted."""
        task_id = await self._finished_task(who)
        return await self._wait_for_work(task_id, who)

    async def song_work(self, who: Who = "alice") -> str:
        """A work of the song dialect."""

        async def make() -> str:
            form = {"title": "Sea", "description": "waves", "style": "folk", "tags": ["sea"], "image": photo_data_url()}
            return str((await self.ask("POST", "/works", who=who, json=form))["objectId"])

        return str(await self.once(f"song work of {who}", make))

    async def order(self, who: Who = "alice") -> str:
        """A pending order of this person."""

        async def make() -> str:
            wish = {"package_id": "basic", "payment_method": "wechat"}
            return str((await self.ask("POST", "/api/credits/recharge", who=who, json=wish))["data"]["order_no"])

        return str(await self.once(f"order of {who}", make))

    async def scene(self) -> str:
        """A scene made by the admin, free to be changed and deleted."""
        wish = {
            "scene_name": f"Attic {new_id().hex[-6:]}", "category": "indoor", "description": "dust in the light",
            "prompt_template": "an attic", "cover_image": "", "parameters": {}, "tags": ["attic"], "status": "active", "display_order": 9,
        }  # fmt: skip
        return str((await self.ask("POST", "/api/scenes", who="admin", json=wish))["data"]["scene"]["scene_id"])

    async def _finished_task(self, who: Who) -> str:
        body = {"type": "travel", "batch_count": 1, "images": [self.people[who].photo_url], "scene_id": "beach-sunset"}
        task_id = str((await self.ask("POST", "/api/tasks/create", who=who, json=body))["data"]["task_id"])

        async def is_done() -> bool:
            return bool((await self.ask("GET", f"/api/tasks/{task_id}", who=who))["data"]["task"]["status"] == "completed")

        await self.until(is_done, f"task {task_id}")
        return task_id

    async def _finished_song(self, who: Who) -> str:
        task_id = await self.begun_song(who)

        async def is_done() -> bool:
            return bool((await self.ask("GET", f"/music/tasks/{task_id}", who=who))["status"] == "SUCCESS")

        await self.until(is_done, f"song {task_id}")
        return task_id

    async def _listed_work(self, who: Who) -> str:
        return await self._wait_for_work(await self.task(who), who)

    async def _wait_for_work(self, task_id: str, who: Who) -> str:
        async def is_there() -> bool:
            status, body, _ = await self.send("GET", Ask(path=f"/api/works/{task_id}"), who=who)
            return status == 200 and body["data"]["work"]["status"] == "completed"

        await self.until(is_there, f"work {task_id}")
        return task_id

    async def mail_to(self, address: str, *, words: str = "", but: str = "") -> str:
        """The newest mail to an address with these words in its subject, once there is another than this one."""
        found: list[str] = []

        async def has_come() -> bool:
            async with self.http.get(self.rig.environment["DARKROOM_MAILBOX_URL"] + "/mails.json") as answer:
                mails = (await answer.json())["mails"]
            found.extend(mail["text"] for mail in mails if mail["to"] == address and words in mail["subject"] and mail["text"] != but)
            return bool(found)

        await self.until(has_come, f"a mail to {address} about {words!r}")
        return found[0]

    async def until(self, is_so: Callable[[], Awaitable[bool]], what: str) -> None:
        """Ask until it is so."""
        for _ in range(TASK_SECONDS * 5):
            if await is_so():
                return
            await asyncio.sleep(0.2)
        raise AssertionError(f"{what} never came")


def link_in(mail: str) -> tuple[str, str]:
    """The page that a mail leads to, and the secret that it is brought."""
    found = re.search(r"https?://\S+", mail)
    assert found is not None, mail
    page, _, secret = found[0].partition("#")
    return page, secret


def photo_bytes() -> bytes:
    """A small photo."""
    stored = io.BytesIO()
    Image.linear_gradient("L").resize((120, 90)).convert("RGB").save(stored, "JPEG")
    return stored.getvalue()


def noise_bytes() -> bytes:
    """A photo of nothing, another each time, and as large as one of its size gets."""
    stored = io.BytesIO()
    Image.frombytes("RGB", (500, 500), os.urandom(500 * 500 * 3)).save(stored, "JPEG", quality=95)
    return stored.getvalue()


def photo_data_url() -> str:
    """The small photo as a data URL."""
    return "data:image/jpeg;base64," + base64.b64encode(photo_bytes()).decode()


def _name_of(frame: Mapping[str, Any]) -> str:
    """Its type; the end of a song has another shape than that of pictures."""
    return f"{frame['type']} (song)" if "audioUrl" in frame.get("result", ()) else str(frame["type"])


def _form(fields: Any) -> aiohttp.FormData:
    form = aiohttp.FormData(default_to_multipart=True)
    for name, value in fields.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, bytes):
                form.add_field(name, io.BytesIO(one), filename="photo.jpg", content_type="image/jpeg")
            else:
                form.add_field(name, str(one))
    return form
