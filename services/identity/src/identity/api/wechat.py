"""The photo dialect: logging in with a mini-program's code."""

from common.errors import AccountDisabled, Forbidden
from common.ids import UserId, new_id
from common.web import Answer, Request, Route
from identity.api.people import avatar_url
from identity.api.tokens import open_session
from identity.deps import Deps
from identity.domain import WechatLogin
from identity.schemas.photo import UserInfo, WechatAnswer, WechatAsk, WechatData, WechatUser

NICKNAME = {"zh": "微信用户", "en": "WeChat user"}


async def log_in(request: Request[Deps]) -> Answer:
    """Ask WeChat whose code it is; find or open the account; render."""
    deps, wish = request.deps, request.body
    info = wish.userInfo or UserInfo()
    openid = await deps.codes.openid_of(wish.code)
    user_id = UserId(new_id())
    sealed = deps.vault.seal(openid.encode(), owner=user_id)
    login = WechatLogin(
        user_id=user_id,
        openid_hash=deps.vault.lookup_hash("openid", openid.encode()),
        openid_sealed=sealed.content,
        sealed_with=sealed.key_id,
        username=info.nickname or NICKNAME[request.lang],
        avatar_link=info.avatar_url if info.avatar_url.startswith("https://") else None,
    )
    found = await deps.wechat_logins(login)
    person = found.person
    if person.disabled:
        raise AccountDisabled()
    await deps.seen(person.user_id)
    purse = await deps.purses.purse_of(person)
    user = WechatUser(
        user_id=str(person.user_id),
        nickname=person.username,
        avatar_url=avatar_url(deps, person),
        credits=purse.credits,
        role=person.role,
        is_new_user=found.is_new,
    )
    opened = await open_session(request, person)
    return Answer(WechatAnswer(data=WechatData(token=opened.token, user=user)))


ROUTES = (
    Route(
        "POST",
        "/api/auth/wechat/login",
        log_in,
        auth="none",
        body=WechatAsk,
        answers={200: WechatAnswer},
        refusals=(AccountDisabled, Forbidden),
        summary="Log in with a mini-program's code",
    ),
)
