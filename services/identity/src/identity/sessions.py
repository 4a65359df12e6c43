"""Refresh tokens: 256 random bits, of which only the SHA-256 is kept; each has one successor, computed from it with a secret of ours."""

import base64
import binascii
import hashlib
import secrets
from dataclasses import dataclass

from common.errors import Unauthorized
from common.vault import Vault

_BYTES = 32
_PURPOSE = "refresh successor"


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """One token. Its successor needs both the token and the secret, so neither a copy of the database nor the secret alone makes one."""

    content: bytes

    @classmethod
    def new(cls) -> "RefreshToken":
        return cls(secrets.token_bytes(_BYTES))

    @classmethod
    def read(cls, text: str) -> "RefreshToken":
        """Raises Unauthorized for what we never wrote."""
        try:
            content = base64.urlsafe_b64decode(text + "=")
        except (binascii.Error, ValueError) as error:
            raise Unauthorized("the refresh token cannot be read") from error
        token = cls(content)
        if len(content) != _BYTES or token.text != text:
            raise Unauthorized("the refresh token cannot be read")
        return token

    @property
    def text(self) -> str:
        return base64.urlsafe_b64encode(self.content).rstrip(b"=").decode()

    @property
    def hash(self) -> bytes:
        """What is kept of it."""
        return hashlib.sha256(self.content).digest()

    def successor(self, vault: Vault) -> "RefreshToken":
        """The one that follows, always the same."""
        return RefreshToken(vault.lookup_hash(_PURPOSE, self.content))
