"""What billing counts for whoever watches it."""

from dataclasses import dataclass

from prometheus_client import Counter, Gauge

from common.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Numbers:
    """Its gauges and counters; no user in any label."""

    disagreements: Gauge
    """By finding; every one of them must be 0."""
    open_holds: Gauge
    oldest_hold_seconds: Gauge
    ends: Counter
    """Holds told of an end, by outcome: captured, released, expired, conflict, unknown."""
    written_off: Counter
    """Delivered work nobody could be charged for; alert on any."""
    payments: Counter
    """Payments heard of, by what became of them: paid, repeated, or the fault in them."""
    payment_alerts: Gauge
    """Money that arrived and bought nothing; must be 0."""
    oldest_refund_seconds: Gauge

    @classmethod
    def of(cls, metrics: Metrics) -> "Numbers":
        return cls(
            disagreements=metrics.gauge("audit_disagreements", "Things in the books that do not agree; must be 0", ["finding"]),
            open_holds=metrics.gauge("open_holds", "Holds that nothing has resolved yet"),
            oldest_hold_seconds=metrics.gauge("oldest_hold_seconds", "Age of the oldest open hold"),
            ends=metrics.counter("hold_ends", "Ends of tasks heard, by what became of the hold", ["outcome"]),
            written_off=metrics.counter("written_off_holds", "Holds whose work was delivered late and could not be charged"),
            payments=metrics.counter("payments", "Payments heard of, by what became of them", ["outcome"]),
            payment_alerts=metrics.gauge("payment_alerts", "Payments that do not fit their order, not looked at yet; must be 0"),
            oldest_refund_seconds=metrics.gauge("oldest_refund_seconds", "Age of the oldest refund that its provider has not answered"),
        )
