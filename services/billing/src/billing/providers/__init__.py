"""Payment providers: those who take the money."""

from billing.providers.base import Intent, Notice, PaymentProvider, Payments, Standing
from billing.providers.sandbox import SandboxProvider

__all__ = ["Intent", "Notice", "PaymentProvider", "Payments", "SandboxProvider", "Standing"]
