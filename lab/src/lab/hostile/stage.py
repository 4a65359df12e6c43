"""A running suite with a victim, a thief and a few more, and the means to look behind the curtain."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
from multidict import CIMultiDict

from common.auth import ServiceTokens, read_private_key
from lab.fingerprints import every_database, fingerprints
from lab.hostile import bodies, pictures
from lab.hostile.onslaught import Attacker
from lab.hostile.samples import WORKFLOWS_SECRET, Cast, Lesson, lessons
from lab.hostile.targets import UNKNOWN, Found
from lab.hostile.tokens import Forger, stolen_key
from lab.hostile.verdict import ANYTHING, Case, Expected
from lab.invariants import check_when_settled, places_of
from lab.people import Person
from lab.rig import Rig, rig_running
from suite.home import OPERATOR
from suite.members import WITH_DATA
from suite.operator import Operator
from works.domain import uploads_folder

SETTINGS = {
    "DARKROOM_LOG_LEVEL": "info",
    "GATEWAY_HEAD_SECONDS": "4",
    "GATEWAY_PROGRESS_SECONDS": "8",
    "GENERATION_N8N_SECRET": WORKFLOWS_SECRET,
    "GENERATION_CALLBACK_SECRET": f"{WORKFLOWS_SECRET}, signed",
}
"""As the product runs, but slow clients are given up sooner, everything is logged, and workflows could call back."""
CAST = ("victim", "thief", "stray", "pawn", "clumsy")
CREDITS_LEFT = 10 - 2 + 100
"""Given at the sign-up, spent on two pictures, bought."""
_BROKEN = re.compile(r"http\.failed|http\.escaped|gateway\.failed|Traceback|never retrieved|service\.died")


@dataclass
class Victim:
    """Everything somebody has that nobody else may see or change, by the name of the parameter that would name it."""

    person: Person
    picture_task: str = ""
    song_task: str = ""
    work_ids: list[str] = field(default_factory=list)
    by_param: dict[str, list[str]] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """What no answer to anybody else may hold."""
        return [self.person.user_id, *{one for ones in self.by_param.values() for one in ones}]


class Stage:
    """The running suite, and who is on it. `thief` has an account and no credits, `stray` may be logged out, `pawn` is whom operators change.

    `clumsy` has a bit of everything, and sends nothing that may be granted.
    """

    def __init__(self, rig: Rig, attacker: Attacker, people: Mapping[str, Person], operator_token: str) -> None:
        self.rig, self.attacker, self.operator_token = rig, attacker, operator_token
        self.victim, self.thief, self.stray, self.pawn, self.clumsy = (people[name] for name in CAST)
        self.owned = Victim(self.victim)
        self.cast = Cast()
        self.before: dict[str, dict[str, str]] = {}
        self.lessons: dict[str, Lesson] = {}
        self.clumsys: dict[str, Lesson] = {}

    @property
    def auth(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.thief.token}"}

    @property
    def clumsy_auth(self) -> dict[str, str]:
        """For what must be refused."""
        return {"Authorization": f"Bearer {self.clumsy.token}"}

    def auth_for(self, found: Found, expected: Expected = ANYTHING) -> dict[str, str]:
        """The token of who asks this route: a route for operators is not reached by others' bodies."""
        user = self.clumsy if expected.is_refusal else self.thief
        tokens = {"thief": user.token, "stray": self.stray.token, "operator": self.operator_token}
        return {"Authorization": f"Bearer {tokens[self.lesson(found).asker(found)]}"}

    def lesson(self, found: Found, expected: Expected = ANYTHING) -> Lesson:
        """How it is used well by who asks it when this is right; KeyError when nobody taught it yet."""
        return (self.clumsys if expected.is_refusal else self.lessons)[str(found)]

    def target(self, found: Found, value: str | None = None, expected: Expected = ANYTHING) -> str:
        """A path with its query: of this value, or of the asker's own things."""
        lesson = self.lesson(found, expected)
        path = found.target(value if value is not None else lambda name: lesson.params.get(name, UNKNOWN))
        return f"{path}?{lesson.query}" if lesson.query else path

    def victims(self, found: Found, changed: Mapping[str, str] | None = None) -> str:
        """The same, of the victim's things, some of them perhaps changed."""
        lesson, owned = self.lesson(found), {name: values[0] for name, values in self.owned.by_param.items() if values}
        path = found.target(lambda name: {**lesson.params, **owned, **(changed or {})}.get(name, UNKNOWN))
        return f"{path}?{lesson.query}" if lesson.query else path

    def body(self, found: Found, expected: Expected = ANYTHING) -> bytes | None:
        """A good one, where the route takes any."""
        lesson = self.lesson(found, expected)
        return orjson.dumps(lesson.body) if lesson.body is not None else None

    def case(
        self, name: str, found: Found, *, expected: Expected, target: str | None = None, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Case:
        """A request of whoever asks this route, of `clumsy` where it must be refused."""
        said = CIMultiDict({**self.auth_for(found, expected), **self.lesson(found).headers, **(bodies.JSON_HEADERS if body is not None else {})})
        said.update(headers or {})
        return Case(name, found.route.method, target if target is not None else self.target(found, expected=expected), said, body, expected)

    def good_case(self, name: str, found: Found, headers: Mapping[str, str], expected: Expected, *, target: str | None = None) -> Case:
        """A request that is good but for who sends it: `headers` say that, and nothing else does."""
        body = self.body(found)
        said = {**headers, **(bodies.JSON_HEADERS if body is not None else {})}
        return Case(name, found.route.method, target if target is not None else self.target(found), said, body, expected)

    def service_token(self, service: str) -> str:
        """Of the suite's own operator, for this service."""
        return ServiceTokens(read_private_key(self.rig.home.key_path(OPERATOR)), OPERATOR).token_for(service)

    async def forger(self, collector_url: str = "http://127.0.0.1:1/") -> Forger:
        """Somebody who has identity's own key."""
        key = await stolen_key(self.rig.home, self.rig.environment["IDENTITY_DATABASE_URL"])
        return Forger(key, self.thief.user_id, collector_url=collector_url)

    async def harm(self) -> list[str]:
        """What an onslaught did: to the victim, to who was always refused, to the books, to us, to what we say in the log. Nothing, or a sentence each."""
        found = list(await check_when_settled(places_of(self.rig.environment)))
        after = await self._fingerprints()
        for whose, before in self.before.items():
            found += [f"{what} of {whose} changed: {before.get(what)} is now {now}" for what, now in after[whose].items() if now != before.get(what)]
        left = await self.victim.balance()
        found += [f"the victim has {left} credits, not {CREDITS_LEFT}"] if left != CREDITS_LEFT else []
        log = "".join(path.read_text(errors="replace") for path in (self.rig.log, *self.rig.home.logs.glob("*.log")))
        found += ["nothing was logged"] if "http.answered" not in log else []
        found += [line[:500] for line in log.splitlines() if _BROKEN.search(line)]
        secrets = (
            self.thief.token,
            self.victim.token,
            self.clumsy.token,
            self.operator_token,
            "correct horse battery",
            "wrong horse",
            self.rig.home.secret("files"),
        )
        return found + [f"the log holds a secret that begins {secret[:12]!r}" for secret in (*secrets, WORKFLOWS_SECRET) if secret in log]

    async def _fingerprints(self) -> dict[str, dict[str, str]]:
        """Every row and every upload that belongs to the victim or to `clumsy`, as one hash per table and one of all objects."""
        objects, found = places_of(self.rig.environment).objects, {}
        assert objects is not None
        async with every_database(self.rig.environment) as connections:
            for name, person in (("victim", self.victim), ("clumsy", self.clumsy)):
                keys = sorted(await objects.list_keys(uploads_folder(UUID(person.user_id))))
                found[name] = {**await fingerprints(connections, person.user_id), "objects": f"{len(keys)} {keys}"}
        return found

    async def furnish(self) -> None:
        """Give everybody what is theirs, and remember how it lies where it must not change."""
        await self._furnish_victim()
        await self._furnish_thief()
        self.lessons = lessons(self.cast)
        work = await _made(self.clumsy, "POST", "/works", {"title": "the clumsy's", "image": self.clumsy.photo_url})
        # An order that is open is looked after, so there is none to name.
        self.clumsys = lessons(replace(self.cast, photo_url=self.clumsy.photo_url, work_id=work["objectId"], order_no=UNKNOWN, intent_id=UNKNOWN))
        assert await check_when_settled(places_of(self.rig.environment)) == []
        self.before = await self._fingerprints()
        filled = {table.partition(".")[0] for table, print_ in self.before["victim"].items() if not print_.startswith("0 ")}
        assert filled == {*WITH_DATA, "objects"}, "every service keeps something of the victim's"

    async def _furnish_victim(self) -> None:
        victim, owned = self.victim, self.owned
        victim.listen()
        owned.picture_task = (await _made(victim, "POST", "/api/tasks/create", _pictures_of(victim, 2)))["data"]["task_id"]
        owned.song_task = (await _made(victim, "POST", "/music/tasks", {"title": "mine", "prompt": "a song of mine"}))["taskId"]
        work = await _made(victim, "POST", "/works", {"title": "kept", "image": victim.photo_url})
        order = await _made(victim, "POST", "/api/credits/recharge", {"package_id": "basic", "payment_method": "wechat"})
        # Only what is paid lies still: an open order is looked after.
        await _paid(victim, order["data"]["payment_params"]["pay_url"])
        # Files go by their content: what nobody else may have must look like nothing else.
        picture = pictures.png(50, colour="maroon")
        upload = await _made(victim, "POST", "/v1/uploads", {"size_bytes": len(picture)})
        await _put(victim, upload, picture)
        kept = await _made(victim, "POST", f"/v1/uploads/{upload['upload_id']}/complete", {})
        upload = await _made(victim, "POST", "/v1/uploads", {"size_bytes": len(picture)})
        await _put(victim, upload, picture)
        _, sessions = await victim.call("GET", "/v1/sessions")
        notice = await _asked(self.rig, self.operator_token, "/v1/admin/notices", {"title": "x", "content": "for one", "user_ids": [victim.user_id]})
        await victim.heard({owned.picture_task, owned.song_task}, seconds=30)
        owned.work_ids = [owned.picture_task, owned.song_task, work["objectId"]]
        owned.by_param = {
            "work_id": owned.work_ids,
            "task_id": [owned.picture_task, owned.song_task],
            "taskId": [owned.picture_task, owned.song_task],
            "order_no": [order["data"]["order_no"]],
            "intent": [],
            "session_id": [one["session_id"] for one in sessions["sessions"]],
            "file_name": [kept["file_name"]],
            "upload_id": [upload["upload_id"]],
            "notice_id": [notice["notice_id"]],
            "user_id": [victim.user_id],
            "key": [kept["file_path"]],
        }

    async def _furnish_thief(self) -> None:
        thief = self.thief
        work = await _made(thief, "POST", "/works", {"title": "the thief's", "image": thief.photo_url})
        order = (await _made(thief, "POST", "/api/credits/recharge", {"package_id": "basic", "payment_method": "wechat"}))["data"]
        upload = await _made(thief, "POST", "/v1/uploads", {"size_bytes": 100})
        scene = await _asked(self.rig, self.operator_token, "/api/scenes", {"scene_name": "x", "category": "indoor", "status": "inactive"})
        await self.rig.grant(thief.user_id, -10)
        await self.rig.grant(thief.user_id, -180, asset="point")
        self.cast = Cast(
            victim_name=self.victim.name,
            photo_url=thief.photo_url,
            thief_id=thief.user_id,
            pawn_id=self.pawn.user_id,
            work_id=work["objectId"],
            order_no=order["order_no"],
            intent_id=order["payment_params"]["intent_id"],
            upload_query=upload["url"].partition("?")[2],
            scene_id=scene["data"]["scene"]["scene_id"],
        )


@asynccontextmanager
async def stage_running(folder: Path) -> AsyncIterator[Stage]:
    """A suite of its own for one file of tests."""
    async with (
        rig_running(folder, "--provider", "instant", env=SETTINGS) as rig,
        Attacker(rig.url) as attacker,
        Person(lambda: rig.url) as victim,
        Person(lambda: rig.url) as thief,
        Person(lambda: rig.url) as stray,
        Person(lambda: rig.url) as pawn,
        Person(lambda: rig.url) as clumsy,
    ):
        people = dict(zip(CAST, (victim, thief, stray, pawn, clumsy), strict=True))
        await asyncio.gather(*(person.sign_up() for person in people.values()))
        await asyncio.gather(victim.upload(), thief.upload(), clumsy.upload())
        operator = await Operator(rig.home, rig.home.running_state()).admin_login()
        stage = Stage(rig, attacker, people, operator["token"])
        await stage.furnish()
        yield stage


def all_well(wrong: Sequence[str]) -> None:
    """Nothing is wrong, or the test says all of it, one line each."""
    assert not wrong, f"{len(wrong)} answers are wrong:\n" + "\n".join(wrong[:60])


def _pictures_of(person: Person, count: int) -> dict[str, object]:
    return {"type": "travel", "batch_count": count, "images": [person.photo_url], "scene_id": "beach-sunset"}


async def _made(person: Person, method: str, path: str, body: Mapping[str, object]) -> Any:
    status, answer = await person.call(method, path, json=body)
    assert status in (200, 201), (path, status, answer)
    return answer


async def _asked(rig: Rig, token: str, path: str, body: Mapping[str, object]) -> Any:
    async with Person(lambda: rig.url) as operator:
        operator.token = token
        return await _made(operator, "POST", path, body)


async def _paid(person: Person, pay_url: str) -> None:
    async with person.http.post(pay_url, data={"decision": "pay"}) as answer:
        assert answer.status == 200, await answer.text()
    for _ in range(100):
        if await person.balance() == CREDITS_LEFT:
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the victim's credits never came")


async def _put(person: Person, upload: Mapping[str, Any], content: bytes) -> None:
    async with person.http.put(str(upload["url"]), data=content, headers=dict(upload["headers"])) as answer:
        assert answer.status == 200, await answer.text()
