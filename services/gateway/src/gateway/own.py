"""What the gateway answers itself, by path: health, and what it composes from the services."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from common.errors import NotFound
from common.messages import Lang

JSON = "application/json; charset=utf-8"


@dataclass(frozen=True, slots=True)
class OwnAsk:
    """A request for one of the gateway's own answers; `headers` are those that may be sent on."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    lang: Lang

    def said(self, header: str) -> str:
        """A header's value; empty when it was not sent."""
        return next((value for name, value in self.headers.items() if name.lower() == header), "")


@dataclass(frozen=True, slots=True)
class OwnAnswer:
    body: bytes
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200


Act = Callable[[OwnAsk], Awaitable[OwnAnswer]]


class Own:
    """Finds who answers a path that is in the route table with the service `gateway`."""

    def __init__(self, acts: Mapping[str, Act]) -> None:
        self._acts = acts

    async def answer(self, row: str, ask: OwnAsk) -> OwnAnswer:
        """The answer to a request whose row in the route table is `row`."""
        act = self._acts.get(row)
        if act is None:
            raise NotFound()
        return await act(ask)
