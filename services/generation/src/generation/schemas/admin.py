"""What operators send and see."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, Field, StringConstraints

from common.web import Model, Whole
from common.web.photo import Page, PageQuery
from generation.schemas.photo import AnyKind, PhotoStatus, PhotoTask, bounded_parameters

DELETED_TEXT = {"zh": "场景已删除", "en": "The scene was deleted."}

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
Words = Annotated[str, StringConstraints(strip_whitespace=True, max_length=2000)]
Tag = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=50)]
Parameters = Annotated[dict[str, Any], AfterValidator(bounded_parameters)]
Address = Annotated[str, StringConstraints(strip_whitespace=True, max_length=2048)]
Category_ = Literal["indoor", "outdoor", "studio"]
Order = Annotated[Whole, Field(ge=-1_000_000, le=1_000_000)]


class NewScene(Model):
    """A scene to be made."""

    scene_name: Name
    category: Category_
    description: Words = ""
    prompt_template: Words = ""
    cover_image: Address = ""
    parameters: Parameters = Field(default_factory=dict)
    tags: list[Tag] = Field(default_factory=list, max_length=20)
    status: Literal["active", "inactive"] = "active"
    display_order: Order = 0


class SceneChange(Model):
    """What is to be another; what is not named stays."""

    scene_name: Name | None = None
    category: Category_ | None = None
    description: Words | None = None
    prompt_template: Words | None = None
    cover_image: Address | None = None
    parameters: Parameters | None = None
    tags: list[Tag] | None = Field(default=None, max_length=20)
    status: Literal["active", "inactive"] | None = None
    display_order: Order | None = None


class Category(Model):
    category: str
    count: int


class CategoriesData(Model):
    """`data` of the categories."""

    categories: list[Category]


class AdminTasksQuery(PageQuery):
    """Which of everybody's tasks."""

    type: AnyKind | None = None
    status: PhotoStatus | None = None
    user_id: UUID | None = None


class AdminTask(PhotoTask):
    """A task with its owner's name, empty while identity is away."""

    nickname: str


class AdminTasksData(Model):
    """`data` of the list."""

    tasks: list[AdminTask]
    pagination: Page


class OverviewTasks(Model):
    total_tasks: int
    pending_tasks: int
    processing_tasks: int
    completed_tasks: int
    failed_tasks: int


class Overview(Model):
    tasks: OverviewTasks
