"""What owners and operators change about works, and what operators see."""

from typing import Annotated
from uuid import UUID

from pydantic import Field, StringConstraints

from common.web import Model
from common.web.photo import Page, PageQuery
from works.domain import Kind, Status
from works.schemas.photo import PhotoWork

DELETED = {"zh": "删除成功", "en": "Deleted."}

Tag = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=50)]


class WorkChange(Model):
    """What is to be another; what is not named stays."""

    is_favorite: bool | None = None
    is_public: bool | None = None
    tags: list[Tag] | None = Field(default=None, max_length=20)


class BatchDelete(Model):
    """Which works."""

    work_ids: list[UUID] = Field(min_length=1, max_length=100)


class AdminWorksQuery(PageQuery):
    """Which of everybody's works."""

    type: Kind | None = None
    status: Status | None = None
    user_id: UUID | None = None


class AdminWork(PhotoWork):
    """A work with its owner's name and picture."""

    nickname: str
    avatar_url: str | None


class AdminWorksData(Model):
    """`data` of the list."""

    works: list[AdminWork]
    pagination: Page


class OverviewWorks(Model):
    total_works: int
    today_works: int
    completed_works: int
    failed_works: int


class Overview(Model):
    works: OverviewWorks


class Counted(Model):
    """How often a work was played, and by how many it is liked."""

    work_id: UUID
    plays: int
    likes: int
