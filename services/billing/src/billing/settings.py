"""Everything configurable about billing, units in names."""

from pydantic import Field

from billing.domain import HoldTerms, PriceList, SignUp
from common.settings import ServiceSettings, service_config


class BillingSettings(ServiceSettings):
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

    def prices(self) -> PriceList:
        return PriceList(picture_credits=self.picture_price_credits, song_points=self.song_price_points)

    def sign_up(self) -> SignUp:
        return SignUp(credits=self.signup_credits, points=self.signup_points, membership_days=self.signup_membership_days)

    def hold_terms(self) -> HoldTerms:
        return HoldTerms(
            orphan_seconds=self.hold_orphan_seconds,
            extension_seconds=self.hold_extension_seconds,
            extensions_max=self.hold_extensions_max,
            retry_seconds=self.sweep_seconds,
        )
