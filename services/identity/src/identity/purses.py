"""What people have, as far as it is known: billing's answer, else its last one, else what a sign-up gives."""

import asyncio
from collections import OrderedDict

import structlog

from common.errors import Internal, Unavailable
from common.ids import UserId
from common.lane import Lane
from identity.domain import Person, Purse, signup_purse

log = structlog.get_logger()


class Purses:
    """Asks through a lane, so that a hundred callers are one question; never lets an answer wait long for billing."""

    def __init__(self, lane: Lane[UserId, Purse], *, wait_seconds: float, kept_max: int) -> None:
        self._lane = lane
        self._wait_seconds = wait_seconds
        self._kept_max = kept_max
        self._last: OrderedDict[UserId, Purse] = OrderedDict()

    async def purse_of(self, person: Person) -> Purse:
        try:
            async with asyncio.timeout(self._wait_seconds):
                purse = await self._lane(person.user_id)
        except (Unavailable, Internal, TimeoutError) as error:
            log.warning("purse.from_memory", cause=type(error).__name__)
            return self._last.get(person.user_id) or signup_purse(person)
        self._keep(person.user_id, purse)
        return purse

    def _keep(self, user_id: UserId, purse: Purse) -> None:
        self._last[user_id] = purse
        self._last.move_to_end(user_id)
        if len(self._last) > self._kept_max:
            self._last.popitem(last=False)
