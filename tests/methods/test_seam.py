"""A method is one file and one line in the table: its option, its run and its graph come of that alone."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytest.importorskip("torch", reason="needs the 'train' extra (torch)")

from click.testing import CliRunner

from edgeleather.bundle.bundle import read_bundle
from edgeleather.cli.main import main
from edgeleather.errors import EdgeLeatherError
from edgeleather.methods.table import METHODS
from edgeleather.training.choices import TrainingChoices, train_chosen

ONE_FILE = '''
"""toy: how far a pixel's colour is from the mean of the good ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from edgeleather.methods.method import NO_BACKBONE, Method, Preset
from edgeleather.methods.settings import MethodSettings, choice


@dataclass(frozen=True)
class ToySettings(MethodSettings):
    """What a user chooses of toy."""

    gain: float = choice(1.0, "What distances are multiplied by.", at_least=0.5, at_most=8)
    squared: bool = choice(False, "Take squares of distances.")


class Toy(Method):
    """Distance from the mean colour."""

    presets: ClassVar = dict.fromkeys(
        ("edge", "paper"), Preset(NO_BACKBONE, epochs=1, learning_rate=0.0, batch_images=8, own=ToySettings(gain=2.0))
    )
    settings: ClassVar = ToySettings
    networks: ClassVar = ()

    def __init__(self, backbone, image_size_hw, own):
        super().__init__(backbone, image_size_hw)
        self.own = own
        self.register_buffer("mean", torch.zeros(3))

    @classmethod
    def built(cls, backbone, image_size_hw, own):
        return cls(backbone, image_size_hw, own)

    def load_backbone(self, weights):
        pass

    def begin(self, batches):
        self.mean.copy_(torch.cat([image.flatten(0, 2) for image, _ in batches]).float().mean(0) / 255.0)

    def training_step(self, image, frozen):
        return None

    def validation_loss(self, image, frozen):
        return self.anomaly_map(image).mean()

    def anomaly_map(self, image):
        distance = (image.float() / 255.0 - self.mean).abs().mean(3)
        return self.own.gain * (distance.square() if self.own.squared else distance)
'''


@pytest.fixture(autouse=True)
def toy(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("toy")
    (folder / "toy_method.py").write_text(ONE_FILE)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "toy_method", raising=False)
    monkeypatch.setitem(METHODS, "toy", "toy_method:Toy")  # the one line


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_its_option_goes_through_training_into_the_record_and_the_graph(dataset_folder, tmp_path, good_picture):
    for name, option in (("default", ()), ("chosen", ("--gain", "3"))):
        trained = run("train", dataset_folder, "--method", "toy", *option, "--out", tmp_path / f"run-{name}")
        assert trained.exit_code == 0, trained.output
        exported = run("export", tmp_path / f"run-{name}", "--out", tmp_path / name)
        assert exported.exit_code == 0, exported.output
    records = [json.loads((tmp_path / f"run-{name}" / "run.json").read_text()) for name in ("default", "chosen")]
    assert [record["settings"]["own"] for record in records] == [
        {"gain": 2.0, "squared": False},
        {"gain": 3.0, "squared": False},
    ]
    scores = [read_bundle(tmp_path / name).manifest.thresholds[0].held_out_scores for name in ("default", "chosen")]
    assert scores[1] == pytest.approx([1.5 * score for score in scores[0]], rel=1e-5)
    inspected = run("inspect", tmp_path / "chosen", "--source", good_picture, "--json")
    assert inspected.exit_code == 0 and json.loads(inspected.stdout)["inferred"] == 1, inspected.output


def test_help_shows_its_options_once_it_is_named(dataset_folder):
    for words in (["--method", "toy"], ["--method=toy"]):
        shown = run("train", *words, "--help").output
        assert "--gain FLOAT RANGE" in shown and "What distances are multiplied by." in shown and "0.5<=x<=8" in shown
        assert "--squared / --no-squared" in shown and "--width" not in shown
    assert "--gain" not in run("train", "--method", "stfpm", "--help").output
    assert "--width" in run("teach", "--method", "draem", "--help").output


def test_help_without_a_method_imports_no_torch():
    code = "import sys\nfrom edgeleather.cli.main import main\ntry: main()\nfinally: print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, "train", "--help"], capture_output=True, text=True)
    assert done.stdout.startswith("Usage:") and done.stdout.splitlines()[-1] == "False", done.stderr


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--method", "memory-bank", "--gain", "3"), 1, "memory-bank has no --gain, which is an option of toy: leave it away"),
        (("--method", "stfpm", "--width", "8"), 1, "stfpm has no --width, which is an option of draem: leave it away"),
        (("--method", "toy", "--gain", "9"), 2, "0.5<=x<=8"),
        (("--method", "toy", "--levitate"), 2, "No such option"),
        (("--gain", "3"), 2, "No such option"),
    ],
)  # fmt: skip
def test_an_option_that_a_method_does_not_have_is_refused(dataset_folder, tmp_path, options, code, message):
    result = run("train", dataset_folder, *options, "--out", tmp_path / "run")
    assert result.exit_code == code and message in result.stderr, result.output
    assert "Traceback" not in result.output and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"width": 8}, "toy has no option --width: leave it away. The method's own options: --gain, --squared."),
        ({"gain": 9.0}, "--gain: expected 0.5 to 8, got 9.0"),
        ({"gain": "much"}, "toy: gain: expected float, got 'much'"),
    ],
)
def test_the_library_refuses_the_same(dataset_folder, tmp_path, own, message):
    with pytest.raises(EdgeLeatherError) as refused:
        train_chosen(dataset_folder, TrainingChoices("toy", own=own), tmp_path / "run")
    assert message in str(refused.value)
