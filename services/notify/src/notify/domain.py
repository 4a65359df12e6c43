"""What a notice is, and how a batch of them is numbered. No I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

NoticeType = Literal["task_complete", "task_failed", "task_cancelled", "work_created"]


@dataclass(frozen=True, slots=True)
class News:
    """Something a user is to be told, not numbered yet. The payload holds object keys, never URLs."""

    user_id: UUID
    event_id: UUID
    type: NoticeType
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Notice:
    """One row of a user's feed."""

    user_id: UUID
    epoch: UUID
    seq: int
    event_id: UUID
    type: str
    payload: Mapping[str, Any]
    at_ms: int


@dataclass(frozen=True, slots=True)
class Head:
    """Where a user's feed stands."""

    epoch: UUID
    seq: int


def numbered(news: Sequence[News], heads: Mapping[UUID, Head], at_ms: int) -> list[Notice]:
    """Number a batch; `heads` are those after the bump, so the last notice of each user gets the head's number."""
    left: dict[UUID, int] = {}
    for one in news:
        left[one.user_id] = left.get(one.user_id, 0) + 1
    notices = []
    for one in news:
        head = heads[one.user_id]
        left[one.user_id] -= 1
        notices.append(Notice(one.user_id, head.epoch, head.seq - left[one.user_id], one.event_id, one.type, one.payload, at_ms))
    return notices


def resumable(head: Head, oldest_seq: int | None, *, epoch: UUID | None, seq: int) -> bool:
    """Whether everything after `seq` can still be told: same epoch, not from the future, not older than what is kept."""
    if epoch is not None and epoch != head.epoch:
        return False
    if seq > head.seq or seq < 0:
        return False
    return seq == head.seq or (oldest_seq is not None and oldest_seq <= seq + 1)
