"""`edgeleather events`: read what a store holds, and have what was set aside delivered again."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from edgeleather.cli.options import absolute_path, as_json_option, print_json
from edgeleather.errors import printable
from edgeleather.events.export import event_row, export_events
from edgeleather.events.store import TOPICS, Filter, Store

_AGO_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Moment(click.ParamType[float]):
    """A time: a date, a date and time (local, unless it says otherwise), or how long ago: 30m, 8h, 7d."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if ago := re.fullmatch(r"(\d{1,9})([smhd])", value):
            return time.time() - int(ago[1]) * _AGO_SECONDS[ago[2]]
        try:
            return datetime.fromisoformat(value).timestamp()
        except (ValueError, OverflowError, OSError):
            self.fail(
                f"expected 2026-11-26, 2026-11-26T14:30 or how long ago (30m, 8h, 7d), got {value!r}.", param, ctx
            )


store_argument = click.argument("store", type=click.Path(path_type=Path))


def _printable(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Callback for text that is compared with what is recorded: bytes that are no UTF-8 stand there as they are shown."""
    return None if value is None else printable(value)


def filter_options(command: Callable[..., None]) -> Callable[..., None]:
    """`--since`, `--until`, `--verdict` and `--article`."""
    options = (
        click.option(
            "--since", type=Moment(), default=None, help="From this time on: 2026-11-26, 2026-11-26T14:30, 8h ago."
        ),
        click.option("--until", type=Moment(), default=None, help="Before this time."),
        click.option(
            "--verdict", "topics", type=click.Choice(TOPICS), multiple=True, help="Only these; alarms and faults too."
        ),
        click.option("--article", default=None, callback=_printable, help="Only of this article."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.group(epilog="Example: edgeleather events list store --verdict alarm --since 8h")
def events() -> None:
    """What a station has recorded: verdicts, alarms and faults, and how far its sinks are."""


@events.command("list", epilog="Example: edgeleather events list store --verdict defect --since 8h")
@store_argument
@filter_options
@click.option(
    "--limit", type=click.IntRange(1, 1_000_000), default=50, show_default=True, help="At most so many, the latest."
)
@as_json_option
def list_events(
    store: Path,
    since: float | None,
    until: float | None,
    topics: tuple[Any, ...],
    article: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """The latest events of STORE, and what each sink waits for."""
    with contextlib.closing(Store(store)) as opened:
        rows = [event_row(store, stored) for stored in opened.select(Filter(since, until, topics, article), limit)]
        sinks = opened.sinks()
    if as_json:
        print_json({"events": rows, "sinks": [vars(sink) for sink in sinks]})
        return
    for row in rows:
        click.echo(_line(row))
    for sink in sinks:
        trouble = f"; last error: {sink.last_error}" if sink.last_error else ""
        click.echo(f"sink {sink.name}: {sink.waiting} waiting, {sink.set_aside} set aside{trouble}")
    if not rows:
        click.echo("no events")


@events.command(epilog="Example: edgeleather events export store --since 2026-11-01 --out november.csv")
@store_argument
@filter_options
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    callback=absolute_path,
    required=True,
    help="A file that ends in .csv, or .jsonl with all that is known of each event.",
)
def export(
    store: Path, since: float | None, until: float | None, topics: tuple[Any, ...], article: str | None, out: Path
) -> None:
    """Events of STORE as a CSV or JSON-lines file."""
    if out.suffix not in (".csv", ".jsonl"):
        raise click.UsageError(f"expected --out to end in .csv or .jsonl, got {out.name}.")
    count = export_events(store, Filter(since, until, topics, article), out)
    click.echo(f"{count} events in {out}")


@events.command(epilog="Example: edgeleather events retry store --sink mes")
@store_argument
@click.option("--sink", default=None, callback=_printable, help="Only of this sink.")
@as_json_option
def retry(store: Path, sink: str | None, as_json: bool) -> None:
    """Have what receivers refused delivered again, under the same ids, by the running station or at its next start."""
    with contextlib.closing(Store(store)) as opened:
        count = opened.retry(sink)
    if as_json:
        print_json({"put_back": count})
    else:
        click.echo(f"{count} events are delivered again by the running station, or at its next start")


def _line(row: dict[str, Any]) -> str:
    parts = [row["at"], f"{row['topic']:6s}", row["state"], row["what"]]
    parts += [f"frame {row['frame']}" if row["frame"] is not None else None]
    parts += [f"score {row['score']:.3f}" if row["score"] is not None else None]
    parts += [row["article"], row["source"], row["error"] or row["detail"] or row["reason"], row["picture"]]
    return printable("  ".join(str(part) for part in parts if part))
