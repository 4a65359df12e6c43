"""Whose turn it is: ranks of users, how they wait for each other, how much of one user's may run at once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

Rank = Literal["admin", "member", "normal"]

RANKS: tuple[Rank, ...] = ("admin", "member", "normal")


def rank_of(*, is_admin: bool, is_member: bool) -> Rank:
    """The best that somebody is."""
    return "admin" if is_admin else "member" if is_member else "normal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fairness:
    """A turn counts as if it had come later by its rank's handicap: so the better rank goes first, and yet whoever waited longer than the
    difference goes before everybody who comes now. Pictures and songs have workers of their own, and are counted apart."""

    handicaps: Mapping[Rank, timedelta] = field(default_factory=lambda: dict.fromkeys(RANKS, timedelta(0)))
    running_max: Mapping[Rank, int | None] = field(default_factory=lambda: dict.fromkeys(RANKS))
    """How many tasks of one user may run at once; None is no limit."""
