"""Routes of notify."""

from common.errors import Forbidden
from common.web import Route
from notify.api import v1
from notify.api.photo import open_socket

routes = (
    Route("GET", "/ws", open_socket, auth="none", raw=True, answers={101: None}, refusals=(Forbidden,), summary="Live frames: authenticate with the first one"),
    *v1.ROUTES,
)
