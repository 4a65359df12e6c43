"""What other services ask of works."""

from uuid import UUID

from pydantic import Field

from common.web import Model


class WorkIds(Model):
    """Which works; unknown ones are absent from the answer."""

    work_ids: list[UUID] = Field(min_length=1, max_length=500)


class KnownWork(Model):
    """Whose a work is, what it shows, and its flags."""

    work_id: UUID
    user_id: UUID
    image_key: str | None
    title: str
    is_favorite: bool
    is_public: bool


class KnownWorks(Model):
    """In no particular order."""

    works: list[KnownWork]
