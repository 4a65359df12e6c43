"""The song dialect's pages."""

from typing import Generic, TypeVar

from pydantic import Field

from common.web.model import Model, Query

T = TypeVar("T")


class SongPage(Model, Generic[T]):
    """`{results, page, limit, total}`."""

    results: list[T]
    page: int
    limit: int
    total: int


class SongPageQuery(Query):
    """Which page of a list is asked for."""

    page: int = Field(default=1, ge=1, le=1_000_000)
    limit: int = Field(default=20, ge=1, le=100)

    @property
    def offset(self) -> int:
        return (self.page - 1) * self.limit
