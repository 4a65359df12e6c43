"""What identity has open, handed to the edge."""

from dataclasses import dataclass

from common.db import Database
from common.ids import UserId
from common.lane import Lane
from common.objects import UrlSigner
from identity.domain import Person, Registered, Registration
from identity.keys import SigningKeys
from identity.passwords import Passwords
from identity.purses import Purses
from identity.vault import Vault


@dataclass(frozen=True, slots=True)
class Deps:
    db: Database
    vault: Vault
    keys: SigningKeys
    passwords: Passwords
    purses: Purses
    signups: Lane[Registration, Registered]
    people: Lane[UserId, Person]
    links: UrlSigner
