"""Operators' notices."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, StringConstraints

from common.web import Model, Moment

USERS_MAX = 1000


class NewNotice(Model):
    """What to say, and to whom; without users it goes to everybody."""

    title: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
    content: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000)]
    data: dict[str, Any] = Field(default_factory=dict)
    user_id: UUID | None = None
    user_ids: list[UUID] | None = Field(default=None, min_length=1, max_length=USERS_MAX)

    @property
    def audience(self) -> tuple[UUID, ...] | None:
        """Sorted, each once; None means everybody."""
        named = [*(self.user_ids or []), *([self.user_id] if self.user_id else [])]
        return tuple(sorted(set(named))) or None


class NoticeSaid(Model):
    """`reached` users have it so far; it goes on until everybody has."""

    notice_id: UUID
    audience: Literal["all"] | int
    reached: int
    done: bool
    created_at: Moment
