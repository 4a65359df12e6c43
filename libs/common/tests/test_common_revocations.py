"""Tokens that end before their time, and the list of them that every service keeps."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest

from common.auth import Authenticator, FixedKeys, TokenSigner, make_key, open_authenticator, read_jwks
from common.errors import AccountDisabled, Unauthorized, Unavailable
from common.ids import UserId
from common.revocations import Revocation, RevocationPage, Revocations, following
from common.settings import ServiceSettings, service_config
from common.testing.doors import Passes, open_door
from common.web import Answer, Query, Request, Route

ADA, EVE = UserId(uuid4()), UserId(uuid4())


class List:
    """Identity's list, as it could be."""

    def __init__(self) -> None:
        self.rows: list[Revocation] = []
        self.away = False
        self.asked = 0
        self.page_max = 3

    def add(self, user_id: UUID, reason: str = "logout", session_id: str | None = None, *, seconds: float = 3600) -> int:
        number = len(self.rows) + 1
        expires_at = datetime.now(UTC) + timedelta(seconds=seconds)
        self.rows.append(Revocation(number=number, user_id=user_id, session_id=session_id, reason=reason, expires_at=expires_at))
        return number

    async def read(self, after: int) -> RevocationPage:
        self.asked += 1
        if self.away:
            raise Unavailable("away")
        return RevocationPage(revocations=[row for row in self.rows if row.number > after][: self.page_max], head=len(self.rows))


@pytest.fixture
def ended() -> List:
    return List()


@pytest.fixture
def signer() -> TokenSigner:
    return TokenSigner(make_key())


def authenticator_of(signer: TokenSigner, ended: List) -> Authenticator:
    return Authenticator(FixedKeys(read_jwks(orjson.dumps(signer.jwks()))), name="works", revocations=Revocations(ended.read))


async def test_a_session_that_ended_is_refused_even_when_its_token_is_known_and_others_go_on(signer: TokenSigner, ended: List) -> None:
    authenticator = authenticator_of(signer, ended)
    token, other = (signer.sign_user_token(ADA, session_id=one) for one in ("s-1", "s-2"))
    for one in (token, other):
        await authenticator.principal_of(one)
    ended.add(ADA, session_id="s-1")
    assert authenticator.revocations is not None
    await authenticator.revocations.read()
    with pytest.raises(Unauthorized):
        authenticator.known(token)
    with pytest.raises(Unauthorized):
        await authenticator.principal_of(token)
    assert (await authenticator.principal_of(other)).user_id == ADA


async def test_a_disabled_account_is_refused_by_its_name_and_tokens_signed_later_are_good(signer: TokenSigner, ended: List) -> None:
    authenticator = authenticator_of(signer, ended)
    number = ended.add(ADA, "disabled")
    with pytest.raises(AccountDisabled):
        await authenticator.principal_of(signer.sign_user_token(ADA, session_id="s"))
    assert (await authenticator.principal_of(signer.sign_user_token(EVE, session_id="s"))).user_id == EVE
    assert (await authenticator.principal_of(signer.sign_user_token(ADA, session_id="s", revocation_number=number))).user_id == ADA


async def test_who_was_disabled_and_may_again_is_only_asked_to_log_in(signer: TokenSigner, ended: List) -> None:
    authenticator = authenticator_of(signer, ended)
    first = ended.add(ADA, "disabled")
    ended.add(ADA, "changed")
    for number in (0, first):
        with pytest.raises(Unauthorized):
            await authenticator.principal_of(signer.sign_user_token(ADA, session_id="s", revocation_number=number))


async def test_before_the_list_was_read_nobody_is_let_in_and_afterwards_its_owner_may_be_away(signer: TokenSigner, ended: List) -> None:
    authenticator = authenticator_of(signer, ended)
    ended.away = True
    token = signer.sign_user_token(ADA, session_id="s")
    with pytest.raises(Unavailable):
        await authenticator.principal_of(token)
    ended.away = False
    await authenticator.principal_of(token)
    ended.away = True
    assert (await authenticator.principal_of(signer.sign_user_token(EVE, session_id="s"))).user_id == EVE


async def test_the_list_is_followed_through_an_outage_and_a_hint_makes_it_quick(ended: List) -> None:
    for number in range(10):
        ended.add(ADA, session_id=f"old-{number}")
    heard: list[int] = []
    ended.away = True
    async with following(ended.read) as revocations:
        revocations.listen(lambda rows: heard.extend(row.number for row in rows))
        await asyncio.sleep(0.2)
        assert not revocations.is_known
        ended.away = False
        await _until(lambda: len(heard) == 10, seconds=60)
        assert heard == list(range(1, 11))
        took = []
        for number in range(5):  # the quickest, because other tests may have the machine at any one moment
            ended.add(EVE, "disabled")
            begun = time.monotonic()
            revocations.hint()
            await _until(lambda heard_then=11 + number: len(heard) == heard_then, seconds=60)
            took.append(time.monotonic() - begun)
        assert min(took) < 1
        ended.add(EVE, "changed")
        await _until(lambda: len(heard) == 16, seconds=60)


async def test_callers_at_the_same_time_share_one_reading(ended: List) -> None:
    revocations = Revocations(ended.read)
    await asyncio.gather(*(revocations.wait_known() for _ in range(50)))
    assert ended.asked == 1


async def test_a_list_that_begins_anew_is_read_from_its_beginning_and_nothing_known_is_forgotten(ended: List) -> None:
    revocations = Revocations(ended.read)
    for number in range(4):
        ended.add(ADA, session_id=f"s-{number}")
    await revocations.read()
    ended.rows.clear()
    ended.add(EVE, "disabled")
    await revocations.read()
    assert isinstance(revocations.refusal_of(EVE, "x", 0), AccountDisabled)
    assert revocations.refusal_of(ADA, "s-3", 0) is not None


async def test_rows_whose_tokens_expired_are_forgotten(ended: List) -> None:
    now = [time.time()]
    revocations = Revocations(ended.read, now=lambda: now[0])
    ended.add(ADA, session_id="s", seconds=100)
    ended.add(EVE, "changed", seconds=100)
    await revocations.read()
    now[0] += 200
    await revocations.read()
    assert (revocations._people, revocations._sessions) == ({}, {})


class After(Query):
    after: int = 0


async def test_a_service_asks_identity_with_its_own_token(ended: List, tmp_path: Any) -> None:
    passes = Passes()

    class Settings(ServiceSettings):
        model_config = service_config("WORKS_")
        port: int = 0

    async def jwks(_request: Request[Any]) -> Answer:
        return Answer(orjson.dumps(passes.signer.jwks()))

    async def revoked(request: Request[Any]) -> Answer:
        return Answer(await ended.read(request.query.after))

    routes = [
        Route("GET", "/.well-known/jwks.json", jwks, auth="none"),
        Route("GET", "/internal/revocations", revoked, auth="service", query=After, answers={200: RevocationPage}),
    ]
    async with open_door(routes, name="identity", passes=passes) as identity:
        settings = passes.settings(Settings, "works", tmp_path, {"IDENTITY_URL": f"http://127.0.0.1:1,{identity.url}"})
        async with open_authenticator(settings, "works") as authenticator:
            token = passes.user(ADA)
            assert (await authenticator.principal_of(token)).user_id == ADA
            ended.add(ADA, "disabled")
            await _until(lambda: _is_refused(authenticator, token), seconds=60)


async def test_a_signature_has_one_spelling(signer: TokenSigner, ended: List) -> None:
    authenticator = authenticator_of(signer, ended)
    token = signer.sign_user_token(ADA, session_id="s")
    await authenticator.principal_of(token)
    head, _, signature = token.rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    others = [signature[:-1] + one for one in alphabet if one != signature[-1] and base64.urlsafe_b64decode(signature[:-1] + one + "==") == raw]
    assert len(others) == 15
    for other in (*others, signature + "=", signature + "==", signature + "\n", " " + signature, signature[:9] + "!" + signature[9:]):
        with pytest.raises(Unauthorized):
            await authenticator.principal_of(f"{head}.{other}")


def _is_refused(authenticator: Authenticator, token: str) -> bool:
    try:
        authenticator.known(token)
    except AccountDisabled:
        return True
    return False


async def _until(true: Any, *, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
async def nothing_left_behind() -> AsyncIterator[None]:
    yield
    assert not [task for task in asyncio.all_tasks() if "revocations" in task.get_name()]
