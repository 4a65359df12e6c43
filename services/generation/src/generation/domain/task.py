"""Every rule about a task: its states, who may change them, what an end says. No I/O, no clock, no ids of its own.

Brief, Outcome and Task are made for every task and are not frozen, because a frozen dataclass costs several times as much to make; nobody changes them
all the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from common.errors import TaskNotCancellable
from common.events.tasks import FailureReason, Kind
from common.trace import Trace

State = Literal["queued", "running", "completed", "failed", "cancelled"]
AttemptState = Literal["submitting", "submitted", "succeeded", "failed", "unknown"]

STATES: tuple[State, ...] = ("queued", "running", "completed", "failed", "cancelled")
ENDED: frozenset[State] = frozenset({"completed", "failed", "cancelled"})
OPEN_ATTEMPTS: frozenset[AttemptState] = frozenset({"submitting", "submitted", "unknown"})
ITEMS_MAX = 50
SEED_MAX = 2**31 - 1

_TELLING: tuple[FailureReason, ...] = ("moderation_rejected", "refused", "invalid_output", "provider_unknown", "provider_error", "timeout", "internal")
_SENTENCES: Mapping[FailureReason, str] = {
    "provider_error": "the engine could not make it",
    "provider_unknown": "the engine's answer was lost",
    "timeout": "the deadline passed",
    "moderation_rejected": "refused by moderation",
    "invalid_output": "what the engine made was not usable",
    "refused": "the engine refused it",
    "internal": "a fault of ours",
}


@dataclass(slots=True, kw_only=True)
class Brief:
    """What the engine is told: everything about the ask that no rule looks at."""

    photos: tuple[str, ...] = ()
    """Object keys of the input pictures."""
    title: str = ""
    prompt: str = ""
    tags: tuple[str, ...] = ()
    negative_tags: tuple[str, ...] = ()
    instrumental: bool = False
    model: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    custom_description: str = ""
    destination: Mapping[str, str] | None = None
    scene_version: int | None = None


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What an end says beside its items."""

    reason: FailureReason | None = None
    message: str = ""
    title: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    lyrics: str = ""
    engine: str = ""
    by: Literal["owner", "admin"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long a task may wait and live."""

    start: timedelta
    total: timedelta


@dataclass(slots=True, kw_only=True)
class Task:
    """One ask of one user. `version` rises with every change of state, `claim_no` with every claim and every return."""

    task_id: UUID
    user_id: UUID
    work_id: UUID
    kind: Kind
    state: State = "queued"
    version: int = 1
    claim_no: int = 0
    asked: int
    delivered: int = 0
    price: int
    scene_id: str | None = None
    created_at: datetime
    due_at: datetime
    """When a worker may claim it: at once, when the lease of its worker runs out, or when a back-off is over."""
    start_by: datetime
    deadline_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    brief: Brief = field(default_factory=Brief)
    outcome: Outcome | None = None
    trace: Trace | None = None
    """The request that asked for it; goes with every fact about it."""

    @property
    def is_ended(self) -> bool:
        return self.state in ENDED

    @property
    def seed(self) -> int:
        """Part of the id, so that the same key makes the same pictures."""
        return seed_of(self.task_id)

    @property
    def title(self) -> str:
        """The title people see: theirs, else the one the engine found."""
        return self.brief.title or (self.outcome.title if self.outcome else "")

    def is_overdue(self, now: datetime) -> bool:
        """Whether it ran out of time, waiting for its start or altogether."""
        return not self.is_ended and (self.deadline_at <= now or (self.state == "queued" and self.start_by <= now))


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One paid submission as journaled. `item_index` None: of all items that had not arrived."""

    attempt_no: int
    item_index: int | None
    claim_no: int
    state: AttemptState
    provider: str
    provider_id: str | None = None
    created_at: datetime
    ended_at: datetime | None = None
    token_hash: bytes | None = None
    """Of the token that its provider calls back with; only written, never listed."""

    @property
    def is_open(self) -> bool:
        return self.state in OPEN_ATTEMPTS


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an item will not arrive."""

    reason: FailureReason
    message: str = ""


@dataclass(frozen=True, slots=True)
class Stale:
    """A worker's change that came too late: the task has another claim, or ended another way."""

    state: State


def seed_of(task_id: UUID) -> int:
    """What the engine's choices are drawn from."""
    return task_id.int % SEED_MAX


def new_task(
    *, task_id: UUID, user_id: UUID, work_id: UUID, kind: Kind, asked: int, price: int, scene_id: str | None, brief: Brief, limits: Limits, now: datetime,
    trace: Trace | None = None,
) -> Task:  # fmt: skip
    """A task as it begins."""
    return Task(
        task_id=task_id, user_id=user_id, work_id=work_id, kind=kind, asked=asked, price=price, scene_id=scene_id, created_at=now,
        due_at=now, start_by=now + limits.start, deadline_at=now + limits.total, brief=brief, trace=trace,
    )  # fmt: skip


def is_claimable(task: Task, now: datetime) -> bool:
    """Whether a worker may take it now; what is overdue is left to upkeep."""
    return not task.is_ended and task.due_at <= now and not task.is_overdue(now)


def claim(task: Task, now: datetime, lease: timedelta) -> Task:
    """Give it to a worker until the lease ends, fencing off the one before."""
    begins = task.state == "queued"
    return replace(
        task, state="running", version=task.version + 1 if begins else task.version, claim_no=task.claim_no + 1, due_at=lease_end(task, now, lease),
        started_at=task.started_at or now,
    )  # fmt: skip


def lease_end(task: Task, now: datetime, lease: timedelta) -> datetime:
    """No lease outlives the deadline."""
    return min(now + lease, task.deadline_at)


def holds_claim(task: Task, claim_no: int) -> bool:
    """Whether a worker with this claim may still change the task."""
    return task.state == "running" and task.claim_no == claim_no


def renew(task: Task, claim_no: int, now: datetime, lease: timedelta) -> Task | Stale:
    """A heartbeat."""
    return replace(task, due_at=lease_end(task, now, lease)) if holds_claim(task, claim_no) else Stale(task.state)


def give_back(task: Task, claim_no: int, due_at: datetime) -> Task | Stale:
    """Let another claim it: at once when the worker drains, later when an attempt is to be repeated.

    The claim is fenced off with it, so that a heartbeat still under way does not take the task back.
    """
    return replace(task, claim_no=claim_no + 1, due_at=min(due_at, task.deadline_at)) if holds_claim(task, claim_no) else Stale(task.state)


def finish(task: Task, claim_no: int, delivered: int, failures: Mapping[int, Failure], said: Outcome, now: datetime) -> Task | Stale:
    """The worker's end: completed when anything arrived. Naming the claim that ended it before is the same end again."""
    if is_same_end(task, claim_no):
        return task
    if not holds_claim(task, claim_no):
        return Stale(task.state)
    return _end(task, "completed" if delivered else "failed", delivered, verdict(delivered, failures, said), now)


def is_same_end(task: Task, claim_no: int) -> bool:
    """Whether this claim ended the task before."""
    return task.claim_no == claim_no and task.state in ("completed", "failed")


def verdict(delivered: int, failures: Mapping[int, Failure], said: Outcome) -> Outcome:
    """What the engine said, and why nothing arrived when nothing did."""
    if delivered:
        return said
    worst = min(failures.values(), key=lambda failure: _TELLING.index(failure.reason), default=Failure("internal"))
    return replace(said, reason=worst.reason, message=worst.message or _SENTENCES[worst.reason])


def cancel(task: Task, by: Literal["owner", "admin"], delivered: int, now: datetime) -> Task:
    """Give it up; what had arrived is kept. Cancelling twice is one cancel. Raises TaskNotCancellable when it ended otherwise."""
    if task.state == "cancelled":
        return task
    if task.is_ended:
        raise TaskNotCancellable(data={"status": task.state})
    return _end(task, "cancelled", delivered, Outcome(by=by), now)


def expire(task: Task, delivered: int, attempts: Sequence[Attempt], now: datetime) -> Task:
    """Its time is up: completed when anything arrived. A task that ended or still has time stays as it is."""
    if not task.is_overdue(now):
        return task
    if delivered:
        return _end(task, "completed", delivered, Outcome(engine=attempts[-1].provider if attempts else ""), now)
    reason: FailureReason = "provider_unknown" if any(attempt.state == "unknown" for attempt in attempts) else "timeout"
    return _end(task, "failed", 0, Outcome(reason=reason, message=_SENTENCES[reason]), now)


def callback_state(task: Task, *, is_open: bool, has_taken: bool, now: datetime) -> Literal["taken", "repeated", "late"]:
    """What a call back for one of the task's attempts is: only the first for an attempt that somebody still waits for counts."""
    if has_taken:
        return "repeated"
    return "taken" if is_open and task.state == "running" and not task.is_overdue(now) else "late"


def _end(task: Task, state: State, delivered: int, outcome: Outcome, now: datetime) -> Task:
    return replace(task, state=state, version=task.version + 1, delivered=delivered, outcome=outcome, ended_at=now)


def attempts_at(attempts: Sequence[Attempt], index: int | None) -> list[Attempt]:
    """The attempts at one item, in order; an attempt at the whole task is one at each of its items."""
    return [attempt for attempt in attempts if attempt.item_index == index or attempt.item_index is None or index is None]


def back_off(failed: int, base: timedelta, jitter: float) -> timedelta:
    """How long to wait after so many failed attempts: base, twice, four times; `jitter` is 0 to 1 and adds up to a fifth."""
    return base * (1.0 + 0.2 * jitter) * (1 << max(failed - 1, 0))
