"""Numbers and texts operators change at run time: defaults in code, changes as rows, read from memory."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Protocol
from uuid import UUID

import structlog
from pydantic import TypeAdapter, ValidationError

from common.db import Database, Tx
from common.errors import ConfigKeyUnknown, InvalidParameter
from common.web import Answer, Model, Moment, Request, Route
from common.web.body import invalid

log = structlog.get_logger()


@dataclass(frozen=True)
class Key:
    """One thing to set: its name, what holds until somebody changes it, what it is for, and the type a value must have."""

    name: str
    default: Any
    description: str
    type: Any

    @cached_property
    def adapter(self) -> TypeAdapter[Any]:
        return TypeAdapter(self.type)


@dataclass(frozen=True, slots=True)
class Set:
    """The present value of a key; version 0 and no time while it is the default."""

    key: Key
    value: Any
    version: int
    updated_at: datetime | None


class ConfigEntry(Model):
    """One key as operators see it."""

    config_key: str
    config_value: Any
    description: str
    version: int
    updated_at: Moment | None


class ConfigList(Model):
    configs: list[ConfigEntry]


class ConfigWish(Model):
    """A new value; text that reads as the key's type is taken for it, because forms send text."""

    config_value: Any


class HasConfig(Protocol):
    """What a service's Deps must have for these routes."""

    @property
    def db(self) -> Database: ...
    @property
    def config(self) -> "Config": ...


class Config:
    """The owner's settings that live in its table `config`; `config["key"]` never waits.

    Every replica reads the table every few seconds; the one that changes a value knows it at once.
    """

    def __init__(self, db: Database, keys: Sequence[Key], *, announce: Callable[[Tx, str, int], None] | None = None) -> None:
        self._db = db
        self._keys: Mapping[str, Key] = {key.name: key for key in keys}
        self._set: dict[str, Set] = {key.name: Set(key, key.default, 0, None) for key in keys}
        self._announce = announce
        self._changes = 0

    def __getitem__(self, name: str) -> Any:
        return self._set[name].value

    def entries(self) -> list[ConfigEntry]:
        """All keys with their present values, by name."""
        return [_entry(self._set[name]) for name in sorted(self._set)]

    async def read(self) -> None:
        """Take over what the table says; a value that no longer fits its key's type is logged and the default holds."""
        seen = -1
        while seen != self._changes:
            # What was read while a value was changed here may be from before it.
            seen = self._changes
            rows = {row["config_key"]: row for row in await self._db.fetch("SELECT config_key, config_value, version, updated_at FROM config")}
        for name, key in self._keys.items():
            row = rows.get(name)
            if row is None:
                self._set[name] = Set(key, key.default, 0, None)
                continue
            try:
                self._set[name] = Set(key, key.adapter.validate_python(row["config_value"]), row["version"], row["updated_at"])
            except ValidationError:
                log.error("config.unreadable", config_key=name)

    async def change(self, name: str, wish: Any, *, by: UUID | None) -> Set:
        """Set a value. Raises ConfigKeyUnknown, or InvalidParameter when it is not of the key's type."""
        key = self._keys.get(name)
        if key is None:
            raise ConfigKeyUnknown()
        if isinstance(wish, bool) and not isinstance(key.default, bool):
            # Python counts true as 1.
            raise InvalidParameter.of("config_value", "truth")
        try:
            value = key.adapter.validate_python(wish)
        except ValidationError as error:
            raise _refusal(error) from None
        async with self._db.transaction() as tx:
            version = await tx.conn.fetchval(
                """
                INSERT INTO config AS c (config_key, config_value, version, updated_at, updated_by) VALUES ($1, $2, 1, $3, $4)
                ON CONFLICT (config_key) DO UPDATE
                SET config_value = excluded.config_value, version = c.version + 1, updated_at = excluded.updated_at, updated_by = excluded.updated_by
                RETURNING version
                """,
                name,
                value,
                tx.now,
                by,
            )
            if self._announce is not None:
                self._announce(tx, name, version)
            changed = Set(key, value, version, tx.now)
        self._changes += 1
        if self._set[name].version < version:
            self._set[name] = changed
        log.info("config.changed", config_key=name, version=version, by=str(by))
        return changed


def _entry(one: Set) -> ConfigEntry:
    return ConfigEntry(config_key=one.key.name, config_value=one.value, description=one.key.description, version=one.version, updated_at=one.updated_at)


def _refusal(error: ValidationError) -> InvalidParameter:
    """Named by the field the caller sent, whatever the type's own paths are."""
    return InvalidParameter(errors=[one._replace(field="config_value") for one in invalid(error).errors[:1]])


async def show_config(request: Request[HasConfig]) -> Answer:
    """Every key of this service."""
    return Answer(ConfigList(configs=request.deps.config.entries()))


async def change_config(request: Request[HasConfig]) -> Answer:
    """One key's new value."""
    name = request.params["config_key"]
    changed = await request.deps.config.change(name, request.body.config_value, by=request.principal.user_id)
    return Answer(_entry(changed))


CONFIG_ROUTES = (
    Route("GET", "/internal/admin/config", show_config, auth="admin", answers={200: ConfigList}, summary="The settings this service owns"),
    Route("PUT", "/internal/admin/config/{config_key}", change_config, auth="admin", body=ConfigWish, answers={200: ConfigEntry}, summary="Change a setting"),
)
"""For an owner's route table: `ROUTES = (..., *CONFIG_ROUTES)`. The gateway composes `/api/admin/config` from all owners with the admin's own token."""
