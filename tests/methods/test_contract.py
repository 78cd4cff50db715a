"""What every method must do, run for all of them from one table."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from contextlib import closing
from dataclasses import asdict, dataclass

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the 'train' extra (torch)")

from edgeleather.bundle.bundle import read_bundle  # noqa: E402
from edgeleather.calibration.calibrating import CalibrationSettings, calibrate_bundle  # noqa: E402
from edgeleather.calibration.guard import Budget  # noqa: E402
from edgeleather.dataset.defects import paste_defect  # noqa: E402
from edgeleather.dataset.reading import read_dataset  # noqa: E402
from edgeleather.dataset.splitting import split_good  # noqa: E402
from edgeleather.engines.engine import BuildSettings, load_engine  # noqa: E402
from edgeleather.engines.graphs import graphs_of  # noqa: E402
from edgeleather.errors import EdgeLeatherError  # noqa: E402
from edgeleather.export.building import build_engine  # noqa: E402
from edgeleather.export.bundling import export_run  # noqa: E402
from edgeleather.imaging.preprocess import prepare  # noqa: E402
from edgeleather.methods.method import method_class  # noqa: E402
from edgeleather.methods.table import METHODS  # noqa: E402
from edgeleather.training import training  # noqa: E402
from edgeleather.training.run import WEIGHTS_FILE, read_run  # noqa: E402
from edgeleather.training.training import load_trained, train  # noqa: E402
from tests.test_torch_free import MAIN, run_walled  # noqa: E402
from tests.tiny import MODE, settings  # noqa: E402

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Case:
    """A method in the table: how long it trains here, whether a loss falls (a memory has none), and whether it draws anything."""

    method: str
    epochs: int = 6
    learns: bool = True
    draws: bool = True


CONTRACT = (
    Case("cflow", epochs=10),
    Case("draem", epochs=20),
    Case("gaussian", epochs=1, learns=False, draws=False),
    Case("memory-bank", epochs=1, learns=False),
    Case("reverse-distillation", epochs=20),
    Case("ssim-ae", epochs=20),
    Case("stfpm", epochs=30),
)


def tiny(case, **changes):
    preset = method_class(case.method).presets["edge"]
    chosen = {
        "method": case.method,
        "backbone": preset.backbone,
        "epochs": case.epochs,
        "learning_rate": preset.learning_rate,
        "patience_epochs": 50,
        "own": asdict(preset.own),
    }
    return settings(**(chosen | changes))


@pytest.fixture(scope="module", params=CONTRACT, ids=lambda case: case.method)
def case(request):
    return request.param


@pytest.fixture(scope="module")
def dataset(dataset_folder):
    return read_dataset(dataset_folder, needs="train")


@pytest.fixture(scope="module")
def run_folder(case, dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp(case.method) / "run"
    train(dataset, tiny(case), folder)
    return folder


@pytest.fixture(scope="module")
def bundle_folder(run_folder, dataset_folder):
    """Exported (which compares the graph with torch) and calibrated."""
    folder = run_folder.with_name("bundle")
    export_run(run_folder, folder)
    calibrate_bundle(folder, dataset_folder, CalibrationSettings(images=8, budget=Budget()))
    return folder


@pytest.fixture(scope="module")
def images(dataset):
    """Good pictures [n, 64, 64, 3] RGB, and each with a stain."""
    rng = np.random.default_rng(0)
    good = np.concatenate([prepare(sample.read(), MODE).images for sample in dataset.train_good[:4]])
    pairs = [paste_defect(image, "hole", rng) for image in good]
    return good, np.stack([image for image, _ in pairs]), np.stack([mask > 0 for _, mask in pairs])


def test_every_method_is_in_the_table():
    assert {case.method for case in CONTRACT} == set(METHODS)


def test_it_has_both_presets_and_names_its_networks(case):
    chosen = method_class(case.method)
    assert set(chosen.presets) == {"edge", "paper"} and chosen.networks


def test_its_loss_falls(case, run_folder):
    losses = read_run(run_folder).losses
    assert len(losses) == case.epochs
    if case.learns:
        assert (
            losses[-1].training < losses[0].training and min(loss.validation for loss in losses) < losses[0].validation
        )


def test_the_same_seed_agrees_and_another_differs_where_anything_is_drawn(case, dataset, tmp_path, monkeypatch):
    short = min(case.epochs, 2)
    weights = []
    # Another seed deals the pictures to other parts as well; here only what training draws may differ.
    monkeypatch.setattr(training, "split_good", lambda samples, seed: split_good(samples, 0))
    for number, (name, seed) in enumerate((("a", 0), ("b", 0), ("c", 1))):
        torch.manual_seed(1000 + number)  # whatever the caller drew before must not matter
        train(dataset, tiny(case, epochs=short, seed=seed), tmp_path / name)
        weights.append((tmp_path / name / WEIGHTS_FILE).read_bytes())
    assert weights[0] == weights[1]
    assert (weights[1] != weights[2]) == case.draws


def test_it_saves_and_loads_to_the_bit(run_folder, images):
    run = read_run(run_folder)
    first, second = load_trained(run, run_folder), load_trained(run, run_folder)
    with torch.inference_mode():
        maps = [method(torch.from_numpy(images[0]))[0] for method in (first, second)]
    assert torch.equal(*maps)
    states = [method.state_dict() for method in (first, second)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_an_interrupted_training_goes_on_to_the_same_weights(case, dataset, run_folder, tmp_path, monkeypatch):
    if not case.learns:
        pytest.skip("one epoch, nothing to interrupt between")
    real = training._one_epoch

    def stop_in_epoch_3(method, optimizer, examples, unseen, epoch, chosen):
        if epoch == 3:
            raise KeyboardInterrupt
        return real(method, optimizer, examples, unseen, epoch, chosen)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "_one_epoch", stop_in_epoch_3)
        train(dataset, tiny(case), tmp_path / "run")
    train(dataset, tiny(case), tmp_path / "run")
    assert (tmp_path / "run" / WEIGHTS_FILE).read_bytes() == (run_folder / WEIGHTS_FILE).read_bytes()


@pytest.mark.tensorrt_rtx
def test_tensorrt_rtx_builds_an_engine_of_every_precision(bundle_folder, dataset_folder, tmp_path):
    """A graph that its parser refuses fails here."""
    folder = shutil.copytree(bundle_folder, tmp_path / "bundle")
    calibrate_bundle(folder, dataset_folder, CalibrationSettings(precision="fp16", budget=Budget()))
    made = calibrate_bundle(folder, dataset_folder, CalibrationSettings(backend="tensorrt", images=8, budget=Budget()))
    assert made.records[0].cost.map_error < 0.1
    for precision in ("fp32", "fp16", "int8"):
        outcome = build_engine(folder, "tensorrt-rtx", precision, BuildSettings())
        assert outcome.file.stat().st_size > 10_000


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_score_does_not_depend_on_the_batch(bundle_folder, images, precision):
    bundle = read_bundle(bundle_folder)
    with closing(load_engine("onnxruntime", bundle_folder / graphs_of(bundle, precision)[0], precision)) as engine:
        extremes = np.stack([np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 255, np.uint8)])
        alone = engine.infer(images[0][:1]).scores[0]
        among = engine.infer(np.concatenate([images[0][:1], images[1], extremes])).scores[0]
    assert among == pytest.approx(alone, rel=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_pasted_defect_raises_the_score_where_it_is(bundle_folder, images, precision):
    good, defective, masks = images
    bundle = read_bundle(bundle_folder)
    with closing(load_engine("onnxruntime", bundle_folder / graphs_of(bundle, precision)[0], precision)) as engine:
        before, after = engine.infer(good), engine.infer(defective)
    assert (after.scores > before.scores).mean() >= 0.75
    raised = after.maps - before.maps
    inside = np.array([change[mask].mean() for change, mask in zip(raised, masks, strict=True)])
    outside = np.array([change[~mask].mean() for change, mask in zip(raised, masks, strict=True)])
    assert (inside > outside).all()


def test_int8_is_near_and_smaller(bundle_folder):
    manifest = read_bundle(bundle_folder).manifest
    record = manifest.calibrations[0]
    assert record.map_errors[record.images_show] < 0.1 and record.cost.map_error < 0.1
    assert manifest.files["int8-onnxruntime.onnx"].size_bytes < 0.7 * manifest.files["fp32.onnx"].size_bytes


def test_it_inspects_in_int8_without_torch(bundle_folder, dataset_folder):
    options = ["--source", dataset_folder / "test/good", "--json"]
    result = run_walled(MAIN, "inspect", bundle_folder, "--precision", "int8", *options)
    assert result.returncode == 0, result.stderr
    summary = json.loads(result.stdout)
    assert summary["inferred"] == 8 and summary["precision"] == "int8"


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((1, 32, 64, 3), np.uint8),
        np.zeros((1, 64, 64, 1), np.uint8),
        np.zeros((64, 64, 3), np.uint8),
        np.full((1, 64, 64, 3), np.nan, np.float32),
        np.zeros((0, 64, 64, 3), np.uint8),
    ],
    ids=["size", "channels", "dimensions", "nan", "empty"],
)
def test_other_images_are_one_clear_error(bundle_folder, image):
    with (
        closing(load_engine("onnxruntime", bundle_folder / "fp32.onnx", "fp32")) as engine,
        pytest.raises(EdgeLeatherError, match=r"expected images uint8 \[n, 64, 64, 3\] RGB, got"),
    ):
        engine.infer(image)


def test_the_table_is_what_contributing_shows():
    from tests.conftest import REPOSITORY

    lines = [line.strip() for line in (REPOSITORY / "CONTRIBUTING.md").read_text().splitlines()]
    assert 'Case("your-method"),' in lines


def test_methods_are_imported_only_when_asked_for():
    code = "import sys, edgeleather.methods.method; print([m for m in sys.modules if m.startswith('edgeleather.methods.')])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "methods.stfpm" not in out and "'edgeleather.methods.method'" in out
