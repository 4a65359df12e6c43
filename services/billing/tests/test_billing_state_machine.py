"""Any sequence of changes, on a plain model of accounts and on the real books, compared step by step."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from billing import commands
from billing.domain import Book, Finding, Held, Hold, Order, Payment, hidden
from billing.domain.entry import microseconds
from billing.domain.hidden import OpenedIntent
from billing.store import books, orders
from common.errors import Conflict, DeductFailed, IdempotencyKeyReused, InsufficientCredits
from common.ids import new_id

Grant = Literal["paid", "gift", "membership"]
PRIORITY = {"membership": 10, "gift": 20, "adjustment": 40, "paid": 50}
GRACE = timedelta(days=7)


@dataclass
class ModelLot:
    """A grant, in plain words."""

    number: int
    left: int
    priority: int
    expires_at: datetime | None

    @property
    def order(self) -> tuple[int, float, int]:
        return self.priority, self.expires_at.timestamp() if self.expires_at else float("inf"), self.number


@dataclass
class ModelHold:
    state: str
    price: int
    items: int
    body: str
    draws: list[ModelLot]
    renewed_at: datetime
    expires_at: datetime
    captured: int = 0
    written_off: int = 0
    extensions: int = 0

    @property
    def amount(self) -> int:
        return self.price * self.items


@dataclass
class ModelOrder:
    """An order: what it gives, where it stands, and the refund that is under way."""

    order_no: str
    amount: int
    state: str = "pending"
    number: int = 0
    refunding: Any = None


@dataclass
class Model:
    """One account as a list of lots and a dict of holds; slow, obvious, and written without a look at the real one."""

    lots: list[ModelLot] = field(default_factory=lambda: [ModelLot(1, 10, PRIORITY["gift"], None)])
    holds: dict[UUID, ModelHold] = field(default_factory=dict)
    consumed: int = 0
    entries: int = 1
    receivable: int = 0
    orders: dict[str, ModelOrder] = field(default_factory=dict)

    @property
    def available(self) -> int:
        return sum(lot.left for lot in self.lots)

    @property
    def held(self) -> int:
        return sum(hold.amount for hold in self.holds.values() if hold.state == "open")

    def run_out(self, now: datetime) -> None:
        for lot in sorted(self.lots, key=lambda lot: lot.order):
            if lot.expires_at is not None and lot.expires_at <= now and lot.left:
                self.entries += 1
                lot.left = 0
        self.lots = [lot for lot in self.lots if lot.left]

    def spend(self, amount: int, *, first: int | None = None) -> list[ModelLot]:
        """Take from the lots in their order, those of one grant before all others if it is named."""
        draws = []
        for lot in sorted(self.lots, key=lambda lot: (lot.number != first, lot.order)):
            part = min(lot.left, amount)
            if part:
                draws.append(ModelLot(lot.number, part, lot.priority, lot.expires_at))
            lot.left -= part
            amount -= part
        assert amount == 0
        self.lots = [lot for lot in self.lots if lot.left]
        return draws

    def give_back(self, draws: list[ModelLot], spent: int, now: datetime) -> None:
        for draw in draws:
            part = max(0, draw.left - spent)
            spent = max(0, spent - draw.left)
            if not part:
                continue
            expires_at = draw.expires_at
            if expires_at is not None and expires_at <= now:
                expires_at = now + GRACE
            for lot in self.lots:
                if (lot.number, lot.expires_at) == (draw.number, expires_at):
                    lot.left += part
                    break
            else:
                self.lots.append(ModelLot(draw.number, part, draw.priority, expires_at))

    def grant(self, amount: int, priority: int, expires_at: datetime | None) -> None:
        self.entries += 1
        self.lots.append(ModelLot(self.entries, amount, priority, expires_at))

    def settle(self) -> None:
        amount = min(self.receivable, self.available)
        if amount:
            self.entries += 1
            self.receivable -= amount
            self.spend(amount)

    def claw_back(self, order: ModelOrder) -> None:
        taken = min(order.amount, self.available)
        if taken < order.amount:
            self.entries += 1
            self.receivable += order.amount - taken
        self.entries += 1
        self.spend(taken, first=order.number)

    def end(self, hold: ModelHold, captured: int, state: str, now: datetime) -> None:
        hold.state, hold.captured = state, captured
        if captured:
            self.entries += 1
        self.consumed += captured
        self.give_back(hold.draws, captured, now)
        if captured < hold.amount:
            self.settle()


class BooksMachine(RuleBasedStateMachine):
    """Each rule does one thing to the model and to the database, in batches of one or of several."""

    bank: Any
    loop: asyncio.AbstractEventLoop
    tasks = Bundle("tasks")
    bought = Bundle("bought")

    def wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout=30)

    @property
    def now(self) -> datetime:
        return self.bank.clock.now()

    @initialize(target=tasks)
    def open(self) -> tuple[UUID, ...]:
        """A user who signed up, was given five credits for an hour, and has asked for three pictures twice."""
        self.user_id = new_id()
        self.model = Model()
        self.wait(self.bank.open(self.user_id))
        self.grant(5, "membership", 1)
        return self.place([(1, 3), (1, 3)], 4000)

    @precondition(lambda self: self.model.available < 20)
    @rule(amount=st.integers(1, 8), grant=st.sampled_from(("membership", "gift", "paid")), hours=st.integers(1, 3) | st.none())
    def grant(self, amount: int, grant: Grant, hours: int | None) -> None:
        expires_at = None if hours is None else self.now + timedelta(hours=hours)
        self.model.grant(amount, PRIORITY[grant], expires_at)
        self.wait(self._grant(amount, PRIORITY[grant], expires_at))

    async def _grant(self, amount: int, priority: int, expires_at: datetime | None) -> None:
        until_us = None if expires_at is None else microseconds(expires_at)
        async with self.bank.db.transaction() as tx:
            book = await books.lock_book_of_owners(tx.conn, tx.now, {(self.user_id, "credit")})
            account = book.owners[self.user_id, "credit"]
            book.grant(account, amount, kind="membership", source=str(new_id()), priority=priority, until_us=until_us)
            self._note_grant(book, amount)
            await books.save_book(tx.conn, book)
            tx.emit(*book.facts)

    def _note_grant(self, book: Book, amount: int) -> None:
        account = book.owners[self.user_id, "credit"]
        book._note(account, "recharge", amount)
        book._say(account, "granted", amount)

    @rule(target=tasks, sizes=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 4)), min_size=1, max_size=3), seconds=st.sampled_from((100, 4000)))
    def place(self, sizes: list[tuple[int, int]], seconds: int) -> tuple[UUID, ...]:
        asks = [self.bank.ask(self.user_id, items, price=price, seconds=seconds) for price, items in sizes]
        outcomes = self.wait(self.bank.place(*asks))
        if self.model.receivable:
            assert all(isinstance(outcome, DeductFailed) and outcome.data == {"receivable": self.model.receivable} for outcome in outcomes)
            return tuple(ask.task_id for ask in asks)
        self.model.run_out(self.now)
        for ask, outcome in zip(asks, outcomes, strict=True):
            amount = ask.price * ask.items
            if amount > self.model.available:
                assert isinstance(outcome, InsufficientCredits)
                assert outcome.data == {"required": amount, "current": self.model.available, "shortage": amount - self.model.available}
                continue
            draws = self.model.spend(amount)
            self.model.holds[ask.task_id] = ModelHold("open", ask.price, ask.items, "", draws, self.now, self.now + timedelta(seconds=seconds))
            assert isinstance(outcome, Held)
            assert outcome.available == self.model.available
        return tuple(ask.task_id for ask in asks)

    @rule(placed=tasks, number=st.integers(0, 2), body=st.sampled_from(("", "", "other")))
    def place_again(self, placed: tuple[UUID, ...], number: int, body: str) -> None:
        task_id = placed[number % len(placed)]
        known = self.model.holds.get(task_id)
        if known is None:
            return
        [outcome] = self.wait(self.bank.place(self.bank.ask(self.user_id, known.items, task_id=task_id, price=known.price, body=body)))
        if body:
            assert isinstance(outcome, IdempotencyKeyReused)
        elif known.state != "open":
            assert isinstance(outcome, DeductFailed)
        else:
            assert isinstance(outcome, Held)
            known.renewed_at = self.now
            known.expires_at = max(known.expires_at, self.now + timedelta(seconds=2000))

    @rule(ends=st.lists(st.tuples(tasks, st.integers(0, 2), st.integers(0, 4)), min_size=1, max_size=4))
    def end(self, ends: list[tuple[tuple[UUID, ...], int, int]]) -> None:
        named = [(placed[number % len(placed)], delivered) for placed, number, delivered in ends]
        named = [(task_id, delivered) for task_id, delivered in named if task_id in self.model.holds]
        if not named:
            return
        outcomes = self.wait(self.bank.capture(*named))
        for (task_id, delivered), outcome in zip(named, outcomes, strict=True):
            self._end_one(self.model.holds[task_id], delivered, outcome)

    def _end_one(self, hold: ModelHold, delivered: int, outcome: object) -> None:
        due = min(hold.amount, hold.price * delivered)
        if hold.state == "open":
            self.model.end(hold, due, "captured" if due else "released", self.now)
        elif hold.state == "expired":
            self._end_late(hold, due)
        elif due != hold.captured:
            assert isinstance(outcome, Conflict)
            return
        assert isinstance(outcome, Hold)

    def _end_late(self, hold: ModelHold, due: int) -> None:
        if not due or hold.captured or hold.written_off:
            return
        self.model.run_out(self.now)
        if due > self.model.available:
            hold.written_off = due
            return
        self.model.spend(due)
        self.model.entries += 1
        self.model.consumed += due
        hold.captured = due

    @rule(placed=tasks, number=st.integers(0, 2), state=st.sampled_from(("unknown", "running", "unreachable", "ended")), delivered=st.integers(0, 4))
    def look(self, placed: tuple[UUID, ...], number: int, state: Any, delivered: int) -> None:
        task_id = placed[number % len(placed)]
        hold = self.model.holds.get(task_id)
        if hold is None:
            return
        self.wait(self.bank.look(Finding(task_id, state, self.now, delivered)))
        if hold.state != "open":
            return
        if state == "ended":
            due = min(hold.amount, hold.price * delivered)
            self.model.end(hold, due, "captured" if due else "released", self.now)
        elif state == "unknown":
            if self.now - hold.renewed_at >= timedelta(seconds=60):
                self.model.end(hold, 0, "released", self.now)
        elif self.now >= hold.expires_at:
            if hold.extensions < 3:
                hold.extensions += 1
                hold.expires_at = self.now + timedelta(seconds=900)
            else:
                self.model.end(hold, 0, "expired", self.now)

    @rule(placed=tasks, number=st.integers(0, 2))
    def let_it_expire(self, placed: tuple[UUID, ...], number: int) -> None:
        hold = self.model.holds.get(placed[number % len(placed)])
        while hold is not None and hold.state == "open":
            self.bank.clock.move(seconds=max(0, (hold.expires_at - self.now).total_seconds()))
            self.look(placed, number, "unreachable", 0)

    @rule(placed=tasks, number=st.integers(0, 2))
    def let_its_grants_run_out(self, placed: tuple[UUID, ...], number: int) -> None:
        hold = self.model.holds.get(placed[number % len(placed)])
        for draw in hold.draws if hold is not None else ():
            if draw.expires_at is not None:
                self.bank.clock.move(seconds=max(0, (draw.expires_at - self.now).total_seconds()))

    @rule(amount=st.integers(-12, 12).filter(bool))
    def adjust(self, amount: int) -> None:
        outcome = self.wait(self.bank.adjust(self.user_id, amount))
        self.model.run_out(self.now)
        if -amount > self.model.available:
            assert isinstance(outcome, InsufficientCredits)
            return
        if amount > 0:
            self.model.grant(amount, PRIORITY["adjustment"], None)
            self.model.settle()
        else:
            self.model.entries += 1
            self.model.spend(-amount)
        assert outcome == self.model.available

    # Orders

    @precondition(lambda self: self.model.available < 30)
    @rule(target=bought, amount=st.integers(1, 9))
    def order(self, amount: int) -> str:
        placed = Order(
            order_id=new_id(), order_no=f"ORDER{new_id().hex}", user_id=self.user_id, package_id="basic", asset="credit", amount=amount, membership_days=0,
            price_minor=990, currency="CNY", method="wechat", provider="sandbox", body_hash=b"", created_at=self.now, expires_at=self.now, look_at=self.now,
        )  # fmt: skip
        self.wait(self._order(placed))
        self.model.orders[placed.order_no] = ModelOrder(placed.order_no, amount)
        return placed.order_no

    async def _order(self, placed: Order) -> None:
        async with self.bank.db.transaction() as tx:
            await commands.open_orders(tx, [placed], pending_max=1000)
            sealed = hidden.seal_intent(self.bank.vault, placed.order_id, OpenedIntent("intent", {}))
            await orders.save_intent(tx.conn, placed.order_id, merchant_id="shop", intent_sealed=sealed)

    @precondition(lambda self: self.model.available < 30)
    @rule(target=bought, amount=st.integers(1, 9))
    def buy(self, amount: int) -> str:
        order_no = self.order(amount)
        self.pay([(order_no, 990)])
        return order_no

    @precondition(lambda self: self.model.available and not self.model.receivable)
    @rule(target=tasks)
    def spend_everything(self) -> tuple[UUID, ...]:
        self.model.run_out(self.now)
        self.wait(self._run_out())
        return self.place([(1, max(1, self.model.available))], 4000)

    @precondition(lambda self: any(order.state == "paid" and order.refunding is None for order in self.model.orders.values()))
    @rule()
    def claw_back_the_latest(self) -> None:
        self.claw_back([no for no, order in self.model.orders.items() if order.state == "paid" and order.refunding is None][-1])

    @rule(named=st.lists(st.tuples(bought, st.sampled_from((990, 990, 989))), min_size=1, max_size=3))
    def pay(self, named: list[tuple[str, int]]) -> None:
        payments = [Payment("sandbox", f"{order_no}/{minor}", order_no, "shop", "intent", f"money of {order_no}", minor, "CNY") for order_no, minor in named]
        for (order_no, minor), settled in zip(named, self.wait(self._pay(payments)), strict=True):
            known = self.model.orders[order_no]
            assert (settled.fault, settled.repeated) == ("amount" if minor != 990 else None, known.state in ("paid", "refunded"))
            if minor == 990 and known.state not in ("paid", "refunded"):
                known.state = "paid"
                self.model.grant(known.amount, PRIORITY["paid"], None)
                known.number = self.model.entries
                self.model.settle()

    async def _pay(self, payments: list[Payment]) -> Any:
        async with self.bank.db.transaction() as tx:
            return await commands.pay_orders(tx, payments, self.bank.vault)

    @rule(order_no=bought, state=st.sampled_from(("expired", "cancelled")))
    def nobody_pays(self, order_no: str, state: Any) -> None:
        ended = self.wait(self._end_order(order_no, state))
        known = self.model.orders[order_no]
        assert [order.order_no for order in ended] == ([order_no] if known.state == "pending" else [])
        if known.state == "pending":
            known.state = state

    async def _end_order(self, order_no: str, state: Any) -> Any:
        async with self.bank.db.transaction() as tx:
            return await commands.end_orders(tx, [order_no], state)

    @rule(order_no=bought)
    def claw_back(self, order_no: str) -> None:
        known = self.model.orders[order_no]
        [outcome] = self.wait(self._claw_back(order_no))
        if known.state not in ("paid", "refunded"):
            assert isinstance(outcome, Conflict)
        elif known.state == "paid" and known.refunding is None:
            self.model.run_out(self.now)
            self.model.claw_back(known)
            known.refunding = outcome

    async def _claw_back(self, order_no: str) -> Any:
        async with self.bank.db.transaction() as tx:
            return await commands.begin_refunds(tx, [commands.AskRefund(order_no, "a test", new_id())])

    @rule(order_no=bought, refused=st.booleans(), times=st.integers(1, 2))
    def end_refund(self, order_no: str, refused: bool, times: int) -> None:
        known = self.model.orders[order_no]
        if known.refunding is None:
            return
        for _ in range(times):
            [ended] = self.wait(self._end_refund(known.refunding, refused))
            assert ended.state == ("refused" if refused else "finished")
        known.refunding = None
        if refused:
            self.model.grant(known.amount, PRIORITY["paid"], None)
            known.number = self.model.entries
            self.model.settle()
        else:
            known.state = "refunded"

    async def _end_refund(self, refund: Any, refused: bool) -> Any:
        async with self.bank.db.transaction() as tx:
            return await commands.finish_refunds(tx, [commands.RefundEnd(refund, refused)])

    @rule(seconds=st.sampled_from((1, 61, 901, 3601, 8 * 24 * 3600)))
    def pass_time(self, seconds: int) -> None:
        self.bank.clock.move(seconds=seconds)

    @rule()
    def run_out(self) -> None:
        self.model.run_out(self.now)
        self.wait(self._run_out())

    async def _run_out(self) -> None:
        account_id = (await self.bank.balance(self.user_id)).credit.account_id
        async with self.bank.db.transaction() as tx:
            await commands.expire_lots(tx, [account_id])

    @invariant()
    def numbers_agree(self) -> None:
        if not hasattr(self, "model"):
            return
        row, holds = self.wait(self._read())
        shown = (row["posted"] - row["held"], row["held"], row["consumed"], row["entries"], row["receivable"])
        assert shown == (self.model.available, self.model.held, self.model.consumed, self.model.entries, self.model.receivable)
        lots = [
            (lot.number, lot.left, lot.priority, microseconds(lot.expires_at) if lot.expires_at else None)
            for lot in sorted(self.model.lots, key=lambda lot: lot.order)
        ]
        assert [tuple(lot) for lot in row["parsed"]] == lots
        found = {
            hold["task_id"]: (hold["state"], hold["captured_amount"], hold["written_off_amount"], hold["extensions"], hold["expires_at"]) for hold in holds
        }
        assert found == {task_id: (hold.state, hold.captured, hold.written_off, hold.extensions, hold.expires_at) for task_id, hold in self.model.holds.items()}

    async def _read(self) -> tuple[Any, Any]:
        row = await self.bank.db.fetchrow("SELECT *, lots::jsonb AS parsed FROM account WHERE user_id = $1 AND asset = 'credit'", self.user_id)
        return row, await self.bank.db.fetch("SELECT * FROM hold WHERE account_id = $1", row["account_id"])

    def teardown(self) -> None:
        if hasattr(self, "model"):
            self.wait(self._check_books())

    async def _check_books(self) -> None:
        """Deadlines are moved at will here, so a hold may be overdue; everything else must agree, and every fact be told once."""
        findings = await self.bank.audit()
        assert [name for name in findings.__dataclass_fields__ if getattr(findings, name) and name != "holds_overdue"] == []
        told = [fact.sequence for fact in await self.bank.facts() if (fact.user_id, fact.asset) == (self.user_id, "credit")]
        assert told == list(range(1, len(told) + 1))


async def test_any_sequence_of_changes_keeps_the_books(bank) -> None:
    machine = type("Machine", (BooksMachine,), {"bank": bank, "loop": asyncio.get_running_loop()})
    limits = settings(max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck))
    await asyncio.to_thread(run_state_machine_as_test, machine, settings=limits)
