"""The photo dialect's envelope and pages."""

from typing import Generic, Literal, TypeVar

from pydantic import Field

from common.web.model import Model, Query

T = TypeVar("T")


def _is_none(value: object) -> bool:
    return value is None


class Ok(Model, Generic[T]):
    """`{success: true, message?, data?}`; what is None stays out."""

    success: Literal[True] = True
    message: str | None = Field(default=None, exclude_if=_is_none)
    data: T | None = Field(default=None, exclude_if=_is_none)


class Page(Model):
    """Where in a list an answer stands."""

    page: int
    pageSize: int
    total: int
    totalPages: int

    @classmethod
    def of(cls, query: "PageQuery", total: int) -> "Page":
        return cls(page=query.page, pageSize=query.pageSize, total=total, totalPages=-(-total // query.pageSize))


class PageQuery(Query):
    """Which page of a list is asked for."""

    page: int = Field(default=1, ge=1, le=1_000_000)
    pageSize: int = Field(default=20, ge=1, le=100)

    @property
    def offset(self) -> int:
        return (self.page - 1) * self.pageSize
