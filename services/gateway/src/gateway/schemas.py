"""What the gateway's own answers look like, for the documentation."""

from typing import Any, Literal

from pydantic import ConfigDict

from common.web import Model
from gateway.composed import SECTIONS


class Overview(Model):
    """The operators' numbers, by section."""

    users: dict[str, float]
    works: dict[str, float]
    tasks: dict[str, float]
    orders: dict[str, float]
    credits: dict[str, float]
    partial: bool | None = None
    missing: list[str] | None = None

    model_config = ConfigDict(
        json_schema_extra={"examples": [{name: dict.fromkeys(names, 1) for sections in SECTIONS.values() for name, names in sections.items()}]}
    )


class OverviewOk(Model):
    success: Literal[True]
    data: Overview


class Setting(Model):
    config_key: str
    config_value: Any
    description: str
    version: int
    updated_at: str | None


class Settings(Model):
    """Every owner's settings: by key, and as rows."""

    configs: dict[str, Any]
    raw: list[Setting]
    partial: bool | None = None
    missing: list[str] | None = None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "configs": {"site_name": "Darkroom"},
                    "raw": [{"config_key": "site_name", "config_value": "Darkroom", "description": "what it is called", "version": 0, "updated_at": None}],
                }
            ]
        }
    )


class SettingsOk(Model):
    success: Literal[True]
    data: Settings


class NewValue(Model):
    config_value: Any


class Done(Model):
    success: Literal[True]
    message: str


class Health(Model):
    """How the whole is, and which parts are away."""

    status: Literal["healthy", "degraded"]
    timestamp: str
    uptime: float
    parts: dict[str, str]
    away: list[str]
    system: dict[str, Any]
    performance: dict[str, Any]
