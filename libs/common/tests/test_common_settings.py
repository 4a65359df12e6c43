"""Settings: everything missing at once, secrets that deserve the name, nothing read that was not asked for."""

from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import SecretStr, ValidationError

from common.settings import ServiceSettings, SettingsError, StrongSecret, VaultSettings, load, service_config
from common.testing.doors import SECRET, Passes


class BillingSettings(ServiceSettings):
    model_config = service_config("BILLING_")
    port: int = 8104
    hold_seconds: int = 60
    payment_secret: StrongSecret | None = None


class SealingSettings(VaultSettings):
    model_config = service_config("BILLING_")
    port: int = 8104


class GatewaySettings(ServiceSettings):
    model_config = service_config("GATEWAY_")
    requires_database: ClassVar[bool] = False
    port: int = 8080


class Demanding(BillingSettings):
    mail_from: str


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return Passes().environment("billing", tmp_path)


def faults(settings: type[ServiceSettings], env: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as caught:
        load(settings, env)
    return str(caught.value)


def test_everything_missing_is_reported_at_once() -> None:
    said = faults(Demanding, {})
    names = ("DARKROOM_OBJECTS_URL", "DARKROOM_FILES_SECRET", "DARKROOM_SERVICE_JWKS_PATH", "BILLING_KEY_PATH", "BILLING_DATABASE_URL", "BILLING_MAIL_FROM")
    assert all(f"{name} is missing" in said for name in names)
    assert len(said.splitlines()) == len(names)


def test_defaults_are_those_of_the_house(env: dict[str, str]) -> None:
    settings = load(BillingSettings, env)
    assert (settings.host, settings.port, settings.admin_port, settings.pool_size) == ("127.0.0.1", 8104, 9104, 8)
    assert (settings.not_ready_seconds, settings.record_seconds, settings.http_drain_seconds) == (2, 10, 8)
    assert settings.shared.bus_url == "memory://"
    assert settings.shared.url_of("generation") == ["http://127.0.0.1:8103"]
    assert settings.shared.public_url == "http://127.0.0.1:8080"


def test_variables_are_read_with_their_prefix(env: dict[str, str]) -> None:
    more = {
        "BILLING_PORT": "9000", "BILLING_HOLD_SECONDS": "5", "DARKROOM_URL": "https://photos.example", "DARKROOM_BUS_URL": "kafka://a:1,b:2",
        "IDENTITY_URL": "http://one:8101/, http://two:8101", "HOLD_SECONDS": "7", "NOTIFY_HOLD_SECONDS": "8",
    }  # fmt: skip
    settings = load(BillingSettings, {**env, **more})
    assert (settings.port, settings.admin_port, settings.hold_seconds) == (9000, 10_000, 5)
    assert settings.shared.public_url == "https://photos.example"
    assert settings.shared.bus_url == "kafka://a:1,b:2"
    assert settings.shared.url_of("identity") == ["http://one:8101", "http://two:8101"]


def test_a_free_port_may_be_asked_for_on_both_listeners(env: dict[str, str]) -> None:
    settings = load(BillingSettings, {**env, "BILLING_PORT": "0"})
    assert (settings.port, settings.admin_port) == (0, 0)


def test_a_service_without_a_database_needs_none(tmp_path: Path) -> None:
    env = Passes().environment("gateway", tmp_path)
    del env["GATEWAY_DATABASE_URL"]
    assert load(GatewaySettings, env).database_url == ""


@pytest.mark.parametrize(
    "secret",
    [
        "tiny",
        "x" * 31,
        "x" * 64,
        "change-me-change-me-change-me-change-me",
        "this-is-an-example-secret-of-enough-bytes",
        "0123456789abcdef0123456789abcdef",
        "YOUR-SECRET-HERE" * 3,
    ],
)
def test_a_weak_secret_stops_the_start_without_being_shown(env: dict[str, str], secret: str) -> None:
    for name in ("DARKROOM_FILES_SECRET", "BILLING_PAYMENT_SECRET"):
        said = faults(BillingSettings, {**env, name: secret})
        assert said.startswith(name)
        assert secret not in said


def test_a_random_secret_is_taken_and_hidden(env: dict[str, str]) -> None:
    settings = load(BillingSettings, {**env, "BILLING_PAYMENT_SECRET": SECRET})
    assert isinstance(settings.payment_secret, SecretStr)
    assert SECRET not in repr(settings)
    assert SECRET not in str(settings.shared)


def test_a_wrong_value_names_its_variable_and_hides_itself(env: dict[str, str]) -> None:
    numbers = {"BILLING_PORT": "eighty", "BILLING_HOLD_SECONDS": "soon", "DARKROOM_PROFILE": "fast"}
    addresses = {"DARKROOM_BUS_URL": "rabbit://eighty", "DARKROOM_URL": "eighty", "WORKS_URL": "eighty:8102", "BILLING_DATABASE_URL": "eighty@db"}
    said = faults(BillingSettings, {**env, **numbers, **addresses})
    assert sorted(line.split()[0] for line in said.splitlines()) == sorted({**numbers, **addresses})
    assert "eighty" not in said


def test_the_keys_of_a_vault_are_read_from_the_variables_that_are_documented(env: dict[str, str]) -> None:
    old = {"BILLING_ENVELOPE_KEY_ID": "2", "BILLING_OLD_ENVELOPE_SECRETS": f'{{"1": "{SECRET[::-1]}"}}'}
    settings = load(SealingSettings, {**env, **old})
    assert (settings.vault_secret.get_secret_value(), settings.vault_key_id) == (SECRET, "2")
    assert settings.old_vault_secrets["1"].get_secret_value() == SECRET[::-1]
    with_foreign = {**env, "ENVELOPE_KEY_ID": "8", "IDENTITY_ENVELOPE_KEY_ID": "9"}
    assert load(SealingSettings, with_foreign).vault_key_id == "1"


def test_a_value_that_should_be_json_and_is_none_is_named(env: dict[str, str]) -> None:
    assert faults(SealingSettings, {**env, "BILLING_OLD_ENVELOPE_SECRETS": "{'1': hidden}"}) == "BILLING_OLD_ENVELOPE_SECRETS is not JSON"


def test_what_is_wrong_with_a_vault_is_named_by_its_variable(env: dict[str, str]) -> None:
    assert faults(SealingSettings, {**env, "BILLING_ENVELOPE_SECRET": "x" * 64}).startswith("BILLING_ENVELOPE_SECRET looks like an example")
    assert faults(SealingSettings, {**env, "BILLING_OLD_ENVELOPE_SECRETS": '{"1": "tiny"}'}).startswith("BILLING_OLD_ENVELOPE_SECRETS is shorter")
    del env["BILLING_ENVELOPE_SECRET"]
    assert faults(SealingSettings, env) == "BILLING_ENVELOPE_SECRET is missing"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "photos.example"])
def test_the_roomy_profile_is_refused_outside_loopback(env: dict[str, str], host: str) -> None:
    assert "roomy" in faults(BillingSettings, {**env, "DARKROOM_PROFILE": "roomy", "BILLING_HOST": host})


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.9.9.9"])
def test_the_roomy_profile_runs_on_loopback(env: dict[str, str], host: str) -> None:
    assert load(BillingSettings, {**env, "DARKROOM_PROFILE": "roomy", "BILLING_HOST": host}).shared.profile == "roomy"


def test_only_load_reads_the_environment(env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BILLING_HOLD_SECONDS", "99")
    assert load(BillingSettings, env).hold_seconds == 60
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert load(BillingSettings).hold_seconds == 99


def test_settings_do_not_change(env: dict[str, str]) -> None:
    settings = load(BillingSettings, env)
    with pytest.raises(ValidationError):
        settings.port = 1
