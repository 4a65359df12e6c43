"""What the commands are asked and what they answer; also the rows between them and the store.

Those made for every task are not frozen, because a frozen dataclass costs three times as much to make; nobody changes them all the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from common.events.tasks import Item, Kind
from common.trace import Trace
from generation.domain.task import AttemptState, Brief, Failure, Limits, Outcome, State, Task, seed_of
from generation.domain.turns import Rank


@dataclass(slots=True, kw_only=True)
class Create:
    """One ask for pictures or a song. `keyed`: its id follows from an idempotency key, so it may be known already."""

    task_id: UUID
    user_id: UUID
    work_id: UUID
    kind: Kind
    asked: int
    scene_id: str | None
    brief: Brief
    body_hash: bytes
    keyed: bool
    waiting_max: int | None
    """How many tasks this user may have waiting, if they are no member; None is no limit."""
    trace: Trace | None = None
    is_admin: bool = False


@dataclass(slots=True)
class Created:
    """The task as it was created. `replayed`: by an earlier request with the same key."""

    task: Task
    replayed: bool


@dataclass(slots=True, kw_only=True)
class Placed:
    """An ask whose credits are held, how long its task may take, and how it waits for its turn."""

    ask: Create
    price: int
    limits: Limits
    rank: Rank = "normal"
    handicap: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class Known:
    """A task that is there already, with the hash of the body that made it."""

    task: Task
    body_hash: bytes


@dataclass(slots=True)
class Claim:
    """What a worker is given: enough to make the items and to tell how it ended."""

    task_id: UUID
    user_id: UUID
    work_id: UUID
    kind: Kind
    version: int
    claim_no: int
    asked: int
    scene_id: str | None
    deadline_at: datetime
    brief: Brief
    trace: Trace | None

    @property
    def is_song(self) -> bool:
        return self.kind == "song"

    @property
    def seed(self) -> int:
        return seed_of(self.task_id)


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a claim took, and the users whose turn it passed over because as much of theirs runs as may."""

    claims: list[Claim]
    passed: frozenset[UUID]


@dataclass(slots=True)
class ItemRow:
    """What became of one item: delivered when `item` is there, else failed for good for the reason in `failure`."""

    task_id: UUID
    index: int
    item: Item | None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class AttemptEnd:
    """What became of one attempt."""

    attempt_no: int
    state: AttemptState
    provider_id: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Arrival:
    """What an attempt of a claim brought: items, and its own end."""

    task_id: UUID
    claim_no: int
    items: Sequence[ItemRow]
    attempt: AttemptEnd | None


CallbackState = Literal["taken", "repeated", "late"]


@dataclass(frozen=True, slots=True)
class Callback:
    """What somebody who knows the secret calls back with; the token says for which attempt."""

    task_id: UUID
    token_hash: bytes
    says: Literal["complete", "failed"]
    body_sha256: bytes
    body: bytes = field(repr=False)


@dataclass(slots=True)
class Finish:
    """A worker's end of its claim. `unsaved` are items that arrive with it, `items` all that the task delivered."""

    claim: Claim
    items: Sequence[Item]
    failures: Mapping[int, Failure] = field(default_factory=dict)
    said: Outcome = field(default_factory=Outcome)
    unsaved: Sequence[ItemRow] = ()


@dataclass(slots=True)
class Finished:
    """How a task ended."""

    state: State
    version: int


@dataclass(slots=True)
class EndRow:
    """How one running task ends, as saved."""

    task_id: UUID
    claim_no: int
    state: Literal["completed", "failed"]
    delivered: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Cancel:
    """Somebody gives a task up. `user_id` None: an admin, who may cancel anybody's."""

    task_id: UUID
    user_id: UUID | None


@dataclass(frozen=True, slots=True)
class View:
    """A task with what it delivered, as one read finds it."""

    task: Task
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """How a task stands, for billing."""

    task_id: UUID
    state: State
    delivered: int
    asked: int
    deadline_at: datetime


@dataclass(frozen=True, slots=True)
class OwnedWork:
    """What works knows of a work: whose it is, its photo, what its owner calls it."""

    work_id: UUID
    user_id: UUID
    image_key: str | None
    title: str
    is_favorite: bool
    is_public: bool
    is_deleted: bool = False


@dataclass(frozen=True, slots=True)
class Person:
    """What identity says of somebody; the picture lies here under a key, or elsewhere."""

    username: str
    avatar_key: str | None = None
    avatar_link: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seats:
    """Room in a worker of this process for tasks that begin at once, so that no second statement claims them."""

    count: int
    provider: str
    lease: timedelta


@dataclass(frozen=True, slots=True)
class QueueNumbers:
    """One kind's queue. `delayed` waits for a repeated attempt."""

    waiting: int = 0
    active: int = 0
    delayed: int = 0
    completed: int = 0
    failed: int = 0

    @property
    def total(self) -> int:
        return self.waiting + self.active + self.delayed + self.completed + self.failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Where a picture may be set."""

    scene_id: str
    version: int
    scene_name: str
    category: Literal["indoor", "outdoor", "studio"]
    description: str
    prompt_template: str
    cover_key: str | None
    cover_link: str | None
    parameters: Mapping[str, Any]
    tags: Sequence[str]
    status: Literal["active", "inactive"]
    display_order: int
    created_at: datetime
    updated_at: datetime
