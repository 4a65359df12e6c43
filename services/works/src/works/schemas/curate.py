"""What owners and operators change about works, and what operators see."""

from uuid import UUID

from pydantic import Field

from common.web import Model, Query
from common.web.photo import Page, PageQuery
from works.domain import Kind, Status
from works.schemas.photo import PhotoWork
from works.schemas.tags import Tag

DELETED = {"zh": "删除成功", "en": "Deleted."}


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


class Reason(Query):
    """Why an operator deletes something; it is kept with the deed."""

    reason: str = Field(default="", max_length=500)


class AdminWork(PhotoWork):
    """A work with its owner's name and picture."""

    nickname: str
    avatar_url: str | None


class AdminWorksData(Model):
    """`data` of the list."""

    works: list[AdminWork]
    pagination: Page


class OverviewWorks(Model):
    """How many works there are; `today_works` were asked for since midnight UTC."""

    total_works: int
    today_works: int
    completed_works: int
    failed_works: int


class Overview(Model):
    """What works adds to the operators' overview."""

    works: OverviewWorks
