"""The public API: its names, what importing it costs, and its examples, run as written."""

from __future__ import annotations

import ast
import doctest
import inspect
import shutil
import sys

import pytest

import edgeleather as el
from tests.conftest import REPOSITORY
from tests.tiny import make_dataset
from tests.walls import NOT_OF_THE_RUNTIME, run_walled

STATION = """\
schema = 1
name = "line 3"
bundle = "bundle"
[source]
address = "line"
"""
LOAD = """
import edgeleather as el

with el.load("bundle") as inspector:
    inspection = inspector.inspect("hide.png")
    print(inspection.verdict, inspection.score, inspection.regions)
"""
TEACH = 'import edgeleather as el\nlesson = el.teach("photos", "taught")\nprint(lesson.bundle.folder)'
# They need torch or onnx.
OF_TRAINING = ("CalibrationSettings", "TrainingChoices", "add_articles", "benchmark", "calibrate", "teach")
RUN_STATION = 'import edgeleather as el\nprint(el.Station.read("line-3.toml").run().captured)'


@pytest.fixture(scope="module")
def plant(tmp_path_factory, bundle, dataset_folder):
    """A folder with what the examples name: bundle, photos, hide.png, line-3.toml and its pictures."""
    folder = tmp_path_factory.mktemp("plant")
    shutil.copytree(bundle.folder, folder / "bundle")
    shutil.copytree(dataset_folder, folder / "photos")
    shutil.copy(dataset_folder / "test" / "hole" / "000.png", folder / "hide.png")
    shutil.copytree(dataset_folder / "test" / "good", folder / "line")
    (folder / "line-3.toml").write_text(STATION)
    for name, articles in (("articles", ["brown"]), ("more-articles", ["brown", "black"])):
        for article in articles:
            shutil.copytree(dataset_folder / "train" / "good", folder / name / article)
    return folder


def test_importing_it_loads_neither_numpy_nor_opencv_nor_a_part_of_its_own():
    code = "import sys; before = set(sys.modules); import edgeleather; print(sorted(set(sys.modules) - before))"
    loaded = ast.literal_eval(run_walled(code, blocked=["edgeleather.cli"]).stdout)
    assert {name for name in loaded if name.partition(".")[0] not in sys.stdlib_module_names} == {"edgeleather"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.train) if name in OF_TRAINING else name for name in el.__all__]
)
def test_a_public_name_is_there_with_an_example(name):
    assert ">>> " in inspect.getdoc(getattr(el, name))
    assert name in dir(el)


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        el.lod  # noqa: B018


@pytest.mark.parametrize("name", [name for name in el.__all__ if name not in OF_TRAINING])
def test_an_example_of_the_runtime_runs_as_written(name, plant, monkeypatch):
    run_example(name, plant, monkeypatch)


@pytest.mark.slow
@pytest.mark.train
@pytest.mark.parametrize("name", OF_TRAINING)
def test_an_example_of_training_runs_as_written(name, plant, monkeypatch):
    run_example(name, plant, monkeypatch)


def run_example(name, plant, monkeypatch):
    monkeypatch.chdir(plant)
    test = doctest.DocTestParser().get_doctest(inspect.getdoc(getattr(el, name)), {}, name, None, 0)
    runner = doctest.DocTestRunner(optionflags=doctest.REPORT_ONLY_FIRST_FAILURE)
    assert runner.run(test, out=sys.stdout.write).failed == 0


def test_an_inspection_needs_no_command_line_and_no_training(plant):
    result = run_walled(LOAD, blocked=[*NOT_OF_THE_RUNTIME, "edgeleather.cli"], folder=plant)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("defect ")


def test_a_station_needs_no_command_line_and_no_training(plant):
    result = run_walled(RUN_STATION, blocked=[*NOT_OF_THE_RUNTIME, "edgeleather.cli"], folder=plant)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "8"


@pytest.mark.slow
@pytest.mark.train
def test_teaching_needs_no_command_line(tmp_path):
    make_dataset(tmp_path / "photos")
    result = run_walled(TEACH, blocked=["edgeleather.cli"], folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "taught" / "manifest.json").is_file()


@pytest.mark.slow
@pytest.mark.train
def test_the_readmes_lines_of_python_run_as_written(plant, tmp_path):
    folder = shutil.copytree(
        plant, tmp_path / "plant", ignore=shutil.ignore_patterns("taught", "small", "report", "store")
    )
    block = (REPOSITORY / "README.md").read_text().split("```python\n")[1].split("```")[0]
    assert "el.load(" in block and "el.teach(" in block and "el.Station" in block
    result = run_walled(block, blocked=["edgeleather.cli"], folder=folder)
    assert result.returncode == 0, result.stderr
    assert (folder / "taught" / "manifest.json").is_file() and (folder / "store").is_dir()


def test_a_missing_part_is_named_with_the_extra_that_brings_it(plant):
    result = run_walled("import edgeleather as el\nel.calibrate('bundle', 'photos')", folder=plant)
    assert "edgeleather[train]" in result.stderr and "MissingPartError" in result.stderr


@pytest.mark.parametrize("part", ["cv2", "numpy"])
def test_a_missing_part_of_the_runtime_is_not_blamed_on_training(part):
    result = run_walled("import edgeleather as el\nel.load", blocked=[part])
    assert f"MissingPartError: {part} not found" in result.stderr and "edgeleather[train]" not in result.stderr
    assert result.stderr.endswith("Run: pip install edgeleather\n")


def test_a_path_that_is_not_there_raises_and_one_that_is_no_picture_has_failed(plant):
    (plant / "broken.png").write_bytes(b"no picture")
    with el.load(plant / "bundle") as inspector:
        with pytest.raises(el.EdgeLeatherError, match="nothing there"):
            inspector.inspect(plant / "nowhere.png")
        assert inspector.inspect(plant / "broken.png").verdict == "failed"
