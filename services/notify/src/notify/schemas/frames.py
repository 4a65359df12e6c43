"""Socket frames: the photo dialect's, exactly, with the additions of the feed (id, epoch, seq, ts) and of hints (volatile)."""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import orjson

from common.events import CreditsChanged, TaskProgressed
from common.messages import Lang, failure_slug, step_text, text
from notify.domain import Notice

SignUrl = Callable[[str], str]


def render_notice(notice: Notice, sign: SignUrl, lang: Lang) -> bytes:
    """A stored frame; URLs are signed now, for the owner, and sentences are in the language of the socket."""
    payload = notice.payload
    frame: dict[str, Any] = {"type": notice.type}
    match notice.type:
        case "task_complete":
            frame["task_id"] = payload["task_id"]
            frame["result"] = _song(payload, sign) if payload["kind"] == "song" else _pictures(payload, sign)
            if payload["delivered"] < payload["asked"]:
                frame["failed_count"] = payload["asked"] - payload["delivered"]
        case "task_failed":
            frame |= {"task_id": payload["task_id"], "error": text(failure_slug(payload["reason"]), lang), "reason": payload["reason"]}
        case "task_cancelled":
            frame |= {"task_id": payload["task_id"], "delivered": payload["delivered"]}
            if payload["items"]:
                frame["result"] = _pictures(payload, sign)
        case _:
            frame |= payload
    frame |= {"timestamp": notice.at_ms, "id": str(notice.event_id), "epoch": str(notice.epoch), "seq": notice.seq, "ts": notice.at_ms}
    return orjson.dumps(frame, default=str)


def render_progress(fact: TaskProgressed, at_ms: int, lang: Lang) -> bytes:
    """A volatile frame: may be merged and lost."""
    return orjson.dumps(
        {
            "type": "task_progress",
            "task_id": fact.task_id,
            "progress": fact.progress,
            "message": step_text(fact.message, lang),
            "stage": fact.stage,
            "timestamp": at_ms,
            "volatile": True,
        },
        default=str,
    )


def render_credits(fact: CreditsChanged, at_ms: int) -> bytes:
    """A volatile frame: the balance is always one call away."""
    frame: dict[str, Any] = {
        "type": "credits_changed",
        "asset": fact.asset,
        "kind": fact.kind,
        "amount": fact.amount,
        "available": fact.available,
        "held": fact.held,
        "timestamp": at_ms,
        "volatile": True,
    }
    if fact.task_id is not None:
        frame["task_id"] = fact.task_id
    return orjson.dumps(frame, default=str)


def render_auth_success(message: str, *, session: UUID, epoch: UUID, seq: int, recovered: bool, missed: int) -> bytes:
    """The answer to a good first frame."""
    return orjson.dumps(
        {"type": "auth_success", "message": message, "session": str(session), "epoch": str(epoch), "seq": seq, "recovered": recovered, "missed": missed}
    )


def render_error(message: str) -> bytes:
    """Said before a close."""
    return orjson.dumps({"type": "error", "message": message})


def render_pong(at_ms: int) -> bytes:
    """The answer to a ping frame."""
    return orjson.dumps({"type": "pong", "timestamp": at_ms})


def _pictures(payload: Mapping[str, Any], sign: SignUrl) -> dict[str, Any]:
    images = [
        {"url": sign(item["key"]), "format": _format(item["content_type"]), "batch_index": item["index"], "width": item["width"], "height": item["height"]}
        for item in payload["items"]
    ]
    return {"images": images, "ai_description": payload.get("description", "")}


def _song(payload: Mapping[str, Any], sign: SignUrl) -> dict[str, Any]:
    items = payload["items"]
    urls = [sign(item["key"]) for item in items]
    first = items[0] if items else {}
    cover = first.get("cover_key")
    return {
        "audioUrl": urls[0] if urls else None,
        "audioUrls": urls,
        "imageUrl": sign(cover) if cover else None,
        "title": payload["title"],
        "lyrics": payload.get("lyrics", ""),
        "duration": first.get("duration_seconds"),
    }


def _format(content_type: str) -> str:
    return content_type.partition("/")[2]
