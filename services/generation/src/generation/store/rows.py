"""Between columns and domain words."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any
from uuid import UUID

from common.events.tasks import Item
from common.trace import Trace
from generation.domain import Brief, Failure, ItemRow, Outcome, Task
from generation.store.columns import numbers, words

TASK = """task_id, user_id, work_id, kind, state, version, claim_no, asked, delivered, price, scene_id, created_at, due_at, start_by, deadline_at,
    started_at, ended_at, brief, outcome, trace"""
ITEM = "index, key, size_bytes, content_type, width, height, duration_seconds, cover_key"

_BRIEF_LISTS = ("photos", "tags", "negative_tags")
_BRIEF_DEFAULTS: tuple[tuple[str, Any], ...] = tuple((field.name, getattr(Brief(), field.name)) for field in fields(Brief))
_OUTCOME_FIELDS = tuple(field.name for field in fields(Outcome))


def pack_brief(brief: Brief) -> dict[str, Any]:
    """Only what is said: most briefs are a photo and a scene, and the row is copied at every change."""
    return {name: value for name, default in _BRIEF_DEFAULTS if (value := getattr(brief, name)) != default}


def unpack_brief(packed: Mapping[str, Any]) -> Brief:
    """The brief as it was asked."""
    said: dict[str, Any] = {name: tuple(value) if name in _BRIEF_LISTS else value for name, value in packed.items()}
    return Brief(**said)


def pack_outcome(outcome: Outcome) -> dict[str, Any]:
    """Only what is said."""
    return {name: value for name in _OUTCOME_FIELDS if (value := getattr(outcome, name))}


def unpack_outcome(packed: Mapping[str, Any]) -> Outcome:
    """The outcome as it was said."""
    said: dict[str, Any] = {name: tuple(value) if name == "tags" else value for name, value in packed.items()}
    return Outcome(**said)


def pack_trace(trace: Trace | None) -> str | None:
    """A request id and a traceparent, with a space between; neither has one."""
    return f"{trace.correlation_id or ''} {trace.traceparent or ''}" if trace is not None else None


def unpack_trace(packed: str | None) -> Trace | None:
    """The trace of the request that asked."""
    if packed is None:
        return None
    correlation_id, _, traceparent = packed.partition(" ")
    return Trace(correlation_id or None, traceparent or None)


def pack_failure(failure: Failure | None) -> str | None:
    """`reason: message`."""
    return f"{failure.reason}: {failure.message}" if failure is not None else None


def unpack_failure(packed: str) -> Failure:
    """A failure as it was saved."""
    reason, _, message = packed.partition(": ")
    return Failure(reason, message)  # type: ignore[arg-type]


def item_of(columns: Sequence[Any]) -> Item:
    """An item from its columns in the order of `ITEM`; the key ends in the hash of the bytes."""
    index, key, size_bytes, content_type, width, height, duration_seconds, cover_key = columns
    return Item.model_construct(
        index=index, key=key, sha256=sha256_of(key), size_bytes=size_bytes, content_type=content_type, width=width, height=height,
        duration_seconds=duration_seconds, cover_key=cover_key,
    )  # fmt: skip


def sha256_of(key: str) -> str:
    """The hash that a key ends in, before its extension."""
    return key.rpartition(".")[0][-64:]


def task_of(row: Mapping[str, Any]) -> Task:
    """A task from the columns `TASK`."""
    return Task(
        task_id=row["task_id"], user_id=row["user_id"], work_id=row["work_id"], kind=row["kind"], state=row["state"], version=row["version"],
        claim_no=row["claim_no"], asked=row["asked"], delivered=row["delivered"], price=row["price"], scene_id=row["scene_id"],
        created_at=row["created_at"], due_at=row["due_at"], start_by=row["start_by"], deadline_at=row["deadline_at"], started_at=row["started_at"],
        ended_at=row["ended_at"], brief=unpack_brief(row["brief"]), outcome=unpack_outcome(row["outcome"]) if row["outcome"] is not None else None,
        trace=unpack_trace(row["trace"]),
    )  # fmt: skip


def item_columns(rows: Sequence[ItemRow]) -> tuple[Sequence[UUID] | str, ...]:
    """Rows turned into the columns that `saved_items` unnests."""
    items = [row.item for row in rows]
    return (
        [row.task_id for row in rows], numbers([row.index for row in rows]),
        words([item.key if item else None for item in items]), numbers([item.size_bytes if item else None for item in items]),
        words([item.content_type if item else None for item in items]), numbers([item.width if item else None for item in items]),
        numbers([item.height if item else None for item in items]), numbers([item.duration_seconds if item else None for item in items]),
        words([item.cover_key if item else None for item in items]), words([pack_failure(row.failure) for row in rows]),
    )  # fmt: skip


def saved_items(first: int, *, only: str = "") -> str:
    """The statement that writes what became of items, from ten columns that begin at this parameter; a delivered item stays as it is."""
    types = ("smallint", "text", "integer", "text", "smallint", "smallint", "float8", "text", "text")
    arrays = ", ".join([f"${first}::uuid[]", *(f"${first + 1 + place}::text::{name}[]" for place, name in enumerate(types))])
    columns = "task_id, index, key, size_bytes, content_type, width, height, duration_seconds, cover_key, failure"
    renewed = ", ".join(f"{name} = excluded.{name}" for name in ("state", *columns.split(", ")[2:]))
    return f"""
        INSERT INTO item ({columns}, state)
        SELECT {", ".join(f"r.{name}" for name in columns.split(", "))}, CASE WHEN r.key IS NULL THEN 'failed' ELSE 'delivered' END
        FROM unnest({arrays}) AS r ({columns}) {only}
        ON CONFLICT (task_id, index) DO UPDATE SET {renewed} WHERE item.state = 'failed'"""
