"""People in the plights that refusals are about: disabled, in debt, with too much of something. Each is made when first needed."""

import base64
from collections.abc import Awaitable, Callable
from typing import Any

from common.ids import new_id
from lab.dialects.callers import HELD
from lab.dialects.rows import Ask
from lab.dialects.world import World, link_in, noise_bytes

PASSWORD = "correct horse battery"
CAPS = {
    "WORKS_STORAGE_BYTES_MAX": str(1024 * 1024),
    "GENERATION_WAITING_TASKS_PER_USER_MAX": "10",
    "GENERATION_WAITING_TASKS_PER_MEMBER_MAX": "10",
    "BILLING_PENDING_ORDERS_MAX": "10",
}
"""What a suite is told so that too much is soon reached."""
TRIES_MAX = 40

Headers = dict[str, str]


async def disabled(world: World) -> dict[str, str]:
    """The login of somebody who may no longer."""

    async def make() -> dict[str, str]:
        login = _login("gone")
        user = await world.ask("POST", "/users", who="nobody", json={"username": "gone", **login})
        await disable(world, user["objectId"])
        return login

    return dict(await world.once("disabled", make))


async def disable(world: World, user_id: str) -> None:
    await world.ask("PUT", f"/api/admin/users/{user_id}", who="admin", json={"status": "disabled"})


async def disabled_admin(world: World) -> dict[str, str]:
    """The login of an operator who may no longer."""

    async def make() -> dict[str, str]:
        login = {"username": f"former{new_id().hex[-8:]}", "password": PASSWORD}
        await world.rig.ask("identity", "/internal/admins", login)
        told = await world.ask("POST", "/api/auth/admin/login", who="nobody", json=login)
        await disable(world, told["data"]["admin"]["admin_id"])
        return login

    return dict(await world.once("disabled admin", make))


async def verified(world: World) -> dict[str, str]:
    """The login of somebody who followed the link in their mail."""

    async def make() -> dict[str, str]:
        login = _login("sure")
        await world.ask("POST", "/users", who="nobody", json={"username": "sure", **login})
        _, secret = link_in(await world.mail_to(login["email"]))
        await world.ask("POST", "/v1/email-verifications", who="nobody", json={"token": secret})
        return login

    return dict(await world.once("verified", make))


async def debtor(world: World) -> Headers:
    """Somebody who spent points and credits of payments that were given back."""

    async def make() -> Headers:
        user_id, headers = await world.newcomer()
        me: dict[str, Any] = {"who": "nobody", "headers": headers}
        points = await world.ask("POST", "/points/purchase", json={"packageId": "points-800", "payment": {"method": "stripe", "amount": 2}}, **me)
        credit = (await world.ask("POST", "/api/credits/recharge", json={"package_id": "basic", "payment_method": "wechat"}, **me))["data"]
        bought = ((points["orderNo"], points["payment"]["params"], "point", 900), (credit["order_no"], credit["payment_params"], "credit", 105))
        for order_no, params, asset, spent in bought:
            async with world.http.post(params["pay_url"], data={"decision": "pay"}) as answer:
                assert answer.status == 200, await answer.text()
            await world.rig.grant(user_id, -spent, asset=asset)
            await world.ask("POST", f"/v1/admin/orders/{order_no}/refund", who="admin", json={"reason": "asked for it"})
        return headers

    return dict(await world.once("debtor", make))


async def hoarder(world: World) -> Headers:
    """Somebody who keeps as much as they may."""

    async def make() -> Headers:
        _, headers = await world.newcomer()
        await _until_refused(world, "60004", lambda: Ask(path="/api/upload/single", form={"file": noise_bytes()}, headers=headers))
        return headers

    return dict(await world.once("hoarder", make))


async def shopper(world: World) -> Headers:
    """Somebody with as many open orders as one may have."""

    async def make() -> Headers:
        _, headers = await world.newcomer()
        wish = {"package_id": "basic", "payment_method": "wechat"}
        await _until_refused(world, "10004", lambda: Ask(path="/api/credits/recharge", json=wish, headers=headers))
        return headers

    return dict(await world.once("shopper", make))


async def crowd(world: World) -> tuple[Headers, Callable[[], Awaitable[None]]]:
    """Somebody with as many tasks waiting as one may have; and how to be rid of them, for nobody else's are begun meanwhile."""
    user_id, headers = await world.newcomer()
    await world.rig.grant(user_id, 100)
    wish = {"type": "travel", "images": [world.bob.photo_url], "parameters": HELD}
    made = await _until_refused(world, "50005", lambda: Ask(path="/api/tasks/create", json=wish, headers=headers))

    async def leave() -> None:
        for told in reversed(made):
            await world.ask("POST", f"/api/tasks/{told['data']['task_id']}/cancel", who="nobody", headers=headers)

    return headers, leave


async def _until_refused(world: World, code: str, ask: Callable[[], Ask]) -> list[Any]:
    """Ask again and again; what was answered before it was too much."""
    made: list[Any] = []
    for _ in range(TRIES_MAX):
        status, body, headers = await world.send("POST", ask(), who="nobody")
        if headers.get("x-error-code") == code:
            return made
        assert status < 300, body
        made.append(body)
    raise AssertionError(f"{TRIES_MAX} were not too many for {code}")


def noise_data_url() -> str:
    """A photo of nothing as a data URL."""
    return "data:image/jpeg;base64," + base64.b64encode(noise_bytes()).decode()


def _login(word: str) -> dict[str, str]:
    return {"email": f"{word}{new_id().hex[-8:]}@people.example", "password": PASSWORD}
