"""Who gets in: the checks both paths make before any service is asked."""

from typing import NamedTuple

from common.errors import MethodNotAllowed, NotFound, PayloadTooLarge, Unauthorized
from gateway import edge
from gateway.routes import Route, RouteTable


class WrongMethod(MethodNotAllowed):
    """The path is known, the method is not; says which are."""

    def __init__(self, route: Route) -> None:
        super().__init__()
        self.allow = ", ".join(route.methods)


class Admitted(NamedTuple):
    """A request that may be sent on: to whom, and under which spelling."""

    route: Route
    target: str


def admit(table: RouteTable, method: str, target: str, *, length: int, has_token: bool) -> Admitted:
    """Raises NotFound, WrongMethod, Unauthorized or PayloadTooLarge; `length` is 0 where nobody knows it yet."""
    spelled = edge.canonical(target)
    route = table.find(spelled[0]) if spelled is not None else None
    if spelled is None or route is None:
        raise NotFound()
    if method not in route.methods:
        raise WrongMethod(route)
    if route.auth == "user" and not has_token:
        raise Unauthorized()
    if length > route.body_bytes_max:
        raise PayloadTooLarge()
    return Admitted(route, spelled[0] + spelled[1])
