"""Who gets in: the checks both paths make before any service is asked."""

from common.errors import MethodNotAllowed, NotFound, PayloadTooLarge, Unauthorized
from gateway.routes import Route


class WrongMethod(MethodNotAllowed):
    """The path is known, the method is not; says which are."""

    def __init__(self, route: Route) -> None:
        super().__init__()
        self.allow = ", ".join(route.methods)


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
