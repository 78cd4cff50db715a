"""`edgeleather COMMAND`: the table of commands, and how an error is shown."""

from __future__ import annotations

import errno
import importlib
import io
import sys
from typing import Any

import click

from edgeleather import __version__
from edgeleather.cli.endings import INTERRUPTED, ending_behind, ending_on_signals
from edgeleather.cli.log_options import add_log_options, log_options
from edgeleather.errors import EdgeLeatherError, printable

COMMANDS = {
    "benchmark": "edgeleather.cli.benchmark:benchmark",
    "build": "edgeleather.cli.build:build",
    "calibrate": "edgeleather.cli.calibrate:calibrate",
    "dataset": "edgeleather.cli.dataset:dataset",
    "demo": "edgeleather.cli.demo:demo",
    "doctor": "edgeleather.cli.doctor:doctor",
    "events": "edgeleather.cli.events:events",
    "experiment": "edgeleather.cli.experiment:experiment",
    "export": "edgeleather.cli.export:export",
    "inspect": "edgeleather.cli.inspect:inspect",
    "station": "edgeleather.cli.station:station",
    "teach": "edgeleather.cli.teach:teach",
    "threshold": "edgeleather.cli.threshold:threshold",
    "train": "edgeleather.cli.train:train",
}


_OUT_OF_MEMORY = (
    "there is not enough memory for this. Nothing half-written is left. Use smaller or fewer pictures, a smaller --image-size, "
    "or a machine with more memory."
)


class CommandTable(click.Group):
    """Imports a command's module when it is asked for, and shows an EdgeLeatherError as one message, exit code 1."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        add_log_options(command)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")  # a file name must not end a run on an ASCII terminal
        try:
            with ending_on_signals():
                return self._invoke(ctx)
        except EdgeLeatherError as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            if error.errno == errno.EPIPE:  # click ends quietly when nobody reads any more
                raise
            place = f"{printable(str(error.filename))}: " if error.filename else ""
            message = f"{place}{error.strerror or error}. Check that path, its permissions and the disk."
            raise click.ClickException(message) from error
        except Exception as error:
            if not _is_out_of_memory(error):
                raise
            raise click.ClickException(_OUT_OF_MEMORY) from error
        except KeyboardInterrupt as interrupt:
            raise click.ClickException(INTERRUPTED) from interrupt

    def _invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            if ending := ending_behind(error):
                raise ending from None
            raise


def _is_out_of_memory(error: Exception) -> bool:
    """OpenCV and torch have no class of their own for it."""
    words = ("Insufficient memory", "can't allocate memory", "not enough memory", "bad_alloc", "out of memory")
    return isinstance(error, MemoryError) or any(part in str(error) for part in words)


@click.group(cls=CommandTable, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="edgeleather")
def main() -> None:
    """Find defects in leather: from good photos to a bundle, from a bundle to an inspection loop.

    \b
    Start with:  edgeleather teach PHOTOS --method memory-bank --out BUNDLE
    Then:        edgeleather inspect BUNDLE --source FOLDER
    """


main.params += log_options()
