"""Names, addresses, passwords."""

import asyncio

import pytest

from common.errors import Overloaded
from identity.domain import named, normal_email, normal_password, shown_name
from identity.passwords import Passwords


def test_one_address_has_one_spelling() -> None:
    assert normal_email(" Ada@Darkroom.Example ") == normal_email("ada@darkroom.example") == "ada@darkroom.example"


@pytest.mark.parametrize("given", ["", "ada", "ada@", "@x.example", "a b@x.example", "ada@x..example", "a" * 250 + "@x.example", "ada@x.example\n<b>"])
def test_what_is_no_address_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match=r"^(is not an e-mail address|must have at most 254 characters)$"):
        normal_email(given)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("Ada\u202eadA", "AdaadA"), ("\u2067Ada\u2069", "Ada"), ("Ada\n\nopen\u2028evil.example", "Adaopenevil.example"), ("A\x1b[31md\x00a", "A[31mda"),
        ("小明", "小明"), ("עדה", "עדה"), ("👩\u200d🎨", "👩\u200d🎨"), ("می\u200cخواهم", "می\u200cخواهم"), ("e\u0301", "e\u0301"),
        ("\u200b\u2060", ""), ("\u202e \u00ad", ""), ("", ""),
    ],
)  # fmt: skip
def test_a_name_leaves_the_text_around_it_alone(given: str, shown: str) -> None:
    assert shown_name(given) == shown
    if not shown:
        with pytest.raises(ValueError, match="must have at least 1 character"):
            named(given)


def test_a_password_is_the_same_whichever_way_its_accents_are_typed() -> None:
    assert normal_password("caf\u00e9 de flore") == normal_password("cafe\u0301 de flore")


@pytest.mark.parametrize("given", ["short", "x" * 1025, "漢" * 342])
def test_a_password_too_short_or_too_long_is_refused_and_never_cut(given: str) -> None:
    with pytest.raises(ValueError, match="must have"):
        normal_password(given)


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
