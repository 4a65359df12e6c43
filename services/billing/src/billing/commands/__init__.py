"""Every change to the books and to orders, for a batch: lock, decide, save, announce. Each is safe to repeat."""

from billing.commands.books import NotOpened, adjust_accounts, capture_holds, expire_lots, look_at_holds, open_accounts, place_holds
from billing.commands.orders import (
    REFUND_LOOK_AFTER,
    AskRefund,
    RefundEnd,
    Settled,
    begin_refunds,
    end_orders,
    finish_refunds,
    open_orders,
    pay_orders,
    set_aside,
)

__all__ = [
    "REFUND_LOOK_AFTER",
    "AskRefund",
    "NotOpened",
    "RefundEnd",
    "Settled",
    "adjust_accounts",
    "begin_refunds",
    "capture_holds",
    "end_orders",
    "expire_lots",
    "finish_refunds",
    "look_at_holds",
    "open_accounts",
    "open_orders",
    "pay_orders",
    "place_holds",
    "set_aside",
]
