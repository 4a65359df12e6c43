"""`darkroom status`, `grant` and `dlq`: what a running suite says and lets its keeper do."""

from __future__ import annotations

import json
import time

import typer
from rich.markup import escape

from suite.console import out, print_plainly, table
from suite.home import Home, State, SuiteError
from suite.members import WITH_DATA
from suite.operator import Operator, TooLittle

_TROUBLES = {
    "outbox_parked": "commits with facts that the broker would not take: {count}; they are tried again at a start and every ten minutes",
    "dead_letters": "dead letters: {count}; darkroom dlq list",
    "consumer_stopped": "hears nothing more, for too many facts in a row could not be taken; a restart lets it go on",
}


async def show_status(home: Home, form: str) -> None:
    """Print where the suite is; raises typer.Exit(1) when a part is away."""
    state = home.running_state()
    operator = Operator(home, state)
    if form == "env":
        tokens = {"DARKROOM_DEMO_TOKEN": (await operator.demo_login())["sessionToken"], "DARKROOM_ADMIN_TOKEN": (await operator.admin_login())["token"]}
        for name, value in {**state.environment, **tokens}.items():
            print_plainly(f"{name}={value}")
        return
    health, troubles = await operator.health(), await operator.troubles()
    if form == "json":
        said = {"url": state.url, "mode": state.mode, "pid": state.pid, "pids": state.pids, "admin_urls": state.admin_urls}
        print_plainly(json.dumps({**said, "health": health, "troubles": troubles}, indent=1))
    else:
        rows = [
            (
                name,
                health["parts"].get(name, "?"),
                _plainly(state.environment[f"{name.upper()}_URL"].split(",")),
                _plainly(urls),
                " ".join(map(str, state.pids.get(name, [state.pid]))),
            )
            for name, urls in state.admin_urls.items()
        ]
        minutes = (time.time() - state.started_at) / 60
        out.print(f"Darkroom is {health['status']} at [bold]{state.url}[/] for {minutes:.0f} min")
        out.print(f"{state.mode}, {state.profile} profile, bus {state.environment['DARKROOM_BUS_URL']}", style="dim")
        out.print(table("", ("service", "is", "address", "admin", "process"), rows))
        print_places(state, home)
        for service, found in troubles.items():
            for what, count in found.items():
                out.print(f"  {service:<12} {_TROUBLES[what].format(count=count)}", style="yellow", soft_wrap=True)
    if health["status"] != "healthy":
        raise typer.Exit(1)


async def grant_credits(home: Home, user: str, amount: int, asset: str) -> None:
    """Adjust an account and say what it has then."""
    operator = Operator(home, home.running_state())
    if amount == 0:
        raise SuiteError("An amount of 0 changes nothing.")
    try:
        available = await operator.grant(await operator.find_user(user), amount, asset=asset)
    except TooLittle as error:
        raise SuiteError(f"{user} has only {error.available} {asset}s available; nothing was taken.") from None
    out.print(f"{user} has {available} {asset}s available.")


async def show_letters(home: Home, *, everything: bool) -> None:
    """Print the dead letters of all services."""
    from suite import dead_letters

    letters = await dead_letters.list_letters(home.running_state().environment, everything=everything)
    if not letters:
        out.print("No dead letters.")
        return
    rows = [
        (
            letter.service,
            letter.number,
            letter.topic,
            letter.failed_at.isoformat(timespec="seconds"),
            letter.tries,
            letter.cause[:120],
            "yes" if letter.is_replayed else "",
        )
        for letter in letters
    ]
    out.print(table("Dead letters", ("service", "number", "topic", "failed", "tries", "cause", "given back"), rows))


async def replay_letters(home: Home, service: str, numbers: list[int]) -> None:
    """Give letters back."""
    if service not in WITH_DATA:
        raise SuiteError(f"{service} is not a service with data ({', '.join(WITH_DATA)}).")
    from suite import dead_letters

    count = await dead_letters.replay(home.running_state().environment, service, numbers)
    out.print(f"{count} of {len(numbers)} given back to {service}.")


def print_places(state: State, home: Home) -> None:
    """Where to look besides the services themselves."""
    places = {
        "routes": f"{state.url}/docs",
        "mailbox": state.environment["DARKROOM_MAILBOX_URL"],
        "simulator": state.environment.get("DARKROOM_SIMULATOR_URL"),
        "data": home.folder,
        "logs": home.logs,
    }
    notes = {"simulator": "   [dim]n8n and WeChat; /control steers it[/]"}
    for name, place in places.items():
        if place:
            out.print(f"  {name:<12} {escape(str(place))}{notes.get(name, '')}", soft_wrap=True)


def _plainly(urls: list[str]) -> str:
    """Addresses short enough for a narrow console."""
    return "\n".join(url.removeprefix("http://") for url in urls)
