"""What is sealed opens for its owner, in its service, under its key, and a hash says nothing without one."""

from uuid import UUID

import pytest

from common.vault import Sealed, Unopenable, Vault

ADA, BOB = UUID(int=1), UUID(int=2)


def _vault(key_id: str = "1", secret: str = "a" * 32, service: str = "identity", **old: str) -> Vault:
    return Vault(service, key_id=key_id, secret=secret, old_secrets=old, lookup_secret="b" * 32)


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


@pytest.mark.parametrize("packed", [b"", b"1", b"1\x00", b"1\x00short", b"\xff\xfe\x00" + bytes(40)])
def test_what_was_never_sealed_does_not_open(packed: bytes) -> None:
    with pytest.raises(Unopenable):
        _vault().open(Sealed.unpacked(packed), owner=ADA)


def test_the_lookup_hash_depends_on_its_key_and_purpose() -> None:
    other = Vault("identity", key_id="1", secret="a" * 32, old_secrets={}, lookup_secret="d" * 32)
    assert _vault().lookup_hash("e-mail", b"x") == _vault().lookup_hash("e-mail", b"x")
    assert len({_vault().lookup_hash("e-mail", b"x"), _vault().lookup_hash("sign-up", b"x"), other.lookup_hash("e-mail", b"x")}) == 3


def test_no_service_opens_or_finds_what_another_keeps() -> None:
    sealed = _vault().seal(b"x", owner=ADA)
    with pytest.raises(Unopenable):
        _vault(service="billing").open(sealed, owner=ADA)
    assert _vault().lookup_hash("e-mail", b"x") != _vault(service="billing").lookup_hash("e-mail", b"x")


def test_what_was_sealed_before_the_vault_was_everybodys_still_opens() -> None:
    """Sealed by the first version, which knew identity only."""
    sealed = Sealed.unpacked(bytes.fromhex("3100bc51f9600a3d5b8ec6b90f5d564d6ce8df07f8e73212986f3d90de2cde88b6057e634d58178225cbbf410eaeb0232032"))
    assert _vault().open(sealed, owner=ADA) == b"ada@darkroom.example"
    assert _vault().lookup_hash("e-mail", b"ada@darkroom.example").hex() == "4fb54e190ac888f30759c6a2bc7ff0dd31a96260faca8318211b22ad639bfe07"


def test_what_is_packed_into_one_column_is_the_same_unpacked() -> None:
    sealed = _vault(key_id="2026-03_b").seal(b"\x00x\x00", owner=ADA)
    assert Sealed.unpacked(sealed.packed) == sealed
