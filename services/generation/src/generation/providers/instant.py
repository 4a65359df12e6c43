"""Tiny fixed results for benches: everything around a provider, and nothing inside it."""

import hashlib
from pathlib import Path

from generation.providers.base import (
    PICTURE_KINDS,
    Attempt,
    Failed,
    Finished,
    Kind,
    NotFound,
    Refused,
    ReportStep,
    Result,
    Running,
    Submitted,
)
from generation.results import Checked

PICTURE_FILE = Path(__file__).with_name("instant.webp")
SONG_FILE = Path(__file__).with_name("instant.ogg")
PICTURE_SIDE_PX = 8
SONG_SECONDS = 1.1


class InstantNotAllowed(RuntimeError):
    """Somebody asked for the bench provider without saying so in the settings."""


class InstantProvider:
    """An 8 x 8 WebP per picture, a second of silence per song, at once. Both files carry the AI label and decode."""

    name = "instant"
    kinds: frozenset[Kind] = PICTURE_KINDS | {"song"}
    repeatable = True
    look_up = False
    batches = True
    calls_back = False

    def __init__(self, *, allowed: bool) -> None:
        if not allowed:
            raise InstantNotAllowed("the instant provider makes empty results for benches; it starts only when the settings allow it")
        self._picture = PICTURE_FILE.read_bytes()
        self._song = SONG_FILE.read_bytes()

    def known_results(self) -> dict[str, Checked]:
        """What a Checker may know beforehand, by sha256, so that a bench decodes nothing and starts no pool."""
        return {
            hashlib.sha256(self._picture).hexdigest(): Checked(width=PICTURE_SIDE_PX, height=PICTURE_SIDE_PX),
            hashlib.sha256(self._song).hexdigest(): Checked(duration_seconds=SONG_SECONDS),
        }

    async def submit(self, attempt: Attempt, report: ReportStep) -> Submitted | Finished:
        if attempt.kind not in self.kinds:
            raise Refused(f"{attempt.kind} is not a kind we make")
        report(1, 1, "done")
        if attempt.kind == "song":
            return Finished(results=tuple(self._song_result(index) for index in attempt.items), title=attempt.title or "Instant", tags=attempt.tags)
        return Finished(results=tuple(self._picture_result(index) for index in attempt.items))

    async def check(self, attempt: Attempt) -> Running | Finished | Failed | NotFound:
        """Nothing is kept: an attempt that did not finish is simply run again."""
        return NotFound()

    async def cancel(self, attempt: Attempt) -> None:
        """It was over before it could be cancelled."""

    def _picture_result(self, index: int) -> Result:
        return Result(index=index, body=self._picture, content_type="image/webp", width=PICTURE_SIDE_PX, height=PICTURE_SIDE_PX)

    def _song_result(self, index: int) -> Result:
        return Result(index=index, body=self._song, content_type="audio/ogg", duration_seconds=SONG_SECONDS, cover=self._picture)
