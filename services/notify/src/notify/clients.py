"""The service notify asks: identity, for who somebody is and where a message goes. Its models are ours."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from pydantic import BaseModel

from common.client import ServiceClient
from common.messages import Lang
from notify.domain import Delivery


class AddressAsk(BaseModel):
    user_id: UUID
    template: str
    ref: str


class Address(BaseModel):
    """Where a message goes and what it leads to; known only while it is being sent."""

    email: str
    name: str
    link: str | None = None
    lang: Lang = "zh"


class UsersAsk(BaseModel):
    user_ids: list[UUID]


class KnownUser(BaseModel):
    user_id: UUID


class KnownUsers(BaseModel):
    users: list[KnownUser]


@dataclass(frozen=True, slots=True)
class Identity:
    """Identity, as notify asks it."""

    client: ServiceClient

    async def address_of(self, delivery: Delivery) -> Address:
        """Raises the callee's refusal when the person is gone or has no address, Unavailable when nobody could be asked."""
        ask = AddressAsk(user_id=delivery.user_id, template=delivery.template, ref=delivery.ref)
        return await self.client.post("/internal/deliveries/address", ask, Address)

    async def unknown_among(self, user_ids: Sequence[UUID]) -> set[UUID]:
        """Those nobody has."""
        known = await self.client.post("/internal/users/list", UsersAsk(user_ids=list(user_ids)), KnownUsers)
        return set(user_ids) - {one.user_id for one in known.users}
