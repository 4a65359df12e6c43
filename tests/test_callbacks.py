"""Workflows that call back well, badly, or never, on the whole suite: the task ends right, the credits agree, and its end is told once."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from common.ids import new_id
from lab.invariants import check_when_settled, places_of
from lab.people import Person
from lab.rig import Rig, rig_running

GRANTED = 20
ASKED = 2
TOTAL_SECONDS = 20
"""How long a task may take here; the one that nobody calls back for is begun first, and looked at last."""
SETTLE_SECONDS = 40
QUICK = {
    "GENERATION_PICTURE_TOTAL_SECONDS": str(TOTAL_SECONDS), "GENERATION_PICTURE_START_SECONDS": str(TOTAL_SECONDS), "GENERATION_UPKEEP_SECONDS": "1",
    "GENERATION_BACK_OFF_SECONDS": "0.2",
}  # fmt: skip
FRAMES = {"completed": "task_complete", "failed": "task_failed", "cancelled": "task_cancelled"}
TAKEN, IGNORED, UNPROVEN = (200, "taken"), (200, "recorded and ignored"), (401, "")


@dataclass(frozen=True)
class Case:
    """What a workflow does, and what has to come of it."""

    name: str
    manner: str
    status: str
    delivered: int
    answers: list[tuple[int, str]]
    """To its calls, in order."""
    simulate: dict[str, Any] = field(default_factory=dict)
    is_cancelled: bool = False
    error_code: int | None = None
    attempts: int = 1

    def __str__(self) -> str:
        return self.name


CASES = [
    Case("success", "well", "completed", 2, [TAKEN]),
    Case("success with signatures", "well", "completed", 2, [TAKEN], {"signs": True}),
    Case("failure", "fail", "failed", 0, [TAKEN], error_code=50002),
    Case("a picture is missing", "partial", "completed", 1, [TAKEN]),
    Case("before the trigger's answer", "before-answer", "completed", 2, [TAKEN]),
    Case("the trigger's answer is lost", "break", "completed", 2, [TAKEN]),
    Case("twice, and once more", "duplicate", "completed", 2, [TAKEN, IGNORED, IGNORED]),
    Case("after a cancel", "well", "cancelled", 0, [IGNORED], {"delay_seconds": 1.0}, is_cancelled=True),
    Case("forged", "forge", "completed", 2, [UNPROVEN, UNPROVEN, TAKEN]),
    Case("forged signatures", "forge", "completed", 2, [UNPROVEN, UNPROVEN, TAKEN], {"signs": True}),
    Case("another task's token", "steal", "completed", 2, [UNPROVEN, TAKEN]),
    Case("a superseded attempt", "supersede", "completed", 2, [TAKEN, IGNORED, TAKEN], attempts=2),
    Case("a manner there is not", "sulk", "failed", 0, [], error_code=50002),
    Case("never", "drop", "failed", 0, [], error_code=50003),
]


@dataclass
class Asked:
    """A task under way, whose it is, and the case it is about."""

    case: Case
    person: Person
    task_id: str


class Stage:
    """A suite with the simulator, and people who ask."""

    def __init__(self, rig: Rig, http: aiohttp.ClientSession, stack: AsyncExitStack) -> None:
        self.rig = rig
        self.http = http
        self.stack = stack
        self.asked: dict[str, Asked] = {}

    async def ask(self, case: Case) -> Asked:
        """A new person with credits, who listens and asks for two pictures."""
        person = await self.stack.enter_async_context(Person(lambda: self.rig.url, name=f"p{new_id().hex[-10:]}"))
        await person.sign_up()
        await person.upload()
        await self.rig.grant(person.user_id, GRANTED - await person.balance())
        person.listen()
        body = {
            "type": "travel", "batch_count": ASKED, "images": [person.photo_url], "scene_id": "beach-sunset",
            "parameters": {"simulate": {"manner": case.manner, **case.simulate}},
        }  # fmt: skip
        status, created = await person.call("POST", "/api/tasks/create", json=body)
        assert status == 200, created
        self.asked[case.name] = found = Asked(case, person, created["data"]["task_id"])
        return found

    async def simulator(self, what: str, task_id: str) -> list[dict[str, Any]]:
        """What the simulator saw (`seen`) or sent (`sent`) for a task."""
        async with self.http.get(self.rig.environment["DARKROOM_SIMULATOR_URL"] + "/control") as answer:
            said: dict[str, list[dict[str, Any]]] = await answer.json()
        return [one for one in said[what] if one["task_id"] == task_id]


@pytest.fixture(scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    folder = tmp_path_factory.mktemp("callbacks")
    async with AsyncExitStack() as stack:
        rig = await stack.enter_async_context(rig_running(folder, "--simulator", env=QUICK))
        http = await stack.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)))
        made = Stage(rig, http, stack)
        await made.ask(CASES[-1])
        yield made


async def until(is_so: Callable[[], Awaitable[bool]], what: Callable[[], str] | str, seconds: float = SETTLE_SECONDS) -> None:
    ends_at = time.monotonic() + seconds
    while not await is_so():
        if time.monotonic() > ends_at:
            raise AssertionError(f"never came: {what if isinstance(what, str) else what()}")
        await asyncio.sleep(0.05)


def as_answer(sent: dict[str, Any]) -> tuple[int, str]:
    """How a call back was answered; of a refusal only the status counts."""
    taken = next((words for _, words in (TAKEN, IGNORED) if f'"{words}"' in sent["said"]), "")
    return sent["status"], taken if sent["status"] == 200 else ""


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_whatever_a_workflow_does_the_task_ends_right_the_credits_agree_and_its_end_is_told_once(stage: Stage, case: Case) -> None:
    asked = stage.asked.get(case.name) or await stage.ask(case)
    person, task_id = asked.person, asked.task_id

    async def is_seen() -> bool:
        return len(await stage.simulator("seen", task_id)) > 0

    if case.is_cancelled:
        await until(is_seen, "the start of the workflow")
        status, body = await person.call("POST", f"/api/tasks/{task_id}/cancel")
        assert (status, body["data"]["status"]) == (200, "cancelled")

    # every call was made and answered, and the task ended
    answers: list[tuple[int, str]] = []

    async def is_answered() -> bool:
        answers[:] = [as_answer(sent) for sent in await stage.simulator("sent", task_id)]
        return len(answers) >= len(case.answers)

    await until(is_answered, lambda: f"{case.answers}, only {answers}")
    await person.heard({task_id}, seconds=SETTLE_SECONDS)
    assert answers == case.answers

    status, body = await person.call("GET", f"/api/tasks/{task_id}")
    task, work = body["data"]["task"], body["data"]["work"]
    failed = ASKED - case.delivered if case.status != "cancelled" else 0
    assert (task["status"], task["completed_count"], task["failed_count"], task["error_code"]) == (case.status, case.delivered, failed, case.error_code)
    assert len(work["images"] if work else []) == case.delivered
    for image in work["images"] if work else []:
        async with stage.http.get(image["url"]) as file:
            assert (file.status, file.content_type) == (200, "image/png")
    assert len(await stage.simulator("seen", task_id)) == case.attempts, "a workflow costs money each time"

    # the credits agree: with the person, with the hold, with the books
    resolved = ("captured" if case.delivered else "released", case.delivered)

    async def is_paid() -> bool:
        (hold,) = (await stage.rig.ask("billing", "/internal/holds/list", {"task_ids": [task_id]}))["holds"]
        return (hold["state"], hold["captured_amount"]) == resolved and await person.balance() == GRANTED - case.delivered

    await until(is_paid, f"{GRANTED - case.delivered} credits and a hold that is {resolved}")
    records = await records_of(person, task_id)
    assert sum(records) == -case.delivered, records

    async def is_sound() -> bool:
        return bool((await stage.rig.ask("billing", "/internal/audit", None, method="GET"))["sound"])

    await until(is_sound, "books that agree with themselves")

    # its end was told once, also after whatever came late
    told = [frame["type"] for frame in person.feed.stored if frame["task_id"] == task_id and frame["type"] in FRAMES.values()]
    assert told == [FRAMES[case.status]]


async def records_of(person: Person, task_id: str) -> list[int]:
    """What the person's own list says was taken and given back for a task."""
    _, body = await person.call("GET", "/api/credits/records?pageSize=100")
    return [int(one["amount"]) for one in body["data"]["records"] if one["related_id"] == task_id]


async def test_after_all_of_it_every_rule_holds(stage: Stage) -> None:
    assert len(stage.asked) == len(CASES)
    assert await check_when_settled(places_of(stage.rig.environment), accepted=[]) == []
