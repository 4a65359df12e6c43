"""The six services: their ports, settings, databases and composition roots."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from common.settings import ServiceSettings

NAMES: tuple[str, ...] = ("gateway", "identity", "works", "generation", "billing", "notify")
WITH_DATA: tuple[str, ...] = tuple(name for name in NAMES if name != "gateway")
# Those that ask others stop before those they ask.
STOP_ORDER: tuple[tuple[str, ...], ...] = (("gateway", "notify"), ("generation",), ("works", "billing", "identity"))


@dataclass(frozen=True)
class Member:
    """One service as the suite needs it. Importing it is left to whoever runs it, so that small commands start fast."""

    name: str

    @property
    def settings_type(self) -> type[ServiceSettings]:
        found = getattr(importlib.import_module(f"{self.name}.settings"), f"{self.name.capitalize()}Settings")
        return cast("type[ServiceSettings]", found)

    @property
    def open_service(self) -> Any:
        """`open_service(settings, bus)`, the composition root."""
        return importlib.import_module(f"{self.name}.app").open_service

    @property
    def migrations(self) -> Path:
        package = importlib.import_module(self.name)
        return Path(str(package.__file__)).parent / "migrations"


MEMBERS: tuple[Member, ...] = tuple(Member(name) for name in NAMES)
