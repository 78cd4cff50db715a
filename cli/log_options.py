"""`--log-level`, `--log-file` and `--log-format`, which every command takes before or after its name."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from edgeleather.errors import EdgeLeatherError
from edgeleather.logs import FILE_ONLY, FORMATS, KEPT_FILES, LARGEST_FILE_BYTES, LEVELS, LogSettings, logging_to

_META = "edgeleather.logs"
_LOGGER = logging.getLogger(__name__)
Command = Callable[..., Any]


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """Keep what was said for the command; what stands behind its name counts more."""
    if value is not None:
        ctx.meta.setdefault(_META, {})[str(param.name).removeprefix("log_")] = value


def log_options() -> list[click.Option]:
    """The three options, new ones for each command."""
    size_mb = LARGEST_FILE_BYTES // 1_000_000
    return [
        click.Option(
            ["--log-level"],
            type=click.Choice(LEVELS),
            expose_value=False,
            callback=_keep,
            help="What is logged on standard error: this and what is worse.  [default: info]",
        ),
        click.Option(
            ["--log-file"],
            type=click.Path(path_type=Path),
            expose_value=False,
            callback=_keep,
            help=f"Log to this file as well; at {size_mb} MB it is renamed, and {KEPT_FILES} older ones are kept.",
        ),
        click.Option(
            ["--log-format"],
            type=click.Choice(FORMATS),
            expose_value=False,
            callback=_keep,
            help="Lines for people, or one JSON object per line.  [default: text]",
        ),
    ]


def add_log_options(command: click.Command) -> None:
    """Give a command, and those of a group, the options, and have them log while they run."""
    if any("--log-level" in option.opts for option in command.params):
        return  # it was asked for before
    command.params += log_options()
    if isinstance(command, click.Group):
        for one in command.commands.values():
            add_log_options(one)
    elif command.callback:
        command.callback = _logged(command.callback)


def _logged(callback: Command) -> Command:
    @functools.wraps(callback)
    def logged(*arguments: Any, **named: Any) -> Any:
        from edgeleather.imaging.quiet import quiet_opencv  # on use: --help needs no OpenCV

        chosen = click.get_current_context().meta.setdefault(_META, {})
        if chosen.get("is_set_up"):  # a command that another one calls logs where that does
            return callback(*arguments, **named)
        settings = LogSettings(**chosen)
        chosen["is_set_up"] = True
        with logging_to(settings), quiet_opencv(), _end_logged():
            return callback(*arguments, **named)

    return logged


@contextlib.contextmanager
def _end_logged() -> Iterator[None]:
    """Tell the log file, and it alone, why a command ended; on the terminal that is said in any case."""
    try:
        yield
    except (click.exceptions.Exit, SystemExit) as end:
        code = end.code if isinstance(end, SystemExit) else end.exit_code
        if code:
            _LOGGER.warning("ended with exit code %s", code, extra=FILE_ONLY)
        raise
    except click.ClickException as error:
        _LOGGER.error("%s", error.format_message(), extra=FILE_ONLY)
        raise
    except (EdgeLeatherError, OSError) as error:
        _LOGGER.error("%s", error, extra=FILE_ONLY)
        raise
    except (KeyboardInterrupt, click.Abort):
        _LOGGER.error("interrupted", extra=FILE_ONLY)
        raise
    except BaseException:
        _LOGGER.exception("ended by a bug, or for want of memory", extra=FILE_ONLY)
        raise
