"""How each public route is used well: a good body with every field, things of one's own to name in its path, a query it cannot do without.

A route that is not here is one the onslaught cannot aim at, and a test says so.
"""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from lab.hostile import pictures
from lab.hostile.targets import UNKNOWN, Found

Who = Literal["thief", "operator", "stray"]
"""Who sends: a user, an operator whose program is broken, or somebody who may be logged out."""

WORKFLOWS_SECRET = "what-workflows-of-this-test-share-with-us"


@dataclass(frozen=True, slots=True)
class Cast:
    """Names of people and things in one run."""

    victim_name: str = "v"
    photo_url: str = "p"
    thief_id: str = UNKNOWN
    pawn_id: str = UNKNOWN
    """Whom operators may change as they like."""
    work_id: str = UNKNOWN
    order_no: str = UNKNOWN
    scene_id: str = UNKNOWN
    intent_id: str = UNKNOWN
    upload_query: str = "size=1&exp=1&sig=x"
    """What a link to put a file says; not of the upload that `UNKNOWN` names."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """One route, used well."""

    body: Mapping[str, Any] | None = None
    """Every field of its model, so that each can be made wrong."""
    params: Mapping[str, str] = field(default_factory=dict)
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    who: Who | None = None

    def asker(self, found: Found) -> Who:
        return self.who or ("operator" if found.route.auth == "admin" else "thief")


_NOTHING_TO_SAY = """
GET /api/auth/me | POST /api/auth/refresh | GET /.well-known/jwks.json | GET /api/admin/users | GET /v1/sessions | DELETE /v1/sessions/{session_id}
| GET /v1/admin-invitations | GET /v1/admin-invitations/page.js | GET /v1/admin-invitations/page.css
| GET /v1/password-resets | GET /v1/password-resets/page.js | GET /v1/password-resets/page.css
| GET /v1/email-verifications | GET /v1/email-verifications/page.js | GET /v1/email-verifications/page.css
| DELETE /api/works/{work_id} | GET /api/admin/works | DELETE /api/admin/works/{work_id} | GET /v1/gallery | POST /v1/works/{work_id}/plays
| PUT /v1/works/{work_id}/like | DELETE /v1/works/{work_id}/like | GET /api/works | GET /api/works/{work_id} | GET /works | GET /works/{work_id}
| DELETE /api/upload/{file_name} | POST /v1/uploads/{upload_id}/complete | GET /files/{key:.+}
| DELETE /api/scenes/{scene_id} | GET /api/scenes/meta/categories | GET /api/admin/tasks | GET /api/tasks/user/list | GET /api/tasks/stats/queue
| GET /api/tasks/{task_id} | POST /api/tasks/{task_id}/cancel | GET /api/scenes | GET /api/scenes/{scene_id} | GET /music/tasks/{taskId}
| GET /api/credits/balance | GET /api/credits/records | GET /api/credits/stats | GET /api/credits/packages | GET /v1/packages | GET /api/credits/orders
| GET /api/credits/orders/{order_no} | POST /api/credits/payment/callback | GET /points/history | GET /api/admin/orders
| POST /v1/admin/orders/alerts/{alert_id}/close | GET /v1/sandbox/pay.css
| GET /ws | GET /v1/admin/notices/{notice_id}
| GET /health | GET /api/health | GET /api/admin/stats/overview | GET /api/admin/config
"""


def lessons(cast: Cast) -> dict[str, Lesson]:
    """One for each route, by its method and path."""
    picture = f"data:image/png;base64,{b64encode(pictures.png()).decode()}"
    password = "correct horse battery"
    scene = {
        "scene_name": "x", "category": "indoor", "description": "d", "prompt_template": "p", "cover_image": "", "parameters": {"a": 1}, "tags": ["a"],
        "status": "inactive", "display_order": 1,
    }  # fmt: skip
    called_back = {"X-Darkroom-Secret": WORKFLOWS_SECRET}
    taught = {
        # who somebody is
        "POST /users": Lesson({"username": "thief", "email": f"{cast.victim_name}@people.example", "password": password, "avatar": None}),
        "POST /login": Lesson({"email": "nobody@people.example", "password": "wrong horse"}),
        "POST /api/auth/wechat/login": Lesson({"code": "one-code", "userInfo": {"nickname": "x", "avatar_url": "https://example.com/x.png"}}),
        "POST /api/auth/admin/login": Lesson({"username": "nobody", "password": "wrong horse"}),
        "PUT /api/admin/users/{user_id}": Lesson(
            {"role": "user", "status": "active", "credits_adjustment": 1, "adjustment_reason": "x"}, params={"user_id": cast.pawn_id}
        ),
        "POST /v1/admin-invitations": Lesson({"username": "mallory", "password": password, "token": "x" * 43}),
        "POST /requestPasswordReset": Lesson({"email": "nobody@people.example"}),
        "POST /v1/password-resets": Lesson({"token": f"{UNKNOWN.replace('-', '')}.x", "password": password}),
        "POST /v1/email-verifications": Lesson({"token": f"{UNKNOWN.replace('-', '')}.x"}),
        "POST /v1/sessions": Lesson({"email": "nobody@people.example", "password": "wrong horse", "device": "x"}),
        "POST /v1/sessions/refresh": Lesson({"refresh_token": "x" * 43}),
        "DELETE /v1/sessions": Lesson(who="stray"),
        # what somebody keeps
        "PUT /api/works/{work_id}": Lesson({"is_favorite": True, "is_public": False, "tags": ["a"]}, params={"work_id": cast.work_id}),
        "POST /api/works/batch/delete": Lesson({"work_ids": [UNKNOWN]}),
        "POST /api/upload/single": Lesson(),
        "POST /api/upload/multiple": Lesson(),
        "POST /api/upload/base64": Lesson({"base64": picture, "subDir": "x"}),
        "POST /api/upload/base64/batch": Lesson({"images": [picture], "subDir": "x"}),
        "POST /works": Lesson({"title": "x", "description": "d", "image": None, "style": "s", "tags": ["a"], "isPublic": False}),
        "POST /v1/uploads": Lesson({"size_bytes": 100}),
        "PUT /v1/incoming/{user_id}/{upload_id}": Lesson(query=cast.upload_query),
        # what somebody asks for
        "POST /api/tasks/create": Lesson(
            {
                "type": "travel", "batch_count": 1, "images": [cast.photo_url], "scene_id": "beach-sunset", "parameters": {"a": 1},
                "custom_description": "x", "destination": {"name": "x", "country": "y", "prompt": "z"},
            },
        ),
        "POST /music/tasks": Lesson(
            {"title": "x", "tags": ["a"], "prompt": "p", "negative_tags": [], "workId": None, "instrumental": False, "model": "m"}
        ),
        "POST /api/scenes": Lesson(scene),
        "PUT /api/scenes/{scene_id}": Lesson(scene, params={"scene_id": cast.scene_id}),
        "POST /api/callback/task-complete": Lesson(
            {"task_id": UNKNOWN, "attempt_token": "x", "images": [{"url": "https://example.com/x.png"}], "ai_description": "x"},
            headers=called_back,
        ),
        "POST /api/callback/task-failed": Lesson(
            {"task_id": UNKNOWN, "attempt_token": "x", "error": {"message": "x"}, "retryable": False}, headers=called_back
        ),
        # what it costs
        "POST /api/credits/recharge": Lesson({"package_id": "basic", "payment_method": "wechat"}),
        "POST /points/purchase": Lesson({"packageId": "points-800", "payment": {"method": "stripe", "amount": 2}}),
        "POST /v1/admin/orders/{order_no}/refund": Lesson({"reason": "x"}, params={"order_no": cast.order_no}),
        "GET /v1/sandbox/pay/{intent}": Lesson(params={"intent": cast.intent_id}),
        "POST /v1/sandbox/pay/{intent}": Lesson(params={"intent": cast.intent_id}),
        # what is told
        "POST /v1/admin/notices": Lesson({"title": "x", "content": "y", "data": {"a": 1}, "audience": None, "user_id": None, "user_ids": [cast.thief_id]}),
        "PUT /api/admin/config/{config_key}": Lesson({"config_value": "x"}, params={"config_key": "site_name"}),
    }  # fmt: skip
    return taught | {" ".join(one.split()): Lesson() for one in _NOTHING_TO_SAY.split("|")}
