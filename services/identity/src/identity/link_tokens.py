"""What stands in a link that is sent by mail: the link's name, and what only we can compute from it."""

import base64
import hmac
from uuid import UUID

from common.vault import Vault
from identity.domain import LinkPurpose, MailLink

PATHS: dict[LinkPurpose, str] = {"password_reset": "/v1/password-resets", "email_verification": "/v1/email-verifications"}


def token_of(vault: Vault, link: MailLink) -> str:
    """`<name>.<proof>`; the table of links does not help anybody to make one."""
    return f"{link.ref.hex}.{_proof(vault, link.ref, link.purpose)}"


def ref_of(vault: Vault, token: str, purpose: LinkPurpose) -> UUID | None:
    """The name of the link, if the proof is ours."""
    name, _, proof = token.partition(".")
    try:
        ref = UUID(hex=name)
    except ValueError:
        return None
    right = _proof(vault, ref, purpose)
    return ref if hmac.compare_digest(right.encode(), proof.encode("utf-8", "replace")) else None


def _proof(vault: Vault, ref: UUID, purpose: LinkPurpose) -> str:
    return base64.urlsafe_b64encode(vault.lookup_hash(f"link {purpose}", ref.bytes)).rstrip(b"=").decode()
