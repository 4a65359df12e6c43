"""The console: what a suite says while it runs, and how a command ends (a sentence and an exit code, never a traceback)."""

from __future__ import annotations

import asyncio
import os
import traceback
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

import typer
import uvloop
from rich.console import Console
from rich.table import Table

from suite.faults import causes, sentence_for
from suite.home import Home

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def carry_out(home: Home, work: Coroutine[Any, Any, None]) -> None:
    """Run a command's work to its end; what goes wrong becomes a sentence on stderr and exit code 1."""
    # asyncpg looks for files in the home folder of whoever runs it, who may have none.
    os.environ.setdefault("HOME", str(home.folder))
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(work)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except typer.Exit:
        raise
    except BaseException as error:
        err.print(sentence_for(error, home.folder) or _fault(error, home), style="red", markup=False)
        raise typer.Exit(1) from None


def _fault(error: BaseException, home: Home) -> str:
    """A fault of ours: its trace goes where a report can quote it."""
    cause = causes(error)[0]
    trace = "".join(traceback.format_exception(error))
    place: Path = home.logs / "faults.log"
    try:
        with place.open("a") as file:
            file.write(trace + "\n")
    except OSError:
        return f"A fault of Darkroom: {type(cause).__name__}: {cause}"
    return f"A fault of Darkroom: {type(cause).__name__}: {cause}. Its trace is in {place}."


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """A plain table."""
    made = Table(title=title, title_justify="left", title_style="bold", header_style="dim")
    for column in columns:
        made.add_column(column)
    for row in rows:
        made.add_row(*(str(cell) for cell in row))
    return made
