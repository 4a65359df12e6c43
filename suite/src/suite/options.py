"""What somebody may ask of `darkroom up`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a suite runs. Separate processes need a bus they can share, so `separate` brings Kafka along."""

    kafka: bool = False
    separate: bool = False
    any_ports: bool = False
    s3: bool = False
    simulator: bool = False
    profile: Literal["normal", "roomy"] = "normal"
    provider: str | None = None
    replicas: Mapping[str, int] = field(default_factory=dict)
    kafka_compiles_fully: bool = False

    @property
    def with_kafka(self) -> bool:
        return self.kafka or self.separate

    @property
    def mode(self) -> str:
        return "six processes" if self.separate else "one process"
