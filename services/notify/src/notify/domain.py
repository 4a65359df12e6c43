"""What a notice is, and how a batch of them is numbered. No I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple
from uuid import UUID

NoticeType = Literal["task_complete", "task_failed", "task_cancelled", "work_created", "order_paid", "membership_changed", "notification"]


class News(NamedTuple):
    """Something a user is to be told, not numbered yet. The payload holds object keys, never URLs; its ids may be UUIDs, which rows keep as text."""

    user_id: UUID
    event_id: UUID
    type: NoticeType
    payload: Mapping[str, Any]


class Notice(NamedTuple):
    """One row of a user's feed."""

    user_id: UUID
    epoch: UUID
    seq: int
    event_id: UUID
    type: str
    payload: Mapping[str, Any]
    at_ms: int


class Head(NamedTuple):
    """Where a user's feed stands."""

    epoch: UUID
    seq: int


def later_of(news: Sequence[News]) -> list[int]:
    """For each of a batch how many of the same user's come after it."""
    seen: dict[int, int] = {}
    later = []
    for one in reversed(news):
        # By the id's number: the hash and the comparison of a UUID itself run in Python.
        user = one.user_id.int
        count = seen.get(user, 0)
        seen[user] = count + 1
        later.append(count)
    later.reverse()
    return later


def numbered(news: Sequence[News], later: Sequence[int], heads: Mapping[int, Head], at_ms: int) -> list[Notice]:
    """Number a batch; `heads` are those after it, so the last notice of each user gets the head's number."""
    notices = []
    for one, count in zip(news, later, strict=True):
        head = heads[one.user_id.int]
        notices.append(Notice(one.user_id, head.epoch, head.seq - count, one.event_id, one.type, one.payload, at_ms))
    return notices


def resumable(head: Head, oldest_seq: int | None, *, epoch: UUID | None, seq: int) -> bool:
    """Whether everything after `seq` can still be told: same epoch, not from the future, not older than what is kept."""
    if epoch is not None and epoch != head.epoch:
        return False
    if seq > head.seq or seq < 0:
        return False
    return seq == head.seq or (oldest_seq is not None and oldest_seq <= seq + 1)


NOBODY = UUID(int=0)
"""Before every user."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """What an operator says. `user_ids` is sorted; None means everybody."""

    announcement_id: UUID
    title: str
    content: str
    data: Mapping[str, Any]
    user_ids: tuple[UUID, ...] | None
    body_hash: bytes
    said_by: UUID
    created_at: datetime
    spread_to: UUID = NOBODY
    reached: int = 0
    done: bool = False

    def news_for(self, user_id: UUID) -> News:
        """The same notice for everybody, once each: its id is the announcement's."""
        payload = {"title": self.title, "content": self.content, "message": self.content, "data": dict(self.data)}
        return News(user_id, self.announcement_id, "notification", payload)


@dataclass(frozen=True, slots=True)
class Bought:
    """What a receipt is for, and what it cost in the currency's minor unit."""

    asset: str
    granted: int
    membership_days: int
    price_minor: int
    currency: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message somebody asked for, to be sent outside."""

    delivery_id: UUID
    user_id: UUID
    template: str
    ref: str
    tries: int = 0
    bought: Bought | None = None


_BACK_OFF_SECONDS = (5, 30, 120, 600, 1800, 7200, 14400, 28800, 43200)
TRIES_MAX = len(_BACK_OFF_SECONDS) + 1


def next_try(tries: int) -> timedelta | None:
    """How long to wait after this many failed tries; None means given up."""
    return timedelta(seconds=_BACK_OFF_SECONDS[tries - 1]) if tries < TRIES_MAX else None
