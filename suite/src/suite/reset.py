"""`darkroom reset`: take away everything a suite keeps."""

from __future__ import annotations

from suite.console import out
from suite.home import Home, SuiteError
from suite.leftovers import end_leftovers


async def take_away(home: Home) -> None:
    """End what a killed suite left running, then remove the folder. Refuses a folder that is no suite's, or of one that runs."""
    if not home.folder.exists():
        out.print(f"Nothing to take away: {home.folder} is not there.")
        return
    if not (home.folder / "lock").exists():
        raise SuiteError(f"{home.folder} is not the folder of a suite; nothing was removed.")
    with home.locked():
        await end_leftovers(home)
        if home.postgres.exists():
            from suite.embedded.postgres import EmbeddedPostgres

            await EmbeddedPostgres(home.postgres).end_leftover()
        if home.kafka.exists():
            from suite.embedded.kafka import EmbeddedKafka

            await EmbeddedKafka(home.kafka).end_leftover()
        home.remove()
    out.print(f"{home.folder} is gone.")
