"""Settings from the environment: a prefix per service, shared ones under DARKROOM_; everything missing is reported at once."""

import os
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import AfterValidator, AliasChoices, Field, SecretStr, ValidationError, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError as UnreadableSettings
from pydantic_settings.sources.utils import parse_env_vars

SECRET_BYTES_MIN = 32
PORTS: Mapping[str, int] = {"gateway": 8080, "identity": 8101, "works": 8102, "generation": 8103, "billing": 8104, "notify": 8105}

_EXAMPLE_WORDS = ("change", "example", "secret", "password", "replace", "your-", "your_", "placeholder", "0123456789", "abcdefgh")
_DISTINCT_CHARACTERS_MIN = 8

SettingsT = TypeVar("SettingsT", bound="ServiceSettings")


class SettingsError(Exception):
    """The environment does not describe a service that could start; the message has one line per fault."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


def _strong(secret: SecretStr) -> SecretStr:
    value = secret.get_secret_value()
    if len(value.encode()) < SECRET_BYTES_MIN:
        raise ValueError(f"is shorter than {SECRET_BYTES_MIN} bytes")
    if len(set(value)) < _DISTINCT_CHARACTERS_MIN or any(word in value.lower() for word in _EXAMPLE_WORDS):
        raise ValueError("looks like an example value; make a random one (openssl rand -hex 32)")
    return secret


StrongSecret = Annotated[SecretStr, AfterValidator(_strong)]


def begins(*schemes: str) -> AfterValidator:
    """For an address: one of these schemes, or no address at all."""

    def check(given: str) -> str:
        if given and not given.startswith(schemes):
            raise ValueError(f"must begin with {' or '.join(schemes)}")
        return given

    return AfterValidator(check)


_HttpAddresses = Annotated[str, begins("http://", "https://")]
_DatabaseAddress = Annotated[str, begins("postgresql://", "postgres://")]


def service_config(prefix: str) -> SettingsConfigDict:
    """The model_config of a service's settings: `BILLING_`."""
    return SettingsConfigDict(env_prefix=prefix, extra="ignore", frozen=True, hide_input_in_errors=True, populate_by_name=True)


class _FromGiven(BaseSettings):
    """Takes only what it is given: `load` reads the environment, so a test or the suite may hand in another one."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


def _address(service: str) -> Any:
    return Field(default=f"http://127.0.0.1:{PORTS[service]}", validation_alias=AliasChoices(f"{service.upper()}_URL"))


class SharedSettings(_FromGiven):
    """What all services must agree on."""

    model_config = service_config("DARKROOM_")

    bus_url: Annotated[str, begins("memory://", "kafka://")] = "memory://"
    objects_url: str
    objects_access_key: str = ""
    """For an `s3://` store; so is the next one."""
    objects_secret_key: SecretStr = SecretStr("")
    public_url: _HttpAddresses = Field(default=f"http://127.0.0.1:{PORTS['gateway']}", validation_alias=AliasChoices("DARKROOM_URL"))
    files_secret: StrongSecret
    service_jwks_path: Path
    profile: Literal["normal", "roomy"] = "normal"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    gateway_url: _HttpAddresses = _address("gateway")
    identity_url: _HttpAddresses = _address("identity")
    works_url: _HttpAddresses = _address("works")
    generation_url: _HttpAddresses = _address("generation")
    billing_url: _HttpAddresses = _address("billing")
    notify_url: _HttpAddresses = _address("notify")

    def url_of(self, service: str) -> list[str]:
        """The base addresses of a service, in the order they are tried."""
        given: str = getattr(self, f"{service}_url")
        return [url.strip().rstrip("/") for url in given.split(",") if url.strip()]


class ServiceSettings(_FromGiven):
    """What every service has; its own settings are a subclass with `model_config = service_config("BILLING_")`."""

    model_config = service_config("DARKROOM_SERVICE_")
    requires_database: ClassVar[bool] = True

    shared: SharedSettings
    host: str = "127.0.0.1"
    port: int = Field(ge=0, le=65535)
    admin_port: int = Field(default_factory=lambda given: given["port"] + 1000 if given.get("port") else 0, ge=0, le=65535)
    database_url: _DatabaseAddress = ""
    migration_database_url: _DatabaseAddress = ""
    key_path: Path
    pool_size: int = Field(default=8, ge=1)
    acquire_seconds: float = Field(default=1.5, gt=0)
    statement_seconds: float = Field(default=5, gt=0)
    lock_seconds: float = Field(default=2, gt=0)
    not_ready_seconds: float = Field(default=2.0, ge=0)
    record_seconds: float = Field(default=10.0, ge=0)
    http_drain_seconds: float = Field(default=8.0, ge=0)
    stop_wait_seconds: float = Field(default=25.0, ge=0)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.shared.profile == "roomy" and not is_loopback(self.host):
            raise PydanticCustomError("roomy", "DARKROOM_PROFILE=roomy is refused outside loopback: the host must be a loopback address")
        return self


class VaultSettings(ServiceSettings):
    """What a service has that keeps what a dump must not show (`common.vault`); its variables are called `BILLING_ENVELOPE_SECRET` and so on.

    Secrets come from outside and never change their meaning: what was sealed under a key id is opened under it for ever.
    """

    model_config = SettingsConfigDict(env_prefix_target="all")

    vault_secret: StrongSecret = Field(validation_alias=AliasChoices("envelope_secret"))
    vault_key_id: str = Field(
        default="1",
        pattern=r"^[A-Za-z0-9_-]{1,32}$",
        validation_alias=AliasChoices("envelope_key_id"),
        description="names the secret in what is sealed with it",
    )
    old_vault_secrets: dict[str, StrongSecret] = Field(
        default_factory=dict, validation_alias=AliasChoices("old_envelope_secrets"), description="by key id: secrets that only open what was sealed before"
    )
    lookup_secret: StrongSecret


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only be reached from this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def load(settings: type[SettingsT], env: Mapping[str, str] | None = None) -> SettingsT:
    """Read a service's settings and the shared ones; raises SettingsError naming every variable that is missing or wrong."""
    given = dict(os.environ if env is None else env)
    faults: list[str] = []
    shared = _read(SharedSettings, given, {}, faults)
    own = _read(settings, given, {"shared": shared} if shared is not None else {"shared": _unknown_shared()}, faults)
    if settings.requires_database and not given.get(_variable(settings, "database_url")):
        faults.append(f"{_variable(settings, 'database_url')} is missing")
    if own is None or shared is None or faults:
        raise SettingsError(faults)
    return own


AnySettings = TypeVar("AnySettings", bound=BaseSettings)


def _read(settings: type[AnySettings], env: dict[str, str], extra: dict[str, Any], faults: list[str]) -> AnySettings | None:
    source = EnvSettingsSource(settings)
    source.env_vars = parse_env_vars(env, source.case_sensitive, source.env_ignore_empty, source.env_parse_none_str)
    try:
        return settings(**{**source(), **extra})
    except UnreadableSettings as error:
        _, field, _ = str(error).split('"', 2)
        faults.append(f"{_variable(settings, field)} is not JSON")
        return None
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False)
        # What would have been derived from a wrong value is not wrong itself.
        faults.extend(_fault(settings, dict(one)) for one in found if one["type"] != "default_factory_not_called")
        return None


def _fault(settings: type[BaseSettings], error: dict[str, Any]) -> str:
    place, said = [str(part) for part in error["loc"]], str(error["msg"]).removeprefix("Value error, ")
    if not place:
        return said
    name = _variable(settings, place[0])
    return f"{name} is missing" if error["type"] == "missing" else f"{name} {said}"


def _variable(settings: type[BaseSettings], field: str) -> str:
    known = settings.model_fields.get(field)
    has_alias = known is None  # pydantic names a field by its alias
    if known is not None and isinstance(known.validation_alias, AliasChoices):
        field, has_alias = str(known.validation_alias.choices[0]), True
    if has_alias and settings.model_config.get("env_prefix_target") != "all":
        return field
    return f"{settings.model_config.get('env_prefix', '')}{field}".upper()


def _unknown_shared() -> SharedSettings:
    """Stands in while the service's own faults are collected after the shared ones failed; never leaves `load`."""
    return SharedSettings.model_construct(profile="normal")
