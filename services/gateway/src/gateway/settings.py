"""Everything configurable about the gateway, units in names."""

from ipaddress import ip_network
from typing import Annotated, ClassVar, Literal, Self
from uuid import UUID

from limits import RateLimitItem, parse
from pydantic import AfterValidator, AliasChoices, BaseModel, Field, model_validator
from pydantic_core import PydanticCustomError

from common.settings import ServiceSettings, StrongSecret, begins, service_config


def _is_rate(text: str) -> str:
    parse(text)
    return text


def _are_networks(text: str) -> str:
    for one in listed(text):
        ip_network(one, strict=False)
    return text


Rate = Annotated[str, AfterValidator(_is_rate)]
"""`600/minute`, `1000/15 minutes`: so many requests in a window that begins with the first."""


class SigningKeySettings(BaseModel):
    """One client that signs its requests. A server's users must sign; an app may."""

    secret: StrongSecret
    kind: Literal["server", "app"] = "app"
    users: tuple[UUID, ...] = ()

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.kind == "server") != bool(self.users):
            raise PydanticCustomError("signing_users", "a server's key names the users it signs for, an app's key names none")
        return self


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

    cors_origins: str = Field(default="*", description="`*`, or a comma list of origins whose pages may read our answers")
    trusted_proxies: Annotated[str, AfterValidator(_are_networks)] = Field(default="", description="a comma list of networks whose X-Forwarded-For is believed")

    limits: Literal["on", "off"] = Field(default="on", description="off in the roomy profile whatever this says")
    limits_url: Annotated[str, begins("memory://", "redis://", "rediss://", "unix://")] = Field(
        default="memory://", validation_alias=AliasChoices("DARKROOM_LIMITS_URL"), description="memory://, or redis://... for all replicas"
    )
    limits_wait_seconds: float = Field(default=0.2, gt=0, description="how long the store may take before everybody goes on without it")
    limits_pause_seconds: float = Field(default=1, gt=0, description="how often a store that is away is looked for")
    address_limit: Rate = "1000/15 minutes"
    user_limit: Rate = "600/minute"
    login_limit: Rate = Field(
        default="100/15 minutes", description="logins, sign-ups and resets of one address; guesses at one account are identity's to slow down"
    )
    create_limit: Rate = Field(default="60/minute", description="tasks of one user")
    upload_limit: Rate = Field(default="120/minute", description="uploads of one user")
    callback_limit: Rate = Field(default="6000/minute", description="providers' callbacks from one address; they count on nothing else")
    payment_limit: Rate = Field(default="600/minute", description="payment notices from one address; they count on nothing else")
    file_limit: Rate = Field(default="6000/minute", description="pictures and songs fetched by one address; they count on nothing else")
    address_at_once_max: int = Field(default=256, ge=1)
    user_at_once_max: int = Field(default=64, ge=1)

    signing_keys: dict[str, SigningKeySettings] = Field(default_factory=dict, description="by key id")
    signing_required: Literal["servers", "writes"] = Field(default="servers", description="writes: every request that changes something must be signed")

    @property
    def counts(self) -> bool:
        """Whether limits hold."""
        return self.limits == "on" and self.shared.profile != "roomy"

    @property
    def store_url(self) -> str | None:
        """The store all replicas share, if there is one."""
        return None if not self.limits_url or self.limits_url.startswith("memory:") else self.limits_url

    @model_validator(mode="after")
    def _one_memory_of_nonces(self) -> Self:
        if self.signing_keys and self.store_url is None and len(self.shared.url_of("gateway")) > 1:
            raise PydanticCustomError("nonces", "DARKROOM_LIMITS_URL must name a store shared by all replicas (redis://...) while there are signing keys")
        return self


def listed(text: str) -> list[str]:
    """The parts of a comma list."""
    return [one.strip() for one in text.split(",") if one.strip()]


def rate(text: str) -> RateLimitItem:
    """A rate that was checked when the settings were read."""
    return parse(text)
