"""One journey per dialect, as a client of that dialect travels it, through the gateway: embedded on the memory bus, and on Kafka with six processes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from common.ids import new_id
from lab.dialects.rows import Ask
from lab.dialects.world import World, link_in, photo_data_url
from lab.invariants import check_when_settled, places_of
from lab.people import Person
from lab.rig import rig_running

SUITES = [pytest.param((), id="embedded"), pytest.param(("--kafka", "--separate"), id="kafka", marks=pytest.mark.kafka)]
EVENT_SECONDS = 60

Travel = Callable[..., Any]


@asynccontextmanager
async def world_on(folder: Path, *options: str) -> AsyncIterator[World]:
    async with rig_running(folder, *options) as rig, aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http:
        world = World(rig, http)
        await world.prepare()
        try:
            yield world
            assert await check_when_settled(places_of(rig.environment)) == []
        finally:
            await world.close()


async def pay(world: World, url: str) -> None:
    """Press the button on the sandbox's page."""
    async with world.http.get(url) as page:
        assert page.status == 200, await page.text()
        assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    async with world.http.post(url, data={"decision": "pay"}) as done:
        assert done.status == 200, await done.text()


async def until(is_so: Callable[[], Any], what: str) -> None:
    for _ in range(EVENT_SECONDS * 5):
        if await is_so():
            return
        await asyncio.sleep(0.2)
    raise AssertionError(f"{what} never came")


@pytest.mark.parametrize("options", SUITES)
async def test_a_mini_program_travels_the_photo_dialect(options: tuple[str, ...], tmp_path: Path) -> None:
    async with world_on(tmp_path, *options) as world:
        # who I am
        login = await world.ask("POST", "/api/auth/wechat/login", who="nobody", json={"code": f"c{new_id().hex}", "userInfo": {"nickname": "小明"}})
        token, user = login["data"]["token"], login["data"]["user"]
        assert (user["is_new_user"], user["credits"]) == (True, 10)
        me: dict[str, Any] = {"headers": {"Authorization": f"Bearer {token}"}, "who": "nobody"}
        shown = await world.ask("GET", "/api/auth/me", **me)
        assert shown["data"]["user"]["nickname"] == "小明"

        # a photo, four pictures, told live
        listener = Person(lambda: world.rig.url, name="listener")
        async with listener:
            listener.token, listener.user_id = token, user["user_id"]
            listener.listen()
            upload = await world.ask("POST", "/api/upload/base64", json={"base64": photo_data_url()}, **me)
            wish = {"type": "travel", "batch_count": 2, "images": [upload["data"]["fileUrl"]], "scene_id": "beach-sunset"}
            task = (await world.ask("POST", "/api/tasks/create", json=wish, **me))["data"]
            assert (task["status"], task["credits_deducted"]) == ("pending", 2)
            await listener.heard({task["task_id"]}, seconds=EVENT_SECONDS)
            frame = next(frame for frame in listener.feed.stored if frame["type"] == "task_complete")
            assert len(frame["result"]["images"]) == 2
            for image in frame["result"]["images"]:
                async with world.http.get(image["url"]) as file:
                    assert (file.status, file.content_type) == (200, "image/webp")

            async def is_listed() -> bool:
                works = await world.ask("GET", "/api/works", **me)
                return bool(works["data"]["pagination"]["total"] == 1)

            await until(is_listed, "the work")
            balance = await world.ask("GET", "/api/credits/balance", **me)
            assert balance["data"]["credits"] == 8

            # more credits
            order = (await world.ask("POST", "/api/credits/recharge", json={"package_id": "basic", "payment_method": "wechat"}, **me))["data"]
            await pay(world, order["payment_params"]["pay_url"])

            async def is_paid() -> bool:
                found = await world.ask("GET", f"/api/credits/orders/{order['order_no']}", **me)
                return bool(found["data"]["order"]["status"] == "paid")

            await until(is_paid, "the payment")
            balance = await world.ask("GET", "/api/credits/balance", **me)
            assert balance["data"]["credits"] == 108

            # too much, given up
            big = (await world.ask("POST", "/api/tasks/create", json={**wish, "batch_count": 50}, **me))["data"]
            cancelled = await world.ask("POST", f"/api/tasks/{big['task_id']}/cancel", **me)
            assert cancelled["success"]
            await listener.heard({big["task_id"]}, seconds=EVENT_SECONDS)

        # the operator edits a scene and this user
        scene_id = await world.scene()
        changed = await world.ask("PUT", f"/api/scenes/{scene_id}", who="admin", json={"description": "evening light"})
        assert changed["data"]["scene"]["description"] == "evening light"
        row = await world.ask(
            "PUT", f"/api/admin/users/{user['user_id']}", who="admin", json={"credits_adjustment": 7, "adjustment_reason": "sorry for the rain"}
        )
        assert row["data"]["user"]["nickname"] == "小明"
        await world.ask("PUT", f"/api/admin/users/{user['user_id']}", who="admin", json={"status": "disabled"})

        async def is_out() -> bool:
            status, _, headers = await world.send("GET", Ask(path="/api/credits/balance", headers=me["headers"]), who="nobody")
            return status == 401 and headers.get("x-error-code") == "20003"

        await until(is_out, "the end of the session")
        overview = (await world.ask("GET", "/api/admin/stats/overview", who="admin"))["data"]
        assert overview["users"]["total_users"] >= 3
        assert overview["orders"]["total_revenue"] == 9.9
        assert "missing" not in overview


@pytest.mark.parametrize("options", SUITES)
async def test_a_listener_travels_the_song_dialect(options: tuple[str, ...], tmp_path: Path) -> None:
    async with world_on(tmp_path, *options) as world:
        name = f"song{new_id().hex[-8:]}"
        address, password = f"{name}@people.example", "correct horse battery"
        user = await world.ask("POST", "/users", who="nobody", json={"username": name, "email": address, "password": password})
        assert (user["points"], user["isVIP"], user["emailVerified"]) == (180, True, False)
        me: dict[str, Any] = {"headers": {"Authorization": f"Bearer {user['sessionToken']}"}, "who": "nobody"}

        # the address is mine
        page, secret = link_in(await world.mail_to(address, words="验证"))
        async with world.http.get(page) as shown:
            assert shown.status == 200
        await world.ask("POST", "/v1/email-verifications", who="nobody", json={"token": secret})
        again = await world.ask("POST", "/login", who="nobody", json={"email": address, "password": password})
        assert again["emailVerified"] is True

        # a photo becomes a song
        work = await world.ask("POST", "/works", json={"title": "Sea", "image": photo_data_url(), "tags": ["sea"]}, **me)
        task = await world.ask("POST", "/music/tasks", json={"title": "Sea song", "tags": ["folk"], "workId": work["objectId"]}, **me)

        async def is_made() -> bool:
            return bool((await world.ask("GET", f"/music/tasks/{task['taskId']}", **me))["status"] == "SUCCESS")

        await until(is_made, "the song")
        made = await world.ask("GET", f"/music/tasks/{task['taskId']}", **me)
        async with world.http.get(made["audioUrl"]) as file:
            assert (file.status, file.content_type.split("/")[0]) == (200, "audio")
        history = await world.ask("GET", "/points/history", **me)
        assert history["results"][0]["amount"] == -100

        # more points, and a membership
        wish = {"packageId": "member-30d", "payment": {"method": "stripe", "amount": 5}}
        order = await world.ask("POST", "/points/purchase", json=wish, **me)
        await pay(world, order["payment"]["params"]["pay_url"])

        async def is_member() -> bool:
            found = await world.ask("POST", "/login", who="nobody", json={"email": address, "password": password})
            return bool(found["points"] == 80 + 2000 and found["isVIP"] and found["membershipEndDate"] > user["membershipEndDate"])

        await until(is_member, "the membership")
        assert "ORDER" in (await world.mail_to(address, words="付款"))

        # a new password; old tokens end
        assert await world.ask("POST", "/requestPasswordReset", who="nobody", json={"email": address}) == {}
        _, secret = link_in(await world.mail_to(address, words="密码"))
        await world.ask("POST", "/v1/password-resets", who="nobody", json={"token": secret, "password": "another battery"})
        status, _, _ = await world.send("POST", Ask(path="/login", json={"email": address, "password": password}), who="nobody")
        assert status == 401
        fresh = await world.ask("POST", "/login", who="nobody", json={"email": address, "password": "another battery"})
        assert fresh["objectId"] == user["objectId"]

        async def is_over() -> bool:
            status, _, _ = await world.send("GET", Ask(path="/points/history", headers=me["headers"]), who="nobody")
            return status == 401

        await until(is_over, "the end of the old session")
