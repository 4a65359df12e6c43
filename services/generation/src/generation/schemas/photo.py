"""Tasks and scenes in the photo dialect."""

from collections.abc import Container, Mapping, Sequence
from typing import Annotated, Any, Literal
from uuid import UUID

import orjson
from pydantic import AfterValidator, Field, StringConstraints

from common.errors import ServiceError
from common.events import Item
from common.messages import failure_slug, text, wrong
from common.objects import thumbnail_key
from common.web import Model, Moment, Query, Whole
from common.web.photo import Ok, Page, PageQuery
from generation.domain import ENDED, ITEMS_MAX, OwnedWork, QueueNumbers, Scene, State, Task
from generation.schemas.links import Rendering

PictureKind = Literal["fitting", "photography", "travel"]
AnyKind = Literal["fitting", "photography", "travel", "song"]
PhotoStatus = Literal["pending", "processing", "completed", "failed", "cancelled"]

PICTURE_KINDS: tuple[PictureKind, ...] = ("fitting", "photography", "travel")
PARAMETERS_BYTES_MAX = 16 * 1024
PARAMETERS_DEPTH_MAX = 16
CANCELLED_TEXT = {"zh": "任务已取消", "en": "The task was cancelled."}

STATUSES: Mapping[State, PhotoStatus] = {"queued": "pending", "running": "processing", "completed": "completed", "failed": "failed", "cancelled": "cancelled"}
STATES: Mapping[PhotoStatus, State] = {status: state for state, status in STATUSES.items()}
_FAILURE_CODES: Mapping[str, int] = {"provider-failed": 50002, "deadline-passed": 50003, "moderation-rejected": 50004}


def bounded_parameters(parameters: dict[str, Any]) -> dict[str, Any]:
    """Free-form parameters within a size and depth that any reader survives; raises ValueError."""
    if len(orjson.dumps(parameters)) > PARAMETERS_BYTES_MAX:
        raise wrong("bytes", most=PARAMETERS_BYTES_MAX)
    level: list[Any] = [parameters]
    for _ in range(PARAMETERS_DEPTH_MAX):
        level = [inner for one in level if isinstance(one, (dict, list)) for inner in (one.values() if isinstance(one, dict) else one)]
        if not level:
            return parameters
    raise wrong("depth", most=PARAMETERS_DEPTH_MAX)


Text100 = Annotated[str, StringConstraints(strip_whitespace=True, max_length=100)]


class Destination(Model):
    """Where a travel picture is set."""

    name: Text100 = ""
    country: Text100 = ""
    prompt: Annotated[str, StringConstraints(strip_whitespace=True, max_length=500)] = ""


class CreateTask(Model):
    """An ask for pictures. `images` are links to uploads, or data URLs."""

    type: PictureKind
    batch_count: Whole = Field(default=1, ge=1, le=ITEMS_MAX)
    images: list[str] = Field(min_length=1, max_length=ITEMS_MAX)
    scene_id: Annotated[str, StringConstraints(max_length=63)] | None = None
    parameters: Annotated[dict[str, Any], AfterValidator(bounded_parameters)] | None = None
    custom_description: Annotated[str, StringConstraints(max_length=500)] | None = None
    destination: Destination | None = None


class CreatedTask(Model):
    """`data` of a creation, the same for every replay of its key."""

    task_id: UUID
    type: AnyKind
    batch_count: int
    status: Literal["pending"] = "pending"
    credits_deducted: int


CreatedAnswer = Ok[CreatedTask]


class PhotoTask(Model):
    """A task. `failed_count` items of a completed one never came; `error` says why nothing did."""

    task_id: UUID
    user_id: UUID
    work_id: UUID
    type: AnyKind
    status: PhotoStatus
    progress: int
    batch_count: int
    completed_count: int
    failed_count: int
    credits_deducted: int
    scene_id: str | None
    images: list[str]
    parameters: dict[str, Any]
    custom_description: str
    destination: dict[str, str] | None
    error: str | None
    error_code: int | None
    created_at: Moment
    started_at: Moment | None
    completed_at: Moment | None
    updated_at: Moment


class Picture(Model):
    """One delivered picture; `batch_index` is its place in the batch, from 0."""

    url: str
    format: str
    batch_index: int
    width: int | None
    height: int | None


class PhotoWork(Model):
    """What a task delivered, as works will list it. `thumbnail_url` is a small picture of the first one, or of a song's cover."""

    work_id: UUID
    user_id: UUID
    task_id: UUID
    type: AnyKind
    status: Literal["completed"] = "completed"
    title: str
    images: list[Picture]
    thumbnail_url: str | None
    audio_url: str | None
    scene_id: str | None
    ai_description: str
    tags: Sequence[str]
    batch_count: int
    failed_count: int
    is_favorite: bool
    is_public: bool
    created_at: Moment
    updated_at: Moment


class TaskData(Model):
    """`data` of one task; `work` is null until it ended with something delivered."""

    task: PhotoTask
    work: PhotoWork | None


class TasksQuery(PageQuery):
    """Which of my tasks."""

    type: PictureKind | None = None
    status: PhotoStatus | None = None


class TasksData(Model):
    """`data` of a list of tasks."""

    tasks: list[PhotoTask]
    pagination: Page


class CancelledTask(Model):
    """`data` of a cancellation."""

    task_id: UUID
    status: Literal["cancelled"] = "cancelled"


class QueueOfKind(Model):
    """One kind's queue; `delayed` waits for a repeated attempt."""

    waiting: int
    active: int
    completed: int
    failed: int
    delayed: int
    total: int


class QueueStats(Model):
    """`data` of the queue's statistics."""

    fitting: QueueOfKind
    photography: QueueOfKind
    travel: QueueOfKind


class ScenesQuery(Query):
    """Which scenes. An absent status means the active ones, an empty one all."""

    page: int = Field(default=1, ge=1, le=1_000_000)
    pageSize: int = Field(default=50, ge=1, le=100)
    category: Literal["indoor", "outdoor", "studio"] | None = None
    status: Literal["active", "inactive"] | None = None
    keyword: Annotated[str, StringConstraints(strip_whitespace=True, max_length=100)] | None = None


class PhotoScene(Model):
    """A scene."""

    scene_id: str
    scene_name: str
    category: Literal["indoor", "outdoor", "studio"]
    description: str
    prompt_template: str
    cover_image: str
    parameters: dict[str, Any]
    tags: Sequence[str]
    status: Literal["active", "inactive"]
    display_order: int
    created_at: Moment
    updated_at: Moment


class ScenesData(Model):
    """`data` of a list of scenes."""

    scenes: list[PhotoScene]
    pagination: Page


class SceneData(Model):
    """`data` of one scene."""

    scene: PhotoScene


def canonical(ask: CreateTask, *, images: Sequence[str]) -> dict[str, Any]:
    """The ask as its hash sees it, with what names each picture instead of the picture."""
    destination = ask.destination
    return {**ask.__dict__, "images": images, "destination": destination.model_dump() if destination else None}


def render_created(task: Task) -> bytes:
    """CreatedAnswer as JSON; straight from the task, for this is the hottest answer of the service."""
    created = {"task_id": str(task.task_id), "type": task.kind, "batch_count": task.asked, "status": "pending", "credits_deducted": task.price}
    return orjson.dumps({"success": True, "data": created})


def render_task(task: Task, *, to: Rendering, arrived: int, percent: int | None, lent: Container[str] = ()) -> PhotoTask:
    """A task in this dialect's words. `arrived` items came so far; `percent` is what its worker knows; of `lent` photos no link is given."""
    failure = _failure_of(task, to)
    brief = task.brief
    return PhotoTask(
        task_id=task.task_id, user_id=task.user_id, work_id=task.work_id, type=task.kind, status=STATUSES[task.state],
        progress=percent_of(task, arrived, percent), batch_count=task.asked, completed_count=arrived,
        failed_count=task.asked - arrived if task.state in ("completed", "failed") else 0,
        credits_deducted=task.price, scene_id=task.scene_id, images=[to.link(key) for key in brief.photos if key not in lent],
        parameters=dict(brief.parameters), custom_description=brief.custom_description, destination=dict(brief.destination) if brief.destination else None,
        error=failure[1] if failure else None, error_code=failure[0] if failure else None, created_at=task.created_at, started_at=task.started_at,
        completed_at=task.ended_at, updated_at=task.ended_at or task.started_at or task.created_at,
    )  # fmt: skip


def percent_of(task: Task, arrived: int, percent: int | None) -> int:
    """How far a task is: as its worker says where it is known, else by what arrived."""
    if task.state in ENDED:
        return 100
    if task.state == "queued":
        return 0
    return percent if percent is not None else 5 + 90 * arrived // task.asked


def _failure_of(task: Task, to: Rendering) -> tuple[int, str] | None:
    if task.state != "failed":
        return None
    slug = failure_slug(task.outcome.reason if task.outcome else None)
    return _FAILURE_CODES[slug], text(slug, to.lang)


def render_work(task: Task, items: Sequence[Item], *, to: Rendering, kept: OwnedWork | None) -> PhotoWork | None:
    """What an ended task delivered, until its owner deletes it; flags as works says where it answered, else as they are for a new work."""
    if task.state not in ENDED or not items or (kept is not None and kept.is_deleted):
        return None
    outcome = task.outcome
    song = items[0] if task.kind == "song" else None
    return PhotoWork(
        work_id=task.work_id, user_id=task.user_id, task_id=task.task_id, type=task.kind, title=task.title,
        images=[] if song else [_picture(item, to) for item in items], thumbnail_url=_thumbnail(items[0], to),
        audio_url=to.link(song.key) if song else None, scene_id=task.scene_id, ai_description=outcome.description if outcome else "",
        tags=outcome.tags if outcome else (), batch_count=task.asked, failed_count=task.asked - len(items), is_favorite=kept.is_favorite if kept else False,
        is_public=kept.is_public if kept else False, created_at=task.created_at, updated_at=task.ended_at or task.created_at,
    )  # fmt: skip


def _thumbnail(item: Item, to: Rendering) -> str | None:
    """The link to a small picture, which works makes when it is first looked at."""
    key = thumbnail_key(item.key) or (thumbnail_key(item.cover_key) if item.cover_key else None)
    return to.link(key) if key is not None else None


def _picture(item: Item, to: Rendering) -> Picture:
    return Picture(url=to.link(item.key), format=item.content_type.partition("/")[2], batch_index=item.index, width=item.width, height=item.height)


def render_queue(numbers: Mapping[AnyKind, QueueNumbers]) -> QueueStats:
    """The queue's statistics, pictures only."""
    return QueueStats.model_validate({
        kind: {
            "waiting": one.waiting, "active": one.active, "completed": one.completed, "failed": one.failed, "delayed": one.delayed, "total": one.total,
        }
        for kind in PICTURE_KINDS if (one := numbers[kind])
    })  # fmt: skip


def render_scene(scene: Scene, *, to: Rendering) -> PhotoScene:
    """A scene in this dialect's words."""
    return PhotoScene(
        scene_id=scene.scene_id, scene_name=scene.scene_name, category=scene.category, description=scene.description, prompt_template=scene.prompt_template,
        cover_image=to.public_link(scene.cover_key) if scene.cover_key else scene.cover_link or "",
        parameters=dict(scene.parameters), tags=scene.tags, status=scene.status,
        display_order=scene.display_order, created_at=scene.created_at, updated_at=scene.updated_at,
    )  # fmt: skip


def in_status_words(refusal: ServiceError) -> ServiceError:
    """The same refusal, with the task's state in this dialect's words."""
    if refusal.data and refusal.data.get("status") in STATUSES:
        refusal.data["status"] = STATUSES[refusal.data["status"]]
    return refusal
