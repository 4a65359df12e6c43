"""What the song dialect carries about people."""

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from common.web import Model, Moment
from identity.domain import Person, Purse, named, normal_email, normal_password

# More than 10 MiB as base64, so that a picture that is too large is told so.
AVATAR_LENGTH_MAX = 16 * 1024 * 1024


class SignUp(Model):
    """POST /users. Whatever else is sent (role, points, isVIP, ...) is ignored."""

    username: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64), AfterValidator(named)]
    email: Annotated[str, AfterValidator(normal_email)]
    password: Annotated[str, AfterValidator(normal_password)]
    avatar: Annotated[str | None, Field(max_length=AVATAR_LENGTH_MAX, description="a data URL, or the link to an upload of one's own")] = None


class SignUpForm(SignUp):
    """The same as a form, with the picture as a part."""

    avatar: bytes | None = None  # type: ignore[assignment]


class Login(Model):
    """POST /login. What is no address at all is an unknown one."""

    email: Annotated[str, Field(max_length=1024)]
    password: Annotated[str, Field(max_length=4096)]


class ResetWish(Model):
    """POST /requestPasswordReset."""

    email: Annotated[str, Field(max_length=1024)]


class User(Model):
    """A user, as they see themselves."""

    objectId: str
    username: str
    email: str
    avatar: str | None
    points: int
    isVIP: bool
    membershipEndDate: Moment | None
    emailVerified: bool
    createdAt: Moment
    updatedAt: Moment
    sessionToken: str
    refreshToken: str

    @classmethod
    def of(cls, person: Person, purse: Purse, *, email: str, avatar: str | None, token: str, refresh_token: str) -> "User":
        return cls(
            objectId=str(person.user_id),
            username=person.username,
            email=email,
            avatar=avatar,
            points=purse.points,
            isVIP=purse.is_member,
            membershipEndDate=purse.member_until,
            emailVerified=person.email_verified,
            createdAt=person.created_at,
            updatedAt=person.updated_at,
            sessionToken=token,
            refreshToken=refresh_token,
        )
