"""Every change notify makes: numbering news into feeds."""

from collections import Counter
from collections.abc import Sequence

from common.db import Tx
from notify import store
from notify.domain import News, Notice, numbered


async def store_notices(tx: Tx, news: Sequence[News], *, origin: str = "") -> list[Notice]:
    """Number and keep a batch; heads are locked sorted and bumped once, so everything after a number is always a prefix."""
    if not news:
        return []
    heads = await store.bump_heads(tx.conn, Counter(one.user_id for one in news))
    notices = numbered(news, heads, int(tx.now.timestamp() * 1000))
    await store.insert_notices(tx.conn, notices, tx.now, origin=origin)
    return notices
