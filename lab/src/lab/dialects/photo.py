"""The photo dialect's rows: every path of the photo system's document and those its own clients call besides."""

from collections.abc import Mapping
from typing import Any

from common.ids import new_id
from lab.dialects.rows import Ask, Auth, MakeAsk, Refusal, Row, Who
from lab.dialects.shapes import HASH, ID, MOMENT, ORDER_NO, TOKEN, URL, WORD, Maybe, OneOf, Some
from lab.dialects.world import UNKNOWN, World, photo_bytes, photo_data_url

OK = {"success": True}
PAGE = {"page": int, "pageSize": int, "total": int, "totalPages": int}
KIND = OneOf(("fitting", "photography", "travel"))
ANY_KIND = OneOf(("fitting", "photography", "travel", "song"))
STATUS = OneOf(("pending", "processing", "completed", "failed", "cancelled"))
PICTURE = {"url": URL, "format": WORD, "batch_index": int, "width": Maybe(int), "height": Maybe(int)}
TASK = {
    "task_id": ID, "user_id": ID, "type": ANY_KIND, "status": STATUS, "progress": int, "batch_count": int, "scene_id": Maybe(str), "images": [URL],
    "parameters": dict, "custom_description": Maybe(str), "error": Maybe(str), "created_at": MOMENT,
}  # fmt: skip
WORK = {
    "work_id": ID, "user_id": ID, "type": ANY_KIND, "status": STATUS, "images": [PICTURE], "ai_description": str, "tags": [str],
    "is_favorite": bool, "is_public": bool, "created_at": MOMENT,
}  # fmt: skip
SCENE = {
    "scene_id": WORD, "scene_name": WORD, "category": OneOf(("indoor", "outdoor", "studio")), "description": str, "prompt_template": str,
    "cover_image": str, "parameters": dict, "tags": [str], "status": OneOf(("active", "inactive")), "display_order": int,
}  # fmt: skip
FILE = {"file_name": WORD, "file_url": URL, "file_path": WORD, "file_size": int, "mime_type": WORD, "file_hash": HASH}
CAMEL_FILE = {"fileName": WORD, "filePath": WORD, "fileUrl": URL, "fileSize": int, "mimeType": WORD, "file_hash": HASH}
RECORD = {
    "record_id": ID, "type": OneOf(("consume", "refund", "recharge", "gift", "adjust", "expire")), "amount": int, "balance_after": int,
    "related_id": Maybe(str), "description": str, "created_at": MOMENT,
}  # fmt: skip
PACKAGE = {"package_id": WORD, "name": WORD, "credits": int, "price": float}
ORDER = {"order_no": ORDER_NO, "status": OneOf(("pending", "paid", "cancelled", "expired", "refunded")), "amount": float, "credits": int, "created_at": MOMENT}
QUEUE = {"waiting": int, "active": int, "completed": int, "failed": int, "delayed": int, "total": int}
USER_ROW = {"user_id": ID, "openid": str, "nickname": str, "avatar_url": Maybe(str), "role": WORD, "status": WORD, "created_at": MOMENT}


def data(**shape: Any) -> dict[str, Any]:
    """A success with data."""
    return {**OK, "data": shape}


def at(path: str, *, who: Who | None = None, **more: Any) -> MakeAsk:
    """A request that needs nothing made before."""

    async def make(_world: World) -> Ask:
        return Ask(path=path, who=who, **more)

    return make


def bad(path: str, why: str, json: Any, *, status: int = 400, code: int = 10001) -> Refusal:
    """A body that is refused."""
    return Refusal(status, code, why, at(path, json=json))


def row(
    method: str, path: str, auth: Auth, about: str, shape: Any, ask: MakeAsk, *refusals: Refusal, status: int = 200, takes: Mapping[str, str] | None = None
) -> Row:
    return Row(dialect="photo", method=method, path=path, auth=auth, about=about, ask=ask, shape=shape, status=status, takes=takes, refusals=refusals)


async def _create(world: World) -> Ask:
    return Ask(path="/api/tasks/create", json=await _wish(world))


async def _wish(world: World, **more: Any) -> dict[str, Any]:
    return {"type": "travel", "batch_count": 1, "images": [world.alice.photo_url], "scene_id": "beach-sunset", **more}


async def _create_zero(world: World) -> Ask:
    return Ask(path="/api/tasks/create", json=await _wish(world, batch_count=0))


async def _create_unknown_scene(world: World) -> Ask:
    return Ask(path="/api/tasks/create", json=await _wish(world, scene_id="no-such-scene"))


async def _create_without_credits(world: World) -> Ask:
    """Bob's balance is spent by nobody: a person without credits asks for fifty."""

    async def poor() -> str:
        name = f"poor{new_id().hex[-8:]}"
        user = await world.ask("POST", "/users", who="nobody", json={"username": name, "email": f"{name}@people.example", "password": "correct horse"})
        return str(user["sessionToken"])

    token = await world.once("poor", poor)
    return Ask(path="/api/tasks/create", json=await _wish(world, batch_count=50, images=[photo_data_url()]), headers={"Authorization": f"Bearer {token}"})


async def _task(world: World) -> Ask:
    return Ask(path=f"/api/tasks/{await world.task()}")


async def _bobs_task(world: World) -> Ask:
    return Ask(path=f"/api/tasks/{await world.task('bob')}")


async def _cancel(world: World) -> Ask:
    return Ask(path=f"/api/tasks/{await world.fresh_task()}/cancel")


async def _cancel_ended(world: World) -> Ask:
    return Ask(path=f"/api/tasks/{await world.task()}/cancel")


async def _cancel_bobs(world: World) -> Ask:
    return Ask(path=f"/api/tasks/{await world.task('bob')}/cancel")


async def _work(world: World) -> Ask:
    return Ask(path=f"/api/works/{await world.work()}")


async def _bobs_work(world: World) -> Ask:
    return Ask(path=f"/api/works/{await world.work('bob')}")


async def _change_work(world: World) -> Ask:
    return Ask(path=f"/api/works/{await world.work()}", json={"is_favorite": True, "tags": ["sea"]})


async def _change_work_badly(world: World) -> Ask:
    return Ask(path=f"/api/works/{await world.work()}", json={"is_favorite": "perhaps"})


async def _change_bobs_work(world: World) -> Ask:
    return Ask(path=f"/api/works/{await world.work('bob')}", json={"is_favorite": True})


async def _delete_work(world: World) -> Ask:
    return Ask(path=f"/api/works/{await world.spare_work()}")


async def _batch_delete(world: World) -> Ask:
    return Ask(path="/api/works/batch/delete", json={"work_ids": [await world.spare_work()]})


async def _batch_delete_bobs(world: World) -> Ask:
    return Ask(path="/api/works/batch/delete", json={"work_ids": [await world.work(), await world.work("bob")]})


async def _uploaded(world: World) -> Ask:
    told = await world.ask("POST", "/api/upload/single", form={"file": _other_photo()})
    return Ask(path=f"/api/upload/{told['data']['file_name']}")


async def _bobs_upload(world: World) -> Ask:
    told = await world.ask("POST", "/api/upload/single", who="bob", form={"file": _other_photo()})
    return Ask(path=f"/api/upload/{told['data']['file_name']}")


def _other_photo() -> bytes:
    """A photo with other bytes each time."""
    import io

    from PIL import Image

    stored = io.BytesIO()
    Image.new("RGB", (64, 64), tuple(new_id().bytes[-3:])).save(stored, "JPEG")
    return stored.getvalue()


async def _new_scene(_world: World) -> Ask:
    return Ask(path="/api/scenes", json={"scene_name": f"Attic {new_id().hex[-6:]}", "category": "indoor", "prompt_template": "an attic"})


async def _change_scene(world: World) -> Ask:
    return Ask(path=f"/api/scenes/{await world.scene()}", json={"description": "dust in the evening light"})


async def _delete_scene(world: World) -> Ask:
    return Ask(path=f"/api/scenes/{await world.scene()}")


async def _order(world: World) -> Ask:
    return Ask(path=f"/api/credits/orders/{await world.order()}")


async def _bobs_order(world: World) -> Ask:
    return Ask(path=f"/api/credits/orders/{await world.order('bob')}")


async def _change_user(world: World) -> Ask:
    return Ask(path=f"/api/admin/users/{world.bob.user_id}", json={"credits_adjustment": 5, "adjustment_reason": "a present"})


async def _change_user_badly(world: World) -> Ask:
    return Ask(path=f"/api/admin/users/{world.bob.user_id}", json={"role": "emperor"})


async def _admin_deletes(world: World) -> Ask:
    return Ask(path=f"/api/admin/works/{await world.spare_work('bob')}")


async def _wechat(_world: World) -> Ask:
    return Ask(path="/api/auth/wechat/login", json={"code": f"code-{new_id().hex}", "userInfo": {"nickname": "Ada", "avatar_url": "https://example.com/a.png"}})


PHOTO: tuple[Row, ...] = (
    # who you are
    row(
        "POST",
        "/api/auth/wechat/login",
        "none",
        "Log in with a mini-program's code; the first time makes the account",
        data(token=TOKEN, user={"user_id": ID, "nickname": str, "avatar_url": Maybe(str), "credits": int, "role": "user", "is_new_user": bool}),
        _wechat,
        bad("/api/auth/wechat/login", "no code", {}),
        bad("/api/auth/wechat/login", "an empty code", {"code": ""}),
        takes={"code": "text", "userInfo?": "{nickname, avatar_url}"},
    ),
    row(
        "GET",
        "/api/auth/me",
        "user",
        "Who asks, with their credits",
        data(user={"user_id": ID, "openid": str, "nickname": str, "avatar_url": Maybe(str), "role": WORD, "credits": int}),
        at("/api/auth/me"),
    ),
    row(
        "POST",
        "/api/auth/admin/login",
        "none",
        "An admin's token, good for 24 hours",
        None,
        at("/api/auth/admin/login", json={"username": "nobody-here", "password": "not the one"}),
        bad("/api/auth/admin/login", "a name of two letters", {"username": "ad", "password": "long enough"}),
        bad("/api/auth/admin/login", "unknown name or wrong password", {"username": "nobody-here", "password": "not the one"}, status=401, code=20001),
        takes={"username": "text, 3 to 50", "password": "text, at least 6"},
    ),
    row("POST", "/api/auth/refresh", "user", "A fresh token for a valid one", data(token=TOKEN), at("/api/auth/refresh")),
    # works
    row(
        "GET",
        "/api/works",
        "optional",
        "My works; without a token the public ones",
        data(works=[WORK], pagination=PAGE),
        at("/api/works?type=&status=&page=1&pageSize=5"),
        Refusal(400, 10001, "a page below 1", at("/api/works?page=0")),
        takes={
            "type?": "fitting, photography, travel",
            "status?": "completed",
            "is_public?": "true or false",
            "is_favorite?": "true or false",
            "page?": "number",
            "pageSize?": "1 to 100",
        },
    ),
    row(
        "GET",
        "/api/works/:work_id",
        "optional",
        "One work",
        data(work=WORK),
        _work,
        Refusal(404, 30000, "unknown", at(f"/api/works/{UNKNOWN}")),
        Refusal(404, 30000, "another's private work", _bobs_work),
    ),
    row(
        "PUT",
        "/api/works/:work_id",
        "user",
        "Change a work's marks",
        data(work=WORK),
        _change_work,
        Refusal(404, 30000, "unknown", at(f"/api/works/{UNKNOWN}", json={"is_favorite": True})),
        Refusal(404, 30000, "another's work", _change_bobs_work),
        Refusal(400, 10001, "a mark that is neither true nor false", _change_work_badly),
        takes={"is_favorite?": "true or false", "is_public?": "true or false", "tags?": "[text]"},
    ),
    row(
        "DELETE",
        "/api/works/:work_id",
        "user",
        "Delete a work",
        {**OK, "message": WORD},
        _delete_work,
        Refusal(404, 30000, "unknown", at(f"/api/works/{UNKNOWN}")),
        Refusal(404, 30000, "another's work", _bobs_work),
    ),
    row(
        "POST",
        "/api/works/batch/delete",
        "user",
        "Delete several works, all or none",
        {**OK, "message": WORD},
        _batch_delete,
        Refusal(403, 10003, "one of them is another's: nothing is deleted", _batch_delete_bobs),
        bad("/api/works/batch/delete", "no list", {}),
        takes={"work_ids": "[id]"},
    ),
    # tasks
    row(
        "POST",
        "/api/tasks/create",
        "user",
        "Ask for pictures",
        data(task_id=ID, type=KIND, batch_count=int, status="pending", credits_deducted=int),
        _create,
        Refusal(400, 10001, "a batch of none", _create_zero),
        Refusal(404, 70000, "a scene that does not exist", _create_unknown_scene),
        Refusal(400, 40000, "fewer credits than it costs", _create_without_credits, data={"required": int, "current": int, "shortage": int}),
        bad("/api/tasks/create", "no pictures", {"type": "travel", "images": []}),
        bad("/api/tasks/create", "an unknown type", {"type": "sculpture", "images": ["x"]}),
        takes={
            "type": "fitting, photography, travel",
            "batch_count?": "1 to 50",
            "images": "[link to an upload, or data URL]",
            "scene_id?": "text",
            "parameters?": "object",
            "custom_description?": "text, at most 500",
            "destination?": "{name, country, prompt}",
        },
    ),
    row(
        "GET",
        "/api/tasks/:task_id",
        "user",
        "A task, and its work once there is one",
        data(task=TASK, work=Maybe(WORK)),
        _task,
        Refusal(404, 50000, "unknown", at(f"/api/tasks/{UNKNOWN}")),
        Refusal(404, 50000, "another's task", _bobs_task),
    ),
    row(
        "GET",
        "/api/tasks/user/list",
        "user",
        "My tasks",
        data(tasks=[TASK], pagination=PAGE),
        at("/api/tasks/user/list?type=&status="),
        takes={"type?": "kind", "status?": "status"},
    ),
    row(
        "POST",
        "/api/tasks/:task_id/cancel",
        "user",
        "Stop a task; what was not delivered costs nothing",
        {**OK, "message": WORD},
        _cancel,
        Refusal(409, 50001, "it has ended", _cancel_ended),
        Refusal(404, 50000, "another's task", _cancel_bobs),
        Refusal(404, 50000, "unknown", at(f"/api/tasks/{UNKNOWN}/cancel")),
    ),
    row("GET", "/api/tasks/stats/queue", "user", "How long the queues are", data(fitting=QUEUE, photography=QUEUE, travel=QUEUE), at("/api/tasks/stats/queue")),
    # scenes
    row(
        "GET",
        "/api/scenes",
        "optional",
        "The scenes",
        data(scenes=Some(SCENE), pagination=PAGE),
        at("/api/scenes?category=outdoor"),
        takes={"category?": "indoor, outdoor, studio", "status?": "active", "keyword?": "text"},
    ),
    row(
        "GET",
        "/api/scenes/:scene_id",
        "optional",
        "One scene",
        data(scene=SCENE),
        at("/api/scenes/paris-street"),
        Refusal(404, 70000, "unknown", at("/api/scenes/no-such-scene")),
    ),
    row(
        "GET",
        "/api/scenes/meta/categories",
        "optional",
        "How many scenes each category has",
        data(categories=Some({"category": WORD, "count": int})),
        at("/api/scenes/meta/categories"),
    ),
    row(
        "POST",
        "/api/scenes",
        "admin",
        "Make a scene",
        data(scene=SCENE),
        _new_scene,
        bad("/api/scenes", "no name", {"category": "indoor"}),
        bad("/api/scenes", "an unknown category", {"scene_name": "x", "category": "moon"}),
        takes={
            "scene_name": "text",
            "category": "indoor, outdoor, studio",
            "description?": "text",
            "prompt_template?": "text",
            "cover_image?": "text",
            "parameters?": "object",
            "tags?": "[text]",
            "status?": "active, inactive",
            "display_order?": "number",
        },
    ),
    row(
        "PUT",
        "/api/scenes/:scene_id",
        "admin",
        "Change a scene",
        data(scene=SCENE),
        _change_scene,
        Refusal(404, 70000, "unknown", at("/api/scenes/no-such-scene", json={"description": "x"})),
        takes={"...": "as on creation, each optional"},
    ),
    row(
        "DELETE",
        "/api/scenes/:scene_id",
        "admin",
        "Delete a scene",
        {**OK, "message": WORD},
        _delete_scene,
        Refusal(404, 70000, "unknown", at("/api/scenes/no-such-scene")),
    ),
    # files
    row(
        "POST",
        "/api/upload/single",
        "user",
        "Upload one picture",
        data(**FILE),
        at("/api/upload/single", form={"file": photo_bytes()}),
        Refusal(415, 60002, "not a picture", at("/api/upload/single", form={"file": b"<html>hello</html>"})),
        Refusal(400, 10001, "no file", at("/api/upload/single", form={"other": "x"})),
    ),
    row(
        "POST",
        "/api/upload/multiple",
        "user",
        "Upload up to fifty pictures",
        data(files=Some(FILE)),
        at("/api/upload/multiple", form={"files": [photo_bytes(), photo_bytes()]}),
        Refusal(400, 10001, "no files", at("/api/upload/multiple", form={"other": "x"})),
    ),
    row(
        "POST",
        "/api/upload/base64",
        "user",
        "Upload one picture as base64",
        data(**CAMEL_FILE),
        at("/api/upload/base64", json={"base64": photo_data_url()}),
        bad("/api/upload/base64", "a page", {"base64": "data:text/html;base64,PGI+"}),
        bad("/api/upload/base64", "not base64", {"base64": "data:image/png;base64,*"}),
        bad("/api/upload/base64", "nothing", {}),
        takes={"base64": "data URL or base64", "subDir?": "text"},
    ),
    row(
        "POST",
        "/api/upload/base64/batch",
        "user",
        "Upload several pictures as base64",
        data(files=[CAMEL_FILE], summary={"total": 2, "success": 2, "failed": 0}),
        at("/api/upload/base64/batch", json={"images": [photo_data_url(), photo_data_url()]}),
        bad("/api/upload/base64/batch", "no pictures", {"images": []}),
        takes={"images": "[data URL or base64]", "subDir?": "text"},
    ),
    row(
        "DELETE",
        "/api/upload/:fileName",
        "user",
        "Delete an upload of mine",
        {**OK, "message": WORD},
        _uploaded,
        Refusal(404, 60000, "unknown", at("/api/upload/nothing.jpg")),
        Refusal(404, 60000, "another's", _bobs_upload),
    ),
    # credits
    row("GET", "/api/credits/balance", "user", "What I have", data(credits=int, total_credits=int, total_consumed_credits=int), at("/api/credits/balance")),
    row(
        "GET",
        "/api/credits/records",
        "user",
        "What changed it",
        data(records=[RECORD], pagination=PAGE),
        at("/api/credits/records?type=&startDate=&endDate="),
        Refusal(400, 10001, "a date that is none", at("/api/credits/records?startDate=soon")),
        takes={"type?": "consume, refund, recharge, gift", "startDate?": "date", "endDate?": "date"},
    ),
    row(
        "GET",
        "/api/credits/stats",
        "user",
        "Sums of my credits",
        data(current_balance=int, total_recharged=int, total_consumed=int, recharge_count=int, consume_count=int),
        at("/api/credits/stats"),
    ),
    row("GET", "/api/credits/packages", "none", "What can be bought", data(packages=Some(PACKAGE)), at("/api/credits/packages")),
    row(
        "POST",
        "/api/credits/recharge",
        "user",
        "Order credits",
        data(order_no=ORDER_NO, amount=float, credits=int, payment_method=OneOf(("wechat", "alipay")), payment_params=dict),
        at("/api/credits/recharge", json={"package_id": "basic", "payment_method": "wechat"}),
        bad("/api/credits/recharge", "an unknown way to pay", {"package_id": "basic", "payment_method": "shells"}),
        bad("/api/credits/recharge", "an unknown package", {"package_id": "no-such-package", "payment_method": "wechat"}, status=402, code=40001),
        takes={"package_id": "text", "payment_method": "wechat, alipay"},
    ),
    row(
        "GET",
        "/api/credits/orders",
        "user",
        "My orders",
        data(orders=[ORDER], pagination=PAGE),
        at("/api/credits/orders?status="),
        takes={"status?": "pending, paid, ..."},
    ),
    row(
        "GET",
        "/api/credits/orders/:order_no",
        "user",
        "One order",
        data(order=ORDER),
        _order,
        Refusal(404, 10008, "unknown", at("/api/credits/orders/ORDER1700000000000ABCDEF")),
        Refusal(404, 10008, "another's", _bobs_order),
    ),
    row(
        "POST",
        "/api/credits/payment/callback",
        "callback",
        "The payment provider's notice; only a signed one counts",
        None,
        at("/api/credits/payment/callback", json={"order_no": "ORDER1700000000000ABCDEF"}),
        Refusal(401, 10002, "unsigned", at("/api/credits/payment/callback", json={"order_no": "ORDER1700000000000ABCDEF"})),
        takes={"order_no": "text, with the provider's signature in the headers"},
    ),
    # operators
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
        takes={"keyword?": "text", "role?": "user, admin", "status?": "active, disabled", "user_id?": "id"},
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
        takes={"role?": "user, admin", "status?": "active, disabled", "credits_adjustment?": "number", "adjustment_reason?": "text"},
    ),
    row(
        "GET",
        "/api/admin/works",
        "admin",
        "Everybody's works",
        data(works=[{**WORK, "nickname": str, "avatar_url": Maybe(str)}], pagination=PAGE),
        at("/api/admin/works?type=&status=&user_id="),
        takes={"type?": "kind", "status?": "status", "user_id?": "id"},
    ),
    row(
        "DELETE",
        "/api/admin/works/:work_id",
        "admin",
        "Delete anybody's work",
        {**OK, "message": WORD},
        _admin_deletes,
        Refusal(404, 30000, "unknown", at(f"/api/admin/works/{UNKNOWN}")),
    ),
    row(
        "GET",
        "/api/admin/tasks",
        "admin",
        "Everybody's tasks",
        data(tasks=[{**TASK, "nickname": str}], pagination=PAGE),
        at("/api/admin/tasks?type=&status=&user_id="),
        takes={"type?": "kind", "status?": "status", "user_id?": "id"},
    ),
    row(
        "GET",
        "/api/admin/orders",
        "admin",
        "Everybody's orders",
        data(orders=[{**ORDER, "nickname": str}], pagination=PAGE),
        at("/api/admin/orders?status=&user_id="),
        takes={"status?": "status", "user_id?": "id"},
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
        {**OK, "message": WORD},
        at("/api/admin/config/site_name", json={"config_value": "Darkroom"}),
        Refusal(404, 70001, "unknown", at("/api/admin/config/no_such_key", json={"config_value": 1})),
        Refusal(400, 10001, "not of its type", at("/api/admin/config/default_credits", json={"config_value": "many"})),
        takes={"config_value": "anything of the key's type"},
    ),
    # the machine room
    row("GET", "/health", "none", "Whether all is well", {"status": OneOf(("healthy", "degraded")), "timestamp": WORD, "uptime": float}, at("/health")),
    row("GET", "/api/health", "none", "The same", {"status": OneOf(("healthy", "degraded")), "timestamp": WORD, "uptime": float}, at("/api/health")),
    row(
        "POST",
        "/api/callback/task-complete",
        "callback",
        "A workflow is done; only a signed call counts",
        None,
        at("/api/callback/task-complete", json={"task_id": UNKNOWN, "images": []}),
        Refusal(401, 10002, "unsigned", at("/api/callback/task-complete", json={"task_id": UNKNOWN, "images": []})),
        takes={"task_id": "id", "images": "[{url, format, batch_index, width?, height?}]", "ai_description": "text"},
    ),
    row(
        "POST",
        "/api/callback/task-failed",
        "callback",
        "A workflow failed; only a signed call counts",
        None,
        at("/api/callback/task-failed", json={"task_id": UNKNOWN, "error": "x"}),
        Refusal(401, 10002, "unsigned", at("/api/callback/task-failed", json={"task_id": UNKNOWN, "error": "x"})),
        takes={"task_id": "id", "error": "text"},
    ),
)
