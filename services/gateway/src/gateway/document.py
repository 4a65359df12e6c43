"""`/openapi.json`: what all services say about themselves, as one document."""

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson
import structlog
from yarl import URL

from common.errors import ConfigKeyUnknown
from common.web import Answer, Request, Route
from common.web.dialects import dialect_of
from common.web.openapi import document_of
from gateway.own import OwnAnswer, OwnAsk
from gateway.routes import RouteTable
from gateway.schemas import Done, Health, NewValue, OverviewOk, SettingsOk
from gateway.upstreams import Replicas

log = structlog.get_logger()

_BYTES_MAX = 8 * 1024 * 1024
_PARAM = re.compile(r"\{[^{}]*\}")
_REF = "#/components/schemas/"


async def _here(_request: Request[Any]) -> Answer:
    raise NotImplementedError("the gateway answers these itself; the rows only describe them")


OWN_ROUTES = (
    Route("GET", "/health", _here, auth="none", answers={200: Health}, summary="How the whole is: always an answer while the gateway lives"),
    Route("GET", "/api/health", _here, auth="none", answers={200: Health}, summary="The same"),
    Route("GET", "/api/admin/stats/overview", _here, auth="admin", answers={200: OverviewOk}, summary="The operators' numbers"),
    Route("GET", "/api/admin/config", _here, auth="admin", answers={200: SettingsOk}, summary="Every setting that operators change"),
    Route(
        "PUT",
        "/api/admin/config/{config_key}",
        _here,
        auth="admin",
        body=NewValue,
        answers={200: Done},
        refusals=(ConfigKeyUnknown,),
        summary="Change one setting",
    ),
)


class Document:
    """Asks each service for its own document now and then; of one that is away the last known one is shown, and of one that hangs after a second."""

    def __init__(
        self,
        replicas: Mapping[str, Replicas],
        table: RouteTable,
        *,
        connect_seconds: float,
        wait_seconds: float = 10.0,
        wait_again_seconds: float = 1.0,
        fresh_seconds: float = 30.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._replicas = replicas
        self._table = table
        self._timeout = aiohttp.ClientTimeout(total=wait_seconds, sock_connect=connect_seconds)
        self._timeout_again = aiohttp.ClientTimeout(total=wait_again_seconds, sock_connect=connect_seconds)
        self._fresh_seconds = fresh_seconds
        self._monotonic = monotonic
        self._turn = asyncio.Lock()
        self._asked_at = float("-inf")
        self._known: dict[str, dict[str, Any]] = {}
        self._merged = b""
        self._etag = ""

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._session.close()

    async def show(self, ask: OwnAsk) -> OwnAnswer:
        """The whole document."""
        async with self._turn:
            if self._monotonic() - self._asked_at >= self._fresh_seconds:
                await self._renew()
        said = {"Cache-Control": "no-cache", "ETag": self._etag, "X-Content-Type-Options": "nosniff"}
        if ask.said("if-none-match") == self._etag:
            return OwnAnswer(b"", headers=said, status=304)
        return OwnAnswer(self._merged, headers=said)

    async def _renew(self) -> None:
        found = await asyncio.gather(*(self._ask(service) for service in self._replicas))
        self._known |= {service: document for service, document in zip(self._replicas, found, strict=True) if document is not None}
        own: dict[str, Any] = orjson.loads(document_of(OWN_ROUTES, name="gateway", title="Darkroom gateway"))
        merged = merge({"gateway": own, **self._known}, self._belongs)
        self._merged = orjson.dumps(merged)
        self._etag = f'"{sha256(self._merged).hexdigest()[:20]}"'
        # Somebody who is away is asked again soon.
        self._asked_at = self._monotonic() if all(found) else self._monotonic() - self._fresh_seconds + min(2.0, self._fresh_seconds)

    def _belongs(self, service: str, path: str, method: str) -> bool:
        """Whether the gateway sends this request to that service."""
        row = self._table.find(_PARAM.sub("x", path))
        return row is not None and row.service == service and method.upper() in row.methods

    async def _ask(self, service: str) -> dict[str, Any] | None:
        timeout = self._timeout_again if service in self._known else self._timeout
        for address in self._replicas[service].in_turn():
            try:
                async with self._session.get(URL(address.url + "/openapi.json"), allow_redirects=False, timeout=timeout) as answer:
                    raw = await answer.content.read(_BYTES_MAX)
                    while not answer.content.at_eof() and len(raw) < _BYTES_MAX:
                        raw += await answer.content.read(_BYTES_MAX - len(raw))
                    document = orjson.loads(raw) if answer.status == 200 else None
            except (aiohttp.ClientError, OSError, TimeoutError, orjson.JSONDecodeError) as error:
                log.warning("document.not_heard", service=service, cause=type(error).__name__)
                continue
            if isinstance(document, dict) and isinstance(document.get("paths"), dict):
                return document
        return None


def merge(documents: Mapping[str, Mapping[str, Any]], belongs: Callable[[str, str, str], bool]) -> dict[str, Any]:
    """One document of many. Schemas of one name and two shapes keep the service's name before theirs; refusals of one name are one."""
    paths: dict[str, Any] = {}
    refusals: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    security: dict[str, Any] = {}
    for service, document in documents.items():
        components = document.get("components", {})
        own = components.get("schemas", {})
        names = {name: name if schemas.get(name, shape) == shape else f"{service.capitalize()}{name}" for name, shape in own.items()}
        schemas |= {names[name]: _renamed(shape, names) for name, shape in own.items()}
        refusals |= _renamed(components.get("responses", {}), names)
        security |= components.get("securitySchemes", {})
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                if belongs(service, path, method):
                    paths.setdefault(path, {})[method] = {**_renamed(operation, names), "tags": [f"{dialect_of(path)}-{service}"]}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Darkroom",
            "version": "1",
            "summary": "Photos become pictures and songs",
            "description": "Two dialects on one core: photo (`/api/...`) and song (`/users`, `/works`, `/music`, `/points`, ...); the rest is `/v1`.",
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name} for name in sorted({operation["tags"][0] for operations in paths.values() for operation in operations.values()})],
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": dict(sorted(schemas.items())), "responses": dict(sorted(refusals.items())), "securitySchemes": security},
    }


def _renamed(part: Any, names: Mapping[str, str]) -> Any:
    if isinstance(part, dict):
        return {
            key: _REF + names.get(value[len(_REF) :], value[len(_REF) :])
            if key == "$ref" and isinstance(value, str) and value.startswith(_REF)
            else _renamed(value, names)
            for key, value in part.items()
        }
    return [_renamed(one, names) for one in part] if isinstance(part, list) else part
