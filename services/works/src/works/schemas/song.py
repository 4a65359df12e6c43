"""Works in the song dialect."""

from typing import Annotated, Any, Literal
from uuid import UUID

import orjson
from pydantic import BeforeValidator, Field, StringConstraints

from common.messages import wrong
from common.web import Model, Moment
from common.web.song import SongPageQuery
from works.domain import TAG_LENGTH_MAX, Kind, Status
from works.schemas.tags import Tag


def _tags_of_form(given: Any) -> Any:
    """A form has no lists: one field with a JSON list stands for it. Its escapes may hide a NUL that nobody has looked for yet."""
    if isinstance(given, list) and len(given) == 1 and isinstance(given[0], str) and given[0].lstrip().startswith("["):
        try:
            found = orjson.loads(given[0])
        except ValueError:
            return given
        if any(isinstance(one, str) and "\x00" in one for one in found):
            raise wrong("nul")
        return found
    return given


class NewSongWork(Model):
    """A photo to keep as a work. `image` is a data URL or the URL of an upload of mine; a form carries it as a part."""

    title: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
    description: str = Field(default="", max_length=5000)
    image: str | None = None
    style: str = Field(default="", max_length=100)
    tags: Annotated[list[Tag], BeforeValidator(_tags_of_form), Field(default_factory=list, max_length=20)]
    isPublic: bool = False


class WorkForm(NewSongWork):
    """The same as a form, with the photo as a part."""

    image: bytes | None = None  # type: ignore[assignment]


class SongWorksQuery(SongPageQuery):
    """Which works: everybody's public ones and mine, of one creator, with one tag."""

    creator: str | None = Field(default=None, max_length=64)
    tag: str | None = Field(default=None, max_length=TAG_LENGTH_MAX)


class Creator(Model):
    """Who made a work; the name is empty until identity has told it."""

    objectId: UUID
    username: str
    avatar: str | None


class Pointer(Model):
    """The same for clients of the old backend, who ask for it by sending `X-LC-Id`."""

    kind: Literal["Pointer"] = Field(default="Pointer", alias="__type")
    className: Literal["_User"] = "_User"
    objectId: UUID


class SongWork(Model):
    """A work; `audioUrls` names every song of it, the newest first, where there is more than one."""

    objectId: UUID
    title: str
    description: str
    imageUrl: str | None
    audioUrl: str | None
    audioUrls: list[str] | None = Field(default=None, exclude_if=lambda value: value is None)
    lyrics: str = Field(default="", exclude_if=lambda value: not value)
    creator: Creator | Pointer
    status: Status
    type: Kind
    style: str
    tags: list[str]
    plays: int = 0
    likes: int = 0
    isPublic: bool
    createdAt: Moment
    updatedAt: Moment
