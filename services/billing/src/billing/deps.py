"""What billing has open, handed to the edge."""

from dataclasses import dataclass

from billing.auditor import Auditor
from billing.clients import Generation, People
from billing.domain import HoldTerms, OrderTerms, PriceList
from billing.lanes import BalanceLane, HoldsLane, SignUpTerms
from billing.numbers import Numbers
from billing.providers import Payments, SandboxProvider
from billing.totals import Totals
from common.config import Config
from common.db import Database
from common.revocations import Revocations
from common.vault import Vault


@dataclass(frozen=True, slots=True)
class Deps:
    db: Database
    holds: HoldsLane
    balances: BalanceLane
    generation: Generation
    prices: PriceList
    signup: SignUpTerms
    hold_terms: HoldTerms
    numbers: Numbers
    auditor: Auditor
    people: People
    payments: Payments
    order_terms: OrderTerms
    sandbox: SandboxProvider | None
    vault: Vault
    config: Config
    totals: Totals
    revocations: Revocations | None = None
