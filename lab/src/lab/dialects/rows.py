"""A row of the contract: one path with what it takes, what it answers and every way it refuses."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from lab.dialects.world import World

Dialect = Literal["photo", "song"]
Auth = Literal["none", "optional", "user", "admin", "callback"]
Who = Literal["nobody", "alice", "bob", "admin"]


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One request. `path` is what goes on the line, parameters filled in."""

    path: str
    json: Any = None
    body: bytes | None = None
    form: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    who: Who | None = None


MakeAsk = Callable[["World"], Awaitable[Ask]]


@dataclass(frozen=True)
class Refusal:
    """One way a row says no, and a request that makes it."""

    status: int
    code: int
    why: str
    ask: MakeAsk
    data: Any = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """`takes` is the body or query as the page shows it; `shape` what a success looks like."""

    dialect: Dialect
    method: str
    path: str
    auth: Auth
    about: str
    ask: MakeAsk
    shape: Any
    status: int = 200
    takes: Mapping[str, str] | None = None
    refusals: tuple[Refusal, ...] = ()

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def has_body(self) -> bool:
        """Whether a broken JSON body must be refused."""
        return self.method in ("POST", "PUT") and self.takes is not None


def at(path: str, *, who: Who | None = None, **more: Any) -> MakeAsk:
    """A request that needs nothing made before."""

    async def make(_world: "World") -> Ask:
        return Ask(path=path, who=who, **more)

    return make


def bad(path: str, why: str, json: Any, *, status: int = 400, code: int = 10001) -> Refusal:
    """A body that is refused."""
    return Refusal(status, code, why, at(path, json=json))
