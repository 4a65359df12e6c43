"""Every route there is, taken from the services' own code: what an onslaught aims at."""

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import BaseModel

from common.web import Route
from gateway.document import OWN_ROUTES
from gateway.routes import RouteTable
from suite.members import WITH_DATA

UNKNOWN = "018f0000-0000-7000-8000-000000000000"
_INTERNAL = "/internal/"
_TABLE = RouteTable()


@dataclass(frozen=True)
class Found:
    """One route of one service."""

    service: str
    route: Route

    def target(self, value: str | Callable[[str], str] = UNKNOWN) -> str:
        """The path with every parameter replaced, by this value or by the one for its name."""
        return re.sub(r"\{([^}:]+)[^}]*\}", lambda match: value if isinstance(value, str) else value(match[1]), self.route.path)

    @property
    def has_params(self) -> bool:
        return "{" in self.route.path

    @property
    def is_internal(self) -> bool:
        return self.route.auth == "service" or self.route.path.startswith(_INTERNAL)

    @property
    def model(self) -> type[BaseModel] | None:
        """Of its JSON body, also of one that the handler reads by itself."""
        return self.route.body or self.route.reads.get("application/json")

    @property
    def bytes_max(self) -> int:
        """How long a body the gateway lets pass."""
        row = _TABLE.find(self.target())
        assert row is not None, self
        return row.body_bytes_max

    def __str__(self) -> str:
        return f"{self.route.method} {self.route.path}"


def _routes_of(service: str) -> tuple[Route, ...]:
    module = importlib.import_module(f"{service}.api")
    return tuple(getattr(module, "ROUTES", None) or module.routes)


EVERY = tuple(Found(service, route) for service in WITH_DATA for route in _routes_of(service)) + tuple(Found("gateway", route) for route in OWN_ROUTES)
INTERNAL = tuple(found for found in EVERY if found.is_internal)
PUBLIC = tuple(found for found in EVERY if not found.is_internal)
PLAIN = tuple(found for found in PUBLIC if found.route.path != "/ws")
GUARDED = tuple(found for found in PLAIN if found.route.auth != "none")
ADMINS = tuple(found for found in PLAIN if found.route.auth == "admin")
