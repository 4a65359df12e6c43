"""The console: what a suite says while it runs, and how a command ends (a sentence and an exit code, never a traceback)."""

from __future__ import annotations

import asyncio
import os
import sys
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
    except (typer.Exit, SystemExit):
        # Rich raises SystemExit when whoever read our output has gone (`| head -1`): nobody is left to tell.
        raise
    except BaseException as error:
        err.print(sentence_for(error, home.folder) or _fault(error, home), style="red", markup=False)
        raise typer.Exit(1) from None


def print_plainly(text: str) -> None:
    """Text for scripts, as it is; a reader who has gone ends the command as quietly as rich does."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())  # else the interpreter tries again at its end, and complains
        raise SystemExit(1) from None


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


def print_lines(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table for people and for grep: a row is one line whatever the console's width, and no cell is cut."""
    cells = [list(columns), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(line[number]) for line in cells) for number in range(len(columns))]
    for number, line in enumerate(cells):
        words = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        out.print(words, style="dim" if number == 0 else None, markup=False)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """A plain table."""
    made = Table(title=title, title_justify="left", title_style="bold", header_style="dim")
    for column in columns:
        made.add_column(column)
    for row in rows:
        made.add_row(*(str(cell) for cell in row))
    return made
