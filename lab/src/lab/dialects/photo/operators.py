"""The photo dialect: what operators see and do."""

from lab.dialects.photo.words import OK, ORDER, PAGE, TASK, USER_ROW, WORK, data, row
from lab.dialects.rows import Ask, Refusal, Row, at
from lab.dialects.shapes import SENTENCE, WORD, Maybe, Some
from lab.dialects.world import UNKNOWN, World


async def _change_user(world: World) -> Ask:
    return Ask(path=f"/api/admin/users/{world.bob.user_id}", json={"credits_adjustment": 5, "adjustment_reason": "a present"})


async def _change_user_badly(world: World) -> Ask:
    return Ask(path=f"/api/admin/users/{world.bob.user_id}", json={"role": "emperor"})


async def _adjust_without_reason(world: World) -> Ask:
    return Ask(path=f"/api/admin/users/{world.bob.user_id}", json={"credits_adjustment": 5})


async def _adjust_too_much(world: World) -> Ask:
    return Ask(path=f"/api/admin/users/{world.bob.user_id}", json={"credits_adjustment": -900_000, "adjustment_reason": "all of it"})


async def _resign(world: World) -> Ask:
    me = await world.ask("GET", "/api/auth/me", who="admin")
    return Ask(path=f"/api/admin/users/{me['data']['user']['user_id']}", json={"role": "user"})


async def _works(world: World) -> Ask:
    await world.work()
    return Ask(path="/api/admin/works?type=&status=&user_id=")


async def _tasks(world: World) -> Ask:
    await world.task()
    return Ask(path="/api/admin/tasks?type=&status=&user_id=")


async def _orders(world: World) -> Ask:
    await world.order()
    return Ask(path="/api/admin/orders?status=&user_id=")


async def _admin_deletes_growing(world: World) -> Ask:
    return Ask(path=f"/api/admin/works/{await world.growing_work()}")


async def _admin_deletes(world: World) -> Ask:
    return Ask(path=f"/api/admin/works/{await world.spare_work('bob')}")


OPERATORS: tuple[Row, ...] = (
    row(
        "GET",
        "/api/admin/stats/overview",
        "admin",
        "The whole in numbers",
        data(
            users={"total_users": int, "today_new_users": int, "active_users": int},
            works={"total_works": int, "today_works": int, "completed_works": int, "failed_works": int},
            tasks={"total_tasks": int, "pending_tasks": int, "processing_tasks": int, "completed_tasks": int, "failed_tasks": int},
            orders={"total_orders": int, "total_revenue": float, "today_revenue": float},
            credits={"total_credits": int, "total_recharged": int, "total_consumed": int},
        ),
        at("/api/admin/stats/overview"),
    ),
    row(
        "GET",
        "/api/admin/users",
        "admin",
        "Everybody",
        data(users=Some(USER_ROW), pagination=PAGE),
        at("/api/admin/users?role=&status=&keyword="),
        Refusal(400, 10001, "an unknown role", at("/api/admin/users?role=emperor")),
        Refusal(400, 10001, "a page below 1", at("/api/admin/users?page=0")),
        takes={"keyword?": "text", "role?": "user, admin", "status?": "active, disabled", "user_id?": "id", "page?": "number", "pageSize?": "1 to 100"},
    ),
    row(
        "PUT",
        "/api/admin/users/:user_id",
        "admin",
        "Change a user",
        data(user=USER_ROW),
        _change_user,
        Refusal(404, 20000, "unknown", at(f"/api/admin/users/{UNKNOWN}", json={"status": "active"})),
        Refusal(400, 10001, "an unknown role", _change_user_badly),
        Refusal(400, 10001, "an adjustment without a reason", _adjust_without_reason),
        Refusal(400, 10001, "more is taken than there is", _adjust_too_much),
        Refusal(409, 10005, "an admin's own role or account", _resign),
        takes={"role?": "user, admin", "status?": "active, disabled", "credits_adjustment?": "number", "adjustment_reason?": "text"},
    ),
    row(
        "GET",
        "/api/admin/works",
        "admin",
        "Everybody's works",
        data(works=Some({**WORK, "nickname": str, "avatar_url": Maybe(str)}), pagination=PAGE),
        _works,
        Refusal(400, 10001, "an unknown type", at("/api/admin/works?type=sculpture")),
        takes={"type?": "kind", "status?": "status", "user_id?": "id", "page?": "number", "pageSize?": "1 to 100"},
    ),
    row(
        "DELETE",
        "/api/admin/works/:work_id",
        "admin",
        "Delete anybody's work",
        {**OK, "message": SENTENCE},
        _admin_deletes,
        Refusal(404, 30000, "unknown", at(f"/api/admin/works/{UNKNOWN}")),
        Refusal(409, 30003, "its task still runs", _admin_deletes_growing),
        takes={"reason? (query)": "text"},
    ),
    row(
        "GET",
        "/api/admin/tasks",
        "admin",
        "Everybody's tasks",
        data(tasks=Some({**TASK, "nickname": str}), pagination=PAGE),
        _tasks,
        Refusal(400, 10001, "an unknown status", at("/api/admin/tasks?status=done")),
        takes={"type?": "kind", "status?": "status", "user_id?": "id", "page?": "number", "pageSize?": "1 to 100"},
    ),
    row(
        "GET",
        "/api/admin/orders",
        "admin",
        "Everybody's orders",
        data(orders=Some({**ORDER, "nickname": str}), pagination=PAGE),
        _orders,
        Refusal(400, 10001, "an unknown status", at("/api/admin/orders?status=gone")),
        takes={"status?": "status", "user_id?": "id", "page?": "number", "pageSize?": "1 to 100"},
    ),
    row(
        "GET",
        "/api/admin/config",
        "admin",
        "What can be set",
        data(configs=dict, raw=Some({"config_key": WORD, "config_value": object, "description": str})),
        at("/api/admin/config"),
    ),
    row(
        "PUT",
        "/api/admin/config/:config_key",
        "admin",
        "Set it",
        {**OK, "message": SENTENCE},
        at("/api/admin/config/site_name", json={"config_value": "Darkroom"}),
        Refusal(404, 70001, "unknown", at("/api/admin/config/no_such_key", json={"config_value": 1})),
        Refusal(400, 10001, "not of its type", at("/api/admin/config/default_credits", json={"config_value": "many"})),
        Refusal(400, 10001, "no value", at("/api/admin/config/default_credits", json={})),
        takes={"config_value": "anything of the key's type"},
    ),
)
