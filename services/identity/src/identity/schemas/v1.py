"""What v1 carries about sessions and links sent by mail."""

from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, Field, StringConstraints

from common.messages import Lang
from common.web import Model, Moment
from identity.domain import normal_password

TOKEN_LENGTH_MAX = 200


class SessionWish(Model):
    """POST /v1/sessions. What is no address at all is an unknown one."""

    email: Annotated[str, Field(max_length=1024)]
    password: Annotated[str, Field(max_length=4096)]
    device: Annotated[str | None, StringConstraints(strip_whitespace=True, max_length=200)] = None


class RefreshWish(Model):
    refresh_token: Annotated[str, Field(max_length=TOKEN_LENGTH_MAX)]


class SessionTokens(Model):
    """A session's tokens; the refresh token is good once."""

    session_id: UUID
    user_id: UUID
    token_type: str = "Bearer"
    access_token: str
    expires_in: int
    refresh_token: str
    refresh_good_until: Moment


class SessionRow(Model):
    session_id: UUID
    device: str
    created_at: Moment
    used_at: Moment
    current: bool


class SessionList(Model):
    sessions: list[SessionRow]


class NewPassword(Model):
    """POST /v1/password-resets: what stood behind the # of the link."""

    token: Annotated[str, Field(max_length=TOKEN_LENGTH_MAX)]
    password: Annotated[str, AfterValidator(normal_password)]


class Verification(Model):
    """POST /v1/email-verifications."""

    token: Annotated[str, Field(max_length=TOKEN_LENGTH_MAX)]


class Done(Model):
    done: bool = True


class AddressAsk(Model):
    """What notify asks when it writes a message."""

    user_id: UUID
    template: Annotated[str, Field(max_length=64)]
    ref: Annotated[str, Field(max_length=64)]


class Address(Model):
    """Where it goes, and what it leads to."""

    email: str
    name: str
    link: str | None
    lang: Lang
