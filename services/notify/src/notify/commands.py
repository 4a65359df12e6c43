"""Every change notify makes: numbering news into feeds."""

from collections.abc import Sequence

from common.db import Tx
from common.errors import IdempotencyKeyReused, ServiceError
from notify import store
from notify.domain import Announcement, Delivery, News, Notice, later_of, numbered

SPREAD_MAX = 500


async def store_notices(tx: Tx, news: Sequence[News], *, origin: str = "") -> list[Notice]:
    """Number and keep a batch; heads are locked sorted and bumped once, so everything after a number is always a prefix."""
    if not news:
        return []
    later = later_of(news)
    heads = await store.insert_news(tx.conn, news, later, tx.now, origin=origin)
    return numbered(news, later, heads, int(tx.now.timestamp() * 1000))


async def announce(tx: Tx, wishes: Sequence[Announcement]) -> list[Announcement | ServiceError]:
    """Keep what operators say; the same id with another body is refused. People who have no feed yet get one."""
    outcomes: list[Announcement | ServiceError] = []
    for wish in wishes:
        if await store.insert_announcement(tx.conn, wish):
            if wish.user_ids is not None:
                await store.open_feeds(tx.conn, wish.user_ids)
            outcomes.append(wish)
            continue
        known = await store.find_announcement(tx.conn, wish.announcement_id)
        assert known is not None
        outcomes.append(known if known.body_hash == wish.body_hash else IdempotencyKeyReused())
    return outcomes


async def spread_announcement(tx: Tx, *, origin: str, limit: int = SPREAD_MAX) -> tuple[bool, list[Notice]]:
    """Write the oldest open announcement into the next feeds; answers whether there was one, and the notices to push."""
    one = await store.lock_open_announcement(tx.conn)
    if one is None:
        return False, []
    users = await store.list_audience(tx.conn, one, limit=limit)
    notices = await store_notices(tx, [one.news_for(user_id) for user_id in users], origin=origin)
    done_at = tx.now if len(users) < limit else None
    await store.save_spread(tx.conn, one.announcement_id, spread_to=users[-1] if users else one.spread_to, reached=one.reached + len(users), done_at=done_at)
    return True, notices


async def keep_deliveries(tx: Tx, deliveries: Sequence[Delivery]) -> None:
    """Messages to send, once each."""
    await store.insert_deliveries(tx.conn, deliveries, tx.now)
