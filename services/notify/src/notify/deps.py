"""What notify has open, handed to its edge."""

import asyncio
from dataclasses import dataclass, field

from common.auth import Authenticator
from common.db import Database
from common.objects import UrlSigner
from common.revocations import Revocations
from notify.clients import Identity
from notify.mailers import Mailer
from notify.settings import NotifySettings
from notify.sockets import Hub


@dataclass(frozen=True, slots=True)
class Deps:
    """Database, sockets, the signer of file URLs; without a mailer mails wait."""

    settings: NotifySettings
    db: Database
    hub: Hub
    signer: UrlSigner
    authenticator: Authenticator
    identity: Identity | None = None
    mailer: Mailer | None = None
    announced: asyncio.Event = field(default_factory=asyncio.Event)
    mail_asked: asyncio.Event = field(default_factory=asyncio.Event)
    revocations: Revocations | None = None
