"""What the photo dialect carries about people."""

from common.web import Model
from common.web.photo import Ok
from identity.domain import Person, Purse


class Me(Model):
    """Who asks; `openid` is empty for those who did not come through WeChat, because its clients need a string."""

    user_id: str
    openid: str
    nickname: str
    avatar_url: str | None
    role: str
    credits: int

    @classmethod
    def of(cls, person: Person, purse: Purse, *, avatar_url: str | None) -> "Me":
        return cls(user_id=str(person.user_id), openid="", nickname=person.username, avatar_url=avatar_url, role=person.role, credits=purse.credits)


class MeData(Model):
    user: Me


class MeAnswer(Ok[MeData]):
    pass


class TokenData(Model):
    token: str


class TokenAnswer(Ok[TokenData]):
    pass
