"""Checking a password: the same answer and the same work for everybody, and guesses that become slow."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from common.errors import AccountDisabled, EmailUnverified, ServiceError, WrongPassword
from common.vault import Sealed
from common.web import Request
from identity import commands, store
from identity.deps import Deps
from identity.domain import Guess, LinkAsk, Person, normal_email, normal_password


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """Who it is, and the address as they wrote it when they signed up."""

    person: Person
    email: str


async def log_in(request: Request[Deps], given_email: str, given_password: str) -> LoggedIn:
    """Raises WrongPassword, EmailUnverified, AccountDisabled, or RateLimited after too many guesses."""
    deps = request.deps
    try:
        email, password = normal_email(given_email), normal_password(given_password)
    except ValueError:
        # Nobody can have these; that too is only said after the same work.
        email, password = None, given_password
    email_hash = email_hash_of(deps, email or given_email)
    async with guessing(request, b"e-mail" + email_hash):
        async with deps.db.read() as conn:
            found = await store.find_login(conn, email_hash)
        known = found[1].password_hash if found is not None and email is not None else None
        if not await deps.passwords.check(known, password) or found is None:
            raise WrongPassword()
    person, credential = found
    if person.disabled:
        raise AccountDisabled()
    if not person.email_verified and deps.requires_verification:
        async with deps.db.transaction() as tx:
            await commands.request_links(tx, [LinkAsk(person.user_id, "email_verification", email_hash, request.lang)])
        raise EmailUnverified()
    await deps.seen(person.user_id)
    return LoggedIn(person, deps.vault.open(Sealed(credential.email_sealed, credential.sealed_with), owner=person.user_id).decode())


@asynccontextmanager
async def guessing(request: Request[Deps], account: bytes) -> AsyncIterator[None]:
    """Around the check of a password: counted before, forgiven when nothing was raised. Raises RateLimited instead of beginning."""
    deps = request.deps
    if not deps.limits_guesses:
        yield
        return
    guess = _guess(request, account)
    async with deps.db.transaction() as tx:
        [outcome] = await commands.take_guesses(tx, [guess])
    if isinstance(outcome, ServiceError):
        raise outcome
    yield
    if outcome:
        # From a known place its address was not counted, so it gets nothing back: it could buy guesses of others with an account of its own.
        guess = replace(guess, address=None)
    async with deps.db.transaction() as tx:
        await commands.forgive_guesses(tx, [guess])


def email_hash_of(deps: Deps, email: str) -> bytes:
    """What an address is found by."""
    return deps.vault.lookup_hash("e-mail", email.encode())


def _guess(request: Request[Deps], account: bytes) -> Guess:
    """The gateway says where a request comes from and lets nobody else say it; without it only the account counts."""
    vault = request.deps.vault
    address = request.http.headers.get("X-Forwarded-For", "").strip().encode("utf-8", "replace")
    return Guess(
        account=vault.lookup_hash("guessed account", account),
        address=vault.lookup_hash("guessing address", address) if address else None,
        place=vault.lookup_hash("place", account + b"\x00" + address) if address else None,
    )
