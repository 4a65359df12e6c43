"""Works and what tasks tell of them: statuses, folding, who may see what. No I/O, no clock, no ids of its own."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal, TypedDict
from uuid import UUID

from common.auth import Principal
from common.events import Event, Item, TaskCancelled, TaskCompleted, TaskCreated, TaskEnded, TaskFailed
from common.objects.keys import task_of

Kind = Literal["fitting", "photography", "travel", "song", "photo"]
PictureKind = Literal["fitting", "photography", "travel"]
Status = Literal["created", "processing", "completed", "failed", "cancelled"]

KINDS: tuple[Kind, ...] = ("fitting", "photography", "travel", "song", "photo")
PICTURE_KINDS: tuple[Kind, ...] = ("fitting", "photography", "travel")
SEEN: tuple[Status, ...] = ("created", "completed")
"""The statuses in which a work is there to look at; the others are on their way, or never came."""
UNSEEN: tuple[Status, ...] = ("processing", "failed", "cancelled")
STATUSES: tuple[Status, ...] = (*SEEN, *UNSEEN)

EVERYBODYS_ROWS_MAX = 10_000
"""How deep a numbered page of everybody's works may lie; deeper ones would walk an index that grows for ever."""

TAG_LENGTH_MAX = 50
"""In characters; the longest tag that works can be asked for by."""

TaskFact = TaskCreated | TaskEnded


class StoredItem(TypedDict, total=False):
    """One delivered picture or song as a work's row keeps it."""

    index: int
    key: str
    type: str
    bytes: int
    width: int | None
    height: int | None
    seconds: float | None
    cover: str | None


class Body(TypedDict, total=False):
    """What a row keeps as one document; what is empty is left out."""

    title: str
    tags: list[str]
    items: list[StoredItem]
    description: str
    style: str
    image: str
    scene: str
    engine: str
    lyrics: str
    asked: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A result, or a photo, that a user keeps. `songs` are the bodies of those added later, oldest first; who made it is known once identity told."""

    work_id: UUID
    user_id: UUID
    kind: Kind
    status: Status
    is_public: bool
    is_favorite: bool
    body: Body
    body_hash: bytes | None
    created_at: datetime
    updated_at: datetime
    version: int = 1
    edition: int = 1
    plays: int = 0
    likes: int = 0
    songs: tuple[Body, ...] = ()
    creator_name: str = ""
    avatar_key: str | None = None

    @property
    def title(self) -> str:
        return self.body.get("title", "")

    @property
    def pictures(self) -> list[StoredItem]:
        """The delivered pictures, in the order of the batch."""
        return [item for item in self.body.get("items", ()) if item["type"].startswith("image/")]

    @property
    def audios(self) -> list[StoredItem]:
        """Every song of it, the newest first."""
        added = [item for song in reversed(self.songs) for item in song.get("items", ())]
        return added + [item for item in self.body.get("items", ()) if item["type"].startswith("audio/")]

    @property
    def image_key(self) -> str | None:
        """The picture that stands for it: the photo it was made from by hand, its first picture, else its song's cover."""
        shown = self.body.get("image") or next((item["key"] for item in self.pictures), None)
        return shown or next((cover for item in self.audios if (cover := item.get("cover"))), None)

    def is_seen_by(self, viewer: Principal | None) -> bool:
        """Its owner sees it in every state, an admin too; others once it is public and there."""
        return owns(viewer, self.user_id) or (self.is_public and self.status in SEEN)


@dataclass(frozen=True, slots=True)
class Marks:
    """What an owner changes about a work; None leaves it. `edition` is the one the caller saw, if that matters to them."""

    work_id: UUID
    is_favorite: bool | None = None
    is_public: bool | None = None
    tags: tuple[str, ...] | None = None
    edition: int | None = None


PLAY_COUNTS_AFTER = timedelta(hours=1)
"""How long after a play that counted the same listener counts again."""


@dataclass(frozen=True, slots=True)
class Reaction:
    """What somebody who sees a work does with it."""

    work_id: UUID
    viewer: Principal
    says: Literal["play", "like", "unlike"]


@dataclass(frozen=True, slots=True)
class Counted:
    """How often a work was played, and by how many it is liked."""

    work_id: UUID
    plays: int
    likes: int


class Moved(Counter[str]):
    """By how much kept numbers change: per status, and `public`."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """How many works there are."""

    total: int
    today: int
    completed: int
    failed: int


def owns(viewer: Principal | None, user_id: UUID) -> bool:
    """Whether a viewer may see everything of a user: that is the user, or an admin."""
    return viewer is not None and (viewer.role == "admin" or viewer.user_id == user_id)


@dataclass(frozen=True, slots=True)
class Reach:
    """Whose works a list shows: one owner's, or everybody's; None for `is_public` means both. Everybody's are shown only where public."""

    owner_id: UUID | None = None
    is_public: bool | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a list a work stands: right before what is older."""

    created_at: datetime
    work_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Everybodys:
    """What an operator's list of all works is asked for."""

    kinds: tuple[Kind, ...] = KINDS
    statuses: tuple[Status, ...] = STATUSES
    user_id: UUID | None = None
    limit: int
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a list is asked for. `reaches` do not overlap; without a status everything that is there to see counts."""

    reaches: tuple[Reach, ...]
    kinds: tuple[Kind, ...] = KINDS
    status: Status | None = None
    is_favorite: bool | None = None
    tag: str | None = None
    limit: int
    offset: int = 0
    after: Place | None = None

    def shows(self, work: Work) -> bool:
        """Whether a work that stands in a list of a tag belongs there: a process of an earlier version does not keep all that lists are found by."""
        reached = any(reach.owner_id in (None, work.user_id) and reach.is_public in (None, work.is_public) for reach in self.reaches)
        return reached and work.status in SEEN and self.tag in work.body.get("tags", ())

    @property
    def reaches_everybody(self) -> bool:
        return any(reach.owner_id is None for reach in self.reaches)


RETAG_AGAIN_AFTER = timedelta(minutes=5)
RETAG_FOR = timedelta(days=1)
"""By then no process of the version before is left, surely."""


@dataclass(frozen=True, slots=True)
class Retagging:
    """A walk over all works, for those of them that were changed `since` and whose tags a process of the version before may not have kept."""

    since: datetime
    began_at: datetime
    after_id: UUID
    look_at: datetime

    def at_the_end(self, now: datetime) -> "Retagging | None":
        """The next walk, each twice as late as the one before; None where this was the last."""
        if self.look_at - self.began_at >= RETAG_FOR:
            return None
        return replace(self, after_id=UUID(int=0), look_at=now + max(RETAG_AGAIN_AFTER, now - self.began_at))


def adds_to_another(fact: TaskFact) -> bool:
    """Whether the task made a song for a work that was there before, instead of a work of its own."""
    # By the ids' numbers, here and where ids are looked up: the hash and the comparison of a UUID itself run in Python.
    return fact.work_id.int != fact.task_id.int


@dataclass(slots=True)
class Told:
    """What a batch of facts says of one task: the fact with the highest sequence, and the earliest time of all."""

    fact: TaskFact
    created_at: datetime
    knows_creation: bool

    @property
    def status(self) -> Status:
        """What the work is after this fact. What was delivered before a cancel is kept, so such a work is completed."""
        fact = self.fact
        if isinstance(fact, TaskCreated):
            return "processing"
        if fact.delivered > 0:
            return "completed"
        return "cancelled" if isinstance(fact, TaskCancelled) else "failed"


def fold(events: Iterable[Event[TaskFact]]) -> list[Told]:
    """One word per task, whatever the order and however often it was named; sorted by task, the order in which rows are locked."""
    told: dict[int, Told] = {}
    for event in events:
        fact = event.fact
        creation = isinstance(fact, TaskCreated)
        task = fact.task_id.int
        known = told.get(task)
        if known is None:
            told[task] = Told(fact, event.time, creation)
            continue
        if fact.sequence > known.fact.sequence:
            known.fact = fact
        known.created_at = min(known.created_at, event.time)
        known.knows_creation = known.knows_creation or creation
    return [told[task] for task in sorted(told)]


def body_of(fact: TaskFact) -> Body:
    """What the row keeps of a fact."""
    body: Body = {"asked": fact.asked}
    if fact.title:
        body["title"] = fact.title
    if fact.scene:
        body["scene"] = fact.scene
    if isinstance(fact, TaskCreated):
        return body
    if fact.items:
        body["items"] = [stored(item) for item in fact.items]
    if isinstance(fact, TaskCompleted):
        body["engine"] = fact.engine
        if fact.description:
            body["description"] = fact.description
        if fact.lyrics:
            body["lyrics"] = fact.lyrics
        if fact.tags:
            body["tags"] = list(fact.tags)
    elif isinstance(fact, TaskFailed):
        body["reason"] = fact.reason
    return body


def keys_of(body: Body) -> list[str]:
    """Every object a row names."""
    items = body.get("items", ())
    found = [body.get("image"), *(item["key"] for item in items), *(item.get("cover") for item in items)]
    return [key for key in found if key is not None]


def loose_with(body: Body, task_id: UUID | None) -> list[str]:
    """What nothing may name once this row is gone: what it names, and the folder of the task it is of, for what no row ever named."""
    named = [key for key in keys_of(body) if is_ones_own(key)]
    return [*named, results_folder(task_id)] if task_id is not None else named


def is_ones_own(key: str) -> bool:
    """Whether a key says whose it is. What several tasks share (an engine that makes the same for everybody) is never anybody's to remove."""
    return owner_of(key) is not None or task_of(key) is not None


def stored(item: Item) -> StoredItem:
    """An item without what its key says already."""
    kept: StoredItem = {"index": item.index, "key": item.key, "type": item.content_type, "bytes": item.size_bytes}
    if item.width is not None:
        kept["width"], kept["height"] = item.width, item.height
    if item.duration_seconds is not None:
        kept["seconds"] = item.duration_seconds
    if item.cover_key is not None:
        kept["cover"] = item.cover_key
    return kept


EVERYBODY = UUID(int=0)
"""The shelf on which everybody's public works are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """What a user uploaded, after it was checked, stripped and encoded again."""

    file_id: UUID
    user_id: UUID
    key: str
    content_type: str
    size_bytes: int
    width: int
    height: int
    md5: bytes
    body_hash: bytes

    @property
    def name(self) -> str:
        """Our name for it, never the sender's."""
        return self.key.rpartition("/")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageTerms:
    """How much a user may keep, and how long bytes stay that nothing names: not saved yet, deleted, or put by a client and not completed."""

    bytes_max: int
    incoming_max: int
    unsaved_wait: timedelta
    deleted_wait: timedelta
    incoming_wait: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWork:
    """A photo that its owner wants as a work. `body_hash` tells a repeat of the same ask from another one under the same name."""

    work_id: UUID
    user_id: UUID
    is_public: bool
    body: Body
    body_hash: bytes


@dataclass(frozen=True, slots=True)
class Kept:
    """A work is there; `replayed` says that it was there before this ask."""

    work_id: UUID
    replayed: bool


@dataclass(frozen=True, slots=True)
class SavedFile:
    """An upload is there; `replayed` says that it was there before this ask."""

    file: StoredFile
    replayed: bool


def uploads_folder(user_id: UUID) -> str:
    """The prefix of every key of what a user uploaded."""
    return f"uploads/{user_id}/"


def upload_key(user_id: UUID, sha256: str, extension: str) -> str:
    """Where an uploaded picture lies; equal bytes of one user lie at one place."""
    return f"{uploads_folder(user_id)}{sha256}.{extension}"


def owner_of(key: str) -> UUID | None:
    """Whose upload, announced or kept, a key names."""
    folder, _, rest = key.partition("/")
    try:
        return UUID(rest.partition("/")[0]) if folder in ("uploads", "incoming") else None
    except ValueError:
        return None


def results_folder(task_id: UUID) -> str:
    """The prefix of every key of what a task made."""
    return f"results/{task_id}/"


def incoming_folder(user_id: UUID) -> str:
    """The prefix of what a user puts into the store before it was looked at."""
    return f"incoming/{user_id}/"


def incoming_key(user_id: UUID, upload_id: UUID) -> str:
    """Where bytes lie that nobody looked at yet; no link leads there."""
    return f"{incoming_folder(user_id)}{upload_id}.bin"
