"""What notify has open, handed to its edge."""

from dataclasses import dataclass

from common.auth import Authenticator
from common.db import Database
from common.objects import UrlSigner
from notify.settings import NotifySettings
from notify.sockets import Hub


@dataclass(frozen=True, slots=True)
class Deps:
    """Database, sockets, the signer of file URLs."""

    settings: NotifySettings
    db: Database
    hub: Hub
    signer: UrlSigner
    authenticator: Authenticator
