"""Many at once over the whole suite: one credit buys one task, one key names one task."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from common.ids import new_id
from lab.invariants import check_when_settled, places_of
from lab.people import Person
from lab.rig import Rig, rig_running

ROUNDS = 50
SIGN_UP_CREDITS = 10


@pytest.fixture(scope="module")
async def rig(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    folder: Path = tmp_path_factory.mktemp("races")
    async with rig_running(folder, "--provider", "instant", env={"DARKROOM_LOG_LEVEL": "warning"}) as running:
        yield running


@pytest.fixture(scope="module")
async def person(rig: Rig) -> AsyncIterator[Person]:
    async with Person(lambda: rig.url) as somebody:
        await somebody.sign_up()
        await somebody.upload()
        somebody.listen()
        yield somebody


async def settle_at(rig: Rig, person: Person, credits: int) -> None:
    """Nothing under way, and exactly so many credits available."""
    async with asyncio.timeout(60):
        while True:
            answer = await rig.ask("billing", "/internal/balances", {"user_ids": [person.user_id]})
            account = answer["balances"][0]["credit"]
            if account["held"] == 0:
                break
            await asyncio.sleep(0.05)
    if account["available"] != credits:
        await rig.grant(person.user_id, credits - account["available"])


async def test_one_credit_buys_one_task_however_many_ask_at_once(rig: Rig, person: Person) -> None:
    for _ in range(ROUNDS):
        await settle_at(rig, person, 1)
        answers = await asyncio.gather(*(person.create(patient=False) for _ in range(50)))
        accepted = [body for status, body in answers if status == 200]
        refused = [body for status, body in answers if status == 400]
        assert (len(accepted), len(refused)) == (1, 49), {status for status, _ in answers}
        for body in refused:
            assert body["success"] is False
            assert body["data"]["required"] == 1
            assert body["data"]["shortage"] == 1 - body["data"]["current"]
    assert await check_when_settled(places_of(rig.environment)) == []


async def test_one_key_a_hundred_times_at_once_is_one_task_and_one_hold(rig: Rig, person: Person) -> None:
    await settle_at(rig, person, 50)
    before = len(person.feed.stored)
    key = str(new_id())
    answers = await asyncio.gather(*(person.create(key=key, count=2) for _ in range(100)))
    assert {status for status, _ in answers} == {200}
    tasks = {body["data"]["task_id"] for _, body in answers}
    assert len(tasks) == 1
    await person.heard(tasks, seconds=60)
    await settle_at(rig, person, 48)
    assert await person.balance() == 48
    status, body = await person.create(key=key, count=3)
    assert status == 422
    assert body["success"] is False
    status, body = await person.create(key=key, count=2)
    assert (status, body["data"]["task_id"]) == (200, tasks.pop())
    assert await person.balance() == 48
    ends = [frame for frame in person.feed.stored[before:] if frame["type"] == "task_complete"]
    assert len(ends) == 1
    assert await check_when_settled(places_of(rig.environment)) == []
