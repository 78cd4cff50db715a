"""`--log-level`, `--log-file` and `--log-format` at every command, before and after its name."""

from __future__ import annotations

import json

import click
import pytest
from click.testing import CliRunner

from edgeleather.cli.log_options import add_log_options
from edgeleather.cli.main import COMMANDS, main

OPTIONS = {"--log-level", "--log-file", "--log-format"}


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def leaves(command):
    if isinstance(command, click.Group):
        return [leaf for one in command.commands.values() for leaf in leaves(one)]
    return [command]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_them_once(name):
    for _ in range(2):
        for leaf in leaves(main.get_command(None, name)):
            options = [option for parameter in leaf.params for option in parameter.opts]
            assert all(options.count(option) == 1 for option in OPTIONS), leaf.name


@pytest.mark.parametrize("before", [True, False])
def test_they_stand_before_or_after_the_name(bundle, good_picture, tmp_path, before):
    options = ["--log-level", "debug", "--log-format", "json", "--log-file", tmp_path / "log"]
    command = ["inspect", bundle.folder, "--source", good_picture, "--quiet"]
    result = run(*options, *command) if before else run(*command, *options)
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert any(line["message"].startswith("run starts: ") for line in lines)
    assert "run starts" in result.stderr and "run starts" not in result.stdout


def test_what_stands_after_the_name_counts_more(bundle, good_picture):
    command = ["inspect", bundle.folder, "--source", good_picture, "--quiet"]
    assert "run starts" not in run("--log-level", "debug", *command, "--log-level", "warning").stderr
    assert "run starts" in run("--log-level", "warning", *command, "--log-level", "debug").stderr


def test_a_command_is_no_noisier_than_before(bundle, good_picture):
    assert run("inspect", bundle.folder, "--source", good_picture).stderr == ""


def test_a_file_is_told_why_a_command_ended(bundle, tmp_path):
    result = run("inspect", bundle.folder, "--source", tmp_path / "absent", "--log-file", tmp_path / "log")
    assert result.exit_code == 1 and (tmp_path / "log").read_text().count("found nothing there") == 1
    assert result.stderr.count("found nothing there") == 1
    assert run("doctor", "--log-file", tmp_path / "absent/log").exit_code == 1
    assert run("doctor", "--log-level", "loud").exit_code == 2


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(28, "No space left on device", "/x"), "No space left on device"),
        (ZeroDivisionError("a bug"), "ZeroDivisionError: a bug"),
        (KeyboardInterrupt(), "interrupted"),
        (SystemExit(143), "exit code 143"),
        (click.UsageError("expected one"), "expected one"),
    ],
)
def test_a_file_is_told_of_every_other_end_and_the_terminal_once(tmp_path, error, told):
    def end():
        raise error

    command = click.Command("end", callback=end)
    add_log_options(command)
    result = CliRunner().invoke(command, ["--log-file", str(tmp_path / "log")])
    assert result.exit_code != 0 and told in (tmp_path / "log").read_text()
    assert " ERROR edgeleather" not in result.stderr and " WARNING edgeleather" not in result.stderr


def test_a_command_that_ends_well_tells_the_file_nothing(tmp_path):
    command = click.Command("end", callback=lambda: click.get_current_context().exit(0))
    add_log_options(command)
    assert CliRunner().invoke(command, ["--log-file", str(tmp_path / "log")]).exit_code == 0
    assert (tmp_path / "log").read_text() == ""
