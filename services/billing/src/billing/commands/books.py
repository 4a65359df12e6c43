"""Changes to accounts and holds."""

from collections.abc import Collection, Sequence
from datetime import timedelta
from uuid import UUID

from billing.domain import ASSETS, Adjust, Book, CaptureHold, Finding, Held, Hold, HoldTerms, PlaceHold, SignUp
from billing.store import books, entries, memberships
from common.db import Tx
from common.errors import IdempotencyKeyReused, NotFound, ServiceError


class NotOpened(Exception):
    """These users have not been seen before: open their accounts in a transaction of its own, then ask again."""

    def __init__(self, user_ids: Collection[UUID]) -> None:
        super().__init__(f"{len(user_ids)} users without accounts")
        self.user_ids = user_ids


async def open_accounts(tx: Tx, user_ids: Collection[UUID], terms: SignUp) -> None:
    """Open both accounts of each user with their sign-up grants. Safe twice: an account that is there stays as it is.

    A transaction of its own, because it locks by inserting: inside another one two openers could wait in a ring.
    """
    book = await books.insert_accounts(tx.conn, tx.now, [(user_id, asset) for user_id in set(user_ids) for asset in ASSETS])
    for account in book.accounts.values():
        book.sign_up(account, terms)
    members = [account.user_id for account in book.accounts.values() if account.asset == "point"]
    if terms.membership_days and members:
        await memberships.insert_periods(tx.conn, members, "signup", tx.now, tx.now + timedelta(days=terms.membership_days))
    await _save(tx, book)


async def place_holds(tx: Tx, asks: Sequence[PlaceHold], terms: HoldTerms) -> list[Held | ServiceError]:
    """Reserve credits for tasks. Safe twice: the same ask again renews its open hold. Raises NotOpened."""
    owners = {(ask.user_id, ask.asset) for ask in asks}
    book = await books.lock_book_of_owners(tx.conn, tx.now, owners, [ask.task_id for ask in asks], terms=terms)
    _check_opened(book, asks)
    outcomes = [book.place(ask) for ask in asks]
    await _save(tx, book)
    return outcomes


async def capture_holds(tx: Tx, asks: Sequence[CaptureHold]) -> list[Hold | ServiceError]:
    """Take what was delivered from each hold and release the rest. Safe twice: a resolved hold resolves to itself."""
    book = await books.lock_book_of_tasks(tx.conn, tx.now, [ask.task_id for ask in asks])
    outcomes: list[Hold | ServiceError] = []
    for ask in asks:
        hold = book.holds.get(ask.task_id)
        outcomes.append(NotFound("no hold was placed for this task") if hold is None else book.capture(hold, ask.delivered))
    await _save(tx, book)
    return outcomes


async def look_at_holds(tx: Tx, findings: Sequence[Finding], terms: HoldTerms) -> list[Hold]:
    """Resolve, release, extend or expire holds that are open for long; answers those. Safe twice: what changed meanwhile is decided anew."""
    book = await books.lock_book_of_tasks(tx.conn, tx.now, [finding.task_id for finding in findings], terms=terms)
    for finding in findings:
        if finding.task_id in book.holds:
            book.look(book.holds[finding.task_id], finding)
    await _save(tx, book)
    return [*(captured.hold for captured in book.captured), *book.ended.values(), *book.moved.values()]


async def adjust_accounts(tx: Tx, asks: Sequence[Adjust]) -> list[int | ServiceError]:
    """Correct accounts; answers what each has available. Safe twice: an adjustment that was made is not made again. Raises NotOpened."""
    book = await books.lock_book_of_owners(tx.conn, tx.now, {(ask.user_id, ask.asset) for ask in asks})
    _check_opened(book, asks)
    made = await entries.find_adjustments(tx.conn, [ask.adjustment_id for ask in asks])
    outcomes: list[int | ServiceError] = []
    for ask in asks:
        account = book.owners[ask.user_id, ask.asset]
        terms = (account.account_id, ask.amount)
        refusal: ServiceError | None = None
        if ask.adjustment_id in made:
            refusal = None if made[ask.adjustment_id] == terms else IdempotencyKeyReused("this adjustment_id was used for another adjustment")
        else:
            refusal = book.adjust(account, ask)
        if refusal is None:
            made[ask.adjustment_id] = terms
        outcomes.append(refusal or account.available)
    await _save(tx, book)
    return outcomes


async def expire_lots(tx: Tx, account_ids: Sequence[int]) -> int:
    """Take out what has run out in these accounts. Safe twice: what is gone is gone."""
    book = await books.lock_book_of_accounts(tx.conn, tx.now, account_ids)
    for account in book.accounts.values():
        book.expire_lots(account)
    await _save(tx, book)
    return len(book.changed_accounts)


def _check_opened(book: Book, asks: Sequence[PlaceHold] | Sequence[Adjust]) -> None:
    missing = {ask.user_id for ask in asks if (ask.user_id, ask.asset) not in book.owners}
    if missing:
        raise NotOpened(missing)


async def _save(tx: Tx, book: Book) -> None:
    await books.save_book(tx.conn, book)
    tx.emit(*book.facts)
