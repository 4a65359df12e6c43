"""The first operator: a link that works once, for a day, printed where only who runs the service can read it."""

import hashlib
import secrets
import sys
from datetime import timedelta

from common.db import Database
from identity import store
from identity.settings import IdentitySettings

GOOD_FOR = timedelta(days=1)


def token_hash(token: str) -> bytes:
    """What is kept of a token: enough to know it again, nothing to guess it from."""
    return hashlib.sha256(token.encode()).digest()


async def print_invitation(settings: IdentitySettings) -> None:
    """`python -m identity admin create`."""
    db = await Database.open(settings.database_url, name="darkroom-identity-invite", size=1)
    try:
        token = secrets.token_urlsafe(32)
        async with db.transaction() as tx:
            await store.insert_invitation(tx.conn, token_hash(token), created_at=tx.now, expires_at=tx.now + GOOD_FOR)
    finally:
        await db.close()
    # In the fragment: it never reaches a server's log.
    sys.stdout.write(f"{settings.shared.public_url.rstrip('/')}/v1/admin-invitations#{token}\n")
