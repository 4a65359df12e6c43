"""`darkroom up`: bring the suite up, say where it is, wait for a signal, drain."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import typer
from rich.markup import escape

from common import log as logs
from suite.console import err, out
from suite.embedded.parts import LOG_BYTES_MAX, size_of
from suite.home import Home, SuiteError, sentences
from suite.operator import Operator
from suite.options import Options
from suite.running import Running, suite_running
from suite.status import print_places


async def up(home: Home, options: Options) -> None:
    """Run until SIGINT or SIGTERM. A signal while starting gives up the start; a second one while draining cuts the drain."""
    stop, ready = asyncio.Event(), asyncio.Event()
    serving = asyncio.current_task()
    assert serving is not None

    def on_signal() -> None:
        if stop.is_set() or not ready.is_set():
            serving.cancel()
        elif not stop.is_set():
            out.print("Stopping: requests in hand are answered, tasks go on at the next start. Once more cuts it short.", style="dim")
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        # On the loop, so that a background job, which its shell deafens to SIGINT, hears it too.
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    if options.profile == "roomy":
        err.print("The roomy profile is on: limits and caps are off. For tests and benches on this machine only.", style="bold red")
    started_at = time.monotonic()
    try:
        configure_logs(home)
        async with suite_running(home, options, lambda words: out.print(escape(words), style="dim")) as running:
            await _greet(home, running, time.monotonic() - started_at)
            ready.set()
            await running.wait(stop)
        out.print("Stopped. Everything is kept; `darkroom up` goes on from here.", style="dim")
    except asyncio.CancelledError:
        if not stop.is_set():
            raise
        serving.uncancel()
        if not ready.is_set():
            out.print("Given up.", style="dim")
            raise typer.Exit(1) from None
        out.print("Stopped.", style="dim")


def configure_logs(home: Home) -> Path:
    """Send the log lines of this process to the suite's log."""
    home.make()
    path = home.logs / "darkroom.log"
    with sentences(home.folder):
        if size_of(path) > LOG_BYTES_MAX:
            path.replace(path.with_suffix(".old.log"))
        logs.configure(to=path.open("ab", buffering=0))
    return path


async def _greet(home: Home, running: Running, seconds: float) -> None:
    bus = "Kafka" if running.foundation.kafka is not None else "memory bus"
    objects = ", S3" if running.foundation.s3 is not None else ""
    out.print(f"[bold green]Darkroom is up[/] at [bold]{running.state.url}[/]  ({running.options.mode}, PostgreSQL, {bus}{objects}; {seconds:.1f} s)")
    try:
        login = await Operator(home, running.state).demo_login()
        out.print(f"  demo login   {login['email']}  {escape(login['password'])}")
    except SuiteError as error:
        err.print(f"  {error}", style="red", markup=False)
    try:
        admin = await Operator(home, running.state).admin_login()
        out.print(f"  admin login  {admin['username']}  {escape(admin['password'])}")
    except SuiteError as error:
        err.print(f"  {error}", style="red", markup=False)
    for name, urls in running.state.admin_urls.items():
        address = running.state.environment[f"{name.upper()}_URL"]
        out.print(f"  {name:<12} {address}   [dim]numbers at {urls[0]}/metrics[/]")
    print_places(running.state, home)
    out.print("Ctrl-C stops it and keeps everything; `darkroom demo` in another window shows it at work.", style="dim")
