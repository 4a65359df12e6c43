"""What the chapters of the photo dialect share: shapes, and short ways to write a row."""

from collections.abc import Mapping
from typing import Any

from lab.dialects.rows import Auth, MakeAsk, Refusal, Row
from lab.dialects.shapes import HASH, ID, MOMENT, ORDER_NO, SENTENCE, URL, WORD, Maybe, OneOf

OK = {"success": True}
PAGE = {"page": int, "pageSize": int, "total": int, "totalPages": int}
KIND = OneOf(("fitting", "photography", "travel"))
ANY_KIND = OneOf(("fitting", "photography", "travel", "song"))
STATUS = OneOf(("pending", "processing", "completed", "failed", "cancelled"))
PICTURE = {"url": URL, "format": WORD, "batch_index": int, "width": Maybe(int), "height": Maybe(int)}
TASK = {
    "task_id": ID, "user_id": ID, "type": ANY_KIND, "status": STATUS, "progress": int, "batch_count": int, "scene_id": Maybe(str), "images": [URL],
    "parameters": dict, "custom_description": Maybe(str), "error": Maybe(SENTENCE), "created_at": MOMENT,
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


def row(
    method: str,
    path: str,
    auth: Auth,
    about: str,
    shape: Any,
    ask: MakeAsk,
    *refusals: Refusal,
    status: int = 200,
    takes: Mapping[str, str] | None = None,
    note: str = "",
    form: bool = False,
) -> Row:
    return Row(
        dialect="photo", method=method, path=path, auth=auth, about=about, ask=ask, shape=shape, status=status, takes=takes, note=note, form=form,
        refusals=refusals,
    )  # fmt: skip
