"""The one route table: which path goes to which service, who may ask, how much may be sent, how long it may take."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Place = Literal["gateway", "identity", "works", "generation", "billing", "notify"]
Auth = Literal["user", "optional", "none"]
LimitClass = Literal["default", "login", "create", "upload", "callback", "payment", "file", "none"]

KIB = 1024
MIB = 1024 * KIB
JSON_BYTES_MAX = 256 * KIB
DATA_URL_BYTES_MAX = 50 * MIB
FILE_BYTES_MAX = 50 * MIB + 64 * KIB  # one file and its multipart dress; how large it may be is works' to say (max_upload_size), this is its most
CALLBACK_BYTES_MAX = 40 * MIB
PORTRAIT_BYTES_MAX = 16 * MIB  # a file, maybe as a data URL
FILES_BYTES_MAX = 500 * MIB + 64 * KIB

ANY = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
READ = ("GET", "HEAD")


@dataclass(frozen=True, slots=True)
class Route:
    """One row. `path` is literal, or ends in `/*` for everything below; the row with the longest path wins.

    `deadline_seconds` is for the answer to begin, longer than the service's own, so that the service says what was late.
    `auth="user"` lets the gateway refuse a request without any token; whether the token is good is each service's question.
    `limits` says which budgets it counts on (`gateway.limits`); to read is never a login. The service `gateway` is the gateway itself (`gateway.own`).
    """

    path: str
    service: Place
    methods: tuple[str, ...] = ANY
    auth: Auth = "optional"
    body_bytes_max: int = JSON_BYTES_MAX
    deadline_seconds: float = 20
    websocket: bool = False
    limits: LimitClass = "default"


ROUTES: tuple[Route, ...] = (
    # how the whole is
    Route("/health", "gateway", READ, "none", limits="none"),
    Route("/api/health", "gateway", READ, "none", limits="none"),
    Route("/openapi.json", "gateway", READ, "none", limits="file"),
    Route("/", "gateway", READ, "none", limits="file"),
    Route("/docs", "gateway", READ, "none", limits="file"),
    Route("/docs/*", "gateway", READ, "none", limits="file"),
    Route("/api/admin/stats/overview", "gateway", READ, "user"),
    Route("/api/admin/config", "gateway", READ, "user"),
    Route("/api/admin/config/*", "gateway", ("PUT",), "user", 64 * KIB),
    # who you are
    Route("/users", "identity", ("POST",), "none", PORTRAIT_BYTES_MAX, 65, limits="login"),
    Route("/login", "identity", ("POST",), "none", deadline_seconds=35, limits="login"),
    Route("/api/auth/me", "identity", READ, "user"),
    Route("/api/auth/refresh", "identity", ("POST",), "user"),
    Route("/api/auth/wechat/login", "identity", ("POST",), "none", deadline_seconds=35, limits="login"),
    Route("/api/auth/admin/login", "identity", ("POST",), "none", deadline_seconds=35, limits="login"),
    Route("/api/auth/*", "identity"),
    Route("/requestPasswordReset", "identity", ("POST",), "none", deadline_seconds=35, limits="login"),
    Route("/v1/sessions", "identity", deadline_seconds=35, limits="login"),
    Route("/v1/sessions/*", "identity"),
    Route("/v1/password-resets", "identity", auth="none", deadline_seconds=35, limits="login"),
    Route("/v1/password-resets/*", "identity", auth="none", deadline_seconds=35, limits="login"),
    Route("/v1/email-verifications", "identity", auth="none", deadline_seconds=35, limits="login"),
    Route("/v1/email-verifications/*", "identity", auth="none", deadline_seconds=35, limits="login"),
    Route("/v1/admin-invitations", "identity", auth="none", deadline_seconds=35, limits="login"),
    Route("/v1/admin-invitations/*", "identity", auth="none", deadline_seconds=35, limits="login"),
    Route("/api/admin/users", "identity", auth="user"),
    Route("/api/admin/users/*", "identity", auth="user"),
    Route("/.well-known/jwks.json", "identity", READ, "none", limits="file"),
    # what you keep
    Route("/api/upload/*", "works", auth="user", body_bytes_max=DATA_URL_BYTES_MAX, deadline_seconds=125, limits="upload"),
    Route("/api/upload/single", "works", ("POST",), "user", FILE_BYTES_MAX, 125, limits="upload"),
    Route("/api/upload/multiple", "works", ("POST",), "user", FILES_BYTES_MAX, 125, limits="upload"),
    Route("/api/works", "works"),
    Route("/api/works/*", "works"),
    Route("/works", "works", body_bytes_max=DATA_URL_BYTES_MAX, deadline_seconds=125),
    Route("/works/*", "works"),
    Route("/files/*", "works", READ, "none", limits="file"),
    Route("/v1/gallery", "works", READ),
    Route("/v1/works/*", "works", auth="user"),
    Route("/v1/uploads", "works", auth="user", deadline_seconds=125, limits="upload"),
    Route("/v1/uploads/*", "works", auth="user", deadline_seconds=125, limits="upload"),
    Route("/v1/incoming/*", "works", ("PUT",), "none", FILE_BYTES_MAX, 125, limits="upload"),
    Route("/api/admin/works", "works", auth="user"),
    Route("/api/admin/works/*", "works", auth="user"),
    # what you ask for
    Route("/api/scenes", "generation"),
    Route("/api/scenes/*", "generation"),
    Route("/api/tasks/create", "generation", ("POST",), "user", DATA_URL_BYTES_MAX, 65, limits="create"),
    Route("/api/tasks/*", "generation"),
    Route("/music/tasks", "generation", ("POST",), "user", limits="create"),
    Route("/music/tasks/*", "generation", auth="user"),
    Route("/api/admin/tasks", "generation", auth="user"),
    Route("/api/admin/tasks/*", "generation", auth="user"),
    Route("/api/callback/*", "generation", ("POST",), "none", CALLBACK_BYTES_MAX, 65, limits="callback"),
    # what it costs
    Route("/api/credits/*", "billing"),
    Route("/api/credits/payment/*", "billing", ("POST",), "none", limits="payment"),
    Route("/points/*", "billing", auth="user"),
    Route("/v1/packages", "billing", READ, "none"),
    Route("/v1/sandbox/*", "billing", auth="none"),
    Route("/api/admin/orders", "billing", auth="user"),
    Route("/api/admin/orders/*", "billing", auth="user"),
    Route("/v1/admin/orders", "billing", auth="user"),
    Route("/v1/admin/orders/*", "billing", auth="user"),
    # what you are told
    Route("/ws", "notify", ("GET",), "none", websocket=True),
    Route("/v1/admin/notices", "notify", auth="user"),
    Route("/v1/admin/notices/*", "notify", auth="user"),
    Route("/v1/feed", "notify", auth="user"),
    Route("/v1/feed/*", "notify", auth="user"),
)


class RouteTable:
    """Finds the row for a path in a few dictionary look-ups."""

    def __init__(self, routes: Iterable[Route] = ROUTES) -> None:
        self._exact: dict[str, Route] = {}
        self._below: dict[str, Route] = {}
        for route in routes:
            rows, key = (self._below, route.path[:-2]) if route.path.endswith("/*") else (self._exact, route.path)
            if key in rows:
                raise ValueError(f"two rows for {route.path}")
            rows[key] = route

    def find(self, path: str) -> Route | None:
        """The row for a canonical path, or None."""
        found = self._exact.get(path)
        if found is not None:
            return found
        below = self._below
        cut = path.rfind("/")
        while cut > 0:
            found = below.get(path[:cut])
            if found is not None:
                return found
            cut = path.rfind("/", 0, cut)
        return None
