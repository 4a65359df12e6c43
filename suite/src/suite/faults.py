"""What went wrong, in a sentence for the console."""

from __future__ import annotations

from pathlib import Path

from suite.embedded.parts import EmbeddedError
from suite.home import SuiteError, no_room, sentence_of


def causes(error: BaseException) -> list[BaseException]:
    """The single errors inside a group, in order."""
    if isinstance(error, BaseExceptionGroup):
        return [cause for inner in error.exceptions for cause in causes(inner)]
    return [error]


def sentence_for(error: BaseException, folder: Path) -> str | None:
    """The sentence for an error that somebody at the console can mend; None for a fault of ours."""
    # Slow to import, and most commands end well.
    import asyncpg

    from common.errors import ServiceError
    from common.migrate import MigrationError
    from common.settings import SettingsError

    for cause in causes(error):
        if isinstance(cause, (SuiteError, EmbeddedError, MigrationError)):
            return str(cause)
        if isinstance(cause, SettingsError):
            return "The settings are not complete:\n" + "\n".join(f"  {fault}" for fault in cause.faults)
        if isinstance(cause, asyncpg.PostgresError) and (isinstance(cause, asyncpg.DiskFullError) or "No space left" in str(cause)):
            return no_room(folder)
        if isinstance(cause, asyncpg.PostgresError):
            return f"PostgreSQL refused: {cause} (its log is {folder}/pg/postgres.log)."
        if isinstance(cause, ServiceError):
            return f"A service is away or refused: {cause}. The log is in {folder}/logs."
        if isinstance(cause, OSError):
            return sentence_of(cause, folder)
    return None
