"""A row of the contract: one path with what it takes, what it answers and every way it refuses."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from common.ids import new_id

if TYPE_CHECKING:
    from lab.dialects.world import World

Dialect = Literal["photo", "song"]
Auth = Literal["none", "optional", "user", "admin", "callback", "frame"]
Who = Literal["nobody", "alice", "bob", "admin"]


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One request. `path` is what goes on the line, parameters filled in.

    On a socket `json` are the frames that are sent; then `meanwhile` happens, and it is listened to until every kind in `hears` was heard.
    `afterwards` puts in order what the request needed.
    """

    path: str
    json: Any = None
    body: bytes | None = None
    form: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    who: Who | None = None
    hears: tuple[str, ...] = ()
    meanwhile: Callable[[], Awaitable[None]] | None = None
    afterwards: Callable[[], Awaitable[None]] | None = None


MakeAsk = Callable[["World"], Awaitable[Ask]]


@dataclass(frozen=True)
class Refusal:
    """One way a row says no, and a request that makes it. `status` of a socket is the code it is closed with; that says it all, so `code` is 0."""

    status: int
    code: int
    why: str
    ask: MakeAsk
    data: Any = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """`takes` is the body or query as the page shows it; `note` what clients must know besides; `shape` what a success looks like, of a socket the
    frames by their types."""

    dialect: Dialect
    method: str
    path: str
    auth: Auth
    about: str
    ask: MakeAsk
    shape: Any
    status: int = 200
    form: bool = False
    takes: Mapping[str, str] | None = None
    note: str = ""
    refusals: tuple[Refusal, ...] = ()

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def has_body(self) -> bool:
        """Whether a broken JSON body must be refused."""
        return self.method in ("POST", "PUT") and self.takes is not None and not self.form


def at(path: str, *, who: Who | None = None, **more: Any) -> MakeAsk:
    """A request that needs nothing made before."""

    async def make(_world: "World") -> Ask:
        return Ask(path=path, who=who, **more)

    return make


def bad(path: str, why: str, json: Any, *, status: int = 400, code: int = 10001) -> Refusal:
    """A body that is refused."""
    return Refusal(status, code, why, at(path, json=json))


def reused(path: str, json: Mapping[str, Any], *, but: Mapping[str, Any]) -> Refusal:
    """The key of an earlier request, with a body that differs in this."""

    async def make(world: "World") -> Ask:
        headers = {"Idempotency-Key": new_id().hex}
        await world.ask("POST", path, json={**json}, headers=headers)
        return Ask(path=path, json={**json, **but}, headers=headers)

    return Refusal(422, 10006, "the Idempotency-Key of another body", make)
