"""Payments without money are never taken by accident where others could reach us."""

from pathlib import Path

import pytest

from billing.app import open_payments
from billing.settings import BillingSettings
from common.errors import PurchaseFailed, Unauthorized
from common.settings import SettingsError
from common.testing.doors import Passes

OUTSIDE = {"BILLING_HOST": "0.0.0.0"}
PUBLIC = {"DARKROOM_URL": "https://darkroom.example"}
NAMED = {"BILLING_SANDBOX_PAYMENTS": "on"}


@pytest.mark.parametrize(
    ("more", "allowed"),
    [({}, True), (OUTSIDE, False), (PUBLIC, False), ({**OUTSIDE, **NAMED}, True), ({**PUBLIC, **NAMED}, True), ({"BILLING_SANDBOX_PAYMENTS": "off"}, False)],
)
def test_the_sandbox_is_refused_outside_loopback_unless_it_is_named(passes: Passes, tmp_path: Path, more: dict[str, str], allowed: bool) -> None:
    assert passes.settings(BillingSettings, "billing", tmp_path, more).has_sandbox is allowed


def test_without_a_provider_nothing_is_sold_and_no_notice_is_believed() -> None:
    payments = open_payments(None)
    with pytest.raises(PurchaseFailed):
        payments.of_method("wechat")
    with pytest.raises(Unauthorized):
        payments.of_notice({"Sandbox-Signature": "0" * 64})


def test_the_key_of_the_sandbox_is_the_same_in_every_process_and_not_the_secret_it_is_made_from(passes: Passes, tmp_path: Path) -> None:
    first, second = (passes.settings(BillingSettings, "billing", tmp_path) for _ in range(2))
    assert first.sandbox_key == second.sandbox_key != first.shared.files_secret.get_secret_value().encode()
    with pytest.raises(SettingsError):
        passes.settings(BillingSettings, "billing", tmp_path, {"BILLING_SANDBOX_SECRET": "short"})


def test_an_order_waits_longer_than_its_provider_is_asked() -> None:
    fields = BillingSettings.model_fields
    assert fields["order_expiry_seconds"].default > 2 * fields["order_query_seconds"].default
