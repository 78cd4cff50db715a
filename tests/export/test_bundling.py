from __future__ import annotations

import shutil
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the 'train' extra (torch)")

from edgeleather.bundle.bundle import read_bundle
from edgeleather.dataset.reading import read_dataset
from edgeleather.engines.engine import load_engine
from edgeleather.errors import EdgeLeatherError
from edgeleather.export.bundling import export_run
from edgeleather.imaging.images import read_image, write_image
from edgeleather.imaging.preprocess import InputMode
from edgeleather.inspection.inference import infer_frame
from edgeleather.inspection.inspector import InspectorSettings
from edgeleather.inspection.opening import open_inspector
from edgeleather.training.choices import TrainingChoices, train_chosen
from edgeleather.training.run import read_run
from edgeleather.training.training import train
from tests.tiny import settings


@pytest.fixture
def data_copy(dataset_folder, tmp_path):
    return shutil.copytree(dataset_folder, tmp_path / "moved")


def test_thresholds_come_from_the_pictures_set_aside(bundle, dataset_folder, run_folder):
    run, thresholds = read_run(run_folder), bundle.thresholds_of("fp32.onnx")
    dataset = read_dataset(dataset_folder, needs="any")
    by_name = {sample.name: sample for sample in (*dataset.train_good, *dataset.test)}
    held_out = [by_name[record.name] for record in run.splits.threshold]
    with closing(load_engine("onnxruntime", bundle.folder / "fp32.onnx", "fp32")) as engine:
        frames = [infer_frame(engine, sample.read(), bundle.manifest.input_mode) for sample in held_out]
    expected = [frame.score for frame in frames] + [item.score for item in run.left_out_scores]
    assert sorted(expected) == pytest.approx(sorted(thresholds.good_scores))
    assert thresholds.verdict.value == max(thresholds.good_scores)  # 24 scores support 4 %, not 1 %
    assert thresholds.verdict.false_alarm_rate == pytest.approx(1 / 25)
    pixels = np.concatenate([frame.anomaly_map.ravel() for frame in frames])
    assert thresholds.t1_pixel.value == pytest.approx(np.quantile(pixels, 0.99), abs=1e-3)
    assert thresholds.t1_pixel.images == len(held_out)
    assert thresholds.peak_share.normal == pytest.approx(np.median(pixels), abs=1e-3)
    assert thresholds.peak_share.images == min(16, len(held_out)) and 0.1 <= thresholds.peak_share.share <= 0.9


def test_a_picture_that_changed_since_training_is_named(run_folder, data_copy, tmp_path):
    name = read_run(run_folder).splits.threshold[0].name
    write_image(data_copy / name, np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(EdgeLeatherError, match=f"{name} has changed since training"):
        export_run(run_folder, tmp_path / "bundle", data=data_copy)
    (data_copy / name).unlink()
    with pytest.raises(EdgeLeatherError, match=f"{name} is missing since training"):
        export_run(run_folder, tmp_path / "bundle", data=data_copy)
    assert not (tmp_path / "bundle").exists()


@pytest.mark.slow
def test_the_original_may_stay_at_home(run_folder, tmp_path, bundle):
    made = export_run(run_folder, tmp_path / "bundle", with_original=False)
    assert not any(name.startswith("original/") for name in made.manifest.files)
    assert read_bundle(tmp_path / "bundle").manifest.thresholds == (bundle.thresholds_of("fp32.onnx"),)


def test_damaged_weights_are_one_clear_error(run_folder, tmp_path):
    folder = shutil.copytree(run_folder, tmp_path / "run")
    (folder / "weights.safetensors").write_bytes(b"damaged")
    with pytest.raises(EdgeLeatherError, match="expected a safetensors file"):
        export_run(folder, tmp_path / "bundle")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


@pytest.mark.slow
def test_a_folder_of_good_photos_alone_gives_a_bundle_without_t2_and_t3(dataset_folder, tmp_path):
    photos = tmp_path / "photos"
    shutil.copytree(dataset_folder / "train" / "good", photos)
    train(read_dataset(photos, needs="train"), settings(), tmp_path / "run")
    made = export_run(tmp_path / "run", tmp_path / "bundle")
    thresholds = made.manifest.thresholds[0]
    assert thresholds.t2_pixel is None and thresholds.t3_image is None
    assert made.manifest.metrics[0].image_auroc is None
    assert thresholds.good_groups == 24  # every photo is a photograph of its own


@pytest.mark.slow
def test_without_masks_there_is_a_t3_but_no_t2(run_folder, data_copy, bundle, tmp_path):
    shutil.rmtree(data_copy / "ground_truth")
    manifest = export_run(run_folder, tmp_path / "bundle", data_copy).manifest
    assert manifest.thresholds[0] == replace(bundle.thresholds_of("fp32.onnx"), t2_pixel=None)
    before, after = bundle.manifest.metrics[0], manifest.metrics[0]
    assert after == replace(before, pixel_auroc=None, aupro=None) and after.image_auroc is not None


@pytest.mark.slow
def test_t2_rests_on_the_pictures_that_have_a_mask(run_folder, data_copy, bundle, tmp_path):
    fitted = [record.name for record in read_run(run_folder).splits.t2_t3]
    marked = [name for name in fitted if "good" not in name][::2]
    for path in (data_copy / "ground_truth").glob("*/*.png"):
        if f"test/{path.parent.name}/{path.stem.removesuffix('_mask')}.png" not in marked:
            path.unlink()
    thresholds = export_run(run_folder, tmp_path / "bundle", data_copy).thresholds_of("fp32.onnx")
    assert thresholds.t3_image == bundle.thresholds_of("fp32.onnx").t3_image and thresholds.t3_image.images == len(
        fitted
    )
    assert thresholds.t2_pixel.images == len(marked) + sum("good" in name for name in fitted) < len(fitted)


@pytest.mark.slow
def test_training_on_tiles_of_larger_photos(dataset_folder, tmp_path):
    mode = InputMode("tiles", (32, 32), 1.0)
    run = train(read_dataset(dataset_folder, needs="train"), settings(input_mode=mode), tmp_path / "run")
    assert len(run.left_out_scores) + len(run.splits.threshold) == 24  # one score a frame, not a tile
    made = export_run(tmp_path / "run", tmp_path / "bundle")
    thresholds = made.manifest.thresholds[0]
    assert thresholds.tiles_per_frame == 9 and len(thresholds.good_scores) == 24
    assert made.manifest.metrics[0].pixel_auroc > 0.8


@pytest.mark.slow
def test_the_path_of_a_weights_file_stays_at_home(dataset_folder, tmp_path):
    torch = pytest.importorskip("torch")
    from edgeleather.backbones.loading import build_backbone

    torch.save(build_backbone("resnet18", ("layer3",)).state_dict(), tmp_path / "mine.pth")
    chosen = settings(backbone="resnet18", weights=str(tmp_path / "mine.pth"))
    train(read_dataset(dataset_folder, needs="train"), chosen, tmp_path / "run")
    made = export_run(tmp_path / "run", tmp_path / "bundle")
    text = (made.folder / "original" / "run.json").read_text()
    assert '"mine.pth"' in text and str(tmp_path) not in text


@pytest.mark.slow
def test_photos_of_two_sizes_make_a_bundle_of_tiles_whose_threshold_rests_on_one_of_them(
    dataset_folder, tmp_path, caplog
):
    photos = tmp_path / "photos"
    photos.mkdir()
    small = [read_image(path) for path in sorted((dataset_folder / "train/good").iterdir())]
    for number, image in enumerate(small):
        write_image(photos / f"{number:03}.png", np.tile(image, (2, 2, 1)) if number % 8 == 0 else image)
    run = train_chosen(photos, TrainingChoices(input_kind="tiles", suspects="keep"), tmp_path / "run")
    assert any("different numbers of tiles" in message for message in caplog.messages)
    bundle = export_run(tmp_path / "run", tmp_path / "bundle")
    (thresholds,) = bundle.manifest.thresholds
    assert thresholds.tiles_per_frame == 1
    large = {sample.name for sample in read_dataset(photos, needs="train").train_good if int(sample.path.stem) % 8 == 0}
    assert 0 < len(thresholds.good_scores) == len(small) - len(large)
    digests = {record.name: record.digest for part in (run.splits.training, run.splits.validation) for record in part}
    assert not thresholds.left_out_scores.keys() & {digests[name] for name in large if name in digests}
    with open_inspector(bundle.folder, InspectorSettings(precision="fp32")) as inspector:
        assert inspector.inspect(np.tile(small[0], (2, 2, 1))).threshold > inspector.inspect(small[0]).threshold
