"""Works in the photo dialect."""

from uuid import UUID

from common.web import Model, Moment
from common.web.photo import Page, PageQuery
from works.domain import Kind, Status


class PhotoWorksQuery(PageQuery):
    """Which of my works; an admin may name another owner, everybody else then sees only what is public."""

    type: Kind | None = None
    status: Status = "completed"
    is_public: bool | None = None
    is_favorite: bool | None = None
    user_id: UUID | None = None


class Picture(Model):
    """One delivered picture; `batch_index` is its place in the batch, from 0."""

    url: str
    format: str
    batch_index: int
    width: int | None
    height: int | None


class PhotoWork(Model):
    """A work; one kept by hand has no task. `batch_count` was asked for, `failed_count` of them never came; `error` says why nothing did.

    `thumbnail_url` is a small picture of it, in WebP. Whether it is a favourite is its owner's own affair: others always see false.
    """

    work_id: UUID
    user_id: UUID
    task_id: UUID | None
    type: Kind
    status: Status
    title: str
    images: list[Picture]
    thumbnail_url: str | None
    audio_url: str | None
    scene_id: str | None
    ai_description: str
    tags: list[str]
    batch_count: int
    failed_count: int
    error: str | None
    is_favorite: bool
    is_public: bool
    plays: int
    likes: int
    created_at: Moment
    updated_at: Moment


class WorkData(Model):
    """`data` of one work."""

    work: PhotoWork


class WorksData(Model):
    """`data` of a list of works."""

    works: list[PhotoWork]
    pagination: Page
