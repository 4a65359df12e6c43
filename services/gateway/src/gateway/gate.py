"""Who gets in: the checks both paths make before any service is asked."""

from dataclasses import dataclass

from common.errors import MethodNotAllowed, NotFound, PayloadTooLarge, Unauthorized
from gateway.callers import Addresses, Users
from gateway.cors import Cors
from gateway.counts import SharedCounts
from gateway.limits import Limits, Visit
from gateway.routes import READ, Route, RouteTable
from gateway.signing import Signing


class WrongMethod(MethodNotAllowed):
    """The path is known, the method is not; says which are."""

    def __init__(self, route: Route) -> None:
        super().__init__()
        self.allow = ", ".join(route.methods)


@dataclass(frozen=True, slots=True)
class Gate:
    """The rules of one gateway, the same on both paths. Without `limits` nobody counts."""

    table: RouteTable
    cors: Cors
    addresses: Addresses
    users: Users
    signing: Signing
    limits: Limits | None
    shared: SharedCounts | None

    def enter(self, route: Route | None, method: str, *, peer: str, forwarded: str, token: str | None) -> Visit | None:
        """Count a request; None where nobody counts. What is on no route counts like anything else, or guessing paths would be free."""
        kind = route.limits if route is not None else "default"
        if self.limits is None or kind == "none":
            return None
        if kind == "login" and method in READ:
            kind = "default"
        return self.limits.enter(kind, self.addresses.key(peer, forwarded), None if token is None else self.users.key(token))

    def leave(self, visit: Visit) -> None:
        """The visit is over."""
        assert self.limits is not None
        self.limits.leave(visit)


def check(route: Route | None, method: str, *, length: int, has_token: bool) -> Route:
    """The route, if the request may be sent on. `length` is 0 where nobody knows it yet.

    Raises NotFound, WrongMethod, Unauthorized or PayloadTooLarge.
    """
    if route is None:
        raise NotFound()
    if method not in route.methods:
        raise WrongMethod(route)
    if route.auth == "user" and not has_token:
        raise Unauthorized()
    if length > route.body_bytes_max:
        raise PayloadTooLarge()
    return route


def token_of(authorization: str | None, session: str | None) -> str | None:
    """The token a request brings, of whatever kind and quality."""
    if authorization is not None:
        kind, _, token = authorization.partition(" ")
        return token.strip() if kind.lower() == "bearer" and token else authorization
    return session
