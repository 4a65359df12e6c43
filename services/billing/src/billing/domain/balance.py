"""What somebody has, as it is shown."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from billing.domain.entry import Asset


class Purse(NamedTuple):
    """One account's numbers. `total_in` is what came in, net of what expired or was adjusted away; `consumed` what was captured of it."""

    account_id: int
    available: int
    held: int
    posted: int
    total_in: int
    consumed: int
    records: int
    consumes: int = 0
    recharges: int = 0
    recharged: int = 0


class Balance(NamedTuple):
    """Everything one user has. Membership is its latest end; who never was a member has none."""

    user_id: UUID
    credit: Purse
    point: Purse
    active_until: datetime | None

    def of(self, asset: Asset) -> Purse:
        return self.credit if asset == "credit" else self.point
