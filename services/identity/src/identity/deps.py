"""What identity has open, handed to the edge."""

import asyncio
from dataclasses import dataclass
from uuid import UUID

from common.auth import Authenticator
from common.client import ServiceClient
from common.config import Config
from common.db import Database
from common.ids import UserId
from common.lane import Lane
from common.objects import UrlSigner
from common.revocations import Revocations
from common.vault import Vault
from identity.domain import NewSession, Person, Refresh, Refreshed, Registered, Registration, WechatLogin, WechatPerson
from identity.keys import SigningKeys
from identity.passwords import Passwords
from identity.purses import Purses
from identity.wechat import CodeExchange


@dataclass(frozen=True, slots=True)
class Deps:
    db: Database
    vault: Vault
    keys: SigningKeys
    passwords: Passwords
    purses: Purses
    signups: Lane[Registration, Registered]
    wechat_logins: Lane[WechatLogin, WechatPerson]
    seen: Lane[UserId, None]
    people: Lane[UserId, Person]
    links: UrlSigner
    codes: CodeExchange
    billing: ServiceClient
    config: Config
    public_url: str
    revocations: Revocations
    authenticator: Authenticator
    picture_seconds: float
    sessions: Lane[NewSession, UUID]
    refreshes: Lane[Refresh, Refreshed]
    works: ServiceClient
    reset_asked: asyncio.Event
    requires_verification: bool
    limits_guesses: bool
