"""How often somebody may ask: budgets by address, user and kind of route, and how many requests at once.

Every replica counts here, in memory and without waiting. With a shared store (`gateway.counts`) all replicas count together, and what is
counted here decides only while the store is away.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

from limits import RateLimitItem

from common.errors import RateLimited
from gateway.routes import LimitClass

WINDOWS_MAX = 200_000


@dataclass(frozen=True, slots=True)
class Budget:
    """So many requests in a window that begins with the first of them; `name` is how the headers call it."""

    name: str
    by: Literal["address", "user"]
    amount: int
    window_seconds: int
    prefix: str

    @classmethod
    def of(cls, name: str, by: Literal["address", "user"], item: RateLimitItem) -> "Budget":
        return cls(name, by, item.amount, item.get_expiry(), f"{item.key_for(name)}/")


class Plan:
    """The budgets of one class of routes, for somebody with or without a token, and how the headers tell them.

    `room` is where requests under way are counted: a class that counts on nothing else has one of its own.
    """

    __slots__ = ("budgets", "lines", "policy", "room", "rows", "state")

    def __init__(self, budgets: Sequence[Budget], room: str) -> None:
        self.room = room
        self.budgets = tuple(budgets)
        self.rows = tuple((one.prefix, one.by == "user", one.amount, one.window_seconds) for one in budgets)
        self.policy = ", ".join(f'"{one.name}";q={one.amount};w={one.window_seconds}' for one in budgets)
        self.state = ", ".join(f'"{one.name}";r=%d;t=%d' for one in budgets)
        self.lines = f"\r\nRateLimit-Policy: {self.policy}\r\nRateLimit: {self.state}".encode()


class Visit:
    """One request that counts: on which windows, and what became of it."""

    __slots__ = ("_counts", "_is_crowd", "keys", "plan", "refusal", "who")

    def __init__(self, plan: Plan, keys: Sequence[str], who: tuple[str, ...], *, is_crowd: bool) -> None:
        self._is_crowd = is_crowd
        self.plan = plan
        self.keys = keys
        self.who = who
        self.refusal: RateLimited | None = None

    def decide(self, taken: Sequence[int], seconds: Sequence[int]) -> None:
        """`taken` of each budget with this request, and in how many seconds its window ends."""
        told: list[int] = []
        wait = 0
        for (_, _, amount, _), count, left in zip(self.plan.rows, taken, seconds, strict=True):
            told += (max(0, amount - count), left)
            if count > amount and left > wait:
                wait = left
        self.say(told, wait)

    def say(self, told: Sequence[int], wait: int) -> None:
        """What is left of each budget and for how long, and how long to wait if one is used up."""
        self._counts = tuple(told)
        if wait:
            self.refusal = RateLimited("too many requests", retry_after_seconds=wait)
        else:
            self.refusal = RateLimited("too many requests at once", retry_after_seconds=1) if self._is_crowd else None

    def headers(self) -> dict[str, str]:
        """What the answer says about the budgets."""
        return {"RateLimit-Policy": self.plan.policy, "RateLimit": self.plan.state % self._counts}

    def lines(self) -> bytes:
        """The same, as lines that follow a head."""
        return self.plan.lines % self._counts


class Limits:
    """Counts requests. `enter` before anything is asked of a service, `leave` when the answer is out."""

    def __init__(
        self,
        budgets: Mapping[LimitClass, Sequence[Budget]],
        *,
        now: Callable[[], float],
        address_at_once_max: int,
        user_at_once_max: int,
        windows_max: int = WINDOWS_MAX,
    ) -> None:
        self._plans: dict[tuple[LimitClass, bool], Plan] = {}
        for kind, listed in budgets.items():
            room = "" if any(one.name == "address" for one in listed) else f"{kind}/"
            self._plans[kind, True] = Plan(listed, room)
            self._plans[kind, False] = Plan([one for one in listed if one.by == "address"], room)
        self._now = now
        self._address_at_once_max = address_at_once_max
        self._user_at_once_max = user_at_once_max
        self._windows_max = windows_max
        self._windows: dict[str, list[float]] = {}
        self._under_way: dict[str, int] = {}

    def enter(self, kind: LimitClass, address: str, user: str | None) -> Visit:
        """Count one request; its refusal is set when a budget is used up or too many are under way."""
        plan = self._plans[kind, user is not None]
        who = (address,) if user is None else (address, user)
        now, windows = self._now(), self._windows
        keys: list[str] = []
        told: list[int] = []
        wait = 0
        for prefix, by_user, amount, window_seconds in plan.rows:
            key = prefix + who[by_user]
            window = windows.get(key)
            if window is None or window[0] <= now:
                window = self._open_window(key, now + window_seconds)
            window[1] += 1
            free, left = amount - int(window[1]), ceil(window[0] - now)
            if free < 0:
                free, wait = 0, max(wait, left)
            keys.append(key)
            told += (free, left)
        if plan.room:
            who = (plan.room + address,)
        visit = Visit(plan, keys, who, is_crowd=self._is_crowd(who))
        visit.say(told, wait)
        return visit

    def leave(self, visit: Visit) -> None:
        """Its answer is out, or nobody waits for it any more."""
        under_way = self._under_way
        for who in visit.who:
            left = under_way[who] - 1
            if left:
                under_way[who] = left
            else:
                del under_way[who]

    def _is_crowd(self, who: tuple[str, ...]) -> bool:
        """Count one more under way; whether that is more than may be."""
        under_way = self._under_way
        is_crowd = False
        for one, at_once_max in zip(who, (self._address_at_once_max, self._user_at_once_max), strict=False):
            count = under_way.get(one, 0) + 1
            under_way[one] = count
            is_crowd = is_crowd or count > at_once_max
        return is_crowd

    def _open_window(self, key: str, ends_at: float) -> list[float]:
        # Taken out first, so that the oldest windows stay at the front.
        self._windows.pop(key, None)
        if len(self._windows) >= self._windows_max:
            self._make_room()
        window = self._windows[key] = [ends_at, 0]
        return window

    def _make_room(self) -> None:
        """Forget what is over; if that is not enough, a tenth of what began first."""
        now = self._now()
        for key in [key for key, window in self._windows.items() if window[0] <= now]:
            del self._windows[key]
        for key in list(self._windows)[: max(0, len(self._windows) - self._windows_max * 9 // 10)]:
            del self._windows[key]
