"""`darkroom demo` on the console: lines, progress bars, one table, and an exit code that says whether all of it is true."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from suite.console import err, out
from suite.demo.keepsakes import Keepsakes
from suite.demo.photo import draw_photo
from suite.demo.story import PICTURES, Story, live
from suite.home import Home, State
from suite.operator import Operator
from suite.options import Options
from suite.ports import choose_ports
from suite.running import suite_running
from suite.up import configure_logs

TERMINATED = 128 + signal.SIGTERM


async def show(home: Home, folder: Path) -> None:
    """Live through the story and print what came of it; raises typer.Exit(1) when a check does not hold. SIGTERM ends it as Ctrl-C does."""
    current = asyncio.current_task()
    assert current is not None
    asked = asyncio.Event()

    def on_signal() -> None:
        asked.set()
        current.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, on_signal)
    try:
        await _show(home, folder)
    except asyncio.CancelledError:
        if not asked.is_set():
            raise
        current.uncancel()
        raise typer.Exit(TERMINATED) from None


async def _show(home: Home, folder: Path) -> None:
    started_at = time.monotonic()
    keepsakes = Keepsakes(folder)
    drawing = asyncio.create_task(asyncio.to_thread(draw_photo), name="photo drawn")  # while the suite starts
    async with _some_suite(home) as state:
        photo = await drawing
        with _bars() as bars:
            rows = {"pictures": bars.add_task(f"{PICTURES} pictures", total=100, now="queued"), "song": bars.add_task("song", total=100, now="queued")}
            story = await live(
                Operator(home, state), state.url, photo, keepsakes,
                say=lambda words: bars.console.print(escape(words)),
                on_progress=lambda name, percent, now: bars.update(rows[name], completed=percent, now=now),
            )  # fmt: skip
        out.print(receipt(story))
        out.print(told(story))
    judge(story, folder, time.monotonic() - started_at)


@asynccontextmanager
async def _some_suite(home: Home) -> AsyncIterator[State]:
    """The suite that runs in this folder, or one of our own for as long as it takes."""
    if home.is_running():
        state = home.running_state()
        out.print(f"Using the suite at {state.url}", style="dim")
        yield state
        return
    home.make()
    configure_logs(home)
    taken = choose_ports(home, any_ports=False, replicas={}).taken()
    if taken:
        out.print(f"Port {taken[0]} is taken, so free ones are used.", style="dim")
    out.print("Starting six services and PostgreSQL in this process ...", style="dim")
    started_at = time.monotonic()
    async with suite_running(home, Options(any_ports=bool(taken)), lambda words: out.print(escape(words), style="dim")) as running:
        out.print(f"Up at {running.state.url} after {time.monotonic() - started_at:.1f} s", style="dim")
        yield running.state
        out.print("Stopping it again; what it made is kept.", style="dim")


def _bars() -> Progress:
    columns = (TextColumn("{task.description:<11}"), BarColumn(bar_width=36), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("[dim]{task.fields[now]}"))
    return Progress(*columns, console=out)


def receipt(story: Story) -> Table:
    """How each task went and what it cost."""
    made = Table(title="What happened", title_justify="left", title_style="bold", header_style="dim")
    made.add_column("")
    made.add_column(f"{PICTURES} pictures")
    made.add_column(f"song {escape(story.song_title)}".strip())
    for number, state in enumerate(("queued", "running", "completed")):
        cells = [f"{times[number][1]:.2f} s" if number < len(times) else "-" for times in (story.times["pictures"], story.times["song"])]
        made.add_row(state, *cells)
    made.add_section()
    holds = [story.holds.get(story.tasks[name], {}) for name in ("pictures", "song")]
    made.add_row("before", f"{story.before.credits} credits", f"{story.before.points} points")
    made.add_row("held", *(str(hold.get("amount", "-")) for hold in holds))
    made.add_row("captured", *(str(hold.get("captured_amount", "-")) for hold in holds))
    made.add_row("after", f"{story.after.credits} credits", f"{story.after.points} points")
    return made


def told(story: Story) -> Table:
    """What was told on which topic, for both tasks together."""
    made = Table(title="What was told, for both", title_justify="left", title_style="bold", header_style="dim")
    made.add_column("topic")
    made.add_column("facts", justify="right")
    for topic, count in sorted(story.facts.items()):
        made.add_row(topic, str(count))
    return made


def judge(story: Story, folder: Path, seconds: float) -> None:
    """Print every check; raises typer.Exit(1) when one does not hold."""
    wrong = [check for check in story.checks if not check.holds]
    for check in wrong:
        err.print(f"NOT TRUE: {check.sentence}. Seen: {check.seen[:400]}", style="bold red", markup=False)
    if wrong:
        err.print(f"{len(wrong)} of {len(story.checks)} checks failed.", style="red")
        raise typer.Exit(1)
    for check in story.checks:
        out.print(f"  [green]ok[/] {escape(check.sentence)}")
    where = f"[bold]{escape(str(folder))}/contact-sheet.webp[/]"
    out.print(f"[bold green]All {len(story.checks)} checks hold[/], after {seconds:.1f} s. Look at {where} and listen to the song beside it.")
