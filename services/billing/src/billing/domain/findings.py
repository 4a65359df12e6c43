"""What an audit counts."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """How many things disagree, by what they disagree about; all must be 0."""

    entries_broken: int
    accounts_off_ledger: int
    records_broken: int
    accounts_off_records: int
    accounts_off_holds: int
    accounts_off_lots: int
    holds_overdue: int
    receivables_off_ledger: int = 0
    # Found by a full audit only.
    captures_off_holds: int = 0
    assets_off_balance: int = 0
    holds_off_ledger: int = 0
    orders_off_ledger: int = 0
    refunds_off_ledger: int = 0
