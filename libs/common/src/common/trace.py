"""Which request a thing belongs to: carried from HTTP through the outbox and the bus to the socket frame."""

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trace:
    """A request id and a W3C traceparent."""

    correlation_id: str | None = None
    traceparent: str | None = None


current_trace: ContextVar[Trace | None] = ContextVar("current_trace", default=None)
