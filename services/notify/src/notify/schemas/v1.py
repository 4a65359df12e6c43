"""Operators' notices."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import ConfigDict, Field, StringConstraints

from common.web import Model, Moment

USERS_MAX = 1000


class NewNotice(Model):
    """What to say, and to whom: `user_ids` or `user_id`, or everybody, by `audience: "all"` alone. A misspelled name is refused, lest it be left out."""

    model_config = ConfigDict(extra="forbid")

    title: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
    content: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000)]
    data: dict[str, Any] = Field(default_factory=dict)
    audience: Literal["all"] | None = None
    user_id: UUID | None = None
    user_ids: list[UUID] | None = Field(default=None, min_length=1, max_length=USERS_MAX)

    @property
    def named(self) -> tuple[UUID, ...]:
        """Sorted, each once."""
        return tuple(sorted({*(self.user_ids or []), *([self.user_id] if self.user_id else [])}))


class NoticeSaid(Model):
    """`reached` users have it so far; it goes on until everybody has."""

    notice_id: UUID
    audience: Literal["all"] | int
    reached: int
    done: bool
    created_at: Moment
