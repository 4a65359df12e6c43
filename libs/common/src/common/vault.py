"""What a dump of a database must not show: sealed with AES-GCM under a key id, found again by a keyed hash."""

import hashlib
import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from common.settings import VaultSettings

_NONCE_BYTES = 12


class Unopenable(Exception):
    """Sealed under a key that is not in the settings, or for somebody else, or changed since."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """Bytes and the id of the key that opens them."""

    content: bytes
    key_id: str

    @property
    def packed(self) -> bytes:
        """Both in one column."""
        return self.key_id.encode() + b"\x00" + self.content

    @classmethod
    def unpacked(cls, packed: bytes) -> "Sealed":
        key_id, _, content = packed.partition(b"\x00")
        return cls(content, key_id.decode(errors="replace"))


class Vault:
    """Seals with the newest key, opens with any it knows; hashes for look-up with a key of its own. No service opens another's."""

    def __init__(self, service: str, *, key_id: str, secret: str, old_secrets: Mapping[str, str], lookup_secret: str) -> None:
        self._key_id = key_id
        self._keys = {name: AESGCM(_derive(old, service, "envelope")) for name, old in {**old_secrets, key_id: secret}.items()}
        self._lookup_key = _derive(lookup_secret, service, "lookup")

    def seal(self, plain: bytes, *, owner: UUID) -> Sealed:
        """Seal for one owner: a row copied to another owner does not open."""
        nonce = os.urandom(_NONCE_BYTES)
        return Sealed(nonce + self._keys[self._key_id].encrypt(nonce, plain, owner.bytes), self._key_id)

    def open(self, sealed: Sealed, *, owner: UUID) -> bytes:
        """Raises Unopenable."""
        key = self._keys.get(sealed.key_id)
        if key is None:
            raise Unopenable(f"no key {sealed.key_id!r} is in the settings")
        try:
            return key.decrypt(sealed.content[:_NONCE_BYTES], sealed.content[_NONCE_BYTES:], owner.bytes)
        except (InvalidTag, ValueError) as error:  # ValueError: too short to have been sealed
            raise Unopenable("sealed for somebody else, or changed since") from error

    def lookup_hash(self, purpose: str, value: bytes) -> bytes:
        """The same for the same value, and nothing anybody could compute without the key."""
        return hmac.new(self._lookup_key, purpose.encode() + b"\x00" + value, hashlib.sha256).digest()


def open_vault(service: str, settings: VaultSettings) -> Vault:
    """The vault of a service's settings."""
    return Vault(
        service,
        key_id=settings.vault_key_id,
        secret=settings.vault_secret.get_secret_value(),
        lookup_secret=settings.lookup_secret.get_secret_value(),
        old_secrets={name: old.get_secret_value() for name, old in settings.old_vault_secrets.items()},
    )


def _derive(secret: str, service: str, purpose: str) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=f"darkroom {service} {purpose}".encode()).derive(secret.encode())
