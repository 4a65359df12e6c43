"""What billing has open, handed to the edge."""

from dataclasses import dataclass

from billing.auditor import Auditor
from billing.clients import Generation
from billing.domain import HoldTerms, PriceList, SignUp
from billing.lanes import BalanceLane, HoldsLane
from billing.numbers import Numbers
from common.db import Database


@dataclass(frozen=True, slots=True)
class Deps:
    db: Database
    holds: HoldsLane
    balances: BalanceLane
    generation: Generation
    prices: PriceList
    signup: SignUp
    hold_terms: HoldTerms
    numbers: Numbers
    auditor: Auditor
