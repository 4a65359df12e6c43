"""Names, addresses, passwords, and what a dump would show."""

import asyncio
from uuid import UUID

import pytest

from common.errors import Overloaded
from identity.domain import normal_email, normal_password
from identity.passwords import Passwords
from identity.vault import Sealed, Unopenable, Vault

ADA, BOB = UUID(int=1), UUID(int=2)


def _vault(key_id: str = "1", secret: str = "a" * 32, **old: str) -> Vault:
    return Vault(key_id=key_id, secret=secret, old_secrets=old, lookup_secret="b" * 32)


def test_one_address_has_one_spelling() -> None:
    assert normal_email(" Ada@Darkroom.Example ") == normal_email("ada@darkroom.example") == "ada@darkroom.example"


@pytest.mark.parametrize("given", ["", "ada", "ada@", "@x.example", "a b@x.example", "ada@x..example", "a" * 250 + "@x.example", "ada@x.example\n<b>"])
def test_what_is_no_address_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match="is "):
        normal_email(given)


def test_a_password_is_the_same_whichever_way_its_accents_are_typed() -> None:
    assert normal_password("caf\u00e9 de flore") == normal_password("cafe\u0301 de flore")


@pytest.mark.parametrize("given", ["short", "x" * 1025, "漢" * 342])
def test_a_password_too_short_or_too_long_is_refused_and_never_cut(given: str) -> None:
    with pytest.raises(ValueError, match="must have"):
        normal_password(given)


def test_what_is_sealed_opens_for_its_owner_only() -> None:
    sealed = _vault().seal(b"ada@darkroom.example", owner=ADA)
    assert b"ada" not in sealed.content
    assert _vault().open(sealed, owner=ADA) == b"ada@darkroom.example"
    with pytest.raises(Unopenable):
        _vault().open(sealed, owner=BOB)


def test_what_was_sealed_under_an_old_key_still_opens_after_a_change_of_keys() -> None:
    sealed = _vault(key_id="1", secret="a" * 32).seal(b"x", owner=ADA)
    newer = _vault("2", "c" * 32, **{"1": "a" * 32})
    assert newer.open(sealed, owner=ADA) == b"x"
    assert newer.seal(b"x", owner=ADA).key_id == "2"
    with pytest.raises(Unopenable):
        _vault("2", "c" * 32).open(sealed, owner=ADA)


def test_a_changed_byte_does_not_open() -> None:
    sealed = _vault().seal(b"x", owner=ADA)
    changed = bytes([sealed.content[0] ^ 1]) + sealed.content[1:]
    with pytest.raises(Unopenable):
        _vault().open(Sealed(changed, sealed.key_id), owner=ADA)


def test_the_lookup_hash_depends_on_its_key_and_purpose() -> None:
    other = Vault(key_id="1", secret="a" * 32, old_secrets={}, lookup_secret="d" * 32)
    assert _vault().lookup_hash("e-mail", b"x") == _vault().lookup_hash("e-mail", b"x")
    assert len({_vault().lookup_hash("e-mail", b"x"), _vault().lookup_hash("sign-up", b"x"), other.lookup_hash("e-mail", b"x")}) == 3


async def test_passwords_are_argon2id_with_the_set_costs_and_check() -> None:
    async with Passwords(threads=1, waiting_max=4) as passwords:
        made = await passwords.hash("correct horse")
        assert made.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
        assert await passwords.check(made, "correct horse")
        assert not await passwords.check(made, "correct horsf")
        assert not await passwords.check(None, "correct horse")


async def test_more_waiting_passwords_than_allowed_are_refused_at_once() -> None:
    async with Passwords(threads=1, waiting_max=1) as passwords:
        answers = await asyncio.gather(*(passwords.check(None, "x") for _ in range(5)), return_exceptions=True)
    assert [type(one) for one in answers].count(Overloaded) == 4
