"""What mails say, in Chinese and English; text for every reader, a plain page for those who show one."""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

from common.messages import Lang
from notify.clients import Address
from notify.domain import Bought


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail without its addresses."""

    subject: str
    text: str
    html: str


@dataclass(frozen=True, slots=True)
class _Words:
    subject: str
    body: str
    button: str = ""


_TEXTS: Mapping[str, Mapping[Lang, _Words]] = {
    "email_verification": {
        "zh": _Words("请验证您的邮箱", "{name}，您好：\n\n请点击下面的链接验证邮箱。如果这不是您本人的操作，请忽略此邮件。", "验证邮箱"),
        "en": _Words(
            "Please verify your e-mail address",
            "Hello {name},\n\nplease open the link to verify this address. If it was not you who signed up, ignore this mail.",
            "Verify",
        ),
    },
    "password_reset": {
        "zh": _Words(
            "重置您的密码", "{name}，您好：\n\n请在 30 分钟内点击下面的链接设置新密码，链接只能使用一次。如果这不是您本人的操作，请忽略此邮件。", "设置新密码"
        ),
        "en": _Words(
            "Reset your password",
            "Hello {name},\n\nopen the link within 30 minutes to choose a new password; it works once. If you did not ask, ignore this mail.",
            "Choose a new password",
        ),
    },
    "order_paid": {
        "zh": _Words("付款成功", "{name}，您好：\n\n订单 {ref} 已付款成功{bought}，感谢您的支持。"),
        "en": _Words("Your payment arrived", "Hello {name},\n\norder {ref} is paid{bought}. Thank you."),
    },
    "refresh_reused": {
        "zh": _Words("您的账号在别处登录异常", "{name}，您好：\n\n我们发现一个登录凭证被重复使用，已为安全起见退出相关会话。如非本人操作，请修改密码。"),
        "en": _Words(
            "We signed a session out", "Hello {name},\n\na sign-in token was used twice, so we ended that session. If it was not you, change your password."
        ),
    },
}


def is_known(template: str) -> bool:
    """Whether there are words for it."""
    return template in _TEXTS


def render(template: str, address: Address, *, ref: str, bought: Bought | None = None) -> Mail:
    """The mail for somebody. Raises KeyError for a template nobody wrote."""
    words = _TEXTS[template][address.lang]
    body = words.body.format(name=address.name, ref=ref, bought=_say_bought(bought, address.lang) if bought is not None else "")
    text, html = body, "".join(f"<p>{escape(part)}</p>" for part in body.split("\n\n"))
    if address.link and words.button:
        text += f"\n\n{address.link}"
        html += f'<p><a href="{escape(address.link, quote=True)}">{escape(words.button)}</a></p><p>{escape(address.link)}</p>'
    return Mail(words.subject, text + "\n", f'<!doctype html><html lang="{address.lang}"><meta charset="utf-8"><body>{html}</body></html>')


def _say_bought(bought: Bought, lang: Lang) -> str:
    price = f"{bought.price_minor // 100}.{bought.price_minor % 100:02d} {bought.currency}"
    if lang == "zh":
        things = [f"{bought.membership_days} 天会员"] * (bought.membership_days > 0) + [f"{bought.granted} 积分"] * (bought.granted > 0)
        return f"（{'、'.join(things)}，共 {price}）"
    days, granted = _count(bought.membership_days, "day"), _count(bought.granted, bought.asset)
    things = [f"{days} of membership"] * (bought.membership_days > 0) + [granted] * (bought.granted > 0)
    return f": {' and '.join(things)} for {price}"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
