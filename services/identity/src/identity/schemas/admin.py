"""What operators' parts of the gateway and the suite ask of identity."""

from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, Field, StringConstraints

from common.web import Model
from identity.domain import Role, normal_password

AdminName = Annotated[str, StringConstraints(strip_whitespace=True, to_lower=True, min_length=3, max_length=50)]


class OverviewUsers(Model):
    total_users: int
    today_new_users: int
    active_users: int


class Overview(Model):
    users: OverviewUsers


class UsersAsk(Model):
    """People by id."""

    user_ids: list[UUID] = Field(max_length=1000)


class UserKnown(Model):
    user_id: UUID
    username: str
    avatar_key: str | None
    avatar_link: str | None
    role: Role
    disabled: bool


class UsersKnown(Model):
    """Those there are; unknown ids are absent."""

    users: list[UserKnown]


class NewAdmin(Model):
    """An operator's account; a name that is taken stays whose it is."""

    username: AdminName
    password: Annotated[str, AfterValidator(normal_password)]


class AdminMade(Model):
    username: str
    made: bool


class Invited(NewAdmin):
    """A one-time link taken up."""

    token: Annotated[str, StringConstraints(min_length=20, max_length=200)]
