"""Every rule about credits: what may be granted, held, captured, released, expired. No I/O, no clock, no ids of its own."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import cached_property
from typing import Literal
from uuid import UUID

from billing.domain import lot
from billing.domain.account import Account, Captured, Hold, HoldState, Owner, Record, RecordKind
from billing.domain.ask import Adjust, Finding, Held, HoldTerms, PlaceHold, SignUp
from billing.domain.entry import Entry, EntryKind, System, link, microseconds
from billing.domain.lot import Lot
from billing.domain.order import Order
from common.errors import Conflict, DeductFailed, IdempotencyKeyReused, InsufficientCredits, ServiceError
from common.events.credits import CreditsChanged

Said = Literal["granted", "held", "captured", "released", "expired", "refunded", "clawed_back", "adjusted"]

REFUNDED, SETTLED, REFUND_REFUSED = "Payment refunded", "Settled after a refunded payment", "Refund of a payment refused"
"""Descriptions of records; schemas/words.py knows them in Chinese."""


class Book:
    """The accounts and holds one transaction has locked. Every change folds over them in order, and each row is saved once."""

    def __init__(self, now: datetime, accounts: Iterable[Account], holds: Iterable[Hold] = (), *, terms: HoldTerms | None = None) -> None:
        self.now = now
        self.now_us = microseconds(now)
        self.terms = terms or HoldTerms()
        self.look_at = now + timedelta(seconds=self.terms.orphan_seconds)
        self.accounts = {account.account_id: account for account in accounts}
        self.holds = {hold.task_id: hold for hold in holds}
        self.changed_accounts: dict[int, Account] = {}
        self.placed: dict[UUID, Hold] = {}
        self.captured: list[Captured] = []
        self.ended: dict[UUID, Hold] = {}
        """Holds resolved without a capture, or captured late."""
        self.moved: dict[UUID, Hold] = {}
        """Open holds whose times have changed."""
        self.entries: list[Entry] = []
        self.records: list[Record] = []
        self.facts: list[CreditsChanged] = []

    @cached_property
    def owners(self) -> dict[Owner, Account]:
        return {(account.user_id, account.asset): account for account in self.accounts.values()}

    # Grants

    def sign_up(self, account: Account, terms: SignUp) -> None:
        """What the first touch puts into a new account."""
        amount = terms.of(account.asset)
        if amount:
            self.grant(account, amount, kind="signup", source=f"{account.user_id}/{account.asset}", priority=lot.GIFT)
            self._note(account, "gift", amount)
            self._say(account, "granted", amount)

    def grant(self, account: Account, amount: int, *, kind: EntryKind, source: str, priority: int, until_us: int | None = None, reason: str = "") -> None:
        """Put credits in, as a lot of their own."""
        self.entries.append(self._post(account, amount, _COMES_FROM[kind], kind=kind, source=source, reason=reason))
        lot.add(account.lots, Lot(account.entries, amount, priority, until_us))
        account.next_expiry_us = lot.soonest_us(account.lots)

    def adjust(self, account: Account, ask: Adjust) -> InsufficientCredits | None:
        """Correct an account in either direction, never below zero."""
        self.expire_lots(account)
        source, reason = str(ask.adjustment_id), f"{ask.by}: {ask.reason}"
        if ask.amount > 0:
            self.grant(account, ask.amount, kind="adjustment", source=source, priority=lot.ADJUSTMENT, reason=reason)
        elif -ask.amount > account.available:
            return InsufficientCredits.lacking(required=-ask.amount, current=account.available)
        else:
            lot.take(account.lots, -ask.amount)
            self.entries.append(self._post(account, ask.amount, System.ADJUSTMENT, kind="adjustment", source=source, reason=reason))
        self._note(account, "adjust", ask.amount, ask.adjustment_id, ask.reason)
        self._say(account, "adjusted", ask.amount)
        self._settle(account)
        return None

    def recharge(self, account: Account, order: Order) -> int:
        """Put in what was paid for; answers the number of its entry, by which its lot is known."""
        self.grant(account, order.amount, kind="purchase", source=order.order_no, priority=lot.PAID, reason=order.package_id)
        number = account.entries
        account.recharges += 1
        account.recharged += order.amount
        self._note(account, "recharge", order.amount, order.order_id)
        self._say(account, "granted", order.amount, order_no=order.order_no)
        self._settle(account)
        return number

    def claw_back(self, account: Account, order: Order, source: str) -> int:
        """Take back what a payment granted, its own lot first. What was spent already is owed; answers how much that is."""
        self.expire_lots(account)
        taken = min(order.amount, account.available)
        owed = order.amount - taken
        if owed:
            # Lent by the system, so that what leaves is what came in and nobody's posted amount falls below zero.
            self.entries.append(self._post(account, owed, System.RECEIVABLE, kind="receivable", source=source))
            account.receivable += owed
        self.entries.append(self._post(account, -order.amount, System.REFUND, kind="claw_back", source=source, reason=order.order_no))
        lot.take_from(account.lots, order.lot_number, taken)
        account.recharges -= 1
        account.recharged -= order.amount
        if taken:
            self._note(account, "adjust", -taken, order.order_id, REFUNDED)
        self._say(account, "clawed_back", taken, order_no=order.order_no)
        return owed

    def return_clawed(self, account: Account, order: Order, source: str) -> int:
        """The provider kept the payment, so what was taken back returns. Answers the number of its entry."""
        self.grant(account, order.amount, kind="refund", source=source, priority=lot.PAID, reason=order.order_no)
        number = account.entries
        account.recharges += 1
        account.recharged += order.amount
        self._note(account, "adjust", order.amount, order.order_id, REFUND_REFUSED)
        self._say(account, "refunded", order.amount, order_no=order.order_no)
        self._settle(account)
        return number

    def _settle(self, account: Account) -> None:
        """Whatever came in pays first what is owed."""
        amount = min(account.receivable, account.available)
        if not amount:
            return
        account.receivable -= amount
        lot.take(account.lots, amount)
        source = f"{account.account_id}/{account.entries + 1}"
        self.entries.append(self._post(account, -amount, System.RECEIVABLE, kind="settle", source=source))
        self._note(account, "adjust", -amount, description=SETTLED)
        self._say(account, "clawed_back", amount)

    def expire_lots(self, account: Account) -> None:
        """Take out what has run out; what holds took from it stays with them."""
        if account.next_expiry_us is None or account.next_expiry_us > self.now_us:
            return
        for expired in lot.take_expired(account.lots, self.now_us):
            source = f"{account.account_id}/{expired.number}/{expired.until_us}"
            self.entries.append(self._post(account, -expired.amount, System.EXPIRED, kind="expire", source=source))
            self._note(account, "expire", -expired.amount)
            self._say(account, "expired", -expired.amount)
        account.next_expiry_us = lot.soonest_us(account.lots)
        self.changed_accounts[account.account_id] = account

    # Holds

    def place(self, ask: PlaceHold) -> Held | ServiceError:
        """Reserve credits. The same ask again renews its hold while that is open."""
        account = self.owners[ask.user_id, ask.asset]
        hold = self.holds.get(ask.task_id)
        if hold is not None:
            return self._place_again(account, hold, ask)
        if account.receivable:
            return DeductFailed("a refunded payment was spent already: settle it first", data={"receivable": account.receivable})
        self.expire_lots(account)
        amount = ask.price * ask.items
        available = account.posted - account.held
        if amount > available:
            return InsufficientCredits.lacking(required=amount, current=available)
        draws = account.draw(amount) if amount else "[]"
        account.held += amount
        number = None
        if amount:
            number = account.records = account.records + 1
            account.consumes += 1
            self._say(account, "held", amount, ask.task_id)
        seconds = ask.expires_in_seconds
        hold = Hold(
            ask.task_id, account.account_id, "open", ask.price, ask.items, 0, 0, draws, ask.body_hash, 0, self.now,
            self.now + timedelta(seconds=seconds), self.look_at, seconds, number, available - amount,
        )  # fmt: skip
        self.holds[ask.task_id] = self.placed[ask.task_id] = hold
        return Held(hold, account.asset, available - amount, self._is_member(account))

    def _place_again(self, account: Account, hold: Hold, ask: PlaceHold) -> Held | ServiceError:
        if hold.account_id != account.account_id or hold.body_hash != ask.body_hash:
            return IdempotencyKeyReused("this key was used for another request")
        if hold.state != "open":
            return DeductFailed(f"the hold of this key is {hold.state}: use a new key", data={"state": hold.state})
        expires_at = self.now + timedelta(seconds=ask.expires_in_seconds)
        if expires_at > hold.expires_at or hold.renewed_at < self.now:
            hold.renewed_at, hold.look_at, hold.expires_at = self.now, self.look_at, max(hold.expires_at, expires_at)
            if hold.task_id in self.placed:
                hold.expires_in_seconds = max(hold.expires_in_seconds, ask.expires_in_seconds)
            else:
                self.moved[hold.task_id] = hold
        return Held(hold, account.asset, account.available, self._is_member(account))

    def _is_member(self, account: Account) -> bool:
        return account.active_until is not None and account.active_until > self.now

    def capture(self, hold: Hold, delivered: int) -> Hold | Conflict:
        """Resolve a hold: take what was delivered, give the rest back. A resolved hold resolves to itself, or says what it is instead."""
        due = max(0, min(hold.amount, hold.price * delivered))
        if hold.state == "open":
            self._resolve(hold, due, "captured" if due else "released")
        elif hold.state == "expired" and due and not hold.captured_amount and not hold.written_off_amount:
            self._capture_late(hold, due)
        elif hold.state != "expired" and due != hold.captured_amount:
            return Conflict(f"the hold is already {hold.state}", data={"state": hold.state, "captured_amount": hold.captured_amount})
        return hold

    def look(self, hold: Hold, finding: Finding) -> None:
        """Decide about a hold that is open for long, from what generation said about its task before this lock was taken."""
        if hold.state != "open":
            return
        if finding.state == "ended":
            self.capture(hold, finding.delivered)
        elif finding.state == "unknown":
            self._release_orphan(hold, finding.asked_at)
        elif self.now < hold.expires_at:
            # A known task needs no second look before its time; one nobody answered for is asked about again.
            hold.look_at = hold.expires_at if finding.state == "running" else self.now + timedelta(seconds=self.terms.retry_seconds)
            self.moved[hold.task_id] = hold
        elif hold.extensions < self.terms.extensions_max:
            hold.extensions += 1
            hold.expires_at = hold.look_at = self.now + timedelta(seconds=self.terms.extension_seconds)
            self.moved[hold.task_id] = hold
        else:
            self._resolve(hold, 0, "expired")

    def _release_orphan(self, hold: Hold, asked_at: datetime) -> None:
        # Generation never inserts a task on a hold this old, so what it did not know then it will not know later,
        # unless the hold was renewed meanwhile. What counts is when it was asked: we may have slept since.
        due_at = hold.renewed_at + timedelta(seconds=self.terms.orphan_seconds)
        if asked_at < due_at:
            hold.look_at = max(due_at, self.now)
            self.moved[hold.task_id] = hold
        else:
            self._resolve(hold, 0, "released")

    def _resolve(self, hold: Hold, captured: int, state: HoldState) -> None:
        account = self.accounts[hold.account_id]
        rest = hold.amount - captured
        hold.state = state
        hold.captured_amount = captured
        self.moved.pop(hold.task_id, None)
        if captured:
            account.held -= captured
            account.consumed += captured
            self.captured.append(Captured(hold, self._post(account, -captured, System.REVENUE, kind="capture", source=str(hold.task_id))))
            self._say(account, "captured", captured, hold.task_id)
        else:
            self.ended[hold.task_id] = hold
        if rest:
            account.held -= rest
            lot.give_back(account.lots, lot.after(lot.read(hold.draws), captured), self.now_us)
            account.next_expiry_us = lot.soonest_us(account.lots)
            self._note(account, "refund", rest, hold.task_id)
            self._say(account, "expired" if state == "expired" else "released", rest, hold.task_id)
            self._settle(account)

    def _capture_late(self, hold: Hold, due: int) -> None:
        """A task succeeded after its hold had expired: a fresh debit, or else the work is delivered and the amount written off."""
        account = self.accounts[hold.account_id]
        self.expire_lots(account)
        self.ended[hold.task_id] = hold
        if due > account.available:
            hold.written_off_amount = due
            return
        hold.captured_amount = due
        account.consumed += due
        account.consumes += 1
        lot.take(account.lots, due)
        self.entries.append(self._post(account, -due, System.REVENUE, kind="late_capture", source=str(hold.task_id)))
        self._note(account, "consume", -due, hold.task_id)
        self._say(account, "captured", due, hold.task_id)

    # What every change leaves behind

    def _post(self, account: Account, amount: int, system: System, *, kind: EntryKind, source: str, reason: str = "") -> Entry:
        account.posted += amount
        account.entries += 1
        size = abs(amount)
        debit, credit = (int(system), account.account_id) if amount > 0 else (account.account_id, int(system))
        fields = f"{account.entries}|{debit}|{credit}|{size}|{account.posted}|{kind}|{source}|{self.now_us}|{reason}"
        account.head = link(account.head, fields)
        return Entry(
            account.account_id, account.entries, debit, credit, account.asset, size, account.posted, kind, source, reason, self.now, account.head
        )  # fmt: skip

    def _note(self, account: Account, kind: RecordKind, amount: int, ref_id: UUID | None = None, description: str | None = None) -> None:
        account.records += 1
        available = account.posted - account.held
        self.records.append(Record(account.account_id, account.records, kind, amount, available, ref_id, description, self.now))

    def _say(self, account: Account, kind: Said, amount: int, task_id: UUID | None = None, order_no: str | None = None) -> None:
        """Every change of an account's numbers is said, so this is also where the account is known to have changed."""
        account.version += 1
        self.changed_accounts[account.account_id] = account
        self.facts.append(
            CreditsChanged(
                sequence=account.version, user_id=account.user_id, asset=account.asset, kind=kind, amount=amount,
                available=account.posted - account.held, held=account.held, task_id=task_id, order_no=order_no,
            )
        )  # fmt: skip


_COMES_FROM = {
    "signup": System.SIGNUP, "purchase": System.PURCHASE, "membership": System.MEMBERSHIP, "adjustment": System.ADJUSTMENT, "refund": System.REFUND,
}  # fmt: skip
