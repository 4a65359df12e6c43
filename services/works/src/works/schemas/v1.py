"""What neither dialect has a shape for: the gallery, plays, likes."""

from uuid import UUID

from pydantic import Field

from common.web import Model, Query
from works.domain import TAG_LENGTH_MAX
from works.schemas.song import SongWork


class GalleryQuery(Query):
    """How much of the gallery; `after` is the `next` of the answer before."""

    limit: int = Field(default=20, ge=1, le=100)
    after: str | None = Field(default=None, max_length=64)
    tag: str | None = Field(default=None, max_length=TAG_LENGTH_MAX)


class Gallery(Model):
    """Public works, the newest first; `next` leads to older ones, null at the end."""

    works: list[SongWork]
    next: str | None


class WorkCounts(Model):
    """How often a work was played, and by how many it is liked."""

    work_id: UUID
    plays: int
    likes: int
