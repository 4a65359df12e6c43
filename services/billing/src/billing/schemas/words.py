"""What the kinds of a history are called."""

from collections.abc import Mapping

from billing.domain import Record, RecordKind
from billing.domain.book import REFUND_REFUSED, REFUNDED, SETTLED
from common.messages import Lang

_WORDS: Mapping[RecordKind, tuple[str, str]] = {
    "consume": ("生成任务", "Generation"),
    "refund": ("未生成部分退回", "Returned: not generated"),
    "recharge": ("充值", "Top-up"),
    "gift": ("注册赠送", "Welcome gift"),
    "adjust": ("系统调整", "Adjustment"),
    "expire": ("到期失效", "Expired"),
}


_SENTENCES: Mapping[str, str] = {REFUNDED: "订单已退款，积分收回", SETTLED: "抵扣退款欠额", REFUND_REFUSED: "退款未成功，积分返还"}


def describe(record: Record, lang: Lang) -> str:
    """A sentence about one record: what was written down with it, or else what its kind is called."""
    said = record.description
    if said is not None and lang == "zh":
        said = _SENTENCES.get(said, said)
    return said or _WORDS[record.kind][0 if lang == "zh" else 1]
