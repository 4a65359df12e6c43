"""What other services ask of works."""

from uuid import UUID

from pydantic import Field

from common.web import Model


class WorkIds(Model):
    """Which works; unknown ones are absent from the answer, deleted ones are answered with `is_deleted`."""

    work_ids: list[UUID] = Field(min_length=1, max_length=500)


class KnownWork(Model):
    """Whose a work is, what it shows, and its flags. A deleted one shows nothing."""

    work_id: UUID
    user_id: UUID
    image_key: str | None = None
    title: str = ""
    is_favorite: bool = False
    is_public: bool = False
    is_deleted: bool = False


class KnownWorks(Model):
    """In no particular order."""

    works: list[KnownWork]


class PictureToKeep(Model):
    """A picture for a user: as base64 (bare or a data URL), or the key of an object to copy. `field` is how the asker's own client called it.

    A `fleeting` one is no upload of the user's: nothing lists it, it fills no quota, and it is removed when no task can need it any more.
    """

    file_id: UUID
    user_id: UUID
    content: str | None = None
    key: str | None = Field(default=None, max_length=1024)
    field: str = Field(default="content", max_length=64)
    fleeting: bool = False


class KeptPicture(Model):
    """Under which key it lies now."""

    key: str
