"""Everything configurable about the gateway, units in names."""

from typing import ClassVar

from pydantic import Field

from common.settings import ServiceSettings, service_config


class GatewaySettings(ServiceSettings):
    """The gateway has no database; where the services are is shared knowledge."""

    model_config = service_config("GATEWAY_")
    requires_database: ClassVar[bool] = False

    port: int = 8080
    ready_port_offset: int = Field(default=1000, description="a service's admin listener is this far above its port, unless ready_urls says otherwise")
    ready_urls: dict[str, list[str]] = Field(default_factory=dict, description="by service: the URLs of its replicas' /readyz")
    connect_seconds: float = Field(default=0.8, gt=0)
    away_pause_seconds: float = Field(default=0.5, ge=0)
    head_seconds: float = Field(default=10, gt=0)
    progress_seconds: float = Field(default=30, gt=0)
    idle_seconds: float = Field(default=75, gt=0)
    upstream_idle_seconds: float = Field(default=15, gt=0)
    connections_max: int = Field(default=20_000, ge=1)
    upstream_connections_max: int = Field(default=512, ge=1, description="per replica")
    waiting_max: int = Field(default=2048, ge=1, description="requests that wait for a connection, per replica")
