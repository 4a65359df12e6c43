"""What no single service can answer: the operators' overview and settings, asked of their owners with the admin's own token."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, unquote

import aiohttp
import orjson
from yarl import URL

from common.errors import (
    AccountDisabled,
    ConfigKeyUnknown,
    FieldError,
    Forbidden,
    InvalidParameter,
    ServiceError,
    Unauthorized,
    Unavailable,
)
from common.messages import Lang
from common.web.body import check_json_type
from gateway.own import OwnAnswer, OwnAsk
from gateway.upstreams import Replicas

OWNERS = ("identity", "works", "generation", "billing")
SECTIONS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "identity": {"users": ("total_users", "today_new_users", "active_users")},
    "works": {"works": ("total_works", "today_works", "completed_works", "failed_works")},
    "generation": {"tasks": ("total_tasks", "pending_tasks", "processing_tasks", "completed_tasks", "failed_tasks")},
    "billing": {"orders": ("total_orders", "total_revenue", "today_revenue"), "credits": ("total_credits", "total_recharged", "total_consumed")},
}
_REFUSALS: Mapping[str, type[ServiceError]] = {"10002": Unauthorized, "10003": Forbidden, "20003": AccountDisabled}
_SETTING = "/api/admin/config/"
_PASSED = frozenset({"authorization", "x-request-id", "traceparent", "accept-language"})
_DONE: Mapping[Lang, str] = {"zh": "配置已更新", "en": "The setting was changed."}


@dataclass(frozen=True, slots=True)
class _Said:
    """A service's answer; None where it is away."""

    status: int
    code: str
    body: Any


class Composed:
    """Asks the owners at the same time and makes one answer; a part that is away is named, its numbers are 0."""

    def __init__(self, replicas: Mapping[str, Replicas], *, connect_seconds: float, wait_seconds: float = 3.0) -> None:
        self._replicas = replicas
        self._timeout = aiohttp.ClientTimeout(total=wait_seconds, sock_connect=connect_seconds)

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), timeout=self._timeout)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._session.close()

    async def show_overview(self, ask: OwnAsk) -> OwnAnswer:
        """The operators' numbers."""
        return _ok(data=await self._overview(_passed(ask)))

    async def show_configs(self, ask: OwnAsk) -> OwnAnswer:
        """Every owner's settings as one list."""
        return _ok(data=await self._configs(_passed(ask)))

    async def change_config(self, ask: OwnAsk) -> OwnAnswer:
        """One setting, changed by its owner. Its key is all of the path's rest, so that no longer path is another name for it."""
        key = unquote(ask.path.removeprefix(_SETTING).removesuffix("/"))
        await self._change(key, _passed(ask), ask)
        return _ok(message=_DONE[ask.lang])

    async def _overview(self, headers: Mapping[str, str]) -> dict[str, Any]:
        said = await self._ask_owners("/internal/admin/overview", headers)
        shown: dict[str, Any] = {}
        for owner, sections in SECTIONS.items():
            answer = said[owner]
            for section, names in sections.items():
                found = answer.body.get(section) if answer is not None and isinstance(answer.body, dict) else None
                shown[section] = {name: found.get(name, 0) if isinstance(found, dict) else 0 for name in names}
        return _marked(shown, said)

    async def _configs(self, headers: Mapping[str, str]) -> dict[str, Any]:
        said = await self._ask_owners("/internal/admin/config", headers)
        raw = sorted((row for answer in said.values() for row in _rows(answer)), key=lambda row: str(row["config_key"]))
        return _marked({"configs": {row["config_key"]: row["config_value"] for row in raw}, "raw": raw}, said)

    async def _change(self, key: str, headers: Mapping[str, str], ask: OwnAsk) -> None:
        said = await self._ask_owners("/internal/admin/config", headers)
        check_json_type(ask.said("content-type") or None)
        _check_wish(ask.body)
        owner = next((name for name, answer in said.items() if any(row["config_key"] == key for row in _rows(answer))), None)
        if owner is None:
            if None in said.values():
                raise Unavailable("a part that may own this setting is away")
            raise ConfigKeyUnknown()
        done = await self._ask(owner, "PUT", f"/internal/admin/config/{quote(key, safe='')}", {**headers, "Content-Type": "application/json"}, ask.body)
        if done is None:
            raise Unavailable("the owner of this setting is away")
        if done.status != 200:
            raise _refusal(done)

    async def _ask_owners(self, path: str, headers: Mapping[str, str]) -> dict[str, _Said | None]:
        answers = await asyncio.gather(*(self._ask(owner, "GET", path, headers) for owner in OWNERS))
        said: dict[str, _Said | None] = {}
        for owner, answer in zip(OWNERS, answers, strict=True):
            if answer is not None and answer.code in _REFUSALS:
                raise _REFUSALS[answer.code]()
            said[owner] = answer if answer is not None and answer.status == 200 else None
        return said

    async def _ask(self, service: str, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None) -> _Said | None:
        for address in self._replicas[service].in_turn():
            try:
                async with self._session.request(method, URL(address.url + path, encoded=True), headers=headers, data=body, allow_redirects=False) as answer:
                    raw = await answer.read()
                    self._replicas[service].answered(address)
                    return _Said(answer.status, answer.headers.get("X-Error-Code", ""), orjson.loads(raw) if raw else None)
            except aiohttp.ClientConnectorError:
                self._replicas[service].failed(address)
            except (aiohttp.ClientError, OSError, TimeoutError, orjson.JSONDecodeError):
                return None
        return None


def _passed(ask: OwnAsk) -> dict[str, str]:
    """What the owners are sent: the admin's own token, above all."""
    passed = {name: value for name, value in ask.headers.items() if name.lower() in _PASSED}
    if "authorization" not in (name.lower() for name in passed):
        raise Unauthorized()
    return passed


def _ok(**said: Any) -> OwnAnswer:
    return OwnAnswer(orjson.dumps({"success": True, **said}))


def _rows(answer: _Said | None) -> list[dict[str, Any]]:
    listed = answer.body.get("configs") if answer is not None and isinstance(answer.body, dict) else None
    return [row for row in listed if isinstance(row, dict) and {"config_key", "config_value"} <= row.keys()] if isinstance(listed, list) else []


def _check_wish(body: bytes) -> None:
    """Raises InvalidParameter for what no owner could read; whether the value fits is its owner's question."""
    try:
        wish = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise InvalidParameter.of("body", "json") from None
    if not isinstance(wish, dict) or "config_value" not in wish:
        raise InvalidParameter.of("config_value", "missing")


def _marked(shown: dict[str, Any], said: Mapping[str, _Said | None]) -> dict[str, Any]:
    missing = sorted(owner for owner, answer in said.items() if answer is None)
    return {**shown, "partial": True, "missing": missing} if missing else shown


def _refusal(said: _Said) -> ServiceError:
    """What an owner refused, to be said in the caller's dialect."""
    if said.code in _REFUSALS:
        return _REFUSALS[said.code]()
    if said.code == "70001":
        return ConfigKeyUnknown()
    if said.code == "10001":
        errors = said.body.get("errors") if isinstance(said.body, dict) else None
        return InvalidParameter(errors=[FieldError.from_wire(one) for one in (errors or [{"field": "config_value"}])[:1]])
    return Unavailable("the owner of this setting refused it for now")
