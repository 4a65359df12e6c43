"""Records that can never be handled: kept with cause and origin, and a limit after which the group stops to ask for help."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from common.bus.broker import Record
from common.db import Database, Tx


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One record that failed for a group."""

    record: Record
    event_id: UUID | None
    cause: str
    tries: int


class TooManyDeadLetters(Exception):
    """The group stops: so many failures mean a bad release, not bad records."""


class DeadLetterLimit:
    """Stops a consumer after `in_a_row` dead letters, or when more than `share` of the last `window` records died."""

    def __init__(self, *, in_a_row: int = 20, share: float = 0.2, window: int = 200) -> None:
        self._in_a_row = in_a_row
        self._share = share
        self._recent: deque[bool] = deque(maxlen=window)
        self._row = 0
        self._dead = 0

    def count_all(self, died: Sequence[bool]) -> None:
        """Note what became of these records, in order; raises TooManyDeadLetters."""
        if self._dead or True in died:
            for one in died:
                self.count(died=one)
        else:
            self._recent.extend(died)

    def count(self, *, died: bool) -> None:
        """Note one record's fate; raises TooManyDeadLetters."""
        full = len(self._recent) == self._recent.maxlen
        self._dead += died - (full and self._recent[0])
        self._recent.append(died)
        self._row = self._row + 1 if died else 0
        if self._row > self._in_a_row or (full and self._dead > self._share * len(self._recent)):
            raise TooManyDeadLetters(f"{self._row} in a row, {self._dead} of the last {len(self._recent)}")


async def insert_dead_letters(tx: Tx, group: str, letters: Sequence[DeadLetter]) -> None:
    """Keep them; the same record is kept once, however often it is heard again."""
    await tx.conn.executemany(
        """
        INSERT INTO dead_letter (group_name, topic, partition, record_offset, event_id, key, headers, payload, cause, tries, failed_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (group_name, topic, partition, record_offset) DO NOTHING
        """,
        [
            (
                group,
                letter.record.topic,
                letter.record.partition,
                letter.record.offset,
                letter.event_id,
                letter.record.key,
                {_storable(name): _storable((value or b"").decode(errors="replace")) for name, value in letter.record.headers},
                letter.record.value,
                _storable(letter.cause[:2000]),
                letter.tries,
                tx.now,
            )
            for letter in letters
        ],
    )


def _storable(text: str) -> str:
    # PostgreSQL takes every character but this one, and a letter must find its place whatever was in it.
    return text.replace("\x00", "\ufffd")


async def count_dead_letters(db: Database) -> int:
    """How many wait to be looked at."""
    count: int = await db.fetchval("SELECT count(*) FROM dead_letter WHERE replayed_at IS NULL")
    return count
