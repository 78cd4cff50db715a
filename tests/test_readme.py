"""The README's words about commands hold: every command is there, and its commands run."""

from __future__ import annotations

import re
import shlex
import shutil

import pytest
from click.testing import CliRunner

from edgeleather.benchmarks.soak import main as soak
from edgeleather.cli.main import COMMANDS, main
from edgeleather.methods.settings import choices_of
from edgeleather.methods.table import METHODS
from edgeleather.station.reading import read_station
from tests.conftest import REPOSITORY

README = (REPOSITORY / "README.md").read_text()


def blocks():
    return re.findall(r"```sh\n(.*?)```", README, re.DOTALL)


def test_every_command_is_documented_and_nothing_else():
    documented = set(re.findall(r"^\| `edgeleather (\w+)", README, re.MULTILINE))
    assert documented == set(COMMANDS)


def test_every_make_target_of_the_readme_exists():
    targets = set(re.findall(r"^(\w+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"^make (\w+)", README, re.MULTILINE)) <= targets


@pytest.mark.train
def test_every_option_of_the_readme_exists():
    from edgeleather.methods.method import method_class

    known = {choice.option for name in METHODS for choice in choices_of(method_class(name).settings)}
    for name in COMMANDS:
        command = main.get_command(None, name)
        for one in (command, *getattr(command, "commands", {}).values()):
            known |= {option for parameter in one.params for option in (*parameter.opts, *parameter.secondary_opts)}
    known |= {option for parameter in soak.params for option in parameter.opts}
    assert set(re.findall(r"(--[a-z][a-z-]+)", README)) - known - {"--help"} == set()


def test_the_stations_file_is_read(tmp_path):
    (example,) = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "line-3.toml").write_text(example)
    station = read_station(tmp_path / "line-3.toml")
    assert set(station.sink_settings()) == {"mes", "bus", "lamp", "log"}
    assert station.alarm.of_frames == 3 and station.store.pictures.max_mb == 2000


@pytest.mark.slow
@pytest.mark.train
def test_the_commands_from_good_photos_to_verdicts_run(dataset_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(dataset_folder, "photos")
    shutil.copytree(dataset_folder / "test" / "hole", "line")
    commands = [shlex.split(line, comments=True) for block in blocks() for line in block.splitlines()]
    ran = [command[1:] for command in commands if command[:1] == ["edgeleather"]]
    assert [command[0] for command in ran] == ["dataset", "teach", "inspect"]
    for command in ran:
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 0, result.output
    assert len((tmp_path / "verdicts.jsonl").read_text().splitlines()) == 3
    assert (tmp_path / "bundle-report" / "report.md").is_file() and (tmp_path / "defects").is_dir()
