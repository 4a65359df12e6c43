"""Everything configurable about billing, units in names."""

import hashlib
import hmac
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field

from billing.domain import HoldTerms, OrderTerms, PriceList, SignUp
from common.settings import StrongSecret, VaultSettings, is_loopback, service_config

NOTICE_PATH = "/api/credits/payment/callback"


class BillingSettings(VaultSettings):
    """Prices and gifts apply to what comes; what was granted or held keeps the terms it was made on."""

    model_config = service_config("BILLING_")

    port: int = 8104
    signup_credits: int = Field(default=10, ge=0)
    signup_points: int = Field(default=180, ge=0)
    signup_membership_days: int = Field(default=1, ge=0)
    picture_price_credits: int = Field(default=1, ge=0, le=10_000)
    song_price_points: int = Field(default=100, ge=0, le=1_000_000)
    hold_orphan_seconds: float = Field(
        default=60, gt=0, description="when generation is asked about an open hold; longer than the age up to which it inserts a task on one (30 s)"
    )
    hold_extension_seconds: float = Field(default=900, gt=0)
    hold_extensions_max: int = Field(default=3, ge=0)
    sweep_seconds: float = Field(default=10, gt=0)
    sweep_batch_max: int = Field(default=200, ge=1, le=500)
    audit_seconds: float = Field(default=60, gt=0)
    audit_full_hour_utc: int = Field(default=3, ge=0, le=23, description="the hour of the nightly audit of everything")
    generation_call_seconds: float = Field(default=2, gt=0)
    identity_call_seconds: float = Field(default=1, gt=0)
    order_expiry_seconds: float = Field(default=1800, gt=0)
    order_query_seconds: float = Field(default=60, gt=0, description="how often the provider of an unpaid order is asked, in case its notice was lost")
    pending_orders_max: int = Field(default=20, ge=1, description="how many unpaid orders a user may have")
    overview_kept_seconds: float = Field(default=5, gt=0)
    sandbox_payments: Literal["auto", "on", "off"] = Field(
        default="auto", description="payments without money; auto allows them where only this machine can reach the service, on allows them anywhere"
    )
    sandbox_secret: StrongSecret | None = Field(default=None, description="signs the sandbox's notices; made from DARKROOM_FILES_SECRET when not given")
    payment_notify_url: str = Field(default="", description="where payment providers send their notices; the sandbox asks billing itself by default")

    def prices(self) -> PriceList:
        return PriceList(picture_credits=self.picture_price_credits, song_points=self.song_price_points)

    def sign_up(self, credits: int) -> SignUp:
        """What a new user starts with; operators set the credits while we run."""
        return SignUp(credits=credits, points=self.signup_points, membership_days=self.signup_membership_days)

    def hold_terms(self) -> HoldTerms:
        return HoldTerms(
            orphan_seconds=self.hold_orphan_seconds,
            extension_seconds=self.hold_extension_seconds,
            extensions_max=self.hold_extensions_max,
            retry_seconds=self.sweep_seconds,
        )

    def order_terms(self) -> OrderTerms:
        return OrderTerms(expiry_seconds=self.order_expiry_seconds, query_seconds=self.order_query_seconds, pending_max=self.pending_orders_max)

    @property
    def has_sandbox(self) -> bool:
        """Whether payments without money are taken: never by accident where others could reach us."""
        if self.sandbox_payments == "auto":
            return is_loopback(self.host) and is_loopback(urlsplit(self.shared.public_url).hostname or "")
        return self.sandbox_payments == "on"

    @property
    def sandbox_key(self) -> bytes:
        """What signs the sandbox's notices; the same in every process."""
        if self.sandbox_secret is not None:
            return self.sandbox_secret.get_secret_value().encode()
        return hmac.new(self.shared.files_secret.get_secret_value().encode(), b"darkroom sandbox payments", hashlib.sha256).digest()

    @property
    def notify_url(self) -> str:
        return self.payment_notify_url or f"{self.shared.url_of('billing')[0]}{NOTICE_PATH}"
