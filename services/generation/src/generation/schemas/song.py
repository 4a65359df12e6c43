"""Music tasks in the song dialect."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, StringConstraints, model_validator

from common.events import Item
from common.web import Model, Moment
from generation.domain import ENDED, OwnedWork, Person, State, Task
from generation.schemas.links import Rendering
from generation.schemas.photo import percent_of

SongStatus = Literal["SUBMITTED", "IN_PROGRESS", "SUCCESS", "FAILED"]

STATUSES: Mapping[State, SongStatus] = {"queued": "SUBMITTED", "running": "IN_PROGRESS", "completed": "SUCCESS", "failed": "FAILED", "cancelled": "FAILED"}
TAGS_MAX = 20

Tag = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=50)]


def _is_none(value: object) -> bool:
    return value is None


class CreateSong(Model):
    """An ask for a song: of words, or of one of my photos (`workId`), or of both."""

    title: Annotated[str, StringConstraints(strip_whitespace=True, max_length=100)] = ""
    tags: list[Tag] = Field(default=[], max_length=TAGS_MAX)
    prompt: Annotated[str, StringConstraints(strip_whitespace=True, max_length=3000)] = ""
    negative_tags: list[Tag] = Field(default=[], max_length=TAGS_MAX)
    workId: UUID | None = None
    instrumental: bool = False
    model: Annotated[str, StringConstraints(strip_whitespace=True, max_length=50)] = ""

    @model_validator(mode="before")
    @classmethod
    def _empty_is_absent(cls, given: object) -> object:
        return {name: value for name, value in given.items() if name != "workId" or value != ""} if isinstance(given, dict) else given


class SongParams(Model):
    """What was asked."""

    title: str
    tags: Sequence[str]
    prompt: str
    negative_tags: Sequence[str]
    instrumental: bool
    model: str
    workId: UUID | None = Field(default=None, exclude_if=_is_none)


class Creator(Model):
    """Who asked; the name is empty while identity is away."""

    objectId: UUID
    username: str
    avatar: str | None


class Pointer(Model):
    """The same for clients of the old backend, who ask for it by sending `X-LC-Id`."""

    kind: Literal["Pointer"] = Field(default="Pointer", alias="__type")
    className: Literal["_User"] = "_User"
    objectId: UUID


class SongOfTask(Model):
    """The song a task delivered, as works will show it."""

    objectId: UUID
    title: str
    description: str
    imageUrl: str | None
    audioUrl: str
    lyrics: str
    tags: Sequence[str]
    duration: float | None
    status: Literal["completed"] = "completed"
    isPublic: bool
    isFavorite: bool
    createdAt: Moment


class SongTask(Model):
    """A music task; `audioUrls` names all clips where there is more than one, `reason` says why there is none."""

    taskId: UUID
    status: SongStatus
    params: SongParams
    audioUrl: str | None
    audioUrls: list[str] | None = Field(default=None, exclude_if=_is_none)
    creator: Creator | Pointer
    createdAt: Moment
    progress: int
    reason: str | None = Field(default=None, exclude_if=_is_none)
    work: SongOfTask | None = Field(default=None, exclude_if=_is_none)


def render_song_task(
    task: Task, items: Sequence[Item], *, to: Rendering, percent: int | None, creator: Creator | Pointer, kept: OwnedWork | None = None,
    as_created: bool = False,
) -> SongTask:  # fmt: skip
    """A music task in this dialect's words, without a song once that is deleted; `as_created` renders it as it was answered when it was created."""
    has_songs = task.state in ENDED and not as_created and not (kept is not None and kept.is_deleted)
    state: State = "queued" if as_created else task.state
    brief = task.brief
    links = [to.link(item.key) for item in items] if has_songs else []
    return SongTask(
        taskId=task.task_id, status=STATUSES[state], audioUrl=links[0] if links else None, audioUrls=links if len(links) > 1 else None,
        params=SongParams(
            title=brief.title, tags=brief.tags, prompt=brief.prompt, negative_tags=brief.negative_tags, instrumental=brief.instrumental, model=brief.model,
            workId=task.work_id if task.work_id != task.task_id else None,
        ),
        creator=creator, createdAt=task.created_at,
        progress=0 if as_created else percent_of(task, len(items), percent), reason=_reason(task) if state in ("failed", "cancelled") else None,
        work=_song(task, items[0], to, kept) if links else None,
    )  # fmt: skip


def render_creator(user_id: UUID, person: Person | None, *, to: Rendering) -> Creator:
    """Somebody, as identity describes them."""
    if person is None:
        return Creator(objectId=user_id, username="", avatar=None)
    avatar = to.public_link(person.avatar_key) if person.avatar_key else person.avatar_link
    return Creator(objectId=user_id, username=person.username, avatar=avatar)


def _reason(task: Task) -> str:
    if task.state == "cancelled":
        return "cancelled"
    return (task.outcome.reason if task.outcome else None) or "internal"


def _song(task: Task, item: Item, to: Rendering, kept: OwnedWork | None) -> SongOfTask:
    outcome = task.outcome
    return SongOfTask(
        objectId=task.work_id, title=task.title, description=outcome.description if outcome else "",
        imageUrl=to.link(item.cover_key) if item.cover_key else None,
        audioUrl=to.link(item.key), lyrics=outcome.lyrics if outcome else "", tags=outcome.tags if outcome else (), duration=item.duration_seconds,
        isPublic=kept.is_public if kept else False, isFavorite=kept.is_favorite if kept else False, createdAt=task.created_at,
    )  # fmt: skip
