"""What the photo dialect carries about people."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, Field, StringConstraints

from common.web import Model, Moment, Whole
from common.web.photo import Ok, Page, PageQuery
from identity.domain import Person, Purse, Role, Status, shown_name


class Me(Model):
    """Who asks; `openid` is empty for those who did not come through WeChat, because its clients need a string."""

    user_id: str
    openid: str
    nickname: str
    avatar_url: str | None
    role: str
    credits: int

    @classmethod
    def of(cls, person: Person, purse: Purse, *, avatar_url: str | None, openid: str = "") -> "Me":
        return cls(user_id=str(person.user_id), openid=openid, nickname=person.username, avatar_url=avatar_url, role=person.role, credits=purse.credits)


class MeData(Model):
    user: Me


class MeAnswer(Ok[MeData]):
    pass


class UserInfo(Model):
    """What a mini-program knows of its user."""

    nickname: Annotated[str, StringConstraints(strip_whitespace=True, max_length=64), AfterValidator(shown_name)] = ""
    avatar_url: Annotated[str, StringConstraints(strip_whitespace=True, max_length=2048)] = ""


class WechatAsk(Model):
    """A login with a code of wx.login; unknown fields (role, credits, ...) are ignored."""

    code: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=512)]
    userInfo: UserInfo | None = None


class WechatUser(Model):
    user_id: str
    nickname: str
    avatar_url: str | None
    credits: int
    role: str
    is_new_user: bool


class WechatData(Model):
    token: str
    user: WechatUser


class WechatAnswer(Ok[WechatData]):
    pass


class AdminLogin(Model):
    """An operator's name and password."""

    username: Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=50)]
    password: Annotated[str, StringConstraints(min_length=6, max_length=1024)]


class AdminShown(Model):
    admin_id: str
    username: str
    role: Literal["admin"] = "admin"
    nickname: str


class AdminData(Model):
    token: str
    admin: AdminShown


class AdminAnswer(Ok[AdminData]):
    pass


class UsersQuery(PageQuery):
    """Which people."""

    keyword: Annotated[str, StringConstraints(strip_whitespace=True, max_length=64)] | None = None
    role: Role | None = None
    status: Status | None = None
    user_id: UUID | None = None


class UserRow(Model):
    """Somebody, as operators see them; `openid` is shortened, and empty for those who did not come through WeChat."""

    user_id: str
    openid: str
    nickname: str
    avatar_url: str | None
    role: Role
    status: Status
    credits: int
    email_verified: bool
    created_at: Moment
    updated_at: Moment


class UsersData(Model):
    users: list[UserRow]
    pagination: Page


class UsersAnswer(Ok[UsersData]):
    pass


class UserChange(Model):
    """What an operator changes; what is not named stays."""

    role: Role | None = None
    status: Status | None = None
    credits_adjustment: Annotated[Whole, Field(ge=-1_000_000, le=1_000_000)] | None = None
    adjustment_reason: Annotated[str, StringConstraints(strip_whitespace=True, max_length=500)] | None = None


class UserData(Model):
    user: UserRow


class UserAnswer(Ok[UserData]):
    pass


class TokenData(Model):
    token: str


class TokenAnswer(Ok[TokenData]):
    pass
