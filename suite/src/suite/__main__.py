"""The `darkroom` command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from suite.home import DEFAULT_FOLDER, Home, SuiteError

app = typer.Typer(
    help="Darkroom on this machine: six services, real PostgreSQL, no container engine.",
    no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False, context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip
topics_app = typer.Typer(help="The topics of the catalogue.", no_args_is_help=True)
dlq_app = typer.Typer(help="Dead letters: facts that a service could not take.", no_args_is_help=True)
app.add_typer(topics_app, name="topics")
app.add_typer(dlq_app, name="dlq")

HomeOption = Annotated[Path, typer.Option("--home", help="the folder everything is kept in", envvar="DARKROOM_HOME")]
DEFAULT_HOME = Path(DEFAULT_FOLDER)


@app.command()
def up(
    home: HomeOption = DEFAULT_HOME,
    kafka: Annotated[bool, typer.Option("--kafka", help="a real Kafka instead of the bus in memory")] = False,
    s3: Annotated[bool, typer.Option("--s3", help="objects in a real S3 server instead of a folder; neither sees what the other keeps")] = False,
    simulator: Annotated[bool, typer.Option("--simulator", help="stand-ins for n8n, which makes the pictures, and WeChat")] = False,
    separate: Annotated[bool, typer.Option("--separate", help="a process per service; brings --kafka along")] = False,
    replica: Annotated[list[str] | None, typer.Option("--replicas", help="with --separate: SERVICE=N processes, may be repeated")] = None,
    roomy: Annotated[bool, typer.Option("--roomy", help="limits and caps off; refused outside loopback")] = False,
    provider: Annotated[str | None, typer.Option("--provider", help="local, or instant for benches")] = None,
    any_ports: Annotated[bool, typer.Option("--any-ports", help="free ports, the same at every start of this folder")] = False,
    warm: Annotated[bool, typer.Option("--warm", help="with Kafka: let its Java compile fully, for a broker that lives long under load")] = False,
) -> None:
    """Start everything and stay; Ctrl-C stops it and keeps what there is."""
    from suite.console import carry_out
    from suite.options import Options
    from suite.up import up as stay_up

    if simulator and provider not in (None, "n8n"):
        raise typer.BadParameter("goes with the provider n8n only", param_hint="--simulator")
    options = Options(
        kafka=kafka, s3=s3, simulator=simulator, separate=separate, any_ports=any_ports, profile="roomy" if roomy else "normal", provider=provider,
        replicas=_replicas(replica or [], separate=separate), kafka_compiles_fully=warm,
    )  # fmt: skip
    carry_out(Home(home), stay_up(Home(home), options))


@app.command()
def demo(
    home: HomeOption = DEFAULT_HOME,
    output: Annotated[Path, typer.Option("--output", help="where photo, pictures and song go")] = Path("demo-output"),
) -> None:
    """Watch a photo become four pictures and a song; starts a suite for it when none runs."""
    from suite.console import carry_out
    from suite.demo.show import show

    carry_out(Home(home), show(Home(home), output))


@app.command()
def status(
    home: HomeOption = DEFAULT_HOME, output: Annotated[str, typer.Option("--output", "-o", help="table, env (NAME=value lines) or json")] = "table"
) -> None:
    """Where the running suite is and how its parts are; exit code 1 when none runs or a part is away."""
    from suite.console import carry_out
    from suite.status import show_status

    if output not in ("table", "env", "json"):
        raise typer.BadParameter("table, env or json", param_hint="--output")
    carry_out(Home(home), show_status(Home(home), output))


@app.command(context_settings={"ignore_unknown_options": True})  # a negative amount is no option
def grant(
    user: Annotated[str, typer.Argument(help="a user's id or e-mail, or the word demo")],
    amount: Annotated[int, typer.Argument(help="how much; negative takes away")],
    asset: Annotated[str, typer.Option("--asset", help="credit or point")] = "credit",
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Put credits or points into somebody's account (embedded suites only)."""
    from suite.console import carry_out
    from suite.status import grant_credits

    if asset not in ("credit", "point"):
        raise typer.BadParameter("credit or point", param_hint="--asset")
    carry_out(Home(home), grant_credits(Home(home), user, amount, asset))


@app.command()
def reset(home: HomeOption = DEFAULT_HOME, yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask")] = False) -> None:
    """Take away everything the suite of this folder keeps."""
    from suite.console import carry_out
    from suite.reset import take_away

    if not yes and Home(home).folder.is_dir():
        Home(home).refuse_if_running()
        typer.confirm(f"Take away {Home(home).folder} with everything in it?", abort=True)
    carry_out(Home(home), take_away(Home(home)))


BusOption = Annotated[str | None, typer.Option("--bus", help="kafka://host:port,...; else that of the running suite", envvar="DARKROOM_BUS_URL")]


@topics_app.command("list")
def topics_list(output: Annotated[str, typer.Option("--output", "-o", help="table or json")] = "table") -> None:
    """Every topic with its owner and its hearers."""
    from suite.topics import show_topics

    if output not in ("table", "json"):
        raise typer.BadParameter("table or json", param_hint="--output")
    show_topics(output)


@topics_app.command("apply")
def topics_apply(bus: BusOption = None, home: HomeOption = DEFAULT_HOME) -> None:
    """Create on Kafka what the catalogue has and the broker has not."""
    from suite.console import carry_out
    from suite.topics import create_topics

    carry_out(Home(home), create_topics(Home(home), bus))


@dlq_app.command("list")
def dlq_list(everything: Annotated[bool, typer.Option("--all", help="also those that were given back")] = False, home: HomeOption = DEFAULT_HOME) -> None:
    """Facts that a service could not take, with the cause."""
    from suite.console import carry_out
    from suite.status import show_letters

    carry_out(Home(home), show_letters(Home(home), everything=everything))


@dlq_app.command("replay")
def dlq_replay(
    service: Annotated[str, typer.Argument(help="the service that could not take them")],
    numbers: Annotated[list[int], typer.Argument(help="their numbers, from `dlq list`")],
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Give letters back to the service, once what stopped it is mended."""
    from suite.console import carry_out
    from suite.status import replay_letters

    carry_out(Home(home), replay_letters(Home(home), service, numbers))


def _replicas(given: list[str], *, separate: bool) -> dict[str, int]:
    from suite.members import NAMES

    found = {}
    for words in given:
        name, _, number = words.partition("=")
        if name not in NAMES or not number.isdigit() or not 1 <= int(number) <= 8:
            raise typer.BadParameter(f"{words!r} is not SERVICE=N (1 to 8)", param_hint="--replicas")
        found[name] = int(number)
    if found and not separate:
        raise typer.BadParameter("needs --separate", param_hint="--replicas")
    return found


def main() -> None:
    """Run the command line."""
    try:
        app(prog_name="darkroom")
    except SuiteError as error:
        typer.echo(str(error), err=True)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
