"""Made-up pasts: who asked for what, what became of it, and the facts that told of it. The same chance makes the same past."""

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal
from uuid import UUID

from common.bus.envelope import Outgoing, open_envelope, seal
from common.events import (
    DeliveryRequested,
    Fact,
    Item,
    MembershipChanged,
    OrderPaid,
    TaskCancelled,
    TaskCompleted,
    TaskCreated,
    TaskEnded,
    TaskFailed,
    UserRegistered,
    UserUpdated,
    WorkCreated,
    groups_of,
)
from common.events.tasks import Kind

BEGAN_AT = datetime(2026, 3, 1, 8, tzinfo=UTC)

_PICTURES: tuple[Kind, ...] = ("fitting", "photography", "travel")
_ENDS = {"whole": 40, "part": 15, "failed": 15, "cancelled": 10, "cancelled late": 10, "running": 10}
"""Ways in which a task may stand at the end, and of a hundred about how many do."""
_TITLES = ("", "A trip", "夏天", 'Anna\'s "day"', "ends in \\")


@dataclass(frozen=True, slots=True)
class Photo:
    """A work its owner made of a photo, before any task was asked for it."""

    work_id: UUID
    user_id: UUID
    is_public: bool


@dataclass(frozen=True, slots=True)
class Task:
    """One ask and its end; a task without an end is still running."""

    created: TaskCreated
    end: TaskEnded | None

    @property
    def task_id(self) -> UUID:
        return self.created.task_id

    @property
    def user_id(self) -> UUID:
        return self.created.user_id

    @property
    def asset(self) -> Literal["credit", "point"]:
        return "point" if self.created.kind == "song" else "credit"

    @property
    def price(self) -> int:
        """Of one item."""
        return self.created.price // self.created.asked

    @property
    def adds_to_another(self) -> bool:
        return self.created.work_id != self.task_id


@dataclass(slots=True)
class History:
    """People, photos and tasks, and everything told about them in the order in which it happened."""

    people: list[UUID] = field(default_factory=list)
    photos: list[Photo] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    told: list[Outgoing] = field(default_factory=list)

    def heard_by(self, group: str) -> list[Outgoing]:
        """What a consumer group is told, sealed: the same record however often it is asked for."""
        return [sealed for sealed in self.told if group in groups_of(sealed.topic)]

    def told_anew(self, group: str) -> list[Outgoing]:
        """The same facts under other event ids, as a replay from a copy might bring them."""
        facts = {sealed.event_id: sealed for sealed in self.heard_by(group)}
        return [seal(read_fact(sealed), sealed.time, None) for sealed in facts.values()]


def seeded(name: str) -> random.Random:
    """A chance that can be had again: DARKROOM_SEED names it."""
    seed = int(os.environ.get("DARKROOM_SEED", random.randrange(10**6)))
    print(f"{name}: DARKROOM_SEED={seed}")
    return random.Random(f"{name} {seed}")


def read_fact(sealed: Outgoing) -> Fact:
    """The fact in an envelope."""
    return open_envelope(sealed.topic, sealed.value, sealed.headers()).fact


def make_history(chance: random.Random, *, people: int = 6, tasks: int = 40) -> History:
    """A past of a few busy people. Everything generation, works and identity would have told of it is in `told`."""
    history = History(people=[_id(chance) for _ in range(people)])
    happened: list[tuple[datetime, Fact]] = []
    for user_id in history.people:
        happened.append((_moment(chance, 0, 5), _registered(chance, user_id)))
        happened += _life_of(chance, user_id)
        for _ in range(chance.randint(0, 2)):
            photo = Photo(_id(chance), user_id, chance.random() < 0.5)
            history.photos.append(photo)
            happened.append((_moment(chance, 5, 10), WorkCreated(sequence=1, work_id=photo.work_id, user_id=user_id, kind="photo", public=photo.is_public)))
    for end in _ends(chance, tasks):
        # Few people and many tasks, most of them of one person: a batch names the same account again and again.
        user_id = history.people[0] if chance.random() < 0.4 else chance.choice(history.people)
        task = _task(chance, user_id, _work_for_song(chance, history, user_id), end)
        history.tasks.append(task)
        created_at = _moment(chance, 10, 60)
        happened.append((created_at, task.created))
        if task.end is not None:
            ended_at = created_at + timedelta(seconds=chance.uniform(1, 600))
            happened.append((ended_at, task.end))
            if task.end.delivered and not task.adds_to_another:
                happened.append((ended_at + timedelta(seconds=1), _work_of(task.end)))
    history.told = [seal(fact, moment, None) for moment, fact in sorted(happened, key=lambda one: one[0])]
    return history


def shuffled_batches(chance: random.Random, records: Sequence[Outgoing], *, largest: int = 25) -> list[list[Outgoing]]:
    """The records in any order, cut into batches of any size."""
    left = list(records)
    chance.shuffle(left)
    batches = []
    while left:
        size = chance.randint(1, largest)
        batches.append(left[:size])
        left = left[size:]
    return batches


def _ends(chance: random.Random, tasks: int) -> list[str]:
    """How the tasks end; each way there is comes once at least, where there are tasks enough."""
    ends = [*_ENDS, *chance.choices(list(_ENDS), list(_ENDS.values()), k=tasks)][:tasks]
    chance.shuffle(ends)
    return ends


def _task(chance: random.Random, user_id: UUID, work_id: UUID | None, end: str) -> Task:
    task_id = _id(chance)
    kind: Kind = "song" if work_id is not None or chance.random() < 0.2 else chance.choice(_PICTURES)
    asked = 1 if kind == "song" else chance.randint(1, 9)
    price = 100 if kind == "song" else 1
    created = TaskCreated(
        sequence=1, task_id=task_id, user_id=user_id, kind=kind, asked=asked, price=price * asked, scene=None if kind == "song" else "beach-sunset",
        title=chance.choice(_TITLES), work_id=work_id or task_id,
    )  # fmt: skip
    return Task(created, _end(chance, created, end))


def _end(chance: random.Random, created: TaskCreated, end: str) -> TaskEnded | None:
    common = {name: getattr(created, name) for name in ("task_id", "user_id", "kind", "scene", "title", "work_id", "asked")}

    def arrived(count: int) -> dict[str, object]:
        return {"delivered": count, "items": tuple(_item(created, index) for index in range(count))}

    match end:
        case "whole":
            return TaskCompleted(**common, **arrived(created.asked), sequence=3, engine="local", seed=7, description="a warm evening", tags=("warm",))
        case "part":
            return TaskCompleted(**common, **arrived(chance.randint(1, created.asked)), sequence=4, engine="local", seed=8, lyrics="la")
        case "failed":
            return TaskFailed(**common, **arrived(0), sequence=chance.choice((2, 3)), reason="timeout", message="the deadline passed")
        case "cancelled":
            return TaskCancelled(**common, **arrived(0), sequence=2, by="owner")
        case "cancelled late":
            return TaskCancelled(**common, **arrived(chance.randint(0, created.asked)), sequence=3, by="admin")
    return None


def _item(created: TaskCreated, index: int) -> Item:
    digest = f"{created.task_id.int % 2**64 + index:064x}"
    place = f"results/{created.task_id}"
    if created.kind == "song":
        return Item(
            index=index, key=f"{place}/{index}-{digest}.ogg", sha256=digest, size_bytes=9, content_type="audio/ogg", duration_seconds=20.5,
            cover_key=f"{place}/cover-{digest}.webp",
        )  # fmt: skip
    return Item(index=index, key=f"{place}/{index}-{digest}.webp", sha256=digest, size_bytes=9, content_type="image/webp", width=8, height=6)


def _work_for_song(chance: random.Random, history: History, user_id: UUID) -> UUID | None:
    """A work to make a song for: a photo, now and then what an earlier task made, rarely somebody else's photo (which must stay untouched)."""
    if chance.random() > 0.4:
        return None
    photos = [photo.work_id for photo in history.photos if photo.user_id == user_id]
    made = [task.task_id for task in history.tasks if task.user_id == user_id and task.end and task.end.delivered and not task.adds_to_another]
    others = [photo.work_id for photo in history.photos if photo.user_id != user_id]
    found = chance.choices((photos, made, others), (70, 15, 15))[0]
    return chance.choice(found) if found else None


def _work_of(end: TaskEnded) -> WorkCreated:
    return WorkCreated(sequence=1, work_id=end.work_id, user_id=end.user_id, kind=end.kind, public=False, task_id=end.task_id, title=end.title)


def _registered(chance: random.Random, user_id: UUID) -> UserRegistered:
    return UserRegistered(sequence=1, user_id=user_id, name=f"p{user_id.hex[-6:]}", avatar_key=chance.choice((None, "uploads/a/b.webp")), source="email")


def _life_of(chance: random.Random, user_id: UUID) -> list[tuple[datetime, Fact]]:
    """What else is told of a person: a new name, something bought, mails."""
    order: dict[str, object] = {
        "user_id": user_id, "order_no": f"ORDER{chance.randrange(10**13):013}ABCDEF", "package_id": "member-30d", "asset": "point", "granted": 2000,
        "price_minor": 500, "currency": "USD", "method": "stripe", "membership_days": 30,
    }  # fmt: skip
    until = BEGAN_AT + timedelta(days=30)
    return [
        (_moment(chance, 5, 20), UserUpdated(sequence=2, user_id=user_id, name=f"q{user_id.hex[-6:]}", role="user", status="active")),
        (_moment(chance, 5, 20), OrderPaid.model_validate({"sequence": 1, **order})),
        (_moment(chance, 5, 20), MembershipChanged(sequence=1, user_id=user_id, kind="extended", active_until=until)),
        (_moment(chance, 5, 20), DeliveryRequested(sequence=1, user_id=user_id, template="email_verification", ref=str(_id(chance)))),
    ]


def _moment(chance: random.Random, first_minute: float, last_minute: float) -> datetime:
    # In whole milliseconds, which every store keeps as they are.
    return BEGAN_AT + timedelta(milliseconds=round(chance.uniform(first_minute, last_minute) * 60_000))


def _id(chance: random.Random) -> UUID:
    return UUID(int=chance.getrandbits(128), version=4)
