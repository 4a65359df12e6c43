"""The rules of money, one noun per file; no I/O, no clock, no ids of their own."""

from billing.domain.account import Account, Captured, Hold, HoldState, Owner, Record, RecordKind
from billing.domain.ask import Adjust, CaptureHold, Finding, Held, HoldTerms, PlaceHold, SignUp
from billing.domain.balance import Balance, Purse
from billing.domain.book import Book
from billing.domain.entry import ASSETS, Asset, Entry, System
from billing.domain.findings import Findings
from billing.domain.lot import Lot
from billing.domain.order import Fault, Method, Order, OrderState, OrderTerms, Payment, Period, Refund
from billing.domain.package import PACKAGES, Package
from billing.domain.price import PriceList

__all__ = [
    "ASSETS",
    "PACKAGES",
    "Account",
    "Adjust",
    "Asset",
    "Balance",
    "Book",
    "CaptureHold",
    "Captured",
    "Entry",
    "Fault",
    "Finding",
    "Findings",
    "Held",
    "Hold",
    "HoldState",
    "HoldTerms",
    "Lot",
    "Method",
    "Order",
    "OrderState",
    "OrderTerms",
    "Owner",
    "Package",
    "Payment",
    "Period",
    "PlaceHold",
    "PriceList",
    "Purse",
    "Record",
    "RecordKind",
    "Refund",
    "SignUp",
    "System",
]
